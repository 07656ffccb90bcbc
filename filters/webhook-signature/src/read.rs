//! Reading signatures out of headers: series, lists, keys, prefixes. Strict, bounded, without copies of
//! the headers.

use crate::carrier::{Carrier, Layout};
use crate::encoding::Encoding;
use crate::fault::Fault;
use crate::mac::Algorithm;
use crate::place::Place;
use crate::scheme::Scheme;
use tollgate_core::headers::Headers;

/// More items than this in all signature headers together are refused unread.
const MAX_ITEMS: usize = 64;

/// What the signature headers say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    /// Well-formed signatures, concatenated; all of the algorithm's length.
    pub(crate) candidates: Vec<u8>,
    /// The timestamp, if it is an item of the signature header.
    pub(crate) timestamp: Option<Vec<u8>>,
}

/// Reads all signatures that count out of the headers. `None`: no signature header at all.
pub(crate) fn read(scheme: &Scheme, headers: &Headers) -> Result<Option<Reading>, Fault> {
    let values = carried(scheme, headers)?;
    if values.is_empty() {
        return Ok(None);
    }
    read_values(scheme, values).map(Some)
}

/// Reads all signatures that count out of these values.
pub(crate) fn read_values<'v>(
    scheme: &Scheme,
    values: impl IntoIterator<Item = &'v [u8]>,
) -> Result<Reading, Fault> {
    let field = match scheme.timestamp.as_ref().map(|t| &t.source) {
        Some(Place::Field(field)) => Some(field.as_slice()),
        _ => None,
    };
    let mut reader = ItemReader {
        layout: &scheme.layout,
        algorithm: scheme.algorithm,
        encoding: scheme.encoding,
        field,
        items: 0,
        found: 0,
        reading: Reading::default(),
    };
    for value in values {
        reader.value(value)?;
    }
    if reader.found == 0 {
        return Err(Fault::Malformed("no signature in the expected form"));
    }
    Ok(reader.reading)
}

/// The values of all headers that may carry a signature. A header sent twice is taken apart only if its
/// value is a list anyway; otherwise nobody knows which one the upstream would read.
fn carried<'h>(scheme: &Scheme, headers: &'h Headers) -> Result<Vec<&'h [u8]>, Fault> {
    let list = scheme.layout.item_separator.is_some();
    let mut values = Vec::new();
    match &scheme.carrier {
        Carrier::Headers(names) => {
            for name in names {
                let before = values.len();
                values.extend(headers.get_all(name.as_str()));
                if !list && values.len() > before.saturating_add(1) {
                    return Err(Fault::Duplicate);
                }
            }
        }
        Carrier::Series { prefix, max } => {
            let mut seen = Vec::new();
            for (name, value) in headers.iter() {
                let number = name
                    .strip_prefix(prefix.as_bytes())
                    .and_then(series_number)
                    .filter(|n| n <= max);
                if let Some(number) = number {
                    if !list && seen.contains(&number) {
                        return Err(Fault::Duplicate);
                    }
                    seen.push(number);
                    values.push(value);
                }
            }
        }
        Carrier::Body(_) => {}
    }
    Ok(values)
}

/// 1, 2, 3, ...: no sign, no leading zero.
fn series_number(digits: &[u8]) -> Option<u64> {
    let good = digits.first().is_some_and(|b| (b'1'..=b'9').contains(b))
        && digits.len() <= 3
        && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(good.then_some(digits)?)
        .ok()?
        .parse()
        .ok()
}

struct ItemReader<'s> {
    layout: &'s Layout,
    algorithm: Algorithm,
    encoding: Encoding,
    field: Option<&'s [u8]>,
    items: usize,
    found: usize,
    reading: Reading,
}

