//! Strings: escapes decoded, the beginning kept, characters counted.

use super::table::ELSEWHERE;
use super::{Event, MAX_TEXT, Scalar, Scanner, State, Text};
use tollgate_core::json::{Escape, InText, Utf16};

impl Scanner {
    /// One byte of a string that is not plain text.
    pub(super) fn text(
        &mut self,
        byte: u8,
        is_key: bool,
        escape: Escape,
        found: &mut impl FnMut(Event<'_>, u64),
    ) {
        let escape = match escape.next(byte) {
            InText::Within(escape) => escape,
            InText::Char(char) => {
                self.keep(&[char]);
                Escape::No
            }
            InText::Unit(unit) => {
                for char in self.utf16.unit(unit) {
                    self.keep(char.encode_utf8(&mut [0; 4]).as_bytes());
                }
                Escape::No
            }
            InText::End => return self.end_text(is_key, found),
            InText::Invalid => {
                self.state = State::Failed;
                return;
            }
        };
        self.state = State::Text { is_key, escape };
    }

    fn end_text(&mut self, is_key: bool, found: &mut impl FnMut(Event<'_>, u64)) {
        self.end_pair();
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
        self.utf16 = Utf16::default();
    }

    pub(super) fn keep(&mut self, bytes: &[u8]) {
        self.end_pair();
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

    /// Half a pair alone is no character.
    fn end_pair(&mut self) {
        if self.utf16.is_broken_off() {
            self.keep("\u{fffd}".as_bytes());
        }
    }
}
