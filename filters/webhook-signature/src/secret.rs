//! Secrets: where they come from, how they are written, and what is refused about them.

use crate::encoding::{STANDARD_ANY_PADDING, decode_hex};
use crate::mac::{Algorithm, Key};
use crate::scheme::{Scheme, flag};
use base64::Engine as _;
use std::rc::Rc;
use tollgate_core::config::{Compile, Value};

/// How a secret is written. Always explicit: `whsec_` in front means one thing to one sender and another
/// to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretEncoding {
    /// The text's bytes are the key, whatever it looks like.
    Text,
    /// Hexadecimal.
    Hex,
    /// Base64 (RFC 4648 section 4), padding may be missing.
    Base64,
    /// Standard Webhooks: base64, `whsec_` in front may be missing.
    Whsec,
    /// Standard Webhooks public key: base64, `whpk_` in front may be missing.
    Whpk,
    /// A public key as `-----BEGIN PUBLIC KEY-----` (RFC 7468).
    Pem,
}

/// The words of the configuration.
pub(crate) const SECRET_ENCODINGS: &[(&str, SecretEncoding)] = &[
    ("text", SecretEncoding::Text),
    ("hex", SecretEncoding::Hex),
    ("base64", SecretEncoding::Base64),
    ("whsec", SecretEncoding::Whsec),
    ("whpk", SecretEncoding::Whpk),
    ("pem", SecretEncoding::Pem),
];

/// Below this a secret can be guessed from one signed request within minutes.
const SHORT: usize = 8;
/// Below this it deserves a warning.
const WEAK: usize = 16;

/// A compiled secret.
#[derive(Clone, Debug)]
pub(crate) struct Secret {
    pub(crate) id: Rc<str>,
    pub(crate) key: Key,
}

impl SecretEncoding {
    /// The bytes that a written secret stands for.
    ///
    /// # Errors
    /// Advice; never the secret.
    pub fn decode(self, text: &str) -> Result<Vec<u8>, &'static str> {
        if text.trim().is_empty() {
            return Err("is empty: with an empty secret anybody could sign");
        }
        let base64 = |text: &str, advice| {
            let misplaced = self.misplaced(text);
            STANDARD_ANY_PADDING
                .decode(text)
                .map_err(|_| misplaced.unwrap_or(advice))
        };
        match self {
            Self::Text if text.starts_with("-----BEGIN ") => {
                Err("is a PEM block, not a shared secret; a public key goes with encoding: pem")
            }
            Self::Text => Ok(text.as_bytes().to_vec()),
            Self::Hex => decode_hex(text.as_bytes()).ok_or_else(|| {
                self.misplaced(text).unwrap_or(
                    "is not hexadecimal (two digits a byte); if the sender uses the text itself, set encoding: text",
                )
            }),
            Self::Base64 => base64(
                text,
                "is not base64; if the sender uses the text itself, set encoding: text",
            ),
            Self::Whsec if text.starts_with("v1,") => {
                Err("begins with `v1,`: leave that out, the secret begins with whsec_")
            }
            Self::Whsec if text.starts_with("whpk_") || text.starts_with("whsk_") => {
                Err("is half of a key pair, not a shared secret; those begin with whsec_")
            }
            Self::Whsec => base64(
                text.strip_prefix("whsec_").unwrap_or(text),
                "is not whsec_ and base64; if the sender uses the text itself, set encoding: text",
            ),
            Self::Whpk if text.starts_with("whsk_") || text.starts_with("whsec_") => {
                Err("is a secret; what belongs here is the public key, which begins with whpk_")
            }
            Self::Whpk => base64(
                text.strip_prefix("whpk_").unwrap_or(text),
                "is not whpk_ and base64",
            ),
            Self::Pem if text.contains("PRIVATE KEY") => {
                Err("is a private key: what belongs here is the sender's public key")
            }
            Self::Pem => {
                let inner = text
                    .trim()
                    .strip_prefix("-----BEGIN PUBLIC KEY-----")
                    .and_then(|t| t.strip_suffix("-----END PUBLIC KEY-----"));
                // A variable may have lost its line breaks, or hold them as `\\n`.
                let inner = inner.map(|t| t.replace("\\n", "").split_whitespace().collect::<String>());
                base64(
                    inner.as_deref().unwrap_or("?"),
                    "is not a PEM block that begins with -----BEGIN PUBLIC KEY-----",
                )
            }
        }
    }

    /// Advice about a text that is not in this encoding but looks like another one's.
    fn misplaced(self, text: &str) -> Option<&'static str> {
        let quoted = |q| text.len() > 1 && text.starts_with(q) && text.ends_with(q);
        let wrong = [
            (
                quoted('"') || quoted('\''),
                "stands in quotation marks: leave them out",
            ),
            (
                text.starts_with("whsec_") && self != Self::Whsec,
                "begins with whsec_: set encoding: whsec if the sender follows Standard Webhooks, text if it keys the \
                 HMAC with the whole text",
            ),
            (
                text.starts_with("-----BEGIN "),
                "is a PEM block: set encoding: pem",
            ),
            (
                text.contains(char::is_whitespace),
                "has white space in it: leave that out (a line break at the end is ignored)",
            ),
            (
                self == Self::Hex && text.starts_with("0x"),
                "begins with 0x: leave that out",
            ),
            (
                self != Self::Hex && text.contains(['-', '_']),
                "is written in the URL-safe alphabet: write + for - and / for _; if the sender uses the text itself, \
                 set encoding: text",
            ),
        ];
        wrong
            .into_iter()
            .find_map(|(is_so, advice)| is_so.then_some(advice))
    }
}

