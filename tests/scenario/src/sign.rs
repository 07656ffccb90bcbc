//! Signs a request the way a webhook sender would, independently of the code under test.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha1::Sha1;
use sha2::{Sha256, Sha512};

use crate::bytes::Bytes;
use crate::model::{HeaderItem, Lines, Request};
use crate::time::{Instant, Span};

/// How to sign. `payload` and the header values may hold `{timestamp}` (unix seconds), `{timestamp_ms}`, `{id}`, `{method}`,
/// `{path}`, `{body}`; header values also `{mac}`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sign {
    /// The secret's bytes.
    pub secret: Bytes,
    /// The secret is written in base64 or hex.
    #[serde(default)]
    pub secret_encoding: Encoding,
    /// What is signed.
    #[serde(default = "body")]
    pub payload: String,
    /// The hash of the HMAC.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// How `{mac}` is written.
    #[serde(default = "hex_encoding")]
    pub encoding: Encoding,
    /// The timestamp is the clock plus this.
    #[serde(default)]
    pub skew: Span,
    /// `{id}`
    #[serde(default)]
    pub id: String,
    /// The headers it adds.
    pub headers: Vec<HeaderItem>,
}

/// The hash.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Algorithm {
    Sha1,
    #[default]
    Sha256,
    Sha512,
}

/// How bytes are written.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Encoding {
    #[default]
    Text,
    Hex,
    Base64,
}

fn body() -> String {
    "{body}".to_owned()
}

fn hex_encoding() -> Encoding {
    Encoding::Hex
}

/// The headers that sign `request` at the time `now`.
///
/// # Errors
/// The secret is not in the encoding it claims.
pub fn sign(sign: &Sign, request: &Request, now: Instant) -> Result<Lines, String> {
    let at = now.0.saturating_add(sign.skew.0);
    let fill = |template: &[u8], mac: &str| {
        let mut out = template.to_vec();
        for (name, value) in [
            (
                "{timestamp}",
                at.div_euclid(1_000_000_000).to_string().into_bytes(),
            ),
            (
                "{timestamp_ms}",
                at.div_euclid(1_000_000).to_string().into_bytes(),
            ),
            ("{id}", sign.id.clone().into_bytes()),
            ("{method}", request.method.clone().into_bytes()),
            ("{path}", request.path.0.clone()),
            ("{mac}", mac.as_bytes().to_vec()),
            // Last, so that nothing inside a body is taken for a placeholder.
            ("{body}", request.whole_body()),
        ] {
            out = replace(&out, name.as_bytes(), &value);
        }
        out
    };
    let secret = match sign.secret_encoding {
        Encoding::Text => sign.secret.0.clone(),
        Encoding::Hex => unhex(&sign.secret.0).ok_or("sign.secret: not hex")?,
        Encoding::Base64 => STANDARD
            .decode(&sign.secret.0)
            .map_err(|error| format!("sign.secret: {error}"))?,
    };
    let payload = fill(sign.payload.as_bytes(), "");
    let mac = match sign.algorithm {
        Algorithm::Sha1 => mac::<Hmac<Sha1>>(&secret, &payload),
        Algorithm::Sha256 => mac::<Hmac<Sha256>>(&secret, &payload),
        Algorithm::Sha512 => mac::<Hmac<Sha512>>(&secret, &payload),
    };
    let mac = match sign.encoding {
        Encoding::Text => return Err("sign.encoding: hex or base64".to_owned()),
        Encoding::Hex => mac.iter().map(|byte| format!("{byte:02x}")).collect(),
        Encoding::Base64 => STANDARD.encode(mac),
    };
    Ok(crate::model::lines(&sign.headers)
        .into_iter()
        .map(|(name, value)| (name, fill(&value, &mac)))
        .collect())
}

fn mac<M: Mac + KeyInit>(secret: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut mac =
        <M as KeyInit>::new_from_slice(secret).expect("an HMAC takes a key of any length");
    mac.update(payload);
    mac.finalize().into_bytes().to_vec()
}

fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    text.chunks(2)
        .map(|pair| Some((digit(pair[0])? * 16 + digit(*pair.get(1)?)?) as u8))
        .collect()
}

fn replace(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.windows(from.len()).position(|window| window == from) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    out.extend_from_slice(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stripe_form() {
        let yaml = "
method: POST
body: ['{\"a\":', '1}']
sign: {secret: whsec_test, payload: '{timestamp}.{body}', skew: -5s, headers: [[stripe-signature, 't={timestamp},v1={mac}']]}
";
        let request: Request = serde_yaml_ng::from_str(yaml).unwrap();
        let lines = sign(
            request.sign.as_ref().unwrap(),
            &request,
            Instant(1_700_000_005_000_000_000),
        )
        .unwrap();
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac whsec_test
        let mac = "38877139021993b830af32feea6e18a8da83eb2f6e49ee50bd9e4cf4ca4d3789";
        assert_eq!(
            lines,
            [(
                b"stripe-signature".to_vec(),
                format!("t=1700000000,v1={mac}").into_bytes()
            )]
        );
    }
}
