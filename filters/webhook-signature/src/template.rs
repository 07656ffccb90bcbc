//! What is signed, as a template: `{timestamp}.{body}`.
//!
//! A payload is cut where it first depends on the body: what stands before is known from the headers, so a MAC is fed
//! that first and then the body as it arrives; nothing is kept. Only a form, or a body that comes after something that
//! depends on it, has to be kept until its end.

use crate::encoding::Encoding;
use crate::place::Wanted;
use tollgate_core::headers::{HeaderName, Headers};

/// A compiled template.
#[derive(Clone, Debug, Default)]
pub(crate) struct Payload {
    /// Known from the headers.
    pub(crate) head: Vec<Part>,
    /// Whether the body itself comes next, and is fed as it arrives.
    pub(crate) streams: bool,
    /// Known, in full, after the body.
    pub(crate) tail: Vec<Part>,
}

/// A piece of a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Fixed bytes.
    Literal(Vec<u8>),
    /// The timestamp's text exactly as sent.
    Timestamp,
    /// The delivery's id.
    Id,
    /// `:method`.
    Method,
    /// `:path`, query included, as received.
    Path,
    /// The public URL.
    Url,
    /// The value of a header.
    Header(HeaderName),
    /// The body.
    Body,
    /// Its SHA-256.
    BodyDigest(Encoding),
    /// The fields of a form, see [`crate::form::Form::sorted`]; nothing for other bodies.
    SortedForm,
    /// A value in the body.
    Value(usize),
}

/// Values for the placeholders that are known from the headers.
pub(crate) struct Values<'a> {
    pub(crate) timestamp: &'a [u8],
    pub(crate) id: &'a [u8],
    pub(crate) method: &'a [u8],
    pub(crate) path: &'a [u8],
    pub(crate) url: &'a [u8],
    pub(crate) headers: &'a Headers,
}

enum Token<'a> {
    Text(&'a str),
    Placeholder(&'a str),
}

/// Reads a template. `{{` and `}}` stand for single braces.
///
/// # Errors
/// A message that names the problem, not the template.
pub(crate) fn parse(text: &str, wanted: &mut Wanted) -> Result<Vec<Part>, &'static str> {
    tokens(text)?
        .into_iter()
        .map(|token| {
            Ok(match token {
                Token::Text(text) => Part::Literal(text.as_bytes().to_vec()),
                Token::Placeholder("timestamp") => Part::Timestamp,
                Token::Placeholder("id") => Part::Id,
                Token::Placeholder("method") => Part::Method,
                Token::Placeholder("path") => Part::Path,
                Token::Placeholder("url") => Part::Url,
                Token::Placeholder("body") => Part::Body,
                Token::Placeholder("body_sha256") => Part::BodyDigest(Encoding::Hex),
                Token::Placeholder("body_sha256:base64") => Part::BodyDigest(Encoding::Base64),
                Token::Placeholder("sorted_form") => Part::SortedForm,
                Token::Placeholder(other) => named(other, wanted).ok_or(UNKNOWN)?,
            })
        })
        .collect()
}

fn named(placeholder: &str, wanted: &mut Wanted) -> Option<Part> {
    let (kind, name) = placeholder.split_once(':')?;
    match kind {
        "header" => HeaderName::parse(name)
            .filter(|n| !n.is_pseudo())
            .map(Part::Header),
        "json" => wanted.json(name).map(Part::Value),
        "form" => wanted.form(name).map(Part::Value),
        _ => None,
    }
}

impl Payload {
    /// Cuts the parts where they first depend on the body. `timestamp_late` and `id_late`: those two do.
    pub(crate) fn new(parts: Vec<Part>, timestamp_late: bool, id_late: bool) -> Self {
        let is_late = |part: &Part| match part {
            Part::Body | Part::BodyDigest(_) | Part::SortedForm | Part::Value(_) => true,
            Part::Timestamp => timestamp_late,
            Part::Id => id_late,
            _ => false,
        };
        let mut head = parts;
        let cut = head.iter().position(is_late).unwrap_or(head.len());
        let mut tail = head.split_off(cut);
        let streams = tail.first() == Some(&Part::Body);
        if streams {
            tail.remove(0);
        }
        Self {
            head,
            streams,
            tail,
        }
    }

    /// Whether the payload has this part.
    pub(crate) fn has(&self, part: &Part) -> bool {
        (self.streams && *part == Part::Body) || self.parts().any(|p| p == part)
    }

    /// Whether the payload's digest of the body is needed.
    pub(crate) fn has_digest(&self) -> bool {
        self.parts().any(|p| matches!(p, Part::BodyDigest(_)))
    }

    /// Whether every byte of the body, or every field of a form, is part of what is signed.
    pub(crate) fn covers_body(&self) -> bool {
        self.streams
            || self
                .parts()
                .any(|p| matches!(p, Part::Body | Part::BodyDigest(_) | Part::SortedForm))
    }

    /// Whether the body has to be kept until its end.
    pub(crate) fn keeps_body(&self) -> bool {
        let kept = |p: &Part| matches!(p, Part::Body | Part::SortedForm);
        self.tail.iter().any(kept)
    }

    /// All parts but a body that is fed as it arrives.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &Part> {
        self.head.iter().chain(&self.tail)
    }
}

const UNKNOWN: &str = "has an unknown placeholder; known: {timestamp} {body} {id} {method} {path} {url} {sorted_form} \
                       {header:NAME} {body_sha256} {body_sha256:base64} {json:/POINTER} {form:NAME}; write {{ and }} \
                       for braces";

