//! The smallest pieces of JSON (RFC 8259), for scanners that read a document as it arrives, in pieces cut anywhere:
//! numbers, the escapes of strings, and UTF-16 in them. What a scanner keeps of a document is its own affair.

/// Where in `-12.5e+3` the last byte was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// At the minus.
    Minus,
    /// At a leading zero: no more digits before the point.
    Zero,
    /// In the digits before the point.
    Whole,
    /// At the point.
    Point,
    /// In the digits behind it.
    Fraction,
    /// At the `e`.
    E,
    /// At the exponent's sign.
    Sign,
    /// In its digits.
    Exponent,
}

impl Number {
    /// After the first byte, which is `-` or a digit.
    #[must_use]
    pub fn start(byte: u8) -> Self {
        match byte {
            b'-' => Self::Minus,
            b'0' => Self::Zero,
            _ => Self::Whole,
        }
    }

    /// After one more byte; `None`: the byte is not of this number.
    #[must_use]
    pub fn next(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::Minus, b'0') => Self::Zero,
            (Self::Minus, b'1'..=b'9') | (Self::Whole, b'0'..=b'9') => Self::Whole,
            (Self::Zero | Self::Whole, b'.') => Self::Point,
            (Self::Point | Self::Fraction, b'0'..=b'9') => Self::Fraction,
            (Self::Zero | Self::Whole | Self::Fraction, b'e' | b'E') => Self::E,
            (Self::E, b'+' | b'-') => Self::Sign,
            (Self::E | Self::Sign | Self::Exponent, b'0'..=b'9') => Self::Exponent,
            _ => return None,
        })
    }

    /// Whether what was read is a whole number.
    #[must_use]
    pub fn may_end(self) -> bool {
        !matches!(self, Self::Minus | Self::Point | Self::E | Self::Sign)
    }
}

/// The start of the bytes up to a quote, a backslash or a control character.
#[must_use]
pub fn plain_text(bytes: &[u8]) -> &[u8] {
    let special = |b: &u8| *b == b'"' || *b == b'\\' || *b < 0x20;
    let length = bytes.iter().position(special).unwrap_or(bytes.len());
    bytes.get(..length).unwrap_or_default()
}

/// Where in an escape sequence of a string the last byte was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escape {
    /// In none.
    No,
    /// At the backslash.
    Backslash,
    /// In the digits of `\u00e9`.
    Hex {
        /// So many digits are still to come.
        left: u8,
        /// What the digits so far say.
        code: u16,
    },
}

/// What one byte of a string means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InText {
    /// An escape sequence begins or goes on.
    Within(Escape),
    /// An escape sequence ends and stands for this (ASCII) character.
    Char(u8),
    /// One ends and stands for this code unit of UTF-16: see [`Utf16`].
    Unit(u16),
    /// The string ends.
    End,
    /// This is no JSON: an unknown escape, or a control character as it is.
    Invalid,
}

impl Escape {
    /// One more byte of a string; outside of an escape sequence one that [`plain_text`] stops at.
    #[must_use]
    pub fn next(self, byte: u8) -> InText {
        match (self, byte) {
            (Self::No, b'"') => InText::End,
            (Self::No, b'\\') => InText::Within(Self::Backslash),
            (Self::No, _) => InText::Invalid,
            (Self::Backslash, b'u') => InText::Within(Self::Hex { left: 4, code: 0 }),
            (Self::Backslash, b'"' | b'\\' | b'/') => InText::Char(byte),
            (Self::Backslash, b'b') => InText::Char(8),
            (Self::Backslash, b'f') => InText::Char(12),
            (Self::Backslash, b'n') => InText::Char(b'\n'),
            (Self::Backslash, b'r') => InText::Char(b'\r'),
            (Self::Backslash, b't') => InText::Char(b'\t'),
            (Self::Backslash, _) => InText::Invalid,
            (Self::Hex { left, code }, _) => {
                let digit = char::from(byte).to_digit(16);
                let Some(digit) = digit.and_then(|d| u16::try_from(d).ok()) else {
                    return InText::Invalid;
                };
                let code = code.wrapping_shl(4) | digit;
                match left.saturating_sub(1) {
                    0 => InText::Unit(code),
                    left => InText::Within(Self::Hex { left, code }),
                }
            }
        }
    }
}

/// Pairs the code units of `\ud83d\ude00`. Half a pair alone is no character: it becomes U+FFFD.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Utf16 {
    /// The first half of a pair, or 0.
    high: u16,
}

impl Utf16 {
    /// The characters that are known with one more unit: none after the first half of a pair, two if that half
    /// turns out to be alone.
    pub fn unit(&mut self, unit: u16) -> impl Iterator<Item = char> + use<> {
        let high = std::mem::take(&mut self.high);
        let waits = high == 0 && (0xd800..0xdc00).contains(&unit);
        if waits {
            self.high = unit;
        }
        let known = [high, unit].into_iter();
        let units = known.skip(if waits { 2 } else { usize::from(high == 0) });
        char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    /// Something else follows than a unit: whether a first half is left alone.
    pub fn is_broken_off(&mut self) -> bool {
        std::mem::take(&mut self.high) != 0
    }
}
