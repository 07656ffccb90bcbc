//! A trip to the table: all buckets of a request are charged, or none.

use super::share::Share;
use super::{Charge, Terms};
use crate::gcra::{Bucket, MAX_BUCKETS, Tat};
use crate::table::Readings;

/// One try to charge the table.
pub(super) struct Trip {
    pub(super) shares: [Share; MAX_BUCKETS],
    pub(super) tats: [Tat; MAX_BUCKETS],
    pub(super) readings: Readings,
    pub(super) changed: bool,
}

impl Trip {
    /// Charges all buckets or none. A refusal: the longest wait and whose it is.
    pub(super) fn charge(
        &mut self,
        buckets: &[Bucket],
        charge: Charge<'_>,
        terms: Terms,
        level: u8,
        now: u64,
    ) -> Option<(u64, usize)> {
        let mut refused: Option<(u64, usize)> = None;
        let mut shares = self.shares;
        let mut tats = self.tats;
        let mut changed = false;
        let each = buckets.iter().zip(charge.spans);
        let state = shares
            .iter_mut()
            .zip(tats.iter_mut().zip(self.tats.iter_mut()));
        for (i, ((bucket, span), (share, (new, old)))) in each.zip(state).enumerate() {
            if *old < share.to {
                // The table has never heard of this lease: it was discarded, or a clock has stepped.
                share.forget();
            }
            match share.extend(bucket, *span, charge.tokens, *old, terms, level, now) {
                Ok(tat) => {
                    changed |= tat != *old;
                    *new = tat;
                }
                Err((wait, healed)) => {
                    if refused.is_none_or(|(longest, _)| wait > longest) {
                        refused = Some((wait, i));
                    }
                    if let Some(healed) = healed {
                        *old = healed;
                        self.changed = true;
                    }
                }
            }
        }
        if refused.is_none() {
            self.shares = shares;
            self.tats = tats;
            self.changed = changed;
        } else {
            for (share, tat) in self.shares.iter_mut().zip(&self.tats) {
                if *tat < share.to {
                    share.forget();
                }
                share.shared = *tat;
            }
        }
        for ((reading, bucket), share) in self.readings.iter_mut().zip(buckets).zip(&self.shares) {
            *reading = bucket.read(share.free(bucket, now), now);
        }
        refused
    }
}
