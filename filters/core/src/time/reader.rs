//! Reads the parts of a timestamp, strictly.

use super::SECOND;

pub(super) struct Reader<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl Reader<'_> {
    pub(super) fn next(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at = self.at.saturating_add(1);
        Some(byte)
    }

    pub(super) fn literal(&mut self, expected: u8) -> Option<()> {
        (self.next()? == expected).then_some(())
    }

    fn digit(&mut self) -> Option<u64> {
        let byte = self.next()?;
        byte.is_ascii_digit()
            .then(|| u64::from(byte.saturating_sub(b'0')))
    }

    pub(super) fn number(&mut self, digits: u32) -> Option<u64> {
        let mut number = 0_u64;
        for _ in 0..digits {
            number = number.checked_mul(10)?.checked_add(self.digit()?)?;
        }
        Some(number)
    }

    /// `.5` to `.123456789`, or nothing; in nanoseconds.
    pub(super) fn fraction(&mut self) -> Option<u64> {
        if self.bytes.get(self.at) != Some(&b'.') {
            return Some(0);
        }
        self.at = self.at.saturating_add(1);
        let mut nanos = 0_u64;
        let mut unit = SECOND;
        let start = self.at;
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            unit = unit.checked_div(10).filter(|u| *u > 0)?;
            nanos = nanos.checked_add(self.digit()?.checked_mul(unit)?)?;
        }
        (self.at > start).then_some(nanos)
    }

    /// `Z` or `+hh:mm`; in seconds.
    pub(super) fn offset(&mut self) -> Option<i64> {
        let sign = match self.next()? {
            b'Z' | b'z' => return Some(0),
            b'+' => 1_i64,
            b'-' => -1,
            _ => return None,
        };
        let hours = self.number(2)?;
        self.literal(b':')?;
        let minutes = self.number(2)?;
        if hours > 23 || minutes > 59 {
            return None;
        }
        let seconds = hours
            .checked_mul(3600)?
            .checked_add(minutes.checked_mul(60)?)?;
        i64::try_from(seconds).ok()?.checked_mul(sign)
    }
}
