//! Lines out of pieces: a line may begin in one piece and end in another.

use super::line::{MAX_LINE, Problem};

/// Puts lines together.
#[derive(Default)]
pub(crate) struct Lines {
    /// What began in a piece before.
    carry: Vec<u8>,
    /// Of the line that comes next, from 0.
    number: u64,
}

impl Lines {
    /// Shows every line that ends in `piece`, without its line break, with its number from 1. With `end` the last line
    /// needs no line break.
    pub(crate) fn feed<E>(
        &mut self,
        piece: &[u8],
        end: bool,
        mut show: impl FnMut(u64, &[u8]) -> Result<(), E>,
        too_long: impl FnOnce(u64, Problem) -> E,
    ) -> Result<(), E> {
        let mut rest = piece;
        while let Some((line, after)) = memchr::memchr(b'\n', rest)
            .and_then(|at| Some((rest.get(..at)?, rest.get(at.checked_add(1)?..)?)))
        {
            rest = after;
            self.number = self.number.saturating_add(1);
            if self.carry.is_empty() {
                show(self.number, without_return(line))?;
            } else {
                self.carry.extend_from_slice(line);
                show(self.number, without_return(&self.carry))?;
                self.carry.clear();
            }
        }
        if self.carry.len().saturating_add(rest.len()) > MAX_LINE {
            return Err(too_long(self.number.saturating_add(1), "is too long"));
        }
        self.carry.extend_from_slice(rest);
        if end && !self.carry.is_empty() {
            self.number = self.number.saturating_add(1);
            let last = std::mem::take(&mut self.carry);
            show(self.number, without_return(&last))?;
        }
        Ok(())
    }
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(text: &[u8], piece: usize) -> Result<Vec<(u64, Vec<u8>)>, u64> {
        let mut all = Vec::new();
        let mut lines = Lines::default();
        let pieces: Vec<&[u8]> = text.chunks(piece).collect();
        for (i, piece) in (1..).zip(&pieces) {
            let show = |number, line: &[u8]| {
                all.push((number, line.to_vec()));
                Ok(())
            };
            lines.feed(piece, i == pieces.len(), show, |number, _| number)?;
        }
        Ok(all)
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let long = [&b"a\n"[..], &[b'x'; 5000]].concat();
        assert_eq!(lines(&long, 1000), Err(2));
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(text in "[ab\\n\\r]{0,60}", piece in 1_usize..20) {
            let expected: Vec<(u64, Vec<u8>)> = (1..)
                .zip(text.lines().map(|l| l.as_bytes().to_vec()))
                .collect();
            // `str::lines` leaves a lone return at the very end; so do we not.
            prop_assume!(!text.ends_with('\r'));
            prop_assert_eq!(lines(text.as_bytes(), piece), Ok(expected));
        }
    }
}
