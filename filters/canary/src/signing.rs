//! Short signatures for what has to come back unchanged: the visitor's cookie and the marker.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tollgate_core::config::{Compile, Section, Value};

/// Bytes of a signature: HMAC-SHA256 cut in half (RFC 2104, 5).
pub(crate) const SIGNATURE: usize = 16;

/// Fewer characters could be guessed.
const LEAST: usize = 16;

/// The keys: the first one signs, all of them are accepted.
#[derive(Debug)]
pub(crate) struct Keys(Vec<Hmac<Sha256>>);

impl Keys {
    /// Reads `keys: [{env: NAME}]`. `purpose` keeps a signature of one thing from being taken for another.
    pub(crate) fn compile(section: &Section<'_>, purpose: &str, cx: &Compile<'_>) -> Option<Self> {
        let list = section.required("keys")?;
        let path = list.path().to_owned();
        let items = list.list()?;
        if items.is_empty() {
            section.report().error(&path, "needs at least one key");
            return None;
        }
        let count = items.len();
        let keys: Vec<_> = items
            .into_iter()
            .filter_map(|v| key(v, purpose, cx))
            .collect();
        (keys.len() == count).then_some(Self(keys))
    }

    /// The signature of these parts. Their borders do not show: all but the last have a fixed form.
    pub(crate) fn sign(&self, parts: &[&[u8]]) -> [u8; SIGNATURE] {
        let bytes = self.0.first().map(|key| full(key, parts));
        let half = bytes.and_then(|b| b.first_chunk().copied());
        half.unwrap_or_default()
    }

    /// Whether it was made with any of the keys, in constant time.
    pub(crate) fn verify(&self, parts: &[&[u8]], signature: &[u8]) -> bool {
        signature.len() == SIGNATURE
            && self
                .0
                .iter()
                .any(|key| started(key, parts).verify_truncated_left(signature).is_ok())
    }
}

fn started(key: &Hmac<Sha256>, parts: &[&[u8]]) -> Hmac<Sha256> {
    let mut mac = key.clone();
    for part in parts {
        mac.update(part);
    }
    mac
}

fn full(key: &Hmac<Sha256>, parts: &[&[u8]]) -> [u8; 32] {
    started(key, parts).finalize().into_bytes().into()
}

fn key(value: Value<'_>, purpose: &str, cx: &Compile<'_>) -> Option<Hmac<Sha256>> {
    let section = value.section()?;
    let env = section.required("env");
    section.finish();
    let env = env?;
    let secret = (cx.env)(env.nonempty()?);
    let secret = env.accept(secret, "the environment variable is not set in the VM")?;
    env.accept(
        (secret.len() >= LEAST).then_some(()),
        "the environment variable must hold at least 16 characters",
    )?;
    let mut key = Hmac::new_from_slice(secret.as_bytes()).ok()?;
    key.update(purpose.as_bytes());
    key.update(&[0]);
    Some(key)
}

/// Base64 for URLs, without padding: fits into cookies and headers.
pub(crate) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The inverse of [`encode`]; `None` for anything that it does not write.
pub(crate) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}
