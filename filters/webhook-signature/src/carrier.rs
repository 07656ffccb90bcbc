//! Where a scheme's signatures stand, and how the text there is built.

use crate::place::{Place, Wanted};
use crate::scheme::text_bytes;
use std::rc::Rc;
use tollgate_core::config::{Section, Value};
use tollgate_core::headers::HeaderName;

/// What carries signatures.
#[derive(Clone, Debug)]
pub(crate) enum Carrier {
    /// Any of these headers.
    Headers(Vec<HeaderName>),
    /// The headers of this prefix followed by 1, 2, ... `max`.
    Series { prefix: Rc<str>, max: u64 },
    /// A value in the body.
    Body(usize),
}

/// How the text is built.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layout {
    /// Between items; absent: the value is one item.
    pub(crate) item_separator: Option<u8>,
    /// Between an item's key and the rest, with the key whose items count.
    pub(crate) keyed: Option<(u8, Vec<u8>)>,
    /// In front of the signature, required.
    pub(crate) prefix: Vec<u8>,
}

/// Reads the field `signature` of a scheme.
pub(crate) fn signature(section: Section<'_>, wanted: &mut Wanted) -> Option<(Carrier, Layout)> {
    let carrier = carrier(&section, wanted);
    let item_separator = separator(&section, "item_separator");
    let key_separator = separator(&section, "key_separator");
    let key = section
        .optional("key")
        .and_then(|v| v.nonempty().map(|t| t.as_bytes().to_vec()));
    if key_separator.is_some() != key.is_some() {
        section.error("key and key_separator go together");
    }
    if item_separator.is_some() && item_separator == key_separator {
        section.error("item_separator and key_separator must differ");
    }
    let layout = Layout {
        item_separator,
        keyed: key_separator.zip(key),
        prefix: text_bytes(&section, "prefix"),
    };
    section.finish();
    carrier.map(|carrier| (carrier, layout))
}

fn carrier(section: &Section<'_>, wanted: &mut Wanted) -> Option<Carrier> {
    let headers = section.optional("headers");
    let series = section.optional("header_series");
    let max = section.optional("max");
    let in_body =
        section.optional("json_pointer").is_some() || section.optional("form_field").is_some();
    if series.is_none() && max.is_some() {
        section.error("max is for header_series");
    }
    match (headers, series, in_body) {
        (Some(list), None, false) => {
            let names: Vec<HeaderName> =
                list.list()?.iter().filter_map(Value::header_name).collect();
            if names.is_empty() || names.len() > 8 {
                section.error("headers must name 1 to 8 headers");
            }
            Some(Carrier::Headers(names))
        }
        (None, Some(prefix), false) => {
            let max = max.map_or(Some(100), |v| v.integer(1..=100));
            let (prefix, max) = prefix.header_name().zip(max)?;
            Some(Carrier::Series {
                prefix: Rc::from(prefix.as_str()),
                max,
            })
        }
        (None, None, true) => match wanted.of_section(section)? {
            Place::Body(at) => Some(Carrier::Body(at)),
            Place::Header(_) | Place::Field(_) => None,
        },
        _ => {
            section.error("needs exactly one of headers, header_series, json_pointer, form_field");
            None
        }
    }
}

/// One printable character that no encoding uses.
fn separator(section: &Section<'_>, field: &'static str) -> Option<u8> {
    let value = section.optional(field)?;
    let byte = match value.text()?.as_bytes() {
        [b] if b.is_ascii_punctuation() || *b == b' ' => Some(*b),
        _ => None,
    };
    value.accept(
        byte.filter(|b| !b"+/-_".contains(b)),
        "must be one character such as , ; = or a space",
    )
}