impl ItemReader<'_> {
    fn value(&mut self, value: &[u8]) -> Result<(), Fault> {
        match self.layout.item_separator {
            Some(separator) => {
                for item in value.split(|b| *b == separator) {
                    let item = trim(item);
                    if !item.is_empty() {
                        self.item(item)?;
                    }
                }
                Ok(())
            }
            None => self.item(value),
        }
    }

    fn item(&mut self, item: &[u8]) -> Result<(), Fault> {
        self.items = self.items.saturating_add(1);
        if self.items > MAX_ITEMS {
            return Err(Fault::Malformed("too many signatures"));
        }
        let Some((separator, wanted)) = &self.layout.keyed else {
            return self.signature(item);
        };
        // The first separator only: base64 has `=` in it.
        let mut halves = item.splitn(2, |b| b == separator);
        let (Some(key), Some(rest)) = (halves.next(), halves.next()) else {
            return Ok(());
        };
        if key == wanted.as_slice() {
            return self.signature(rest);
        }
        if Some(key) == self.field {
            return match &self.reading.timestamp {
                Some(earlier) if earlier.as_slice() != rest => {
                    Err(Fault::Malformed("two different timestamps"))
                }
                _ => {
                    self.reading.timestamp = Some(rest.to_vec());
                    Ok(())
                }
            };
        }
        // Another version: none of our business, and no way down to a weaker one.
        Ok(())
    }

    /// One that cannot be decoded is skipped: a newer kind may stand beside ours.
    fn signature(&mut self, text: &[u8]) -> Result<(), Fault> {
        let Some(text) = text.strip_prefix(self.layout.prefix.as_slice()) else {
            return Ok(());
        };
        if self
            .algorithm
            .decode(self.encoding, text, &mut self.reading.candidates)
        {
            self.found = self.found.saturating_add(1);
        }
        if self.found > self.algorithm.max_candidates() {
            return Err(Fault::Malformed("too many signatures"));
        }
        Ok(())
    }
}

