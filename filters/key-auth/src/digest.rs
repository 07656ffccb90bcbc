//! SHA-256 of a key: the only form in which a key is kept.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_PAD_INDIFFERENT, URL_SAFE_PAD_INDIFFERENT};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

/// SHA-256 of a key. Not `PartialEq`: comparing takes the same time wherever the difference is.
#[derive(Clone, Copy)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Of a key as it was sent.
    #[must_use]
    pub fn of(key: &[u8]) -> Self {
        Self(Sha256::digest(key).into())
    }

    /// Takes 32 bytes that are a digest already.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads 64 hex digits in any case, or base64 of 32 bytes (standard or URL-safe, padded or not);
    /// `sha256:` may stand in front.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix("sha256:").unwrap_or(text);
        if text.len() == 64 {
            return hex(text.as_bytes()).map(Self);
        }
        let bytes = STANDARD_PAD_INDIFFERENT
            .decode(text)
            .or_else(|_| URL_SAFE_PAD_INDIFFERENT.decode(text))
            .ok()?;
        bytes.try_into().ok().map(Self)
    }

    /// Compares in constant time.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        // Words instead of bytes: the barriers of `subtle` against clever compilers cost a call each in WebAssembly.
        let words = |digest: &Self| {
            let (chunks, _) = digest.0.as_chunks::<8>();
            [0, 1, 2, 3].map(|i: usize| chunks.get(i).map_or(0, |c| u64::from_le_bytes(*c)))
        };
        words(self).ct_eq(&words(other)).into()
    }

    pub(crate) const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

fn hex(text: &[u8]) -> Option<[u8; 32]> {
    let mut bytes = [0_u8; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let mut value = 0_u32;
        for digit in pair {
            value = (value << 4) | char::from(*digit).to_digit(16)?;
        }
        *byte = u8::try_from(value).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// FIPS 180-2, appendix B.1: SHA-256 of "abc".
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn reads_every_spelling_of_a_digest() {
        for text in [
            ABC.to_owned(),
            ABC.to_uppercase(),
            ["sha256:", ABC].concat(),
            "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=".to_owned(),
            "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0".to_owned(),
            "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0".to_owned(),
        ] {
            let digest = Digest::parse(&text);
            assert!(digest.is_some_and(|d| d.is(&Digest::of(b"abc"))), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_digest() {
        for text in [
            "",
            "abc",
            "ps_live_0123456789abcdef0123456789abcdef",
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015a",
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ag",
            "+a7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0AAAA=",
        ] {
            assert!(Digest::parse(text).is_none(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_digest_reads_back_from_hex_and_base64(bytes: [u8; 32]) {
            let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
            let base64 = base64::engine::general_purpose::STANDARD.encode(bytes);
            for text in [hex, base64] {
                prop_assert!(Digest::parse(&text).is_some_and(|d| d.is(&Digest::from_bytes(bytes))));
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,80}") {
            let _ = Digest::parse(&text);
        }
    }
}
