//! `application/x-www-form-urlencoded` bodies (WHATWG URL, 5.1), for senders that sign the fields rather than the bytes.

use std::borrow::Cow;

/// More fields than this are no webhook.
const MAX_FIELDS: usize = 4096;

/// The fields of a form, decoded, in the order in which they came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Form<'b>(Vec<Field<'b>>);

/// Name and value.
type Field<'b> = (Cow<'b, [u8]>, Cow<'b, [u8]>);

impl<'b> Form<'b> {
    /// Reads a form. `None`: too many fields.
    pub(crate) fn parse(body: &'b [u8]) -> Option<Self> {
        let mut fields = Vec::new();
        for pair in body.split(|b| *b == b'&').filter(|p| !p.is_empty()) {
            if fields.len() >= MAX_FIELDS {
                return None;
            }
            let mut halves = pair.splitn(2, |b| *b == b'=');
            let name = decode(halves.next().unwrap_or_default());
            let value = decode(halves.next().unwrap_or_default());
            fields.push((name, value));
        }
        Some(Self(fields))
    }

    /// The value of a field; `Err` if there are several.
    pub(crate) fn sole(&self, name: &[u8]) -> Result<Option<&[u8]>, ()> {
        let mut all = self.0.iter().filter(|(n, _)| n.as_ref() == name);
        let first = all.next().map(|(_, value)| value.as_ref());
        if all.next().is_some() {
            return Err(());
        }
        Ok(first)
    }

    /// All names and values one after the other, without separators: sorted by name, then by value, in the order of
    /// their bytes, equal pairs once.
    pub(crate) fn sorted(mut self, mut show: impl FnMut(&[u8])) {
        self.0.sort_unstable();
        self.0.dedup();
        for (name, value) in &self.0 {
            show(name);
            show(value);
        }
    }
}

/// Undoes `+` and percent escapes; an escape that is none stays as it is.
pub(crate) fn decode(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.iter().any(|b| matches!(b, b'+' | b'%')) {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let escaped =
            tail.split_at_checked(2)
                .filter(|_| byte == b'%')
                .and_then(|(digits, after)| {
                    let bytes = crate::encoding::decode_hex(digits)?;
                    Some((*bytes.first()?, after))
                });
        match escaped {
            Some((byte, after)) => {
                out.push(byte);
                rest = after;
            }
            None => out.push(if byte == b'+' { b' ' } else { byte }),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sorted(body: &str) -> String {
        let mut out = Vec::new();
        Form::parse(body.as_bytes())
            .unwrap()
            .sorted(|bytes| out.extend_from_slice(bytes));
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn fields_are_decoded_sorted_and_single() {
        assert_eq!(
            sorted("To=%2B1&From=a+b&Digits=1234"),
            "Digits1234Froma bTo+1"
        );
        assert_eq!(sorted("b=2&b=1&b=2&a=x"), "axb1b2");
        assert_eq!(sorted("B=1&a=2&A=3"), "A3B1a2");
        assert_eq!(sorted("empty=&flag&=v&&"), "vemptyflag");
        assert_eq!(sorted(""), "");
        assert_eq!(sorted("a=%zz%2&b=%41=c"), "a%zz%2bA=c");
        // Sorted by what they say, not by how they are written.
        assert_eq!(sorted("%62=1&a=2"), "a2b1");
    }

    #[test]
    fn one_field_is_found_and_two_are_not() {
        let form = Form::parse(b"a=1&b=2&b=2").unwrap();
        assert_eq!(form.sole(b"a"), Ok(Some(&b"1"[..])));
        assert_eq!(form.sole(b"b"), Err(()));
        assert_eq!(form.sole(b"c"), Ok(None));
    }

    #[test]
    fn the_number_of_fields_is_bounded() {
        let many = |n: usize| vec!["a=1"; n].join("&");
        assert!(Form::parse(many(4096).as_bytes()).is_some());
        assert!(Form::parse(many(4097).as_bytes()).is_none());
    }

    fn encode(bytes: &[u8]) -> String {
        bytes
            .iter()
            .map(|b| match b {
                b' ' => "+".to_owned(),
                b if b.is_ascii_alphanumeric() => char::from(*b).to_string(),
                b => format!("%{b:02X}"),
            })
            .collect()
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let text = encode(&bytes);
            prop_assert_eq!(decode(text.as_bytes()).into_owned(), bytes);
        }

        /// The order of the fields makes no difference, their number does not either.
        #[test]
        fn order_and_repetition_make_no_difference(fields in proptest::collection::vec(("[ab%+]{0,3}", "[ab%+]{0,3}"), 0..6), by in 0_usize..6) {
            let join = |fields: &[(String, String)]| fields.iter().map(|(n, v)| format!("{}={}", encode(n.as_bytes()), encode(v.as_bytes()))).collect::<Vec<_>>().join("&");
            let mut turned = fields.clone();
            if !turned.is_empty() {
                let by = by % turned.len();
                turned.rotate_left(by);
                turned.push(turned[0].clone());
            }
            prop_assert_eq!(sorted(&join(&fields)), sorted(&join(&turned)));
        }

        #[test]
        fn any_bytes_are_a_form(body in proptest::collection::vec(any::<u8>(), 0..60)) {
            let form = Form::parse(&body).unwrap();
            let _ = form.sole(b"a");
            form.sorted(|_| {});
        }
    }
}
