//! One rule: which requests, which scheme, which secrets, and what happens to what is not verified.

use crate::fault::Fault;
use crate::handshake::Handshake;
use crate::mac::Algorithm;
use crate::meters::Meters;
use crate::presets::Presets;
use crate::replay::Replay;
use crate::scheme::{Scheme, flag};
use crate::secret::Secret;
use crate::template::Part;
use crate::url::{PublicUrl, port_variants};
use std::rc::Rc;
use tollgate_core::config::{Compile, Node, Section, Value};
use tollgate_core::matcher::{Matcher, is_plain_path};
use tollgate_core::{Exchange, World};
use tollgate_state::fleet::service::Service;

/// Default of `max_body_bytes`: what Envoy buffers unless told otherwise.
const DEFAULT_MAX_BODY: u64 = 1024 * 1024;

/// A compiled rule.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) matcher: Matcher,
    pub(crate) scheme: Scheme,
    pub(crate) secrets: Vec<Secret>,
    pub(crate) max_body_bytes: u64,
    pub(crate) allow_empty_body: bool,
    /// A request without a signature passes, marked unverified.
    pub(crate) pass_missing: bool,
    /// Nothing is refused.
    pub(crate) report: bool,
    pub(crate) public_url: Option<PublicUrl>,
    pub(crate) handshakes: Rc<[Handshake]>,
    pub(crate) replay: Option<Replay>,
    pub(crate) meters: Meters,
}

impl Rule {
    /// Reads a rule. `taken` are the names of earlier rules.
    pub(crate) fn compile(
        section: Section<'_>,
        cx: &mut Compile<'_>,
        presets: &Presets,
        taken: &mut Vec<Rc<str>>,
        fleet: Option<&Rc<Service>>,
    ) -> Option<Self> {
        let matcher = Matcher::of_rule(&section);
        let own_name = section.optional("name");
        let mut scheme = section
            .required("scheme")
            .and_then(|value| scheme(value, presets));
        let name = match own_name {
            Some(v) => v.identifier().and_then(|name| {
                v.accept(
                    (!taken.contains(&name)).then_some(name),
                    "is the name of an earlier rule, too",
                )
            }),
            None => scheme.as_ref().map(|s| free_name(&s.name, taken)),
        };
        taken.extend(name.clone());
        let secrets = secrets(&section, scheme.as_ref(), cx);
        for (field, future) in [("tolerance", false), ("future_tolerance", true)] {
            let Some(value) = section.optional(field) else {
                continue;
            };
            let span = value.duration();
            match (scheme.as_mut().map(|s| s.timestamp.as_mut()), span) {
                (Some(Some(timestamp)), Some(span)) if future => timestamp.future = span,
                (Some(Some(timestamp)), Some(span)) => {
                    timestamp.tolerance = span;
                    timestamp.future = span;
                }
                (Some(None), _) => value.error("this scheme has no timestamp"),
                _ => {}
            }
        }
        let public_url = section.optional("public_url").and_then(|v| {
            let url = PublicUrl::parse(v.text()?);
            v.accept(
                url,
                "must be a URL such as https://hooks.example.com, without a fragment",
            )
        });
        let max_body_bytes = section
            .optional("max_body_bytes")
            .map_or(Some(DEFAULT_MAX_BODY), |v| v.integer(1..=1 << 30));
        let allow_empty_body = flag(&section, "allow_empty_body");
        let pass_missing = section.optional("on_missing").map_or(Some(false), |v| {
            v.one_of(&[("refuse", false), ("pass", true)])
        });
        let report_only = section.optional("mode").map_or(Some(false), |v| {
            v.one_of(&[("enforce", false), ("report", true)])
        });
        let handshakes = handshakes(&section, scheme.as_ref());
        let replay = match (section.optional("replay"), &name, &scheme) {
            (Some(v), Some(name), Some(scheme)) => {
                Replay::compile(v, name, scheme, fleet).map(Some)
            }
            _ => Some(None),
        };
        let (path, report) = (section.path().to_owned(), section.report());
        section.finish();
        let scheme = scheme?;
        if scheme.unsigned_body {
            report.warn(
                &path,
                "the sender of this scheme does not sign the body: its content may be exchanged by anybody who sees a \
                 signature; use replay, and let the service ask the sender about what matters",
            );
        }
        match (scheme.signs(&Part::Url), &public_url) {
            (true, None) => report.error(
                &path,
                "this scheme signs the URL, so public_url must say how the sender sees it; the request's own headers \
                 cannot be trusted with that",
            ),
            (false, Some(_)) => report.error(&path, "public_url is for schemes that sign the URL"),
            _ => {}
        }
        let (name, secrets) = (name?, secrets?);
        Some(Self {
            matcher: matcher?,
            meters: Meters::register(
                cx.metrics,
                &name,
                &scheme,
                &secrets,
                replay.as_ref().is_some_and(Option::is_some),
            ),
            allow_empty_body: allow_empty_body.unwrap_or(scheme.allow_empty_body),
            scheme,
            secrets,
            max_body_bytes: max_body_bytes?,
            pass_missing: pass_missing?,
            report: report_only?,
            public_url,
            handshakes: handshakes?,
            replay: replay?,
        })
    }

