//! What is signed, as a template: `{timestamp}.{body}`.
//!
//! A payload is cut at the body: what stands before it is known from the headers, so a MAC is fed that
//! first and then the body as it arrives; nothing is kept.

use tollgate_core::headers::{HeaderName, Headers};

/// A compiled template.
#[derive(Clone, Debug, Default)]
pub(crate) struct Payload {
    /// Before anything that depends on the body.
    pub(crate) head: Vec<Part>,
    /// Whether the body itself comes next.
    pub(crate) body: bool,
    /// After the body. Between two elements stands the body's SHA-256; the first of them may be empty.
    pub(crate) tail: Vec<Vec<Part>>,
}

/// A piece of a payload that is known from the headers.
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
}

/// Values for the placeholders.
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

impl Payload {
    /// Reads a template. `{{` and `}}` stand for single braces.
    ///
    /// # Errors
    /// A message that names the problem, not the template.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let mut payload = Self {
            tail: vec![Vec::new()],
            ..Self::default()
        };
        let mut digest = false;
        for token in tokens(text)? {
            let part = match token {
                Token::Text(text) => Part::Literal(text.as_bytes().to_vec()),
                Token::Placeholder("timestamp") => Part::Timestamp,
                Token::Placeholder("id") => Part::Id,
                Token::Placeholder("method") => Part::Method,
                Token::Placeholder("path") => Part::Path,
                Token::Placeholder("url") => Part::Url,
                Token::Placeholder("body") => {
                    if payload.body {
                        return Err("has {body} twice: the body is hashed as it arrives, once");
                    }
                    if digest {
                        return Err(
                            "has {body_sha256} before {body}: it is known only after the body",
                        );
                    }
                    payload.body = true;
                    continue;
                }
                Token::Placeholder("body_sha256") => {
                    digest = true;
                    payload.tail.push(Vec::new());
                    continue;
                }
                Token::Placeholder(other) => Part::Header(
                    other
                        .strip_prefix("header:")
                        .and_then(HeaderName::parse)
                        .filter(|n| !n.is_pseudo())
                        .ok_or(UNKNOWN)?,
                ),
            };
            if payload.body || digest {
                if let Some(last) = payload.tail.last_mut() {
                    last.push(part);
                }
            } else {
                payload.head.push(part);
            }
        }
        Ok(payload)
    }

    /// Whether the body, or its digest, is part of what is signed.
    pub(crate) fn covers_body(&self) -> bool {
        self.body || self.needs_digest()
    }

    /// Whether the body's SHA-256 is part of what is signed.
    pub(crate) fn needs_digest(&self) -> bool {
        self.tail.len() > 1
    }

    /// All parts but the body.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &Part> {
        self.head.iter().chain(self.tail.iter().flatten())
    }
}

const UNKNOWN: &str = "has an unknown placeholder; known: {timestamp} {body} {id} {method} {path} {url} \
                       {header:NAME} {body_sha256}; write {{ and }} for braces";

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
    /// The bytes it stands for. `None`: a header that is missing or was sent more than once.
    pub(crate) fn bytes<'a>(&'a self, values: &Values<'a>) -> Option<&'a [u8]> {
        Some(match self {
            Self::Literal(text) => text,
            Self::Timestamp => values.timestamp,
            Self::Id => values.id,
            Self::Method => values.method,
            Self::Path => values.path,
            Self::Url => values.url,
            Self::Header(name) => values.headers.sole(name.as_str()).ok().flatten()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The payload with the body `BODY` and the digest `SHA`.
    fn fill(template: &str) -> Result<String, &'static str> {
        let payload = Payload::parse(template)?;
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
        let mut add = |parts: &[Part]| {
            for part in parts {
                out.extend_from_slice(part.bytes(&values).unwrap());
            }
        };
        add(&payload.head);
        if payload.body {
            add(&[Part::Literal(b"BODY".to_vec())]);
        }
        for (i, parts) in payload.tail.iter().enumerate() {
            if i > 0 {
                add(&[Part::Literal(b"SHA".to_vec())]);
            }
            add(parts);
        }
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn fills_in_every_placeholder_in_place() {
        assert_eq!(fill("v0:{timestamp}:{body}").as_deref(), Ok("v0:T:BODY"));
        assert_eq!(
            fill("{method}{url}{body}{timestamp}").as_deref(),
            Ok("POSThttps://u/p?qBODYT")
        );
        assert_eq!(
            fill("{id}.{path}.{body_sha256}").as_deref(),
            Ok("I./p?q.SHA")
        );
        assert_eq!(
            fill("{body}-{body_sha256}-{id}").as_deref(),
            Ok("BODY-SHA-I")
        );
        assert_eq!(fill("{body_sha256}{body_sha256}").as_deref(), Ok("SHASHA"));
        assert_eq!(fill("{header:X-A}\n{{{body}}}").as_deref(), Ok("A\n{BODY}"));
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
            "{body",
            "body}",
            "{{body}",
            "{body}{body}",
            "{body_sha256}{body}",
            "{timestamp}{",
            "}",
        ] {
            assert!(Payload::parse(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_template_is_read_or_refused(text in "[{}a-z_:]{0,30}") {
            if let Ok(payload) = Payload::parse(&text) {
                prop_assert_eq!(payload.needs_digest(), text.contains("{body_sha256}"));
            }
        }

        #[test]
        fn plain_text_is_itself(text in "[^{}]{0,40}") {
            prop_assert_eq!(fill(&text), Ok(text));
        }
    }
}
