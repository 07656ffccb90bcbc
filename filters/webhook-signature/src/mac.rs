//! Algorithms: keyed once at load, fed piece by piece, compared in constant time.

use crate::encoding::Encoding;
use crate::{ecdsa, ed25519};
use hmac::digest::Output;
use hmac::{EagerHash, Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha512};
use std::fmt;
use std::rc::Rc;
use subtle::{Choice, ConstantTimeEq};

/// How a signature is made. Comes from the configuration only, never from the request: otherwise an HMAC
/// keyed with a *public* key would verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// HMAC-SHA-1 (RFC 2104).
    HmacSha1,
    /// HMAC-SHA-256.
    HmacSha256,
    /// HMAC-SHA-512.
    HmacSha512,
    /// No signature: the sender shows a shared secret.
    Token,
    /// Ed25519 (RFC 8032), strictly verified; needs the Cargo feature `ed25519`.
    Ed25519,
    /// ECDSA over P-256 with SHA-256, the signature in DER; needs the Cargo feature `ecdsa`.
    EcdsaDer,
    /// The same, the signature as `r` and `s` one after the other.
    EcdsaFixed,
}

/// The words of the configuration. A build without one of them says so when a key for it is read.
pub(crate) const ALGORITHMS: &[(&str, Algorithm)] = &[
    ("hmac-sha1", Algorithm::HmacSha1),
    ("hmac-sha256", Algorithm::HmacSha256),
    ("hmac-sha512", Algorithm::HmacSha512),
    ("token", Algorithm::Token),
    ("ed25519", Algorithm::Ed25519),
    ("ecdsa-p256-sha256", Algorithm::EcdsaDer),
    ("ecdsa-p256-sha256-fixed", Algorithm::EcdsaFixed),
];

/// The longest DER form of a P-256 signature.
const LONGEST_DER: usize = 72;

impl Algorithm {
    /// Whether the secret is a public key.
    pub(crate) fn has_public_key(self) -> bool {
        matches!(self, Self::Ed25519 | Self::EcdsaDer | Self::EcdsaFixed)
    }

    /// Appends a written signature to `out`, [`Algorithm::length`] bytes; or nothing, and returns `false`.
    pub(crate) fn decode(self, encoding: Encoding, text: &[u8], out: &mut Vec<u8>) -> bool {
        if self != Self::EcdsaDer {
            return encoding.decode(text, self.length(), out);
        }
        let signature = encoding
            .decode_up_to(text, LONGEST_DER)
            .and_then(|der| ecdsa::from_der(&der));
        out.extend_from_slice(signature.as_deref().unwrap_or_default());
        signature.is_some()
    }

    /// Bytes of a signature, once it is decoded.
    pub(crate) fn length(self) -> usize {
        match self {
            Self::HmacSha1 => 20,
            Self::HmacSha256 | Self::Token => 32,
            Self::HmacSha512 | Self::Ed25519 | Self::EcdsaDer | Self::EcdsaFixed => 64,
        }
    }

    /// How many well-formed signatures of one request are looked at. A MAC is computed once a secret and
    /// compared with each; a public-key signature costs 0.3 to 0.7 ms, and with Ed25519 means hashing the body once more.
    pub(crate) fn max_candidates(self) -> usize {
        match self {
            Self::Ed25519 | Self::EcdsaDer | Self::EcdsaFixed => 4,
            _ => 64,
        }
    }
}

/// A secret, ready for use.
#[derive(Clone)]
pub(crate) enum Key {
    Sha1(Box<Hmac<Sha1>>),
    Sha256(Box<Hmac<Sha256>>),
    Sha512(Box<Hmac<Sha512>>),
    /// SHA-256 of the token: equal lengths, so that nothing about the token's length shows.
    Token([u8; 32]),
    Ed25519(ed25519::PublicKey),
    Ecdsa(Rc<ecdsa::PublicKey>),
}

/// Says nothing: it is a secret.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

impl Key {
    /// Takes the bytes of a secret (or of a public key).
    ///
    /// # Errors
    /// What is wrong with it, without showing it.
    pub(crate) fn new(algorithm: Algorithm, secret: &[u8]) -> Result<Self, &'static str> {
        fn keyed<D: EagerHash>(secret: &[u8]) -> Result<Box<Hmac<D>>, &'static str> {
            // HMAC takes keys of any length, so this never fails.
            Hmac::<D>::new_from_slice(secret)
                .map(Box::new)
                .map_err(|_| "cannot be used as a key")
        }
        match algorithm {
            Algorithm::HmacSha1 => keyed(secret).map(Self::Sha1),
            Algorithm::HmacSha256 => keyed(secret).map(Self::Sha256),
            Algorithm::HmacSha512 => keyed(secret).map(Self::Sha512),
            Algorithm::Token => Ok(Self::Token(Sha256::digest(secret).into())),
            Algorithm::Ed25519 => ed25519::PublicKey::new(secret).map(Self::Ed25519),
            Algorithm::EcdsaDer | Algorithm::EcdsaFixed => {
                ecdsa::PublicKey::new(secret).map(Rc::new).map(Self::Ecdsa)
            }
        }
    }

    /// Begins a verification against these candidates (concatenated, [`Algorithm::length`] each).
    pub(crate) fn start(&self, candidates: &[u8]) -> Running {
        match self {
            Self::Sha1(mac) => Running::Sha1(mac.clone()),
            Self::Sha256(mac) => Running::Sha256(mac.clone()),
            Self::Sha512(mac) => Running::Sha512(mac.clone()),
            Self::Token(digest) => Running::Token(*digest),
            Self::Ed25519(key) => Running::Ed25519(key.start(candidates)),
            Self::Ecdsa(key) => Running::Ecdsa(Sha256::new(), Rc::clone(key)),
        }
    }
}

