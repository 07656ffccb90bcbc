//! The visitor's cookie: gives people without any other key one, and keeps a session on its variant while weights change.
//!
//! ```text
//! cookie  = base64url( id (12 bytes) | since (u40, seconds, big endian) | signature (16 bytes) )
//! signature over flag, NUL, variant, NUL, id, since
//! ```
//! The variant stands nowhere in it: whoever has no key cannot read it, let alone choose one. Whoever has finds it by
//! trying the variants. The id is the key for the percentage.

use crate::signing::{Keys, SIGNATURE, decode, encode};
use crate::sticky::{cookie, cookie_name};
use crate::variants::VariantId;
use std::rc::Rc;
use tollgate_core::config::{Compile, Value};
use tollgate_core::exchange::Exchange;
use tollgate_core::world::World;
use tollgate_core::{Duration, UnixNanos};

const ID: usize = 12;
const SINCE: usize = 5;

/// `visitor_cookie`
#[derive(Debug)]
pub(crate) struct VisitorCookie {
    name: String,
    keys: Keys,
    session: Duration,
    /// Everything behind the value.
    attributes: String,
}

/// A visitor, known or new.
#[derive(Debug)]
pub(crate) struct Visitor {
    pub(crate) id: [u8; ID],
    /// The variant of a session that is under way.
    pub(crate) session: Option<VariantId>,
}

impl VisitorCookie {
    /// Reads `visitor_cookie`.
    pub(crate) fn compile(value: Value<'_>, cx: &Compile<'_>) -> Option<Self> {
        let section = value.section()?;
        let name = section.required("name").and_then(|v| cookie_name(&v));
        let keys = Keys::compile(&section, "tollgate canary visitor", cx);
        let span = |field: &'static str, usual: u64, most: u64| match section.optional(field) {
            None => Some(Duration::from_secs(usual)),
            Some(v) => v.duration().and_then(|d| {
                let fits =
                    d.0 == 0 || (Duration::from_secs(1)..=Duration::from_secs(most)).contains(&d);
                v.accept(fits.then_some(d), "must be from 1s to 400d")
            }),
        };
        const MOST: u64 = 400 * 24 * 3600;
        let session = span("session", 12 * 3600, MOST);
        let max_age = span("max_age", 365 * 24 * 3600, MOST);
        let same_site = section.optional("same_site").map_or(Some("Lax"), |v| {
            v.one_of(&[("lax", "Lax"), ("strict", "Strict"), ("none", "None")])
        });
        let secure = section.optional("secure");
        let is_secure = secure.as_ref().map_or(Some(true), Value::boolean);
        if is_secure == Some(false) {
            if same_site == Some("None") {
                section.error("same_site: none needs secure: browsers refuse the cookie");
            }
            if let Some(v) = &secure {
                v.warn("the cookie also travels over plain HTTP");
            }
        }
        let path = section.optional("path").map_or(Some("/"), |v| {
            attribute(&v)
                .and_then(|p| v.accept(p.starts_with('/').then_some(p), "must start with a slash"))
        });
        let domain = match section.optional("domain") {
            None => Some(None),
            Some(v) => attribute(&v).map(Some),
        };
        section.finish();
        let mut attributes = format!("; Path={}; Max-Age={}", path?, max_age?.secs_ceil());
        if let Some(domain) = domain? {
            attributes.push_str("; Domain=");
            attributes.push_str(domain);
        }
        attributes.push_str("; HttpOnly; SameSite=");
        attributes.push_str(same_site?);
        if is_secure? {
            attributes.push_str("; Secure");
        }
        Some(Self {
            name: name?,
            keys: keys?,
            session: session?,
            attributes,
        })
    }

    /// The cookie's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Who it is: by the cookie, if it is genuine, else somebody new.
    #[inline(never)]
    pub(crate) fn visitor(
        &self,
        flag: &str,
        names: &[Rc<str>],
        exchange: &Exchange,
        world: &dyn World,
    ) -> Visitor {
        cookie(&exchange.request, &self.name)
            .and_then(|value| self.read(flag, names, value, world))
            .unwrap_or_else(|| Visitor {
                id: new_id(world),
                session: None,
            })
    }

    fn read(
        &self,
        flag: &str,
        names: &[Rc<str>],
        value: &[u8],
        world: &dyn World,
    ) -> Option<Visitor> {
        // Longer than any of ours: not worth decoding.
        let bytes = decode(value.get(..=64).map_or(value, |_| &[]))?;
        let (id, rest) = bytes.split_first_chunk::<ID>()?;
        let (since, signature) = rest.split_first_chunk::<SINCE>()?;
        let variant = names.iter().position(|name| {
            let parts = [flag.as_bytes(), b"\0", name.as_bytes(), b"\0", id, since];
            self.keys.verify(&parts, signature)
        })?;
        let [a, b, c, d, e] = *since;
        let since = u64::from_be_bytes([0, 0, 0, a, b, c, d, e]);
        let until = UnixNanos::from_secs(since).plus(self.session);
        let lasts = world.now() < until;
        Some(Visitor {
            id: *id,
            session: lasts.then_some(VariantId(variant)),
        })
    }

    /// The `set-cookie` line that puts a visitor onto a variant, from now on.
    pub(crate) fn line(
        &self,
        flag: &str,
        name: &str,
        visitor: &Visitor,
        world: &dyn World,
    ) -> String {
        let [_, _, _, since @ ..] = world.now().secs().to_be_bytes();
        let parts = [
            flag.as_bytes(),
            b"\0",
            name.as_bytes(),
            b"\0",
            &visitor.id,
            &since,
        ];
        let signature = self.keys.sign(&parts);
        let mut bytes = Vec::with_capacity(ID.saturating_add(SINCE).saturating_add(SIGNATURE));
        bytes.extend_from_slice(&visitor.id);
        bytes.extend_from_slice(&since);
        bytes.extend_from_slice(&signature);
        format!("{}={}{}", self.name, encode(&bytes), self.attributes)
    }
}

fn new_id(world: &dyn World) -> [u8; ID] {
    let (first, second) = (world.random().to_be_bytes(), world.random().to_be_bytes());
    let mut id = [0; ID];
    for (to, from) in id.iter_mut().zip(first.iter().chain(&second)) {
        *to = *from;
    }
    id
}

/// A value that cannot end its attribute (RFC 6265, 4.1.1).
fn attribute<'a>(value: &Value<'a>) -> Option<&'a str> {
    let text = value.nonempty()?;
    let good = text
        .bytes()
        .all(|b| b.is_ascii_graphic() && b != b';' && b != b',');
    value.accept(
        good.then_some(text),
        "must be visible ASCII without ; and ,",
    )
}
