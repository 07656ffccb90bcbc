//! Names of headers.

use std::fmt;
use std::rc::Rc;

/// A header name: lower-case, valid by RFC 9110, or a pseudo header such as `:path`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeaderName(Rc<str>);

impl HeaderName {
    /// Takes a name in any case. `None` if it is not a field name (RFC 9110, 5.1).
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let bare = name.strip_prefix(':').unwrap_or(name);
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if bare.is_empty() || bare.len() > 256 || !bare.bytes().all(token) {
            return None;
        }
        Some(Self(Rc::from(name.to_ascii_lowercase())))
    }

    /// For names written in the code, which must be lower-case already.
    #[must_use]
    pub fn from_static(name: &'static str) -> Self {
        Self(Rc::from(name))
    }

    /// A name that was one before.
    pub(super) fn known(name: &str) -> Self {
        Self(Rc::from(name))
    }

    /// The name, lower-case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is a pseudo header (`:path`, `:status`).
    #[must_use]
    pub fn is_pseudo(&self) -> bool {
        self.0.starts_with(':')
    }
}

impl fmt::Debug for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
