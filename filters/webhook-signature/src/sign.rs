//! The sender's side: the headers that make a request verifiable. For tests and the command line.

use crate::carrier::Carrier;
use crate::check::is_form;
use crate::form::Form;
use crate::mac::{Algorithm, Key, Running};
use crate::place::Place;
use crate::scheme::Scheme;
use crate::template::{Part, Values};
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
    /// The URL as the receiver's `public_url` has it, escapes undone as the scheme says, with the body's digest in its
    /// query if the scheme wants that.
    pub url: &'a [u8],
    /// Headers that the scheme may sign; `content-type` says whether the body is a form.
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
/// A private key is needed, a signed header is missing, or the signature belongs into the body.
pub fn sign(
    scheme: &Scheme,
    secret: &[u8],
    request: &Unsigned<'_>,
) -> Result<Vec<(String, Vec<u8>)>, &'static str> {
    if matches!(scheme.carrier, Carrier::Body(_)) {
        return Err("the scheme's signature belongs into the body: make the body with it");
    }
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
    if let (Some(Place::Field(field)), Some((key_separator, _)), Some(separator)) = (
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
        Carrier::Body(_) => None,
    };
    let mut headers = vec![(name.unwrap_or_default(), value)];
    if let Some(Place::Header(name)) = stamp.map(|t| &t.source) {
        headers.push((name.to_string(), timestamp.into_bytes()));
    }
    if let (Some(Place::Header(name)), true) = (&scheme.id, scheme.signs(&Part::Id)) {
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
    let payload = &scheme.payload;
    for part in &payload.head {
        add(&mut running, part, values, body)?;
    }
    if payload.streams {
        running.update(body);
    }
    for part in &payload.tail {
        add(&mut running, part, values, body)?;
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

fn add(
    running: &mut Running,
    part: &Part,
    values: &Values<'_>,
    body: &[u8],
) -> Result<(), &'static str> {
    let known = part
        .bytes(values)
        .map_err(|_| "a header that the scheme signs is missing")?;
    match (part, known) {
        (_, Some(bytes)) => running.update(bytes),
        (Part::Body, None) => running.update(body),
        (Part::BodyDigest(encoding), None) => {
            let text = encoding.encode(&Sha256::digest(body));
            running.update(text.unwrap_or_default().as_bytes());
        }
        (Part::SortedForm, None) if is_form(values.headers) => {
            let form = Form::parse(body).ok_or("the form has too many fields")?;
            form.sorted(|bytes| running.update(bytes));
        }
        (Part::Value(_), None) => return Err("the scheme signs a value in the body"),
        (_, None) => {}
    }
    Ok(())
}
