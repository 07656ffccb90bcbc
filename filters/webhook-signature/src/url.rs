//! The URL that senders sign. It comes from the configuration: the request's own headers say whatever
//! somebody wrote into them.

use std::borrow::Cow;

/// How senders see us.
#[derive(Debug)]
pub(crate) enum PublicUrl {
    /// `https://hooks.example.com`; the path as received follows.
    Origin(Vec<u8>),
    /// The whole URL.
    Exact(Vec<u8>),
}

impl PublicUrl {
    /// Reads a URL: with anything after the authority it is taken as it is.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let rest = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"))?;
        let good = !rest.is_empty()
            && !rest.starts_with('/')
            && !rest.contains('#')
            && rest.bytes().all(|b| b.is_ascii_graphic());
        let bytes = good.then(|| text.as_bytes().to_vec())?;
        Some(if rest.contains(['/', '?']) {
            Self::Exact(bytes)
        } else {
            Self::Origin(bytes)
        })
    }

    /// The URL that the sender signed, for a request to this path and query. The percent escapes of
    /// `decode` are undone.
    pub(crate) fn signed(&self, path: &[u8], decode: &[u8]) -> Vec<u8> {
        let whole = match self {
            Self::Exact(url) => Cow::Borrowed(url.as_slice()),
            Self::Origin(origin) => Cow::Owned([origin.as_slice(), path].concat()),
        };
        decode_some(&whole, decode)
    }
}

/// Undoes the percent escapes of these characters only.
fn decode_some(url: &[u8], which: &[u8]) -> Vec<u8> {
    if which.is_empty() {
        return url.to_vec();
    }
    let mut out = Vec::with_capacity(url.len());
    let mut rest = url;
    while let [first, after @ ..] = rest {
        let escaped = match rest {
            [b'%', _, _, tail @ ..] => rest
                .get(1..3)
                .and_then(crate::encoding::decode_hex)
                .and_then(|bytes| bytes.first().copied())
                .filter(|byte| which.contains(byte))
                .map(|byte| (byte, tail)),
            _ => None,
        };
        let (byte, tail) = escaped.unwrap_or((*first, after));
        out.push(byte);
        rest = tail;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_escapes_are_undone() {
        let decode = |url: &str| String::from_utf8(decode_some(url.as_bytes(), b":/?@")).unwrap();
        assert_eq!(
            decode("https://h/a%2Fb%3fc%20d%25%2"),
            "https://h/a/b?c%20d%25%2"
        );
        // Once: what comes out of an escape is not read again.
        assert_eq!(decode("%252F"), "%252F");
        assert_eq!(decode("%%2F"), "%/");
        assert_eq!(decode_some(b"%2F", b""), b"%2F");
    }

    #[test]
    fn a_public_url_is_an_origin_or_whole() {
        let kind = |text: &str| {
            PublicUrl::parse(text).map(|url| match url {
                PublicUrl::Origin(_) => "origin",
                PublicUrl::Exact(_) => "exact",
            })
        };
        assert_eq!(kind("https://h.example:8443"), Some("origin"));
        assert_eq!(kind("https://h/"), Some("exact"));
        assert_eq!(kind("http://h/a?b=c"), Some("exact"));
        for bad in [
            "",
            "h",
            "https://",
            "https:///a",
            "https://h/#f",
            "https://h/a b",
            "ftp://h",
        ] {
            assert_eq!(kind(bad), None, "{bad:?}");
        }
    }
}
