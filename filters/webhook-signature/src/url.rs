//! The URL that senders sign. It comes from the configuration: the request's own headers say whatever
//! somebody wrote into them.

use crate::form;
use std::borrow::Cow;
use tollgate_core::matcher::without_port;

/// How senders see us.
#[derive(Debug)]
pub(crate) enum PublicUrl {
    /// `https://hooks.example.com`; the path and query as received follow.
    Origin(Vec<u8>),
    /// With a path; the query as received follows.
    Path(Vec<u8>),
    /// With a query: the whole URL.
    Whole(Vec<u8>),
}

impl PublicUrl {
    /// Reads a URL. What it does not say comes from the request.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let rest = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"))?;
        let good = !rest.is_empty()
            && !rest.starts_with('/')
            && !rest.contains('#')
            && rest.bytes().all(|b| b.is_ascii_graphic());
        let bytes = good.then(|| text.as_bytes().to_vec())?;
        Some(if rest.contains('?') {
            Self::Whole(bytes)
        } else if rest.contains('/') {
            Self::Path(bytes)
        } else {
            Self::Origin(bytes)
        })
    }

    /// The URL that the sender signed, for a request to this path and query. The percent escapes of
    /// `decode` are undone.
    pub(crate) fn signed(&self, path: &[u8], decode: &[u8]) -> Vec<u8> {
        let whole = match self {
            Self::Whole(url) => Cow::Borrowed(url.as_slice()),
            Self::Path(url) => match path.iter().position(|b| *b == b'?') {
                Some(at) => Cow::Owned([url, path.get(at..).unwrap_or_default()].concat()),
                None => Cow::Borrowed(url.as_slice()),
            },
            Self::Origin(origin) => Cow::Owned([origin.as_slice(), path].concat()),
        };
        decode_some(&whole, decode)
    }
}

/// The URL without a port and with one (the default one of its scheme, if it names none): senders differ.
pub(crate) fn port_variants(url: &[u8]) -> [Vec<u8>; 2] {
    let (start, default): (usize, &[u8]) = if url.starts_with(b"https://") {
        (8, b":443")
    } else {
        (7, b":80")
    };
    let (scheme, rest) = url.split_at_checked(start).unwrap_or((url, &[]));
    let end = rest
        .iter()
        .position(|b| matches!(b, b'/' | b'?'))
        .unwrap_or(rest.len());
    let (authority, rest) = rest.split_at_checked(end).unwrap_or((rest, &[]));
    // A `:` in the user information is not a port, nor is one inside `[::1]`.
    let host = without_port(authority);
    let port = authority.get(host.len()..).unwrap_or_default();
    let port = if port.is_empty() { default } else { port };
    [
        [scheme, host, rest].concat(),
        [scheme, host, port, rest].concat(),
    ]
}

/// The value of a query parameter in a URL, as written; `Err` if it is there more than once.
pub(crate) fn query_value<'u>(url: &'u [u8], name: &[u8]) -> Result<Option<&'u [u8]>, ()> {
    let query = url.splitn(2, |b| *b == b'?').nth(1).unwrap_or_default();
    let mut values = query.split(|b| *b == b'&').filter_map(|pair| {
        let mut halves = pair.splitn(2, |b| *b == b'=');
        let same = form::decode(halves.next().unwrap_or_default()).as_ref() == name;
        same.then(|| halves.next().unwrap_or_default())
    });
    let first = values.next();
    if values.next().is_some() {
        return Err(());
    }
    Ok(first)
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
    fn what_a_public_url_does_not_say_comes_from_the_request() {
        let signed = |url: &str, path: &str| {
            String::from_utf8(PublicUrl::parse(url).unwrap().signed(path.as_bytes(), b"")).unwrap()
        };
        assert_eq!(signed("https://h", "/a?b=c"), "https://h/a?b=c");
        assert_eq!(signed("https://h/x", "/a?b=c?d"), "https://h/x?b=c?d");
        assert_eq!(signed("https://h/x", "/a"), "https://h/x");
        assert_eq!(signed("https://h/", "/"), "https://h/");
        assert_eq!(signed("https://h/x?", "/a?b=c"), "https://h/x?");
        assert_eq!(signed("https://h?x=1", "/a?b=c"), "https://h?x=1");
    }

    #[test]
    fn a_port_is_added_and_taken_away() {
        let variants =
            |url: &str| port_variants(url.as_bytes()).map(|v| String::from_utf8(v).unwrap());
        assert_eq!(
            variants("https://h/a?b=:9"),
            ["https://h/a?b=:9", "https://h:443/a?b=:9"]
        );
        assert_eq!(variants("http://h"), ["http://h", "http://h:80"]);
        assert_eq!(
            variants("https://h:1234?x"),
            ["https://h?x", "https://h:1234?x"]
        );
        assert_eq!(
            variants("https://u:p@h/"),
            ["https://u:p@h/", "https://u:p@h:443/"]
        );
        assert_eq!(
            variants("https://u:1@h:8/"),
            ["https://u:1@h/", "https://u:1@h:8/"]
        );
        assert_eq!(
            variants("http://[::1]/"),
            ["http://[::1]/", "http://[::1]:80/"]
        );
    }

    #[test]
    fn a_query_parameter_is_found_once() {
        let value = |url: &str| {
            query_value(url.as_bytes(), b"sum")
                .map(|v| v.map(|v| String::from_utf8(v.to_vec()).unwrap()))
        };
        assert_eq!(value("https://h/?a=1&sum=2=3"), Ok(Some("2=3".into())));
        assert_eq!(value("https://h/?%73um=2"), Ok(Some("2".into())));
        assert_eq!(value("https://h/?sum&a"), Ok(Some(String::new())));
        assert_eq!(value("https://h/?sum=1&a&sum=1"), Err(()));
        for none in [
            "https://h/",
            "https://h/sum=1",
            "https://h/?summ=1",
            "https://h/?a=sum=1",
        ] {
            assert_eq!(value(none), Ok(None), "{none}");
        }
    }

    #[test]
    fn a_public_url_is_an_origin_or_more() {
        let kind = |text: &str| {
            PublicUrl::parse(text).map(|url| match url {
                PublicUrl::Origin(_) => "origin",
                PublicUrl::Path(_) => "path",
                PublicUrl::Whole(_) => "whole",
            })
        };
        assert_eq!(kind("https://h.example:8443"), Some("origin"));
        assert_eq!(kind("https://h/"), Some("path"));
        assert_eq!(kind("http://h/a?b=c"), Some("whole"));
        assert_eq!(kind("https://user:pass@h"), Some("origin"));
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
