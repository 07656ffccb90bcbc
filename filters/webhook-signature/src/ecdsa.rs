//! ECDSA over P-256 with SHA-256 (FIPS 186-5). Signatures are malleable (`r, n-s` verifies, too, and senders use both),
//! so nothing may be remembered by them. A build without the Cargo feature knows no such key.

#[cfg(not(feature = "ecdsa"))]
pub(crate) use off::PublicKey;
#[cfg(feature = "ecdsa")]
pub(crate) use on::PublicKey;

/// `r` and `s`, 32 bytes each, out of their DER form (RFC 3279, 2.2.3), strictly read: one signature, one spelling.
pub(crate) fn from_der(der: &[u8]) -> Option<Vec<u8>> {
    let (&length, content) = der.strip_prefix(&[0x30])?.split_first()?;
    if usize::from(length) != content.len() {
        return None;
    }
    let mut out = Vec::with_capacity(64);
    let rest = integer(content, &mut out)?;
    integer(rest, &mut out)?.is_empty().then_some(out)
}

/// Appends a positive INTEGER of at most 32 bytes, padded to that; returns what comes after it.
fn integer<'d>(der: &'d [u8], out: &mut Vec<u8>) -> Option<&'d [u8]> {
    let (&length, rest) = der.strip_prefix(&[0x02])?.split_first()?;
    let (bytes, rest) = rest.split_at_checked(usize::from(length))?;
    let bytes = match bytes {
        // A zero in front only where the number would else be negative.
        [0, next, ..] if *next >= 0x80 => bytes.get(1..)?,
        [1..=0x7f, ..] => bytes,
        _ => return None,
    };
    let padding = 32_usize.checked_sub(bytes.len())?;
    out.extend(std::iter::repeat_n(0, padding));
    out.extend_from_slice(bytes);
    Some(rest)
}

#[cfg(feature = "ecdsa")]
mod on {
    use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
    use p256::ecdsa::{Signature, VerifyingKey};

    /// What stands before the 65 bytes of a point in a SubjectPublicKeyInfo (RFC 5480).
    const SPKI: &[u8] = &[
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08,
        0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
    ];

    #[derive(Clone)]
    pub(crate) struct PublicKey(Box<VerifyingKey>);

    impl PublicKey {
        /// Takes a SubjectPublicKeyInfo, or a point as in SEC 1, compressed or not.
        pub(crate) fn new(bytes: &[u8]) -> Result<Self, &'static str> {
            VerifyingKey::from_sec1_bytes(bytes.strip_prefix(SPKI).unwrap_or(bytes))
                .map(|key| Self(Box::new(key)))
                .map_err(|_| {
                    "must be a P-256 public key: a SubjectPublicKeyInfo (91 bytes) or a point (65 or 33 bytes)"
                })
        }

        /// Whether one of the signatures (`r` and `s`, 32 bytes each) is of this digest.
        pub(crate) fn verify_any(&self, digest: &[u8], signatures: &[u8]) -> bool {
            signatures.chunks_exact(64).any(|bytes| {
                Signature::from_slice(bytes)
                    .is_ok_and(|signature| self.0.verify_prehash(digest, &signature).is_ok())
            })
        }
    }
}

#[cfg(not(feature = "ecdsa"))]
mod off {
    #[derive(Clone)]
    pub(crate) struct PublicKey(());

    impl PublicKey {
        pub(crate) fn new(_: &[u8]) -> Result<Self, &'static str> {
            Err("ECDSA is not part of this build")
        }

        pub(crate) fn verify_any(&self, _: &[u8], _: &[u8]) -> bool {
            false
        }
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn der(parts: &[&[u8]]) -> Vec<u8> {
        let content: Vec<u8> = parts
            .iter()
            .flat_map(|p| [&[0x02, p.len() as u8][..], p].concat())
            .collect();
        [&[0x30, content.len() as u8][..], &content].concat()
    }

    #[test]
    fn one_signature_has_one_spelling() {
        let mut expected = vec![0; 64];
        expected[31] = 1;
        expected[63] = 0x80;
        assert_eq!(from_der(&der(&[&[1], &[0, 0x80]])), Some(expected));
        let long = [0x7f; 32];
        assert_eq!(from_der(&der(&[&long, &long])), Some(vec![0x7f; 64]));
        for bad in [
            der(&[&[0], &[1]]),
            der(&[&[], &[1]]),
            der(&[&[0, 1], &[1]]),
            der(&[&[0x80], &[1]]),
            der(&[&[1]]),
            der(&[&[1], &[1], &[1]]),
            der(&[&[1; 33], &[1]]),
            [der(&[&[1], &[1]]), vec![0]].concat(),
            vec![0x30, 0x81, 0x06, 0x02, 0x01, 0x01, 0x02, 0x01, 0x01],
            vec![0x30, 0x80],
            vec![0x30],
            vec![],
        ] {
            assert_eq!(from_der(&bad), None, "{bad:02x?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Some(fixed) = from_der(&bytes) {
                prop_assert_eq!(fixed.len(), 64);
            }
        }
    }
}
