//! A credential in the query: found by its decoded name, taken out without touching the rest.

use std::borrow::Cow;

/// The decoded values of a parameter, in order. A parameter without `=` has an empty value.
///
/// Names and values are percent-decoded; `+` stays a plus, because keys have no spaces and base64
/// keys are often pasted into a URL unescaped. What is no escape (`%zz`) stays as it is.
pub(crate) fn values<'q>(query: &'q [u8], name: &str) -> impl Iterator<Item = Cow<'q, [u8]>> {
    query
        .split(|b| *b == b'&')
        .filter(move |pair| is_named(pair, name))
        .map(|pair| decode(halves(pair).1))
}

/// `:path` without the named parameters, all else byte by byte as it was; `None` if there is none of them.
/// The `?` goes with the last parameter.
pub(crate) fn path_without<N: AsRef<str>>(path: &[u8], names: &[N]) -> Option<Vec<u8>> {
    let at = path.iter().position(|b| *b == b'?')?;
    let (before, query) = path.split_at_checked(at)?;
    let query = query.strip_prefix(b"?")?;
    let hidden = |pair: &&[u8]| names.iter().any(|name| is_named(pair, name.as_ref()));
    if !query.split(|b| *b == b'&').any(|pair| hidden(&pair)) {
        return None;
    }
    let mut path = before.to_vec();
    let kept = query.split(|b| *b == b'&').filter(|pair| !hidden(pair));
    for (i, pair) in kept.enumerate() {
        path.push(if i == 0 { b'?' } else { b'&' });
        path.extend_from_slice(pair);
    }
    Some(path)
}

fn is_named(pair: &[u8], name: &str) -> bool {
    let raw = halves(pair).0;
    raw == name.as_bytes() || (raw.contains(&b'%') && *decode(raw) == *name.as_bytes())
}

fn halves(pair: &[u8]) -> (&[u8], &[u8]) {
    let mut halves = pair.splitn(2, |b| *b == b'=');
    (
        halves.next().unwrap_or_default(),
        halves.next().unwrap_or_default(),
    )
}

fn decode(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'%') {
        return Cow::Borrowed(text);
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        match (*first == b'%').then(|| escape(tail)).flatten() {
            Some((byte, tail)) => {
                decoded.push(byte);
                rest = tail;
            }
            None => {
                decoded.push(*first);
                rest = tail;
            }
        }
    }
    Cow::Owned(decoded)
}

/// The byte of two hex digits, and what follows them.
fn escape(text: &[u8]) -> Option<(u8, &[u8])> {
    let (digits, tail) = text.split_at_checked(2)?;
    let mut value = 0_u32;
    for digit in digits {
        value = (value << 4) | char::from(*digit).to_digit(16)?;
    }
    Some((u8::try_from(value).ok()?, tail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(query: &str) -> Vec<Vec<u8>> {
        values(query.as_bytes(), "api_key")
            .map(Cow::into_owned)
            .collect()
    }

    fn without(path: &str) -> Option<String> {
        path_without(path.as_bytes(), &["api_key"]).map(|p| String::from_utf8(p).unwrap())
    }

    #[test]
    fn finds_values_by_decoded_name() {
        assert_eq!(all("a=1&api_key=k%2Bey&b"), [b"k+ey"]);
        assert_eq!(all("%61pi_key=k"), [b"k"]);
        assert_eq!(all("api_key=a+b"), [b"a+b"]);
        assert_eq!(all("api_key=a=b"), [b"a=b"]);
        assert_eq!(all("api_key"), [b""]);
        assert_eq!(all("api_key=%ff%00"), [vec![0xff, 0]]);
        assert_eq!(all("api_key=%zz%2"), [b"%zz%2"]);
        assert_eq!(all("api_key=%+1"), [b"%+1"]);
        assert_eq!(all("api_key=1&api_key=2").len(), 2);
        assert!(all("API_KEY=1&xapi_key=2&api_key2=3&a=api_key").is_empty());
        assert!(all("").is_empty());
    }

    #[test]
    fn takes_the_parameter_out_and_leaves_the_rest() {
        let cases = [
            ("/p?api_key=k", "/p"),
            ("/p?api_key", "/p"),
            ("/p?a=1&api_key=k&b=%2f%zz+", "/p?a=1&b=%2f%zz+"),
            ("/p?api_key=k&a=1", "/p?a=1"),
            ("/p?a=1&api_key=k", "/p?a=1"),
            ("/p?%61pi_key=k&&x", "/p?&x"),
            ("/p?api_key=1&a=?&api_key=2", "/p?a=?"),
            ("?api_key=1", ""),
        ];
        for (path, rest) in cases {
            assert_eq!(without(path).as_deref(), Some(rest), "{path}");
        }
        for untouched in ["/p", "/p?", "/api_key=k", "/p?a=api_key&b=1", ""] {
            assert_eq!(without(untouched), None, "{untouched}");
        }
    }

    /// A parameter that is certainly not `api_key` under any decoding.
    fn other() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(
            any::<u8>().prop_filter("no separator", |b| !b"&?".contains(b)),
            0..12,
        )
        .prop_filter("another name", |pair| !is_named(pair, "api_key"))
    }

    fn path_of(pairs: &[Vec<u8>]) -> Vec<u8> {
        let mut path = b"/p".to_vec();
        if !pairs.is_empty() {
            path.push(b'?');
            path.extend_from_slice(&pairs.join(&b'&'));
        }
        path
    }

    proptest! {
        #[test]
        fn removal_keeps_every_other_parameter_byte_by_byte(
            before in proptest::collection::vec(other(), 0..5),
            after in proptest::collection::vec(other(), 0..5),
            value in "[A-Za-z0-9%+=._-]{0,20}",
            name in prop_oneof![Just("api_key"), Just("%61pi_key"), Just("api%5Fkey"), Just("api%5fkey")],
        ) {
            let key = format!("{name}={value}").into_bytes();
            let rest: Vec<Vec<u8>> = before.iter().chain(&after).cloned().collect();
            let mut with = before.clone();
            with.push(key);
            with.extend(after.clone());
            prop_assert_eq!(path_without(&path_of(&with), &["api_key"]), Some(path_of(&rest)));
            prop_assert_eq!(values(&with.join(&b'&'), "api_key").count(), 1);
        }

        #[test]
        fn after_removal_nothing_is_found(path: Vec<u8>) {
            let mut path = path;
            path.extend_from_slice(b"?x&api_key=1");
            let rest = path_without(&path, &["api_key"]).unwrap_or(path);
            prop_assert_eq!(path_without(&rest, &["api_key"]), None);
        }
    }
}
