//! While the service is away.

use super::{Lease, Terms};
use crate::fleet::clock::Clock;
use crate::gcra::{Bucket, Tat, Verdict};

impl Lease {
    /// Decides by this proxy's share of the limit, while the service is away: its last known one, else
    /// one in `expected`. Refused with nanoseconds to wait.
    ///
    /// The share's bucket starts with the share of what the fleet had left, as far as that was known.
    ///
    /// # Errors
    /// Nanoseconds until the share holds enough.
    pub fn take_alone(
        &mut self,
        terms: &Terms,
        expected: u64,
        now: u64,
        clock: &Clock,
    ) -> Result<(), u64> {
        let share = match self.share {
            0 => terms.limit.checked_div(expected).unwrap_or(0),
            share => terms.limit.saturating_mul(share.min(65_536)) >> 16,
        };
        let most = share.clamp(terms.cost.max(1), crate::gcra::MAX_TOKENS);
        let Ok(bucket) = Bucket::new(most, most, terms.frame.length()) else {
            return Err(terms.frame.length());
        };
        if self.alone == Tat::default() {
            let left = self.left(terms, now, clock);
            let spent = terms.limit.saturating_sub(left);
            let spent = u128::from(spent)
                .saturating_mul(u128::from(bucket.drain()))
                .checked_div(u128::from(terms.limit))
                .unwrap_or(0);
            let spent = u64::try_from(spent).unwrap_or(u64::MAX);
            self.alone = Tat::at(now.saturating_add(spent.min(bucket.drain())));
        }
        match bucket.take(self.alone, now, bucket.span(terms.cost)) {
            Verdict::Taken { tat } => {
                self.alone = tat;
                self.pass_unasked(terms, now);
                Ok(())
            }
            Verdict::Refused { wait, healed } => {
                self.alone = healed.unwrap_or(self.alone);
                Err(wait)
            }
        }
    }

    /// A request passes although nobody knows whether it may: the fleet is told with the next question.
    pub fn pass_unasked(&mut self, terms: &Terms, now: u64) {
        self.roll(terms, now);
        self.owed = self.owed.saturating_add(terms.cost).min(terms.limit);
    }
}