    /// The URLs that the sender may have signed; one, empty, for a scheme that signs none.
    pub(crate) fn signed_urls(&self, path: &[u8]) -> Vec<Vec<u8>> {
        let Some(public) = &self.public_url else {
            return vec![Vec::new()];
        };
        let url = public.signed(path, &self.scheme.url_decode);
        if self.scheme.url_port_variants {
            port_variants(&url).into()
        } else {
            vec![url]
        }
    }

    /// Whether a digest of what is signed is needed besides the verification.
    pub(crate) fn needs_print(&self) -> bool {
        self.replay.is_some()
            && self.scheme.algorithm == Algorithm::Ed25519
            && !self.scheme.id_is_signed()
    }

    /// Whether a request without a signature is one that the sender makes without.
    pub(crate) fn is_handshake(&self, exchange: &Exchange, world: &dyn World) -> bool {
        !self.handshakes.is_empty()
            && is_plain_path(exchange.path())
            && self.handshakes.iter().any(|h| h.is_meant(exchange, world))
    }

    /// Whether the rule may let something pass that is not verified.
    pub(crate) fn is_lenient(&self) -> bool {
        self.pass_missing || self.report
    }

    /// Whether this fault is no reason to refuse.
    pub(crate) fn excuses(&self, fault: Fault) -> bool {
        self.report || (self.pass_missing && fault == Fault::Missing)
    }
}

/// What the rule says; else what the user wrote into his own scheme. A preset's are for those who ask for them.
fn handshakes(section: &Section<'_>, scheme: Option<&Scheme>) -> Option<Rc<[Handshake]>> {
    let of_scheme = || scheme.map(|s| Rc::clone(&s.handshakes)).unwrap_or_default();
    let Some(value) = section.optional("pass_unverified") else {
        let own = matches!(section.optional("scheme")?.node(), Node::Object(_));
        return Some(if own { of_scheme() } else { Rc::default() });
    };
    match value.node() {
        Node::Bool(false) => Some(Rc::default()),
        Node::Bool(true) => {
            let all = of_scheme();
            let known = scheme.is_none() || !all.is_empty();
            value.accept(
                known.then_some(all),
                "this scheme has no requests of its own that come without a signature: write a list of {match, query}",
            )
        }
        _ => Some(Handshake::list(value)),
    }
}

/// A preset's name, or the fields of a scheme.
fn scheme(value: Value<'_>, presets: &Presets) -> Option<Scheme> {
    if let Node::Object(_) = value.node() {
        let section = value.section()?;
        let name = match section.optional("name") {
            Some(v) => v.identifier().and_then(|name| {
                v.accept(
                    (!crate::RESERVED.contains(&&*name)).then_some(name),
                    "is what the verdict header says of requests that are not verified",
                )
            }),
            None => Some(Rc::from("custom")),
        };
        return Scheme::compile(section, name?);
    }
    let scheme = presets.get(value.text()?);
    if scheme.is_none() {
        value.error(format!(
            "is not a preset of this build; known: {}; or write the scheme's fields here",
            presets.names().join(", ")
        ));
    }
    scheme
}

fn secrets(
    section: &Section<'_>,
    scheme: Option<&Scheme>,
    cx: &Compile<'_>,
) -> Option<Vec<Secret>> {
    let value = section.required("secrets")?;
    let items = value.clone().list()?;
    if items.is_empty() || items.len() > 16 {
        value.error("must hold 1 to 16 secrets");
        return None;
    }
    let scheme = scheme?;
    let count = items.len();
    let mut secrets: Vec<Secret> = Vec::with_capacity(count);
    for (position, item) in (1_usize..).zip(items) {
        let path = item.clone();
        if let Some(secret) = Secret::compile(item, scheme, position, cx) {
            if secrets.iter().any(|s| s.id == secret.id) {
                path.error("has the id of an earlier secret");
            }
            secrets.push(secret);
        }
    }
    (secrets.len() == count).then_some(secrets)
}

/// The scheme's name, with a number if an earlier rule has it.
fn free_name(base: &Rc<str>, taken: &[Rc<str>]) -> Rc<str> {
    (2_u32..=9999)
        .map(|n| Rc::from(format!("{base}-{n}")))
        .find(|name| !taken.contains(name))
        .filter(|_| taken.contains(base))
        .unwrap_or_else(|| Rc::clone(base))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_unique() {
        let base: Rc<str> = Rc::from("stripe");
        let mut taken = Vec::new();
        for expected in ["stripe", "stripe-2", "stripe-3"] {
            let name = free_name(&base, &taken);
            assert_eq!(&*name, expected);
            taken.push(name);
        }
    }
}
