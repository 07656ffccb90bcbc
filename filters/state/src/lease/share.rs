//! A worker's share of one bucket: a stretch of its line of time.

use super::Terms;
use super::slots::Slot;
use crate::gcra::{Bucket, MAX_BUCKETS, Tat, Verdict};
use crate::table::Readings;

/// Of what is left in a bucket a lease takes at most one part in this many.
const CAUTION: u64 = 8;

/// A worker's share of one bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Share {
    /// Before it the line belongs to somebody else: tokens that are given back reach no further.
    pub(super) base: Tat,
    /// The rest of the lease before this one, which went into the request that began this one.
    pub(super) rest: (Tat, Tat),
    pub(super) from: Tat,
    pub(super) to: Tat,
    /// The bucket's time in the table when it was last seen.
    pub(super) shared: Tat,
}

impl Share {
    /// What is left of it.
    pub(super) fn own(&self, bucket: &Bucket, now: u64) -> Tat {
        bucket.difference(self.to, self.from.max(Tat::at(now)))
    }

    /// The bucket's time as it would be if this worker had taken nothing ahead.
    pub(super) fn free(&self, bucket: &Bucket, now: u64) -> Tat {
        bucket.difference(self.shared.max(Tat::at(now)), self.own(bucket, now))
    }

    pub(super) fn forget(&mut self) {
        self.from = Tat::default();
        self.to = Tat::default();
        self.rest = Default::default();
    }

    /// Puts tokens back in front; what of the amount did not come out of this lease but out of the one before.
    pub(super) fn put_back(&mut self, bucket: &Bucket, amount: Tat) -> Tat {
        let most = bucket.difference(self.from, self.base);
        self.from = bucket.difference(self.from, amount.min(most));
        let (start, end) = self.rest;
        bucket
            .difference(amount, most)
            .min(bucket.difference(end, start))
    }
}

impl Share {
    /// Charges one bucket whose time in the table is `tat`: first the lease, then the table. The table's new time, or
    /// how long to wait.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn extend(
        &mut self,
        bucket: &Bucket,
        span: Tat,
        tokens: u64,
        tat: Tat,
        terms: Terms,
        level: u8,
        now: u64,
    ) -> Result<Tat, (u64, Option<Tat>)> {
        let own = self.own(bucket, now);
        let at_now = Tat::at(now);
        if tokens == 0 {
            self.shared = tat;
            return Ok(tat);
        }
        let last = own > Tat::default() && tat == self.to;
        let charged = if own < span {
            // The rest of the lease goes into this request, whatever lies between it and what is taken now.
            match bucket.take(tat, now, bucket.difference(span, own)) {
                Verdict::Taken { tat: charged } => {
                    if !last {
                        self.rest = (self.from.max(at_now).min(self.to), self.to);
                        self.base = tat.max(at_now);
                    }
                    self.from = charged;
                    self.to = charged;
                    charged
                }
                Verdict::Refused { .. } => {
                    // Said to somebody whom another worker may serve: as if the lease were not there.
                    let Verdict::Refused { wait, healed } = bucket.take(tat, now, span) else {
                        return Err((bucket.drain(), None));
                    };
                    return Err((wait, healed));
                }
            }
        } else {
            self.from = bucket.sum(self.from.max(at_now), span);
            tat
        };
        if own < span || last {
            let room = bucket.difference(bucket.sum(at_now, Tat::at(bucket.drain())), charged);
            let most = bucket
                .max_tokens()
                .saturating_mul(terms.basis_points)
                .checked_div(10_000)
                .unwrap_or(0)
                .checked_div(tokens)
                .unwrap_or(0)
                .checked_shr(shift(level))
                .unwrap_or(0);
            // Whole requests, so that nothing is left over.
            let each = span.ceil().max(1);
            let have = self.own(bucket, now).ns.checked_div(each).unwrap_or(0);
            let fits = room.ns.checked_div(each.saturating_mul(CAUTION));
            let n = most.saturating_sub(have).min(fits.unwrap_or(0));
            self.to = bucket.sum(self.to, bucket.span(n.saturating_mul(tokens)));
            self.shared = self.to;
        } else {
            self.shared = tat;
        }
        Ok(self.shared)
    }
}

