//! A credential in a cookie (RFC 6265, 4.2.1): found by its exact name, taken out without touching the others.

use tollgate_core::{HeaderName, Headers, cookie};

/// The values of a cookie in one `cookie` line, in order; a pair of quotes around a value is not part of it.
pub(crate) fn values<'c>(line: &'c [u8], name: &str) -> impl Iterator<Item = &'c [u8]> {
    cookie::pairs(line)
        .filter(|(found, _)| *found == name.as_bytes())
        .filter_map(|(_, value)| value.map(cookie::unquoted))
}

/// Takes a cookie out of the request. The header is set anew only if the cookie was in it; several lines are then
/// joined by `; `, as RFC 9113, 8.2.3 has it.
#[inline(never)]
pub(crate) fn remove(request: &mut Headers, header: &HeaderName, name: &str) {
    let lines = || request.get_all(header.as_str());
    if !lines().any(|line| values(line, name).next().is_some()) {
        return;
    }
    let rest = lines().filter_map(|line| line_without(line, name));
    let joined = rest.collect::<Vec<_>>().join(b"; ".as_slice());
    if joined.is_empty() {
        request.remove(header);
    } else {
        request.set(header, joined);
    }
}

/// The line without the cookie; `None` if nothing is left.
fn line_without(line: &[u8], name: &str) -> Option<Vec<u8>> {
    let kept: Vec<&[u8]> = line
        .split(|b| *b == b';')
        .filter(|pair| named(pair, name).is_none())
        .collect();
    let joined = kept.join(&b';');
    // The blank that stood behind the removed pair.
    let trimmed = joined.trim_ascii_start();
    (!trimmed.is_empty()).then(|| trimmed.to_vec())
}

fn named<'c>(pair: &'c [u8], name: &str) -> Option<&'c [u8]> {
    let (found, value) = cookie::pair(pair);
    value.filter(|_| found == name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn after(lines: &[&str]) -> Vec<String> {
        let mut request = Headers::from_pairs(lines.iter().map(|l| ("cookie", *l)));
        remove(&mut request, &HeaderName::from_static("cookie"), "k");
        let left = request.get_all("cookie");
        left.map(|l| String::from_utf8_lossy(l).into_owned())
            .collect()
    }

    #[test]
    fn finds_exactly_the_named_cookie() {
        let all = |line: &'static str| values(line.as_bytes(), "k").collect::<Vec<_>>();
        assert_eq!(all("a=1; k=v; b=2"), [b"v"]);
        assert_eq!(all("k=\"v\""), [b"v"]);
        assert_eq!(all("k=a=b"), [b"a=b"]);
        assert_eq!(all("k= ; k=2;k=3"), [&b""[..], b"2", b"3"]);
        assert!(all("K=1; kk=2; k; ak=3; a=k=4").is_empty());
    }

    #[test]
    fn takes_the_cookie_out_and_leaves_the_others() {
        assert_eq!(after(&["a=1; k=v; b=\"2; \""]), ["a=1; b=\"2; \""]);
        assert_eq!(after(&["k=v; a=1"]), ["a=1"]);
        assert_eq!(after(&["a=1; k=v"]), ["a=1"]);
        assert_eq!(after(&["a=1;k=v;b=2"]), ["a=1;b=2"]);
        assert_eq!(after(&["k=v"]), [""; 0]);
        assert_eq!(after(&["k=v; k=w"]), [""; 0]);
        assert_eq!(after(&["a=1", "k=v", "b=2"]), ["a=1; b=2"]);
        assert_eq!(after(&["a=1", "b=2"]), ["a=1", "b=2"]);
    }

    fn other() -> impl Strategy<Value = Vec<u8>> {
        let byte = any::<u8>().prop_filter("cookie bytes", |b| !b"; \t\r\n\0\x0c".contains(b));
        proptest::collection::vec(byte, 1..12)
            .prop_filter("another cookie", |pair| named(pair, "k").is_none())
    }

    proptest! {
        #[test]
        fn removal_keeps_every_other_cookie_byte_by_byte(
            before in proptest::collection::vec(other(), 0..5),
            after in proptest::collection::vec(other(), 0..5),
            value in "[!-+--:<-~]{0,20}",
        ) {
            let join = |pairs: Vec<Vec<u8>>| pairs.join(b"; ".as_slice());
            let rest: Vec<Vec<u8>> = before.iter().chain(&after).cloned().collect();
            let mut with = before.clone();
            with.push([b"k=", value.as_bytes()].concat());
            with.extend(after.clone());
            let mut request = Headers::from_pairs([("cookie", join(with))]);
            remove(&mut request, &HeaderName::from_static("cookie"), "k");
            let left = request.first("cookie").map(<[u8]>::to_vec);
            prop_assert_eq!(left, (!rest.is_empty()).then(|| join(rest)));
        }
    }
}