fn tokens(text: &str) -> Result<Vec<Token<'_>>, &'static str> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let plain = rest.find(['{', '}']).unwrap_or(rest.len());
        let (before, from) = rest.split_at_checked(plain).unwrap_or((rest, ""));
        if !before.is_empty() {
            tokens.push(Token::Text(before));
        }
        rest = if from.is_empty() {
            from
        } else if let Some(after) = from.strip_prefix("{{") {
            tokens.push(Token::Text("{"));
            after
        } else if let Some(after) = from.strip_prefix("}}") {
            tokens.push(Token::Text("}"));
            after
        } else {
            let (name, after) = from
                .strip_prefix('{')
                .and_then(|inner| inner.split_once('}'))
                .ok_or("has a brace without its partner")?;
            tokens.push(Token::Placeholder(name));
            after
        };
    }
    Ok(tokens)
}

impl Part {
    /// The bytes it stands for, if the headers say so.
    ///
    /// # Errors
    /// A header that is missing or was sent more than once.
    pub(crate) fn bytes<'a>(&'a self, values: &Values<'a>) -> Result<Option<&'a [u8]>, &'a Self> {
        Ok(Some(match self {
            Self::Literal(text) => text,
            Self::Timestamp => values.timestamp,
            Self::Id => values.id,
            Self::Method => values.method,
            Self::Path => values.path,
            Self::Url => values.url,
            Self::Header(name) => match values.headers.sole(name.as_str()) {
                Ok(Some(value)) => value,
                _ => return Err(self),
            },
            Self::Body | Self::BodyDigest(_) | Self::SortedForm | Self::Value(_) => {
                return Ok(None);
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn compiled(template: &str) -> Result<Payload, &'static str> {
        Ok(Payload::new(
            parse(template, &mut Wanted::default())?,
            false,
            false,
        ))
    }

    /// The payload with its parts filled in; `|` stands where the body's end must be waited for.
    fn fill(template: &str) -> Result<String, &'static str> {
        let payload = compiled(template)?;
        let headers = Headers::from_pairs([("x-a", "A")]);
        let values = Values {
            timestamp: b"T",
            id: b"I",
            method: b"POST",
            path: b"/p?q",
            url: b"https://u/p?q",
            headers: &headers,
        };
        let mut out = Vec::new();
        let show = |part: &Part, out: &mut Vec<u8>| {
            out.extend_from_slice(match part {
                Part::Body => b"BODY",
                Part::BodyDigest(Encoding::Hex) => b"SHA",
                Part::BodyDigest(_) => b"SHA64",
                Part::SortedForm => b"FORM",
                Part::Value(0) => b"VALUE",
                Part::Value(_) => b"VALUE2",
                known => known.bytes(&values).unwrap().unwrap(),
            });
        };
        payload.head.iter().for_each(|p| show(p, &mut out));
        if payload.streams {
            out.extend_from_slice(b"BODY");
        }
        out.push(b'|');
        payload.tail.iter().for_each(|p| show(p, &mut out));
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn fills_in_every_placeholder_in_place() {
        for (template, expected) in [
            ("v0:{timestamp}:{body}", "v0:T:BODY|"),
            ("{method}{url}{body}{timestamp}", "POSThttps://u/p?qBODY|T"),
            ("{id}.{path}.{body_sha256}", "I./p?q.|SHA"),
            ("{body}-{body_sha256}-{id}", "BODY|-SHA-I"),
            ("{body_sha256}{body_sha256:base64}", "|SHASHA64"),
            ("{header:X-A}\n{{{body}}}", "A\n{BODY|}"),
            ("{url}{sorted_form}", "https://u/p?q|FORM"),
            ("{id}{json:/a}{json:/b}{json:/a}", "I|VALUEVALUE2VALUE"),
            ("{form:a}.{form:b}", "|VALUE.VALUE2"),
            ("{json:/a}.{body}", "|VALUE.BODY"),
            ("{body}{body}", "BODY|BODY"),
        ] {
            assert_eq!(fill(template).as_deref(), Ok(expected), "{template}");
        }
    }

    #[test]
    fn the_body_is_kept_only_where_it_must() {
        let kept = |template| compiled(template).unwrap().keeps_body();
        for streamed in [
            "{timestamp}{body}{url}",
            "{body_sha256}",
            "{json:/a}",
            "{form:a}",
        ] {
            assert!(!kept(streamed), "{streamed}");
        }
        for keeps in [
            "{json:/a}{body}",
            "{body}{body}",
            "{body_sha256}{body}",
            "{sorted_form}",
        ] {
            assert!(kept(keeps), "{keeps}");
        }
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for bad in [
            "{bodyy}",
            "{}",
            "{Body}",
            "{header:}",
            "{header::path}",
            "{header:a b}",
            "{json:a}",
            "{json:}",
            "{json}",
            "{form:}",
            "{url:hubspot}",
            "{body",
            "body}",
            "{{body}",
            "{timestamp}{",
            "}",
        ] {
            assert!(compiled(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_template_is_read_or_refused(text in "[{}a-z_:/]{0,30}") {
            if let Ok(payload) = compiled(&text) {
                prop_assert_eq!(payload.has_digest(), text.contains("{body_sha256"));
            }
        }

        #[test]
        fn plain_text_is_itself(text in "[^{}|]{0,40}") {
            prop_assert_eq!(fill(&text), Ok(text + "|"));
        }
    }
}
