//! Parameters of the query.

use tollgate_core::headers::Duplicate;

/// The only value of a query parameter, percent-decoded, so that one value cannot be written in many ways.
#[inline(never)]
pub(super) fn query_value(query: &[u8], name: &[u8]) -> Result<Option<Vec<u8>>, Duplicate> {
    let mut found = None;
    for pair in query.split(|b| *b == b'&') {
        let mut halves = pair.splitn(2, |b| *b == b'=');
        if decoded(halves.next().unwrap_or_default()) != name {
            continue;
        }
        let value = decoded(halves.next().unwrap_or_default());
        if found.replace(value).is_some() {
            return Err(Duplicate);
        }
    }
    Ok(found)
}

pub(super) fn decoded(text: &[u8]) -> Vec<u8> {
    let hex = |b: Option<&u8>| char::from(*b?).to_digit(16);
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        let mut ahead = rest.clone();
        let escaped = match byte {
            b'%' => hex(ahead.next()).zip(hex(ahead.next())),
            _ => None,
        };
        match escaped {
            Some((high, low)) => {
                out.push(u8::try_from((high << 4) | low).unwrap_or(b'%'));
                rest = ahead;
            }
            None => out.push(if *byte == b'+' { b' ' } else { *byte }),
        }
    }
    out
}