impl Secret {
    /// Reads `{id, env | value, encoding, allow_short}`. `position` counts from 1 and names a secret
    /// without an id.
    pub(crate) fn compile(
        value: Value<'_>,
        scheme: &Scheme,
        position: usize,
        cx: &Compile<'_>,
    ) -> Option<Self> {
        let section = value.section()?;
        let id = match section.optional("id") {
            Some(v) => v.identifier(),
            None => Some(Rc::from(format!("secret-{position}"))),
        };
        let encoding = section.optional("encoding").map_or(
            Some(scheme.secret_encoding),
            |v| {
                let encoding = v.one_of(SECRET_ENCODINGS)?;
                let public = scheme.algorithm.has_public_key();
                let fits = match encoding {
                    SecretEncoding::Text | SecretEncoding::Whsec => !public,
                    SecretEncoding::Whpk => scheme.algorithm == Algorithm::Ed25519,
                    SecretEncoding::Pem => public,
                    SecretEncoding::Hex | SecretEncoding::Base64 => true,
                };
                v.accept(
                    fits.then_some(encoding),
                    "does not fit the algorithm: whpk, pem, hex and base64 are for public keys; text, whsec, hex and \
                     base64 for shared secrets",
                )
            },
        );
        let allow_short = flag(&section, "allow_short").unwrap_or(false);
        let (env, plain) = (section.optional("env"), section.optional("value"));
        let source = match (env, plain) {
            (Some(v), None) => v
                .nonempty()
                .and_then(|name| {
                    v.accept(
                        (cx.env)(name),
                        "this environment variable is not set in the VM: name it in host_env_keys (Istio: valueFrom: HOST) \
                         and set it for the proxy",
                    )
                })
                .map(|text| (v, text)),
            (None, Some(v)) => {
                v.warn("a secret in the configuration shows in config dumps; env takes it from the environment");
                v.text().map(str::to_owned).map(|text| (v, text))
            }
            _ => {
                section.error("needs exactly one of env, value");
                None
            }
        };
        section.finish();
        let (value, text) = source?;
        let key = key(&value, &text, encoding?, scheme.algorithm, allow_short)?;
        Some(Self { id: id?, key })
    }
}

