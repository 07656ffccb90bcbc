//! From a bucket to a variant.
//!
//! Without a ramp the variants lie side by side: those that are not the default, in the order of the
//! configuration, from bucket 0 up, and the default takes the rest. So a canary of 5 % has the buckets
//! below 500, of 25 % those below 2,500, and nobody leaves it in between.
//!
//! With a ramp the *other* variants lie side by side over all buckets, in proportion to their
//! weights, and the ramp's variant takes from each of them the same share, lowest buckets first. A bucket thus has one
//! fixed weight at which it changes over, once: nobody leaves the ramp's variant while the weight rises, and
//! nobody moves between the others.

use crate::bucket::BUCKETS;
use crate::variants::VariantId;

/// How the buckets are shared out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Side by side from bucket 0 up: variant and number of buckets, none empty, 10,000 in all.
    ranges: Vec<(VariantId, u64)>,
    /// The variant that takes from all ranges.
    ramped: Option<VariantId>,
}

impl Split {
    /// Shares by weight in basis points. `weights` stand in the order of the configuration; what they
    /// leave of 10,000 is the default's.
    #[must_use]
    pub fn fixed(weights: &[(VariantId, u16)], default: VariantId) -> Self {
        Self::lay_out(weights, default, u64::from(BUCKETS), None)
    }

    /// The same for a ramp of `ramped`, whose own weight then comes from the clock. The others share in
    /// proportion to their weights; where those are all zero, the default gets everything.
    #[must_use]
    pub fn ramped(weights: &[(VariantId, u16)], default: VariantId, ramped: VariantId) -> Self {
        let others: Vec<_> = weights
            .iter()
            .copied()
            .filter(|(v, _)| *v != ramped)
            .collect();
        let whole = others.iter().map(|(_, weight)| u64::from(*weight)).sum();
        Self::lay_out(&others, default, whole, Some(ramped))
    }

    fn lay_out(
        weights: &[(VariantId, u16)],
        default: VariantId,
        whole: u64,
        ramped: Option<VariantId>,
    ) -> Self {
        let buckets = u64::from(BUCKETS);
        let mut ranges = Vec::with_capacity(weights.len());
        let (mut sum, mut start) = (0_u64, 0_u64);
        for (variant, weight) in weights.iter().filter(|(v, _)| *v != default) {
            sum = sum.saturating_add(u64::from(*weight));
            // Rounding the ends, not the sizes, so that nothing is lost.
            let end = sum
                .saturating_mul(buckets)
                .checked_div(whole)
                .unwrap_or(0)
                .min(buckets);
            let size = end.saturating_sub(start);
            if size > 0 {
                ranges.push((*variant, size));
            }
            start = end;
        }
        if start < buckets {
            ranges.push((default, buckets.saturating_sub(start)));
        }
        Self { ranges, ramped }
    }

    /// The variant of a bucket. `ramp_weight`, in basis points, counts for a ramp only.
    #[must_use]
    pub fn pick(&self, bucket: u16, ramp_weight: u16) -> Option<VariantId> {
        let mut offset = u64::from(bucket);
        for (at, (variant, size)) in self.ranges.iter().enumerate() {
            if offset < *size {
                return match self.ramped {
                    Some(ramped) if self.rank(at, offset, *size) < u64::from(ramp_weight) => {
                        Some(ramped)
                    }
                    _ => Some(*variant),
                };
            }
            offset = offset.saturating_sub(*size);
        }
        None
    }

    /// Which one of all buckets, from 0, changes over to the ramp's variant when: they are ordered by how far into
    /// its own range each lies, (2 x offset + 1) / (2 x size), equals by range. With one range it is the bucket.
    #[inline(never)]
    fn rank(&self, at: usize, offset: u64, size: u64) -> u64 {
        let odd = offset.saturating_mul(2).saturating_add(1);
        let before = self
            .ranges
            .iter()
            .enumerate()
            .map(|(other, (_, other_size))| {
                if other == at {
                    return offset;
                }
                // How many k have (2k + 1) / other_size before (or, in an earlier range, equal to) odd / size.
                let mut bound = odd.saturating_mul(*other_size);
                if other > at {
                    bound = bound.saturating_sub(1);
                }
                let most = bound.checked_div(size).unwrap_or(0);
                most.saturating_add(1) / 2
            });
        before.fold(0, u64::saturating_add)
    }
}
