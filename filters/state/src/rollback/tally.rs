//! What became of the requests of one variant.

use super::bytes::{Take, put};
use super::latency::{BUCKETS, Latency};

/// Counts of one variant, in one slot or in several together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests that were answered, or failed.
    pub requests: u64,
    /// Those that failed.
    pub errors: u64,
    /// Those that led to what was hoped for.
    pub conversions: u64,
    /// Time to the answer's headers, of those that have been answered.
    pub latency: Latency,
}

impl Tally {
    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requests == 0 && self.errors == 0 && self.conversions == 0 && self.latency.total() == 0
    }

    /// Adds another one's counts.
    pub fn merge(&mut self, other: &Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.errors = self.errors.saturating_add(other.errors);
        self.conversions = self.conversions.saturating_add(other.conversions);
        self.latency.merge(&other.latency);
    }

    /// Forgets everything, but keeps the memory.
    pub fn clear(&mut self) {
        self.requests = 0;
        self.errors = 0;
        self.conversions = 0;
        self.latency.clear();
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let filled = u64::try_from(self.latency.filled().count()).unwrap_or(0);
        for number in [
            self.requests,
            self.errors,
            self.conversions,
            self.latency.sum(),
            filled,
        ] {
            put(out, number);
        }
        let mut before = 0;
        for (bucket, count) in self.latency.filled() {
            put(
                out,
                u64::try_from(bucket.saturating_sub(before)).unwrap_or(0),
            );
            put(out, u64::from(count));
            before = bucket;
        }
    }

    pub(super) fn read(from: &mut Take<'_>) -> Option<Self> {
        let mut this = Self {
            requests: from.number()?,
            errors: from.number()?,
            conversions: from.number()?,
            latency: Latency::default(),
        };
        let sum = from.number()?;
        let filled = usize::try_from(from.number()?).ok()?;
        if filled > BUCKETS {
            return None;
        }
        let mut bucket = 0_usize;
        for _ in 0..filled {
            let gap = usize::try_from(from.number()?).ok()?;
            bucket = bucket.checked_add(gap).filter(|b| *b < BUCKETS)?;
            let count = u32::try_from(from.number()?).ok()?;
            this.latency.add_many(bucket, count);
        }
        this.latency.set_sum(sum);
        Some(this)
    }
}