/// Without spaces and tabs around it (RFC 9110: OWS).
fn trim(mut item: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = item {
        item = rest;
    }
    item
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use crate::presets::preset;
    use proptest::prelude::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    /// How many signatures count, and the timestamp.
    fn reading(name: &str, pairs: &[(&str, &str)]) -> Result<Option<(usize, String)>, Fault> {
        let scheme = preset(name).unwrap();
        let headers = Headers::from_pairs(pairs.iter().copied());
        Ok(read(&scheme, &headers)?.map(|r| {
            (
                r.candidates.len() / scheme.algorithm.length(),
                String::from_utf8(r.timestamp.unwrap_or_default()).unwrap(),
            )
        }))
    }

    #[test]
    fn a_list_is_read_item_by_item() {
        let stripe = |value: &str| reading("stripe", &[("stripe-signature", value)]);
        let none = Err(Fault::Malformed("no signature in the expected form"));
        assert_eq!(
            stripe(&format!("t=1, v1={A} ,,v0={B},v1={B},v1=x,junk,=,v1")),
            Ok(Some((2, "1".into())))
        );
        assert_eq!(
            stripe(&format!("t=1,t=1,v1={A}")),
            Ok(Some((1, "1".into())))
        );
        assert_eq!(
            stripe(&format!("t=1,t=2,v1={A}")),
            Err(Fault::Malformed("two different timestamps"))
        );
        assert_eq!(stripe(&format!("t=1,v0={A},V1={A}, v1 ={A}")), none);
        assert_eq!(stripe(""), none);
        assert_eq!(
            reading(
                "stripe",
                &[
                    ("stripe-signature", &format!("t=1,v1={A}")),
                    ("stripe-signature", &format!("v1={B}"))
                ]
            ),
            Ok(Some((2, "1".into())))
        );
        assert_eq!(reading("stripe", &[("other", "x")]), Ok(None));
    }

    #[test]
    fn more_than_64_items_are_refused() {
        let list = |n: usize| vec![format!("v1={A}"); n].join(",");
        let of = |n: usize| reading("pagerduty", &[("x-pagerduty-signature", &list(n))]);
        assert_eq!(of(64), Ok(Some((64, String::new()))));
        assert_eq!(of(65), Err(Fault::Malformed("too many signatures")));
        // Also when they are of no interest, or in several headers.
        let other = vec!["v9=x"; 65].join(",");
        assert!(reading("pagerduty", &[("x-pagerduty-signature", &other)]).is_err());
        let half = list(33);
        assert!(
            reading(
                "pagerduty",
                &[
                    ("x-pagerduty-signature", &half),
                    ("x-pagerduty-signature", &half)
                ]
            )
            .is_err()
        );
    }

    #[test]
    fn a_single_value_is_not_a_list() {
        let github = |pairs: &[(&str, &str)]| reading("github", pairs);
        let name = "x-hub-signature-256";
        assert_eq!(
            github(&[(name, &format!("sha256={A}"))]),
            Ok(Some((1, String::new())))
        );
        for bad in [
            String::new(),
            "sha256=".into(),
            A.into(),
            format!("SHA256={A}"),
            format!("sha256={A},sha256={B}"),
            format!(" sha256={A}"),
            format!("sha256={A} "),
            format!("sha256=sha256={A}"),
        ] {
            assert!(github(&[(name, &bad)]).is_err(), "{bad:?}");
        }
        assert_eq!(
            github(&[
                (name, &format!("sha256={A}")),
                (name, &format!("sha256={A}"))
            ]),
            Err(Fault::Duplicate)
        );
    }

    #[test]
    fn a_series_is_numbered() {
        let signature = "F+VBOzs/U0lBShSGhJCSk/TFDhKoiLCdS1sk9GPadjg=";
        let of = |names: &[&str]| {
            let names: Vec<String> = names
                .iter()
                .map(|n| format!("x-docusign-signature-{n}"))
                .collect();
            let pairs: Vec<(&str, &str)> = names.iter().map(|n| (n.as_str(), signature)).collect();
            reading("docusign", &pairs).map(|r| r.map(|(n, _)| n))
        };
        assert_eq!(of(&["1", "2", "100"]), Ok(Some(3)));
        for odd in ["0", "01", "101", "1000", "foo", "", "+1", "1a"] {
            assert_eq!(of(&[odd]), Ok(None), "{odd:?}");
        }
        assert_eq!(of(&["7", "7"]), Err(Fault::Duplicate));
    }

    #[test]
    fn trims_spaces_and_tabs() {
        assert_eq!(trim(b" \t a b\t"), b"a b");
        assert_eq!(trim(b"  "), b"");
    }

    proptest! {
        #[test]
        fn any_header_is_read_or_refused(value: Vec<u8>, again: Option<Vec<u8>>) {
            let presets = crate::presets::Presets::load();
            for name in ["stripe", "standard-webhooks", "github", "docusign", "gitlab-token", "sendgrid"] {
                let scheme = presets.get(name).unwrap();
                let header = match &scheme.carrier {
                    Carrier::Headers(names) => names[0].as_str().to_owned(),
                    Carrier::Series { prefix, .. } => format!("{prefix}1"),
                    Carrier::Body(_) => String::new(),
                };
                let pairs = [Some(&value), again.as_ref()].into_iter().flatten().map(|v| (&header, v));
                if let Ok(Some(reading)) = read(&scheme, &Headers::from_pairs(pairs)) {
                    let length = scheme.algorithm.length();
                    prop_assert!(!reading.candidates.is_empty());
                    prop_assert_eq!(reading.candidates.len() % length, 0);
                    prop_assert!(reading.candidates.len() / length <= MAX_ITEMS);
                }
            }
        }

        #[test]
        fn items_in_any_order_are_found(
            items in proptest::collection::vec("(v0|v2|x)=[0-9a-f]{0,70}|[ -+.-~]{0,9}", 0..20),
            at in 0_usize..20,
            spaces in "[ \t]{0,3}",
        ) {
            // Junk may not hold the key itself.
            let mut items: Vec<String> = items.into_iter().filter(|i| !i.contains("v1") && !i.contains("t=")).collect();
            items.insert(at.min(items.len()), format!("{spaces}v1={A}{spaces}"));
            items.push("t=1700000000".to_owned());
            let got = reading("stripe", &[("stripe-signature", &items.join(","))]);
            prop_assert_eq!(got, Ok(Some((1, "1700000000".to_owned()))));
        }
    }
}
