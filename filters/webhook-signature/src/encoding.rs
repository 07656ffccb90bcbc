//! How signatures are written: strict decoders that know how long the answer must be.
//!
//! One signature has one spelling (hex in either case excepted): lenient decoders accept several, which
//! hides misconfiguration and would let a replay look new.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose};
use sha2::{Digest as _, Sha256};

/// Base64 whose padding may be left out, for secrets and for the URL-safe alphabet, where both are common.
pub(crate) const STANDARD_ANY_PADDING: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
const URL_SAFE_ANY_PADDING: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How the bytes of a signature are written in a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// Hexadecimal, either case.
    Hex,
    /// RFC 4648 section 4, padded, canonical.
    Base64,
    /// RFC 4648 section 5, canonical, with or without padding.
    Base64Url,
    /// The text is the credential itself; what is compared is its SHA-256.
    Token,
}

/// The words of the configuration.
pub(crate) const ENCODINGS: &[(&str, Encoding)] = &[
    ("hex", Encoding::Hex),
    ("base64", Encoding::Base64),
    ("base64url", Encoding::Base64Url),
    ("token", Encoding::Token),
];

impl Encoding {
    /// Appends exactly `length` bytes to `out`, or nothing and returns `false`.
    pub(crate) fn decode(self, text: &[u8], length: usize, out: &mut Vec<u8>) -> bool {
        let decoded = match self {
            Self::Hex => decode_hex(text),
            // The length of the text is checked first, so that a long header costs nothing to refuse.
            Self::Base64 if text.len() == padded(length) => {
                general_purpose::STANDARD.decode(text).ok()
            }
            Self::Base64Url if text.len() <= padded(length) => {
                URL_SAFE_ANY_PADDING.decode(text).ok()
            }
            Self::Token if !text.is_empty() => Some(Sha256::digest(text).to_vec()),
            Self::Base64 | Self::Base64Url | Self::Token => None,
        };
        match decoded {
            Some(bytes) if bytes.len() == length => {
                out.extend_from_slice(&bytes);
                true
            }
            _ => false,
        }
    }

    /// At most `longest` bytes, for what has no fixed length.
    pub(crate) fn decode_up_to(self, text: &[u8], longest: usize) -> Option<Vec<u8>> {
        let fits = match self {
            Self::Hex => text.len() <= longest.saturating_mul(2),
            _ => text.len() <= padded(longest),
        };
        match self {
            Self::Hex if fits => decode_hex(text),
            Self::Base64 if fits => general_purpose::STANDARD.decode(text).ok(),
            Self::Base64Url if fits => URL_SAFE_ANY_PADDING.decode(text).ok(),
            _ => None,
        }
    }

    /// Writes bytes in this encoding. A token is not derived from bytes, so there is none.
    pub(crate) fn encode(self, bytes: &[u8]) -> Option<String> {
        match self {
            Self::Hex => Some(encode_hex(bytes)),
            Self::Base64 => Some(general_purpose::STANDARD.encode(bytes)),
            Self::Base64Url => Some(general_purpose::URL_SAFE_NO_PAD.encode(bytes)),
            Self::Token => None,
        }
    }
}

/// Two hexadecimal digits a byte, either case, nothing else.
pub(crate) fn decode_hex(text: &[u8]) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    let digit = |b: &u8| {
        char::from(*b)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    text.chunks_exact(2)
        .map(|pair| {
            let high = pair.first().and_then(digit)?;
            let low = pair.last().and_then(digit)?;
            Some((high << 4) | low)
        })
        .collect()
}

/// Lower-case hexadecimal.
pub(crate) fn encode_hex(bytes: &[u8]) -> String {
    let digit = |d: u8| char::from_digit(u32::from(d), 16).unwrap_or('0');
    bytes
        .iter()
        .flat_map(|b| [digit(b >> 4), digit(b & 15)])
        .collect()
}

/// Length of padded base64.
const fn padded(length: usize) -> usize {
    length.div_ceil(3).saturating_mul(4)
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(encoding: Encoding, text: &str, length: usize) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        encoding
            .decode(text.as_bytes(), length, &mut out)
            .then_some(out)
    }

    #[test]
    fn hex_takes_either_case_and_no_other_length() {
        assert_eq!(decode(Encoding::Hex, "00fFa0", 3), Some(vec![0, 255, 160]));
        for bad in [
            "", "00fFa", "00fF", "00fFa0a0", "00fFg0", " 00fFa", "+0fFa0", "0x00fF",
        ] {
            assert_eq!(decode(Encoding::Hex, bad, 3), None, "{bad:?}");
        }
    }

    #[test]
    fn base64_is_padded_and_canonical() {
        assert_eq!(decode(Encoding::Base64, "+/8=", 2), Some(vec![251, 255]));
        // No padding, non-zero trailing bits, the other alphabet, white space, another length.
        for bad in ["+/8", "+/9=", "-_8=", "+/8= ", " +/8", "+/8A", "", "===="] {
            assert_eq!(decode(Encoding::Base64, bad, 2), None, "{bad:?}");
        }
    }

    #[test]
    fn base64url_may_leave_out_padding() {
        assert_eq!(decode(Encoding::Base64Url, "-_8=", 2), Some(vec![251, 255]));
        assert_eq!(decode(Encoding::Base64Url, "-_8", 2), Some(vec![251, 255]));
        for bad in ["+/8=", "-_9", "-_8==", ""] {
            assert_eq!(decode(Encoding::Base64Url, bad, 2), None, "{bad:?}");
        }
    }

    #[test]
    fn an_empty_token_is_none() {
        assert_eq!(decode(Encoding::Token, "", 32), None);
        assert_eq!(
            decode(Encoding::Token, "a", 32),
            Some(Sha256::digest(b"a").to_vec())
        );
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(bytes in proptest::collection::vec(any::<u8>(), 1..80)) {
            for encoding in [Encoding::Hex, Encoding::Base64, Encoding::Base64Url] {
                let text = encoding.encode(&bytes).unwrap();
                prop_assert_eq!(decode(encoding, &text, bytes.len()), Some(bytes.clone()));
                prop_assert_eq!(decode(encoding, &text, bytes.len() + 1), None);
            }
        }

        #[test]
        fn a_base64_text_that_decodes_is_the_one_that_encodes(text in "[A-Za-z0-9+/=]{4}") {
            if let Some(bytes) = decode(Encoding::Base64, &text, 2) {
                prop_assert_eq!(Encoding::Base64.encode(&bytes), Some(text));
            }
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(text: Vec<u8>, length in 0_usize..80) {
            for (_, encoding) in ENCODINGS {
                let mut out = vec![7];
                let good = encoding.decode(&text, length, &mut out);
                prop_assert_eq!(out.len(), if good { length + 1 } else { 1 });
            }
        }
    }
}
