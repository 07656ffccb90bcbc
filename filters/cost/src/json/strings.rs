//! Strings: escapes decoded, the beginning kept, characters counted.

use super::lexis::{Escape, unescaped};
use super::table::ELSEWHERE;
use super::{Event, MAX_TEXT, Scalar, Scanner, State, Text};

impl Scanner {
    /// One byte of a string that is not plain text.
    pub(super) fn text(
        &mut self,
        byte: u8,
        is_key: bool,
        escape: Escape,
        found: &mut impl FnMut(Event<'_>, u64),
    ) {
        let escape = match (escape, byte) {
            (Escape::No, b'"') => return self.end_text(is_key, found),
            (Escape::No, b'\\') => Escape::Backslash,
            (Escape::Backslash, b'u') => Escape::Hex { left: 4, code: 0 },
            (Escape::Backslash, _) => {
                let Some(char) = unescaped(byte) else {
                    self.state = State::Failed;
                    return;
                };
                self.keep(&[char]);
                Escape::No
            }
            (Escape::Hex { left, code }, _) => {
                let digit = char::from(byte).to_digit(16);
                let Some(digit) = digit.and_then(|d| u16::try_from(d).ok()) else {
                    self.state = State::Failed;
                    return;
                };
                let code = code.wrapping_shl(4) | digit;
                if left > 1 {
                    Escape::Hex {
                        left: left.saturating_sub(1),
                        code,
                    }
                } else {
                    self.keep_utf16(code);
                    Escape::No
                }
            }
            // A control character must be escaped.
            (Escape::No, _) => {
                self.state = State::Failed;
                return;
            }
        };
        self.state = State::Text { is_key, escape };
    }

    fn end_text(&mut self, is_key: bool, found: &mut impl FnMut(Event<'_>, u64)) {
        self.flush_high();
        if is_key {
            let of = self.open.last().map_or(ELSEWHERE, |f| f.node);
            self.node = if self.too_long {
                ELSEWHERE
            } else {
                self.table.member(of, &self.kept)
            };
            self.state = State::Colon;
            return;
        }
        let text = Text {
            bytes: &self.kept,
            whole: !self.too_long,
            chars: self.chars,
            blank: self.blank,
        };
        self.tell(Scalar::Text(text), found);
        self.end_value();
    }

    pub(super) fn start_keeping(&mut self, wanted: bool) {
        self.kept.clear();
        self.keeping = wanted;
        self.too_long = false;
        self.chars = 0;
        self.blank = true;
        self.high = 0;
    }

    pub(super) fn keep(&mut self, bytes: &[u8]) {
        self.flush_high();
        if !self.keeping {
            return;
        }
        // Every byte of UTF-8 but those that continue a character.
        let chars = bytes.iter().filter(|b| **b & 0xc0 != 0x80).count();
        self.chars = self
            .chars
            .saturating_add(u64::try_from(chars).unwrap_or(u64::MAX));
        self.blank &= bytes.iter().all(u8::is_ascii_whitespace);
        let room = MAX_TEXT.saturating_sub(self.kept.len());
        match bytes.get(..room.min(bytes.len())) {
            Some(fits) if !self.too_long => {
                self.kept.extend_from_slice(fits);
                self.too_long = fits.len() < bytes.len();
            }
            _ => {}
        }
    }

    fn keep_utf16(&mut self, code: u16) {
        let high = std::mem::take(&mut self.high);
        if high == 0 && (0xd800..0xdc00).contains(&code) {
            self.high = code;
            return;
        }
        let units = [high, code];
        let units = if high == 0 {
            units.get(1..)
        } else {
            units.get(..)
        };
        for char in char::decode_utf16(units.unwrap_or_default().iter().copied()) {
            let char = char.unwrap_or(char::REPLACEMENT_CHARACTER);
            self.keep(char.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }

    /// Half a pair alone is no character.
    fn flush_high(&mut self) {
        if std::mem::take(&mut self.high) != 0 {
            self.keep("\u{fffd}".as_bytes());
        }
    }
}
