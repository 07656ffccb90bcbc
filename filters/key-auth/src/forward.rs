//! Headers that name the consumer to the upstream. A client's own are removed from every request first.

use crate::consumers::Described;
use crate::marks::Marks;
use std::rc::Rc;
use tollgate_core::config::{Section, Value};
use tollgate_core::problem::push_string;
use tollgate_core::{HeaderName, Headers};

/// Which fact goes into which header.
pub(crate) struct Forwarding {
    consumer: Option<HeaderName>,
    groups: Option<HeaderName>,
    key_id: Option<HeaderName>,
    scopes: Option<HeaderName>,
    metadata: Vec<(String, HeaderName)>,
    /// Never taken from a client; lower-case, `_` written as `-`.
    identity: Vec<HeaderName>,
}

/// Headers that carry the message itself.
const RESERVED: [&str; 9] = [
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "host",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl Forwarding {
    /// Reads `forwarding` and `remove_headers` of the top-level section.
    pub(crate) fn compile(top: &Section<'_>) -> Self {
        let mut seen = Vec::new();
        let mut forwarding = match top.optional("forwarding").and_then(Value::section) {
            Some(section) => Self::read(section, &mut seen),
            None => Self {
                consumer: claim("x-consumer-id", &mut seen),
                groups: claim("x-consumer-groups", &mut seen),
                key_id: None,
                scopes: None,
                metadata: Vec::new(),
                identity: Vec::new(),
            },
        };
        for value in top.items("remove_headers") {
            if let Some(name) = header(&value) {
                seen.push(name);
            }
        }
        forwarding.identity = seen.iter().map(with_dashes).collect();
        forwarding
    }

    fn read(section: Section<'_>, seen: &mut Vec<HeaderName>) -> Self {
        let mut one = |field| {
            let value = section.optional(field)?;
            let name = header(&value)?;
            unique(&value, name, seen)
        };
        let consumer = one("consumer");
        let groups = one("groups");
        let key_id = one("key_id");
        let scopes = one("scopes");
        let mut metadata = Vec::new();
        if let Some(section) = section.optional("metadata").and_then(Value::section) {
            for (key, value) in section.entries() {
                if let Some(name) = header(&value).and_then(|n| unique(&value, n, seen)) {
                    metadata.push((key.to_owned(), name));
                }
            }
        }
        section.finish();
        Self {
            consumer,
            groups,
            key_id,
            scopes,
            metadata,
            identity: Vec::new(),
        }
    }

    /// Whether the header is one of those that are removed from every request.
    pub(crate) fn owns(&self, name: &HeaderName) -> bool {
        self.is_own(name.as_str().as_bytes())
    }

    /// Warns about metadata that no consumer has.
    pub(crate) fn check_metadata(top: &Section<'_>, known: &[String]) {
        let forwarding = top.optional("forwarding").and_then(Value::section);
        let metadata = forwarding.and_then(|s| s.optional("metadata"));
        let metadata = metadata.and_then(Value::section);
        for (key, place) in metadata.iter().flat_map(Section::entries) {
            if !known.iter().any(|k| k == key) {
                place.warn("no consumer has it");
            }
        }
    }

    /// Removes what a client must not claim. `x_consumer_id` is removed, too: CGI, WSGI and the like read
    /// it as the same variable as `x-consumer-id`.
    pub(crate) fn strip(&self, request: &mut Headers) {
        let claimed: Vec<HeaderName> = request
            .iter()
            .filter(|(name, _)| self.is_own(name))
            .filter_map(|(name, _)| HeaderName::parse(std::str::from_utf8(name).ok()?))
            .collect();
        for name in &claimed {
            request.remove(name);
        }
    }

    fn is_own(&self, name: &[u8]) -> bool {
        self.identity.iter().any(|own| same(name, own))
    }

    /// Marks what [`Forwarding::strip`] removes.
    pub(crate) fn mark(&self, marks: &mut Marks) {
        for own in &self.identity {
            marks.add(own.as_str().as_bytes());
        }
    }

    /// The headers for one key, made once when the configuration is read.
    pub(crate) fn headers(&self, who: &Described<'_>) -> Vec<(HeaderName, Rc<[u8]>)> {
        let mut headers = Vec::new();
        let mut add = |name: Option<&HeaderName>, value: Rc<[u8]>| {
            if let Some(name) = name.filter(|_| !value.is_empty()) {
                headers.push((name.clone(), value));
            }
        };
        add(self.consumer.as_ref(), Rc::from(who.id.as_bytes()));
        add(self.groups.as_ref(), joined(who.groups, ","));
        add(self.key_id.as_ref(), Rc::from(who.key_id.as_bytes()));
        add(self.scopes.as_ref(), joined(who.scopes, " "));
        for (key, name) in &self.metadata {
            let value = who.metadata.iter().find(|(k, _)| k == key);
            if let Some((_, value)) = value {
                add(Some(name), value.clone());
            }
        }
        headers
    }
}

impl Forwarding {
    /// The forwarded metadata as a JSON object, for filter state; `None` if there is nothing of it.
    pub(crate) fn state(&self, who: &Described<'_>) -> Option<Rc<[u8]>> {
        let mut json = String::new();
        for (key, _) in &self.metadata {
            let Some((_, value)) = who.metadata.iter().find(|(k, _)| k == key) else {
                continue;
            };
            json.push(if json.is_empty() { '{' } else { ',' });
            push_string(&mut json, key);
            json.push(':');
            push_string(&mut json, &String::from_utf8_lossy(value));
        }
        if json.is_empty() {
            return None;
        }
        json.push('}');
        Some(Rc::from(json.into_bytes()))
    }
}

/// Identifiers in one value.
pub(crate) fn joined(all: &[Rc<str>], by: &str) -> Rc<[u8]> {
    let all: Vec<&str> = all.iter().map(|s| &**s).collect();
    Rc::from(all.join(by).into_bytes())
}

fn claim(name: &'static str, seen: &mut Vec<HeaderName>) -> Option<HeaderName> {
    let name = HeaderName::from_static(name);
    seen.push(name.clone());
    Some(name)
}

fn header(value: &Value<'_>) -> Option<HeaderName> {
    let name = value.header_name()?;
    let free = !RESERVED.contains(&name.as_str());
    value.accept(
        free.then_some(name),
        "is not a header that can name anybody",
    )
}

fn unique(value: &Value<'_>, name: HeaderName, seen: &mut Vec<HeaderName>) -> Option<HeaderName> {
    let own = with_dashes(&name);
    if seen.iter().any(|s| same(s.as_str().as_bytes(), &own)) {
        value.error("is used for another fact already");
        return None;
    }
    seen.push(name.clone());
    Some(name)
}

fn with_dashes(name: &HeaderName) -> HeaderName {
    let text = name.as_str().replace('_', "-");
    HeaderName::parse(&text).unwrap_or_else(|| name.clone())
}

/// `own` has dashes only.
fn same(name: &[u8], own: &HeaderName) -> bool {
    let own = own.as_str().as_bytes();
    name.len() == own.len()
        && name
            .iter()
            .zip(own)
            .all(|(a, b)| a == b || (*a == b'_' && *b == b'-'))
}
