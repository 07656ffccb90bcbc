//! A signature scheme as data. Presets and users write the same fields; nothing here knows a vendor.

use crate::carrier::{self, Carrier, Layout};
use crate::contradictions;
use crate::encoding::{ENCODINGS, Encoding};
use crate::handshake::Handshake;
use crate::mac::{ALGORITHMS, Algorithm};
use crate::place::{BodyValues, Place, Wanted};
use crate::secret::{SECRET_ENCODINGS, SecretEncoding};
use crate::template::{self, Part, Payload};
use crate::timestamp::{FORMATS, Timestamp};
use std::rc::Rc;
use tollgate_core::Duration;
use tollgate_core::config::{Node, Section, Value};
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
    pub(crate) id: Option<Place>,
    pub(crate) id_forbid: Vec<u8>,
    pub(crate) require: Vec<(HeaderName, Vec<u8>)>,
    pub(crate) url_decode: Vec<u8>,
    pub(crate) url_port_variants: bool,
    /// The query parameter of the signed URL that holds the body's SHA-256, unless the body is a signed form.
    pub(crate) body_digest_query: Option<Vec<u8>>,
    pub(crate) secret_encoding: SecretEncoding,
    pub(crate) allow_empty_body: bool,
    /// The sender vouches for something in the body, but not for all of it.
    pub(crate) unsigned_body: bool,
    pub(crate) body_values: BodyValues,
    pub(crate) handshakes: Rc<[Handshake]>,
}

impl Scheme {
    /// The scheme's name: the preset's, or the user's own.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the verdict falls with the headers alone.
    pub(crate) fn ignores_body(&self) -> bool {
        self.algorithm == Algorithm::Token && self.body_values.is_empty()
    }

    /// Whether the payload has this part.
    pub(crate) fn signs(&self, part: &Part) -> bool {
        self.payload.has(part)
    }

    /// Whether every byte of the body is signed (of a form: every field), or its digest in the URL.
    pub(crate) fn covers_body(&self) -> bool {
        self.payload.covers_body() || self.body_digest_query.is_some()
    }

    /// Whether the id can serve to tell a replay: one that is not signed proves nothing.
    pub(crate) fn id_is_signed(&self) -> bool {
        match &self.id {
            Some(Place::Body(_)) => self.signs(&Part::Id) || self.covers_body(),
            Some(_) => self.signs(&Part::Id),
            None => false,
        }
    }

    /// Reads the fields of a scheme. Errors go to the section's report.
    pub(crate) fn compile(section: Section<'_>, name: Rc<str>) -> Option<Self> {
        let mut wanted = Wanted::default();
        let signature = section
            .required("signature")
            .and_then(Value::section)
            .and_then(|s| carrier::signature(s, &mut wanted));
        let algorithm = section
            .required("algorithm")
            .and_then(|v| v.one_of(ALGORITHMS));
        let encoding = encoding(&section, algorithm);
        let parts = payload(&section, algorithm, &mut wanted);
        let timestamp = section
            .optional("timestamp")
            .and_then(Value::section)
            .and_then(|s| timestamp(s, &mut wanted));
        let id = section
            .optional("id")
            .and_then(|value| id(value, &mut wanted));
        let body_values = wanted.finish();
        if body_values.is_none() {
            section.error("takes values out of JSON and out of a form: a body is only one of them");
        }
        let handshakes = section.optional("pass_unverified").map(Handshake::list);
        let secret_encoding = section
            .optional("secret_encoding")
            .and_then(|v| v.one_of(SECRET_ENCODINGS));
        let require = section
            .optional("require")
            .and_then(Value::section)
            .map(required_headers);
        let body_digest_query = section
            .optional("body_digest_query")
            .and_then(|v| v.nonempty().map(|t| t.as_bytes().to_vec()));
        let [id_forbid, url_decode] =
            ["id_forbid", "url_decode"].map(|field| text_bytes(&section, field));
        let [url_port_variants, allow_empty_body, unsigned_body] =
            ["url_port_variants", "allow_empty_body", "unsigned_body"]
                .map(|field| flag(&section, field).unwrap_or(false));
        let (path, report) = (section.path().to_owned(), section.report());
        section.finish();
        let (carrier, layout) = signature?;
        let late = |place: Option<&Place>| place.is_some_and(Place::is_late);
        let scheme = Self {
            name,
            payload: Payload::new(
                parts?,
                late(timestamp.as_ref().map(|t| &t.source)),
                late(id.as_ref()),
            ),
            timestamp,
            id,
            id_forbid,
            require: require.unwrap_or_default(),
            url_decode,
            url_port_variants,
            body_digest_query,
            secret_encoding: secret_encoding.unwrap_or(match algorithm {
                Some(Algorithm::Ed25519) => SecretEncoding::Hex,
                Some(Algorithm::EcdsaDer | Algorithm::EcdsaFixed) => SecretEncoding::Base64,
                _ => SecretEncoding::Text,
            }),
            allow_empty_body,
            unsigned_body,
            handshakes: handshakes.unwrap_or_default(),
            carrier,
            layout,
            encoding: encoding?,
            algorithm: algorithm?,
            body_values: body_values?,
        };
        for problem in contradictions::of(&scheme) {
            report.error(&path, problem);
        }
        Some(scheme)
    }
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

fn payload(
    section: &Section<'_>,
    algorithm: Option<Algorithm>,
    wanted: &mut Wanted,
) -> Option<Vec<Part>> {
    let value = if algorithm == Some(Algorithm::Token) {
        let Some(value) = section.optional("payload") else {
            return Some(Vec::new());
        };
        value
    } else {
        section.required("payload")?
    };
    match template::parse(value.text()?, wanted) {
        Ok(parts) => Some(parts),
        Err(problem) => {
            value.error(problem);
            None
        }
    }
}

fn timestamp(section: Section<'_>, wanted: &mut Wanted) -> Option<Timestamp> {
    let header = section.optional("header");
    let field = section.optional("field");
    let in_body =
        section.optional("json_pointer").is_some() || section.optional("form_field").is_some();
    let source = match (header, field, in_body) {
        (Some(v), None, false) => v.header_name().map(Place::Header),
        (None, Some(v), false) => v.nonempty().map(|t| Place::Field(t.as_bytes().to_vec())),
        (None, None, true) => wanted.of_section(&section),
        _ => {
            section.error("needs exactly one of header, field, json_pointer, form_field");
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

/// A header's name, or an object that says where the id stands.
fn id(value: Value<'_>, wanted: &mut Wanted) -> Option<Place> {
    if !matches!(value.node(), Node::Object(_)) {
        return value.header_name().map(Place::Header);
    }
    let section = value.section()?;
    let header = section.optional("header");
    let in_body = wanted.of_section(&section);
    let place = match (header, in_body) {
        (Some(v), None) => v.header_name().map(Place::Header),
        (None, Some(place)) => Some(place),
        _ => {
            section.error("needs exactly one of header, json_pointer, form_field");
            None
        }
    };
    section.finish();
    place
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

pub(crate) fn text_bytes(section: &Section<'_>, field: &'static str) -> Vec<u8> {
    section
        .optional(field)
        .and_then(|v| v.text())
        .map(|t| t.as_bytes().to_vec())
        .unwrap_or_default()
}

pub(crate) fn flag(section: &Section<'_>, field: &'static str) -> Option<bool> {
    section.optional(field).and_then(|v| v.boolean())
}
