//! From a limit and the parts of its key to a place in the table.

use crate::gcra::Bucket;
use crate::seed::Seed;
use siphasher::sip128::{Hasher128, SipHasher24};
use std::hash::Hasher;

/// Where the buckets of one (limit, key) are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub(crate) page: u32,
    pub(crate) tag: u64,
}

/// Makes a [`Place`] out of the parts of a key. Each part is hashed with its length, so `("ab", "c")` and
/// `("a", "bc")` differ.
#[derive(Clone, Debug)]
pub struct Key(SipHasher24);

impl Key {
    /// A key of this proxy.
    #[must_use]
    pub fn new(seed: Seed) -> Self {
        Self(SipHasher24::new_with_key(&seed.0))
    }

    /// The next part; an absent one differs from an empty one.
    pub fn part(&mut self, part: Option<&[u8]>) {
        match part {
            Some(bytes) => {
                self.number(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
                self.0.write(bytes);
            }
            None => self.number(u64::MAX),
        }
    }

    /// A part that is a number.
    pub fn number(&mut self, number: u64) {
        self.0.write(&number.to_le_bytes());
    }

    /// The figures of buckets: another figure is another bucket.
    pub fn buckets(&mut self, buckets: &[Bucket]) {
        for bucket in buckets {
            self.number(bucket.max_tokens());
            self.number(bucket.tokens_per_fill());
            self.number(bucket.fill_interval());
        }
        self.number(u64::MAX);
    }

    pub(super) fn place(&self, pages: u32) -> Place {
        let hash = self.0.finish128();
        let page = u128::from(hash.h1).wrapping_mul(u128::from(pages)) >> 64;
        Place {
            page: u32::try_from(page).unwrap_or(0),
            tag: hash.h2,
        }
    }
}

/// `b/<number>` without an allocation.
pub(super) struct PageKey {
    text: [u8; 12],
    start: usize,
}

impl PageKey {
    pub(super) fn new(page: u32) -> Self {
        let mut text = [0; 12];
        let mut start = text.len();
        let mut rest = page;
        loop {
            start = start.saturating_sub(1);
            if let Some(digit) = text.get_mut(start) {
                *digit = b'0'.saturating_add(u8::try_from(rest % 10).unwrap_or(0));
            }
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        for c in [b'/', b'b'] {
            start = start.saturating_sub(1);
            if let Some(place) = text.get_mut(start) {
                *place = c;
            }
        }
        Self { text, start }
    }

    pub(super) fn as_str(&self) -> &str {
        let text = self.text.get(self.start..).unwrap_or_default();
        std::str::from_utf8(text).unwrap_or_default()
    }
}