/// A copy of a slot's shares.
pub(super) fn held(slot: Option<(&mut Slot, &mut [Share])>) -> [Share; MAX_BUCKETS] {
    let mut held = [Share::default(); MAX_BUCKETS];
    if let Some((_, shares)) = slot {
        for (held, share) in held.iter_mut().zip(shares.iter()) {
            *held = *share;
        }
    }
    held
}

/// Charges a lease, if it holds enough for all buckets: then all readings. Else `false`, and readings of no meaning.
pub(super) fn hit(
    shares: &mut [Share],
    buckets: &[Bucket],
    spans: &[Tat],
    now: u64,
    readings: &mut Readings,
) -> bool {
    let at_now = Tat::at(now);
    let each = || buckets.iter().zip(spans);
    let enough = shares.iter().zip(each()).all(|(share, (bucket, span))| {
        *span == Tat::default() || bucket.sum(share.from.max(at_now), *span) <= share.to
    });
    if !enough {
        return false;
    }
    let shares = shares.iter_mut().zip(each()).zip(readings);
    for ((share, (bucket, span)), reading) in shares {
        if *span != Tat::default() {
            share.from = bucket.sum(share.from.max(at_now), *span);
        }
        *reading = bucket.read(share.free(bucket, now), now);
    }
    true
}

/// [`hit`] of buckets whose times are whole nanoseconds, as those of most are.
pub(super) fn hit_whole(
    shares: &mut [Share],
    buckets: &[Bucket],
    spans: &[Tat],
    now: u64,
    readings: &mut Readings,
) -> bool {
    let mut before = [0; MAX_BUCKETS];
    let each = buckets.iter().zip(spans).zip(readings).zip(&mut before);
    for (i, (share, (((bucket, span), reading), before_it))) in
        shares.iter_mut().zip(each).enumerate()
    {
        *before_it = share.from.ns;
        let mut from = share.from.ns.max(now);
        if span.ns > 0 {
            from = from.saturating_add(span.ns);
            if from > share.to.ns {
                return undo(shares, &before, i);
            }
            share.from.ns = from;
        }
        let own = share.to.ns.saturating_sub(from);
        let free = share.shared.ns.max(now).saturating_sub(own);
        *reading = bucket.read_whole(free, now);
    }
    true
}

/// A lease does not hold enough, so those that were charged already are not.
#[cold]
fn undo(shares: &mut [Share], before: &[u64; MAX_BUCKETS], charged: usize) -> bool {
    for (share, from) in shares.iter_mut().zip(before).take(charged) {
        share.from.ns = *from;
    }
    false
}

/// How much smaller than the largest a lease of that level is.
fn shift(level: u8) -> u32 {
    match level {
        0 => 63,
        1 => 6,
        2 => 3,
        _ => 0,
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: u64 = 1_795_000_000_000_000_000;

    fn any_share() -> impl Strategy<Value = Share> {
        (0..100_u64, 0..100_u64, 0..200_u64).prop_map(|(from, len, shared)| Share {
            from: Tat::at(NOW - 50 + from),
            to: Tat::at(NOW - 50 + from + len),
            shared: Tat::at(NOW - 50 + shared),
            ..Share::default()
        })
    }

    proptest! {
        #[test]
        fn whole_nanoseconds_are_charged_as_those_with_parts_would_be(
            shares in prop::collection::vec((any_share(), 1..20_u64, 0..4_u64), 1..=MAX_BUCKETS),
        ) {
            let buckets = shares.iter().map(|(_, p, _)| Bucket::new(10, 1, *p).unwrap());
            let buckets: Vec<Bucket> = buckets.collect();
            let spans = buckets.iter().zip(&shares).map(|(b, (.., n))| b.span(*n));
            let spans: Vec<Tat> = spans.collect();
            let (mut some, mut whole) = (Readings::default(), Readings::default());
            let mut parts: Vec<Share> = shares.iter().map(|(share, ..)| *share).collect();
            let mut wholes = parts.clone();
            let expected = hit(&mut parts, &buckets, &spans, NOW, &mut some);
            prop_assert_eq!(hit_whole(&mut wholes, &buckets, &spans, NOW, &mut whole), expected);
            prop_assert_eq!(wholes, parts);
            if expected {
                prop_assert_eq!(whole, some);
            }
        }
    }
}
