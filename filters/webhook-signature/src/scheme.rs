//! A signature scheme as data. Presets and users write the same fields; nothing here knows a vendor.

use crate::encoding::{ENCODINGS, Encoding};
use crate::mac::{ALGORITHMS, Algorithm};
use crate::secret::{SECRET_ENCODINGS, SecretEncoding};
use crate::template::{Part, Payload};
use crate::timestamp::{FORMATS, Source, Timestamp};
use std::rc::Rc;
use tollgate_core::Duration;
use tollgate_core::config::{Section, Value};
use tollgate_core::headers::HeaderName;

/// A compiled scheme.
#[derive(Clone, Debug)]
pub struct Scheme {
    pub(crate) name: Rc<str>,
    pub(crate) carrier: Carrier,
    pub(crate) layout: Layout,
    pub(crate) encoding: Encoding,
    pub(crate) algorithm: Algorithm,
    pub(crate) payload: Payload,
    pub(crate) timestamp: Option<Timestamp>,
    pub(crate) id: Option<HeaderName>,
    pub(crate) id_forbid: Vec<u8>,
    pub(crate) require: Vec<(HeaderName, Vec<u8>)>,
    pub(crate) url_decode: Vec<u8>,
    pub(crate) secret_encoding: SecretEncoding,
    pub(crate) allow_empty_body: bool,
}

/// Which headers carry signatures.
#[derive(Clone, Debug)]
pub(crate) enum Carrier {
    /// Any of these.
    Headers(Vec<HeaderName>),
    /// The prefix followed by 1, 2, ... `max`.
    Series { prefix: Rc<str>, max: u64 },
}

/// How a signature header's value is built.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layout {
    /// Between items; absent: the value is one item.
    pub(crate) item_separator: Option<u8>,
    /// Between an item's key and the rest, with the key whose items count.
    pub(crate) keyed: Option<(u8, Vec<u8>)>,
    /// In front of the signature, required.
    pub(crate) prefix: Vec<u8>,
}

impl Scheme {
    /// The scheme's name: the preset's, or the user's own.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the verdict falls with the headers alone.
    pub(crate) fn ignores_body(&self) -> bool {
        self.algorithm == Algorithm::Token
    }

    /// Whether the payload has this part.
    pub(crate) fn signs(&self, part: &Part) -> bool {
        self.payload.parts().any(|p| p == part)
    }

    /// Reads the fields of a scheme. Errors go to the section's report.
    pub(crate) fn compile(section: Section<'_>, name: Rc<str>) -> Option<Self> {
        let signature = section
            .required("signature")
            .and_then(Value::section)
            .and_then(signature);
        let algorithm = section
            .required("algorithm")
            .and_then(|v| v.one_of(ALGORITHMS));
        let encoding = encoding(&section, algorithm);
        let payload = payload(&section, algorithm);
        let timestamp = section
            .optional("timestamp")
            .and_then(Value::section)
            .and_then(timestamp);
        let id = section.optional("id").and_then(|v| v.header_name());
        let id_forbid = text_bytes(&section, "id_forbid");
        let url_decode = text_bytes(&section, "url_decode");
        let require = section
            .optional("require")
            .and_then(Value::section)
            .map(required_headers)
            .unwrap_or_default();
        let secret_encoding = section
            .optional("secret_encoding")
            .and_then(|v| v.one_of(SECRET_ENCODINGS))
            .unwrap_or(if algorithm == Some(Algorithm::Ed25519) {
                SecretEncoding::Hex
            } else {
                SecretEncoding::Text
            });
        let allow_empty_body = flag(&section, "allow_empty_body").unwrap_or(false);
        let (path, report) = (section.path().to_owned(), section.report());
        section.finish();
        let (carrier, layout) = signature?;
        let scheme = Self {
            name,
            carrier,
            layout,
            encoding: encoding?,
            algorithm: algorithm?,
            payload: payload?,
            timestamp,
            id,
            id_forbid,
            require,
            url_decode,
            secret_encoding,
            allow_empty_body,
        };
        for problem in scheme.contradictions() {
            report.error(&path, problem);
        }
        Some(scheme)
    }

