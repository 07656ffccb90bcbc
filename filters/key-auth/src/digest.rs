//! SHA-256 of a key: the only form in which a key is kept.

use base64::Engine;
use base64::engine::general_purpose::{
    STANDARD_NO_PAD, STANDARD_PAD_INDIFFERENT, URL_SAFE_PAD_INDIFFERENT,
};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;
use tollgate_state::sha256;

/// SHA-256 of a key. Not `PartialEq`: comparing takes the same time wherever the difference is.
#[derive(Clone, Copy)]
pub struct Digest([u8; 32]);

/// A digest in a list: each lies within one cache line, so that comparing one costs what comparing another does.
#[derive(Clone, Copy)]
#[repr(align(32))]
pub(crate) struct Listed(pub(crate) Digest);

impl Digest {
    /// Of a key as it was sent.
    #[must_use]
    pub fn of(key: &[u8]) -> Self {
        Self(sha256::finish(&Sha256::new(), key))
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
        // Room for what 44 characters can hold; a longer text fails.
        let mut bytes = [0_u8; 33];
        let len = STANDARD_PAD_INDIFFERENT
            .decode_slice(text, &mut bytes)
            .or_else(|_| URL_SAFE_PAD_INDIFFERENT.decode_slice(text, &mut bytes))
            .ok()?;
        let bytes = bytes.get(..len)?;
        bytes.try_into().ok().map(Self)
    }

    /// What a shell hands to sha256sum when the variable with the key is not set.
    pub(crate) fn is_of_nothing(&self) -> bool {
        self.is(&EMPTY) || self.is(&LINE_BREAK)
    }

    /// Compares in constant time.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        // All bits that differ first, and only then the question whether there are any: the barriers of `subtle` against
        // clever compilers are code in WebAssembly.
        let (a, b) = (self.words(), other.words());
        let differs = (a.0 ^ b.0) | (a.1 ^ b.1) | (a.2 ^ b.2) | (a.3 ^ b.3);
        differs.ct_eq(&0).into()
    }

    /// The 32 bytes as four numbers.
    pub(crate) fn words(&self) -> (u64, u64, u64, u64) {
        let (chunks, _) = self.0.as_chunks::<8>();
        let word = |i: usize| chunks.get(i).map_or(0, |c| u64::from_le_bytes(*c));
        (word(0), word(1), word(2), word(3))
    }

    /// Base64 without padding: the shortest form that [`Digest::parse`] reads.
    #[must_use]
    pub fn base64(&self) -> String {
        STANDARD_NO_PAD.encode(self.0)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// SHA-256 of no bytes (FIPS 180-4 test vector).
const EMPTY: Digest = Digest([
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
    0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
]);
/// SHA-256 of a line break.
const LINE_BREAK: Digest = Digest([
    0x01, 0xba, 0x47, 0x19, 0xc8, 0x0b, 0x6f, 0xe9, 0x11, 0xb0, 0x91, 0xa7, 0xc0, 0x51, 0x24, 0xb6,
    0x4e, 0xee, 0xce, 0x96, 0x4e, 0x09, 0xc0, 0x58, 0xef, 0x8f, 0x98, 0x05, 0xda, 0xca, 0x54, 0x6b,
]);

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
    fn knows_the_digests_of_nothing() {
        assert!(Digest::of(b"").is_of_nothing());
        assert!(Digest::of(b"\n").is_of_nothing());
        assert!(!Digest::of(b"abc").is_of_nothing());
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
            let shortest = Digest::from_bytes(bytes).base64();
            for text in [hex, base64, shortest] {
                prop_assert!(Digest::parse(&text).is_some_and(|d| d.is(&Digest::from_bytes(bytes))));
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,80}") {
            let _ = Digest::parse(&text);
        }
    }
}