/// A verification under way with one secret.
pub(crate) enum Running {
    Sha1(Box<Hmac<Sha1>>),
    Sha256(Box<Hmac<Sha256>>),
    Sha512(Box<Hmac<Sha512>>),
    Token([u8; 32]),
    Ed25519(ed25519::Verifiers),
    Ecdsa(Sha256, Rc<ecdsa::PublicKey>),
}

impl Running {
    /// More of what is signed.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha1(mac) => mac.update(bytes),
            Self::Sha256(mac) => mac.update(bytes),
            Self::Sha512(mac) => mac.update(bytes),
            Self::Token(_) => {}
            Self::Ed25519(verifiers) => verifiers.update(bytes),
            Self::Ecdsa(hash, _) => hash.update(bytes),
        }
    }

    /// Whether any candidate is right; all are compared, whatever the first one says. With it comes what stands for the
    /// signed bytes alone: the MAC or hash of them (nothing for a token and for Ed25519).
    pub(crate) fn matches(self, candidates: &[u8]) -> (Choice, Vec<u8>) {
        let compared = |tag: &[u8]| (any_equal(tag, candidates), tag.to_vec());
        match self {
            Self::Sha1(mac) => compared(&finish(*mac)),
            Self::Sha256(mac) => compared(&finish(*mac)),
            Self::Sha512(mac) => compared(&finish(*mac)),
            Self::Token(digest) => (any_equal(&digest, candidates), Vec::new()),
            Self::Ed25519(verifiers) => (verifiers.matches(), Vec::new()),
            Self::Ecdsa(hash, key) => {
                let digest = hash.finalize();
                // Public data only, so time may depend on it.
                let good = key.verify_any(&digest, candidates);
                (Choice::from(u8::from(good)), digest.to_vec())
            }
        }
    }

    /// The signature, for those who sign. `None` where a secret does not suffice to make one.
    pub(crate) fn tag(self) -> Option<Vec<u8>> {
        match self {
            Self::Sha1(_) | Self::Sha256(_) | Self::Sha512(_) => Some(self.matches(&[]).1),
            Self::Token(_) | Self::Ed25519(_) | Self::Ecdsa(..) => None,
        }
    }
}

fn finish<D: EagerHash>(mac: Hmac<D>) -> Output<Hmac<D>> {
    mac.finalize().into_bytes()
}

fn any_equal(tag: &[u8], candidates: &[u8]) -> Choice {
    let mut found = Choice::from(0);
    if !tag.is_empty() {
        for candidate in candidates.chunks_exact(tag.len()) {
            found |= tag.ct_eq(candidate);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::encode_hex;

    fn tag(algorithm: Algorithm, secret: &[u8], pieces: &[&[u8]]) -> String {
        let mut running = Key::new(algorithm, secret).unwrap().start(&[]);
        for piece in pieces {
            running.update(piece);
        }
        encode_hex(&running.tag().unwrap())
    }

    /// RFC 2202 and RFC 4231, test case 2.
    #[test]
    fn hmac_test_vectors() {
        let data: &[&[u8]] = &[b"what do ya want ", b"", b"for nothing?"];
        assert_eq!(
            tag(Algorithm::HmacSha1, b"Jefe", data),
            "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"
        );
        assert_eq!(
            tag(Algorithm::HmacSha256, b"Jefe", data),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(
            tag(Algorithm::HmacSha512, b"Jefe", data),
            "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737"
        );
    }

    #[test]
    fn any_candidate_may_be_right_and_a_part_of_one_is_not() {
        let start = || {
            let mut running = Key::new(Algorithm::HmacSha1, b"k").unwrap().start(&[]);
            running.update(b"x");
            running
        };
        let right = start().tag().unwrap();
        let is = |candidates: &[u8]| bool::from(start().matches(candidates).0);
        assert!(is(&right));
        assert!(is(&[vec![0; 20], right.clone(), vec![0; 20]].concat()));
        assert!(!is(&[]));
        assert!(!is(&[0; 40]));
        assert!(!is(&right[..19]));
    }
}
