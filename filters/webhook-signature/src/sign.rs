//! The sender's side: the headers that make a request verifiable. For tests and the command line.

use crate::check::render;
use crate::encoding::encode_hex;
use crate::mac::{Algorithm, Key};
use crate::scheme::{Carrier, Scheme};
use crate::template::{Part, Values};
use crate::timestamp::Source;
use sha2::{Digest as _, Sha256};
use tollgate_core::UnixNanos;
use tollgate_core::headers::Headers;

/// The request to sign.
#[derive(Clone, Copy, Debug)]
pub struct Unsigned<'a> {
    /// `:method`.
    pub method: &'a [u8],
    /// `:path`, query included.
    pub path: &'a [u8],
    /// The URL as the receiver's `public_url` has it, escapes undone as the scheme says.
    pub url: &'a [u8],
    /// Headers that the scheme may sign.
    pub headers: &'a Headers,
    /// The id of the delivery.
    pub id: &'a [u8],
    /// The body.
    pub body: &'a [u8],
    /// When it is signed.
    pub at: UnixNanos,
}

/// The headers to add: signature, timestamp, id and constants. `secret` is the key's bytes, see
/// [`crate::SecretEncoding::decode`].
///
/// # Errors
/// A private key is needed (Ed25519), or a signed header is missing.
pub fn sign(
    scheme: &Scheme,
    secret: &[u8],
    request: &Unsigned<'_>,
) -> Result<Vec<(String, Vec<u8>)>, &'static str> {
    let stamp = scheme.timestamp.as_ref();
    let timestamp = stamp.map_or_else(String::new, |t| t.format.show(request.at));
    let signature = if scheme.algorithm == Algorithm::Token {
        secret.to_vec()
    } else {
        let values = Values {
            timestamp: timestamp.as_bytes(),
            id: request.id,
            method: request.method,
            path: request.path,
            url: request.url,
            headers: request.headers,
        };
        mac(scheme, secret, &values, request.body)?
    };
    let layout = &scheme.layout;
    let mut value = Vec::new();
    if let (Some(Source::Field(field)), Some((key_separator, _)), Some(separator)) = (
        stamp.map(|t| &t.source),
        &layout.keyed,
        layout.item_separator,
    ) {
        value.extend_from_slice(field);
        value.push(*key_separator);
        value.extend_from_slice(timestamp.as_bytes());
        value.push(separator);
    }
    if let Some((key_separator, key)) = &layout.keyed {
        value.extend_from_slice(key);
        value.push(*key_separator);
    }
    value.extend_from_slice(&layout.prefix);
    value.extend_from_slice(&signature);
    let name = match &scheme.carrier {
        Carrier::Headers(names) => names.first().map(ToString::to_string),
        Carrier::Series { prefix, .. } => Some(format!("{prefix}1")),
    };
    let mut headers = vec![(name.unwrap_or_default(), value)];
    if let Some(Source::Header(name)) = stamp.map(|t| &t.source) {
        headers.push((name.to_string(), timestamp.into_bytes()));
    }
    if let Some(name) = scheme.id.as_ref().filter(|_| scheme.signs(&Part::Id)) {
        headers.push((name.to_string(), request.id.to_vec()));
    }
    for (name, constant) in &scheme.require {
        headers.push((name.to_string(), constant.clone()));
    }
    Ok(headers)
}

fn mac(
    scheme: &Scheme,
    secret: &[u8],
    values: &Values<'_>,
    body: &[u8],
) -> Result<Vec<u8>, &'static str> {
    let mut running = Key::new(scheme.algorithm, secret)?.start(&[]);
    let tail = render(&scheme.payload, values, |bytes| running.update(bytes))
        .map_err(|_| "a header that the scheme signs is missing")?;
    if scheme.payload.body {
        running.update(body);
    }
    for (i, bytes) in tail.iter().enumerate() {
        if i > 0 {
            running.update(encode_hex(&Sha256::digest(body)).as_bytes());
        }
        running.update(bytes);
    }
    let tag = running
        .tag()
        .ok_or("the scheme needs a private key to sign")?;
    scheme
        .encoding
        .encode(&tag)
        .map(String::into_bytes)
        .ok_or("the scheme has no signature")
}
