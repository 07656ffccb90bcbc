//! The pairs of a `cookie` line (RFC 6265, 4.2.1). Names are bytes whose case counts. Which of several cookies of one
//! name counts, and whether quotes do, is decided by who asks.

/// One pair of a line, as it stands between the semicolons: its name, and its value if there is a `=`, without blanks around
/// either.
#[must_use]
pub fn pair(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    let mut halves = text.splitn(2, |b| *b == b'=');
    let name = halves.next().unwrap_or_default().trim_ascii();
    (name, halves.next().map(<[u8]>::trim_ascii))
}

/// The pairs of a line, in order.
pub fn pairs(line: &[u8]) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
    line.split(|b| *b == b';').map(pair)
}

/// A value without a pair of quotes around it.
#[must_use]
pub fn unquoted(value: &[u8]) -> &[u8] {
    value
        .strip_prefix(b"\"")
        .and_then(|v| v.strip_suffix(b"\""))
        .unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_split_at_their_first_equals_sign_and_trimmed() {
        let all: Vec<_> = pairs(b"a=1; b = x=y ;c;=2; ;d=\xff").collect();
        let expected: [(&[u8], Option<&[u8]>); 6] = [
            (b"a", Some(b"1")),
            (b"b", Some(b"x=y")),
            (b"c", None),
            (b"", Some(b"2")),
            (b"", None),
            (b"d", Some(b"\xff")),
        ];
        assert_eq!(all, expected);
    }

    #[test]
    fn only_a_pair_of_quotes_is_taken_off() {
        assert_eq!(unquoted(b"\"v\""), b"v");
        assert_eq!(unquoted(b"\"\""), b"");
        assert_eq!(unquoted(b"\"\"v\"\""), b"\"v\"");
        for as_it_is in [&b"\""[..], b"\"v", b"v\"", b"v", b""] {
            assert_eq!(unquoted(as_it_is), as_it_is);
        }
    }
}
