//! Latencies as counts in log-scaled buckets.
//!
//! Every power of two is cut into 32 equal parts, so that a bucket's ends differ by a factor of 33/32 (1.031) at
//! most, from 32 microseconds up to 134 seconds. Shorter ones have a bucket for each microsecond, longer ones share the last.
//! The layout is that of HDR histograms (<https://hdrhistogram.github.io/HdrHistogram/>) with 5 bits.

/// Parts of a power of two, and where they begin to be wider than a microsecond.
const PARTS: u64 = 32;
const PART_BITS: u32 = 5;

/// The highest power of two that is told apart: 2^26 to 2^27 microseconds.
const HIGHEST: u32 = 26;

/// How many buckets there are.
pub const BUCKETS: usize = 736;

/// The bucket of a latency in microseconds.
#[must_use]
pub fn bucket(micros: u64) -> usize {
    let at = match micros.checked_ilog2() {
        None | Some(0..PART_BITS) => micros,
        Some(power) if power > HIGHEST => u64::MAX,
        Some(power) => {
            let above = power.saturating_sub(PART_BITS);
            // The part is PARTS too high, which is just the number of the buckets below.
            u64::from(above)
                .saturating_mul(PARTS)
                .saturating_add(micros >> above)
        }
    };
    usize::try_from(at).map_or(BUCKETS.saturating_sub(1), |at| {
        at.min(BUCKETS.saturating_sub(1))
    })
}

/// The lowest latency of a bucket, in microseconds. That of the next bucket is its end.
#[must_use]
pub fn lowest(bucket: usize) -> u64 {
    let at = u64::try_from(bucket).unwrap_or(u64::MAX);
    let above = (at / PARTS).saturating_sub(1);
    let part = at.saturating_sub(above.saturating_mul(PARTS));
    u32::try_from(above)
        .ok()
        .and_then(|above| part.checked_shl(above))
        .unwrap_or(u64::MAX)
}

/// How many latencies were seen of which length.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// By bucket; without any until the first one is counted.
    counts: Vec<u32>,
    total: u64,
    /// Microseconds.
    sum: u64,
}

/// A quantile as an end of a bucket, and what lies above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantile {
    /// Microseconds: as few latencies as the quantile allows are longer.
    pub end: u64,
    /// The quantile itself in microseconds, interpolated in its bucket.
    pub about: u64,
}

impl Latency {
    /// Counts one, in microseconds.
    pub fn add(&mut self, micros: u64) {
        self.add_many(bucket(micros), 1);
        self.sum = self.sum.saturating_add(micros);
    }

    pub(super) fn add_many(&mut self, bucket: usize, times: u32) {
        if self.counts.is_empty() {
            self.counts.resize(BUCKETS, 0);
        }
        if let Some(count) = self.counts.get_mut(bucket) {
            let before = *count;
            *count = count.saturating_add(times);
            let added = u64::from(count.saturating_sub(before));
            self.total = self.total.saturating_add(added);
        }
    }

    /// Adds another one's counts.
    pub fn merge(&mut self, other: &Self) {
        for (bucket, count) in other.filled() {
            self.add_many(bucket, count);
        }
        self.sum = self.sum.saturating_add(other.sum);
    }

    /// The buckets that are not empty.
    pub fn filled(&self) -> impl Iterator<Item = (usize, u32)> {
        let all = self.counts.iter().copied().enumerate();
        all.filter(|(_, count)| *count > 0)
    }

    /// How many were counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// All of them together, in microseconds.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.sum
    }

    pub(super) fn set_sum(&mut self, sum: u64) {
        self.sum = sum;
    }

    /// Forgets everything, but keeps the memory.
    pub fn clear(&mut self) {
        self.counts.fill(0);
        self.total = 0;
        self.sum = 0;
    }

    /// The quantile, in basis points: 9,900 is the 99th percentile. `None` without any latency.
    #[must_use]
    pub fn quantile(&self, basis_points: u64) -> Option<Quantile> {
        let rank = u128::from(self.total)
            .saturating_mul(u128::from(basis_points))
            .div_ceil(10_000);
        let rank = u64::try_from(rank).ok()?.max(1);
        let mut below = 0_u64;
        for (bucket, count) in self.filled() {
            let upto = below.saturating_add(u64::from(count));
            if upto >= rank {
                let (start, end) = (lowest(bucket), lowest(bucket.saturating_add(1)));
                let into = u128::from(end.saturating_sub(start))
                    .saturating_mul(u128::from(rank.saturating_sub(below)))
                    .checked_div(u128::from(count))?;
                return Some(Quantile {
                    end,
                    about: start.saturating_add(u64::try_from(into).ok()?),
                });
            }
            below = upto;
        }
        None
    }

    /// How many are as long as this or longer; of the bucket that it lies in, the part above it.
    #[must_use]
    pub fn from(&self, micros: u64) -> u64 {
        let mut above = 0_u64;
        for (bucket, count) in self.filled() {
            let (start, end) = (lowest(bucket), lowest(bucket.saturating_add(1)));
            let part = if micros <= start {
                u64::from(count)
            } else {
                let rest = u128::from(end.saturating_sub(micros));
                let part = rest
                    .saturating_mul(u128::from(count))
                    .checked_div(u128::from(end.saturating_sub(start)));
                part.and_then(|n| u64::try_from(n).ok()).unwrap_or(0)
            };
            above = above.saturating_add(part);
        }
        above
    }
}