fn key(
    value: &Value<'_>,
    text: &str,
    encoding: SecretEncoding,
    algorithm: Algorithm,
    allow_short: bool,
) -> Option<Key> {
    // One line break at the end is the classic: it comes from mounted files and block scalars.
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if encoding == SecretEncoding::Text {
        if text.trim().len() != text.len() {
            value.warn("begins or ends with white space, which is taken as part of it");
        } else if encoding
            .misplaced(text)
            .is_some_and(|advice| advice.contains("quotation"))
        {
            value.warn("stands in quotation marks, which are taken as part of it");
        }
    }
    let bytes = match encoding.decode(text) {
        Ok(bytes) => bytes,
        Err(advice) => {
            value.error(advice);
            return None;
        }
    };
    if !algorithm.has_public_key() {
        if bytes.is_empty() {
            value.error("is empty: with an empty secret anybody could sign");
            return None;
        }
        if bytes.len() < SHORT && !allow_short {
            value.error(
                "is shorter than 8 bytes: it can be guessed; take 32 random bytes (allow_short: true, if the sender \
                 cannot)",
            );
            return None;
        }
        if encoding == SecretEncoding::Whsec && !(24..=64).contains(&bytes.len()) {
            value.warn("Standard Webhooks asks for secrets of 24 to 64 bytes");
        } else if bytes.len() < WEAK {
            value.warn("is shorter than 16 bytes");
        }
    }
    match Key::new(algorithm, &bytes) {
        Ok(key) => Some(key),
        Err(problem) => {
            value.error(problem);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_text_is_another_key_in_another_encoding() {
        let text = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        assert_eq!(SecretEncoding::Text.decode(text).unwrap().len(), 38);
        assert_eq!(SecretEncoding::Whsec.decode(text).unwrap().len(), 24);
        assert_eq!(
            SecretEncoding::Whsec.decode(text),
            SecretEncoding::Base64.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
        );
        assert_eq!(SecretEncoding::Hex.decode("00ff"), Ok(vec![0, 255]));
        assert_eq!(SecretEncoding::Base64.decode("AP8"), Ok(vec![0, 255]));
        for pem in [
            "-----BEGIN PUBLIC KEY-----\nAP8A\n/wD/\n-----END PUBLIC KEY-----\n",
            "-----BEGIN PUBLIC KEY-----AP8A/wD/-----END PUBLIC KEY-----",
            "-----BEGIN PUBLIC KEY-----\\nAP8A/wD/\\n-----END PUBLIC KEY-----",
        ] {
            assert_eq!(
                SecretEncoding::Pem.decode(pem),
                Ok(vec![0, 255, 0, 255, 0, 255])
            );
        }
    }

    #[test]
    fn malformed_secrets_come_with_advice() {
        for (encoding, text, word) in [
            (SecretEncoding::Text, "", "empty"),
            (SecretEncoding::Hex, "0g", "hexadecimal"),
            (SecretEncoding::Base64, "a!b", "not base64"),
            (SecretEncoding::Whsec, "v1,whsec_AAAA", "whsec_"),
            (SecretEncoding::Whsec, "whpk_AAAA", "key pair"),
            (SecretEncoding::Whsec, "whsec_A-", "encoding: text"),
            (SecretEncoding::Whpk, "whsk_AAAA", "public key"),
            (SecretEncoding::Text, " \t", "empty"),
            (
                SecretEncoding::Text,
                "-----BEGIN PUBLIC KEY-----",
                "encoding: pem",
            ),
            (SecretEncoding::Base64, "whsec_AAAA", "encoding: whsec"),
            (SecretEncoding::Hex, "whsec_AAAA", "encoding: whsec"),
            (SecretEncoding::Hex, "0x00ff", "0x"),
            (SecretEncoding::Hex, "00ff0", "two digits"),
            (SecretEncoding::Hex, "00 ff", "white space"),
            (SecretEncoding::Hex, "'00ff'", "quotation"),
            (SecretEncoding::Base64, "\"AAAA\"", "quotation"),
            (SecretEncoding::Base64, "AA\nAA", "white space"),
            (SecretEncoding::Base64, "A-_A", "URL-safe"),
            (SecretEncoding::Pem, "AAAA", "BEGIN PUBLIC KEY"),
            (
                SecretEncoding::Pem,
                "-----BEGIN EC PRIVATE KEY-----",
                "private key",
            ),
        ] {
            let advice = encoding.decode(text).unwrap_err();
            assert!(advice.contains(word), "{advice}");
        }
    }
}