    /// What cannot be right about the fields taken together.
    fn contradictions(&self) -> Vec<&'static str> {
        let token = self.algorithm == Algorithm::Token;
        let by_field = self
            .timestamp
            .as_ref()
            .is_some_and(|t| matches!(t.source, Source::Field(_)));
        let own_key = self.timestamp.as_ref().is_some_and(|t| {
            matches!((&t.source, &self.layout.keyed), (Source::Field(f), Some((_, key))) if f == key)
        });
        let rules = [
            (
                !token && !self.payload.covers_body(),
                "payload must have {body} or {body_sha256}: otherwise anybody may exchange the body",
            ),
            (
                !token && self.timestamp.is_some() && !self.signs(&Part::Timestamp),
                "payload must have {timestamp}: a timestamp that is not signed protects nothing; leave it out",
            ),
            (
                self.timestamp.is_none() && self.signs(&Part::Timestamp),
                "payload has {timestamp}, so timestamp must say where it is",
            ),
            (
                self.id.is_none() && self.signs(&Part::Id),
                "payload has {id}, so id must name its header",
            ),
            (
                !self.id_forbid.is_empty() && !self.signs(&Part::Id),
                "id_forbid is for an {id} in payload",
            ),
            (
                !self.url_decode.is_empty() && !self.signs(&Part::Url),
                "url_decode is for a {url} in payload",
            ),
            (
                token && (self.timestamp.is_some() || self.payload.parts().next().is_some()),
                "a token signs nothing: leave out payload and timestamp",
            ),
            (
                by_field && (self.layout.keyed.is_none() || self.layout.item_separator.is_none()),
                "timestamp.field needs signature.item_separator, key_separator and key",
            ),
            (own_key, "timestamp.field and signature.key must differ"),
        ];
        rules
            .iter()
            .filter_map(|(broken, problem)| broken.then_some(*problem))
            .collect()
    }
}

fn signature(section: Section<'_>) -> Option<(Carrier, Layout)> {
    let headers = section.optional("headers").and_then(Value::list);
    let series = section.optional("header_series");
    let max = section.optional("max");
    let carrier = match (headers, series) {
        (Some(list), None) => {
            if max.is_some() {
                section.error("max is for header_series");
            }
            let names: Vec<HeaderName> = list.iter().filter_map(|v| v.header_name()).collect();
            if names.is_empty() || names.len() > 8 {
                section.error("headers must name 1 to 8 headers");
            }
            Some(Carrier::Headers(names))
        }
        (None, Some(prefix)) => {
            let max = max.map_or(Some(100), |v| v.integer(1..=100));
            prefix
                .header_name()
                .zip(max)
                .map(|(prefix, max)| Carrier::Series {
                    prefix: Rc::from(prefix.as_str()),
                    max,
                })
        }
        _ => {
            section.error("needs exactly one of headers, header_series");
            None
        }
    };
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

fn encoding(section: &Section<'_>, algorithm: Option<Algorithm>) -> Option<Encoding> {
    let token = algorithm == Some(Algorithm::Token);
    let Some(value) = section.optional("encoding") else {
        if token {
            return Some(Encoding::Token);
        }
        if algorithm.is_some() {
            section.error("encoding is missing: hex, base64 or base64url");
        }
        return None;
    };
    let encoding = value.one_of(ENCODINGS)?;
    let fits = algorithm.is_none() || token == (encoding == Encoding::Token);
    value.accept(
        fits.then_some(encoding),
        "the encoding token goes with the algorithm token, and with no other",
    )
}

fn payload(section: &Section<'_>, algorithm: Option<Algorithm>) -> Option<Payload> {
    let value = if algorithm == Some(Algorithm::Token) {
        match section.optional("payload") {
            Some(value) => value,
            None => return Some(Payload::default()),
        }
    } else {
        section.required("payload")?
    };
    match Payload::parse(value.text()?) {
        Ok(payload) => Some(payload),
        Err(problem) => {
            value.error(problem);
            None
        }
    }
}

fn timestamp(section: Section<'_>) -> Option<Timestamp> {
    let header = section.optional("header");
    let field = section.optional("field");
    let source = match (header, field) {
        (Some(v), None) => v.header_name().map(Source::Header),
        (None, Some(v)) => v.nonempty().map(|t| Source::Field(t.as_bytes().to_vec())),
        _ => {
            section.error("needs exactly one of header, field");
            None
        }
    };
    let format = section.required("format").and_then(|v| v.one_of(FORMATS));
    let span = |field| section.optional(field).and_then(|v| v.duration());
    let tolerance = span("tolerance").unwrap_or(Duration::from_secs(300));
    let future = span("future").unwrap_or(tolerance);
    section.finish();
    Some(Timestamp {
        source: source?,
        format: format?,
        tolerance,
        future,
    })
}

fn required_headers(section: Section<'_>) -> Vec<(HeaderName, Vec<u8>)> {
    section
        .entries()
        .into_iter()
        .filter_map(|(name, value)| {
            let name = value.accept(
                HeaderName::parse(name).filter(|n| !n.is_pseudo()),
                "the field must be a header name",
            );
            let text = value.text().map(|t| t.as_bytes().to_vec());
            name.zip(text)
        })
        .collect()
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

fn text_bytes(section: &Section<'_>, field: &'static str) -> Vec<u8> {
    section
        .optional(field)
        .and_then(|v| v.text())
        .map(|t| t.as_bytes().to_vec())
        .unwrap_or_default()
}

pub(crate) fn flag(section: &Section<'_>, field: &'static str) -> Option<bool> {
    section.optional(field).and_then(|v| v.boolean())
}
