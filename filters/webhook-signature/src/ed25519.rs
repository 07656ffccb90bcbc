//! Ed25519, strictly: small-order keys and signature points are refused, since with them one signature
//! fits every message. A build without the Cargo feature knows no such key.

use subtle::Choice;

#[cfg(not(feature = "ed25519"))]
pub(crate) use off::{PublicKey, Verifiers};
#[cfg(feature = "ed25519")]
pub(crate) use on::{PublicKey, Verifiers};

#[cfg(feature = "ed25519")]
mod on {
    use super::Choice;

    use ed25519_dalek::{Signature, StreamVerifier, VerifyingKey};

    /// What stands before the 32 bytes of the key in a SubjectPublicKeyInfo (RFC 8410).
    const SPKI: &[u8] = &[
        0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
    ];

    #[derive(Clone)]
    pub(crate) struct PublicKey(Box<VerifyingKey>);

    impl PublicKey {
        pub(crate) fn new(bytes: &[u8]) -> Result<Self, &'static str> {
            let bytes: &[u8; 32] = bytes
                .strip_prefix(SPKI)
                .unwrap_or(bytes)
                .try_into()
                .map_err(
                    |_| "must be an Ed25519 public key: 32 bytes, or a SubjectPublicKeyInfo of 44",
                )?;
            VerifyingKey::from_bytes(bytes)
                .ok()
                .filter(|key| !key.is_weak())
                .map(|key| Self(Box::new(key)))
                .ok_or(
                    "is not a usable Ed25519 public key: with a weak one any signature would pass",
                )
        }

        pub(crate) fn start(&self, candidates: &[u8]) -> Verifiers {
            Verifiers(
                candidates
                    .chunks_exact(64)
                    .filter_map(|bytes| self.verifier(bytes))
                    .collect(),
            )
        }

        /// What `VerifyingKey::verify_strict` checks besides the equation: S is canonical (`verify_stream`
        /// does that) and neither point is of small order (the key was checked at load).
        fn verifier(&self, bytes: &[u8]) -> Option<StreamVerifier> {
            let signature = Signature::from_slice(bytes).ok()?;
            let r = VerifyingKey::from_bytes(signature.r_bytes()).ok()?;
            if r.is_weak() {
                return None;
            }
            self.0.verify_stream(&signature).ok()
        }
    }

    pub(crate) struct Verifiers(Vec<StreamVerifier>);

    impl Verifiers {
        pub(crate) fn update(&mut self, bytes: &[u8]) {
            for verifier in &mut self.0 {
                verifier.update(bytes);
            }
        }

        pub(crate) fn matches(self) -> Choice {
            // Public data only, so time may depend on it.
            let good = self
                .0
                .into_iter()
                .any(|verifier| verifier.finalize_and_verify().is_ok());
            Choice::from(u8::from(good))
        }
    }
}

#[cfg(not(feature = "ed25519"))]
mod off {
    use super::Choice;

    #[derive(Clone)]
    pub(crate) struct PublicKey(());

    impl PublicKey {
        pub(crate) fn new(_: &[u8]) -> Result<Self, &'static str> {
            Err("Ed25519 is not part of this build")
        }

        pub(crate) fn start(&self, _: &[u8]) -> Verifiers {
            Verifiers(())
        }
    }

    pub(crate) struct Verifiers(());

    impl Verifiers {
        pub(crate) fn update(&mut self, _: &[u8]) {}

        pub(crate) fn matches(self) -> Choice {
            Choice::from(0)
        }
    }
}
