//! The key that keeps a user in place, and the overrides for single keys.

use crate::variants::{VariantId, Variants};
use tollgate_core::config::{Node, Section, Value};
use tollgate_core::cookie;
use tollgate_core::exchange::Exchange;
use tollgate_core::headers::{HeaderName, Headers};
use tollgate_core::world::{Attribute, World};

/// Where a key may come from, in the order in which it is looked for.
#[derive(Debug, Default)]
pub(crate) struct StickyKey(Vec<KeySource>);

#[derive(Debug)]
enum KeySource {
    Consumer,
    Header(HeaderName),
    Cookie(String),
    ClientAddress,
}

impl StickyKey {
    pub(crate) fn compile(section: &Section<'_>) -> Option<Self> {
        let list = section.optional("sticky_key")?;
        let path = list.path().to_owned();
        let items = list.list()?;
        if items.is_empty() {
            section.report().error(&path, "needs at least one source");
            return None;
        }
        Some(Self(items.into_iter().filter_map(key_source).collect()))
    }

    /// The headers it reads, but for cookies.
    pub(crate) fn headers(&self) -> impl Iterator<Item = &HeaderName> {
        self.0.iter().filter_map(|source| match source {
            KeySource::Header(name) => Some(name),
            _ => None,
        })
    }

    /// Calls `f` with the key from the first source that has one. A source with several values has
    /// none: which of them the upstream goes by is anybody's guess.
    pub(crate) fn with<T>(
        &self,
        exchange: &mut Exchange,
        world: &dyn World,
        f: impl FnOnce(&[u8]) -> T,
    ) -> Option<T> {
        for source in &self.0 {
            match source {
                KeySource::Consumer => {
                    if let Some(consumer) = exchange.consumer(world) {
                        return Some(f(consumer.id.as_bytes()));
                    }
                }
                KeySource::Header(name) => {
                    let sole = exchange.request.sole(name.as_str());
                    if let Some(value) = sole.ok().flatten().filter(|v| !v.is_empty()) {
                        return Some(f(value));
                    }
                }
                KeySource::Cookie(name) => {
                    if let Some(value) = cookie(&exchange.request, name) {
                        return Some(f(value));
                    }
                }
                KeySource::ClientAddress => {
                    if let Some(address) = world.attribute(Attribute::SourceAddress) {
                        return Some(f(bare_address(&address)));
                    }
                }
            }
        }
        None
    }
}

fn key_source(value: Value<'_>) -> Option<KeySource> {
    match value.node() {
        Node::Text(_) => value
            .one_of(&[("consumer", ()), ("client_address", ())])
            .map(|()| match value.text() {
                Some("consumer") => KeySource::Consumer,
                _ => KeySource::ClientAddress,
            }),
        Node::Object(_) => {
            let section = value.section()?;
            let header = section.optional("header");
            let cookie = section.optional("cookie");
            let source = match (header, cookie) {
                (Some(header), None) => header.header_name().map(KeySource::Header),
                (None, Some(cookie)) => cookie_name(&cookie).map(KeySource::Cookie),
                _ => {
                    section.error("needs exactly one of header, cookie");
                    None
                }
            };
            section.finish();
            source
        }
        _ => {
            value.error("must be consumer, client_address, {header: NAME} or {cookie: NAME}");
            None
        }
    }
}

/// A cookie's name is a token (RFC 6265, 4.1.1), as a header's is, but its case counts.
pub(crate) fn cookie_name(value: &Value<'_>) -> Option<String> {
    let text = value.text()?;
    let token = HeaderName::parse(text).is_some_and(|n| !n.is_pseudo());
    value.accept(token.then(|| text.to_owned()), "must be a cookie's name")
}

/// The value of a cookie, from one or several `cookie` headers (HTTP/1 and HTTP/2 differ there). `None` if it is not
/// there, is empty, or has different values.
#[inline(never)]
pub(crate) fn cookie<'a>(headers: &'a Headers, name: &str) -> Option<&'a [u8]> {
    let mut found: Option<&[u8]> = None;
    for (this, value) in headers.get_all("cookie").flat_map(cookie::pairs) {
        let Some(value) = value.filter(|_| this == name.as_bytes()) else {
            continue;
        };
        let value = cookie::unquoted(value);
        if found.is_some_and(|before| before != value) {
            return None;
        }
        found = Some(value);
    }
    found.filter(|value| !value.is_empty())
}

/// `192.0.2.1:4711` or `[2001:db8::1]:4711`, without the port and the brackets. Not for authorities, which keep their
/// brackets: that is [`tollgate_core::matcher::without_port`].
#[inline(never)]
fn bare_address(address: &[u8]) -> &[u8] {
    if let Some(rest) = address.strip_prefix(b"[") {
        return rest.split(|b| *b == b']').next().unwrap_or_default();
    }
    // Two colons and no brackets: an address without a port.
    let mut parts = address.rsplitn(2, |b| *b == b':');
    let _port = parts.next();
    match parts.next() {
        Some(host) if !host.contains(&b':') => host,
        _ => address,
    }
}

/// Variants for single keys.
#[derive(Debug, Default)]
pub(crate) struct Overrides(Vec<(Box<[u8]>, VariantId)>);

impl Overrides {
    /// Reads `overrides: {KEY: VARIANT}`.
    pub(crate) fn compile(section: &Section<'_>, variants: &Variants) -> Self {
        let entries = section.optional("overrides").and_then(Value::section);
        let mut all = Vec::new();
        for (key, value) in entries.iter().flat_map(Section::entries) {
            if key.is_empty() {
                value.error("a key must not be empty");
            }
            if let Some(variant) = variants.find(&value) {
                all.push((Box::from(key.as_bytes()), variant));
            }
        }
        all.sort_unstable();
        Self(all)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<VariantId> {
        let at = self.0.binary_search_by(|(k, _)| (**k).cmp(key)).ok()?;
        self.0.get(at).map(|(_, variant)| *variant)
    }

    pub(crate) fn variants(&self) -> impl Iterator<Item = VariantId> {
        self.0.iter().map(|(_, variant)| *variant)
    }
}
