//! While the service is away.

use super::{Lease, Terms};
use crate::fleet::clock::Clock;

impl Lease {
    /// Decides by this proxy's share of what the fleet has left in the window, while the service is away. Its share is
    /// the last known one, else one in `expected`; of a window that begins meanwhile it is that part of the limit.
    /// Refused with nanoseconds to wait.
    ///
    /// What is left is what was left when the service answered last, less what others have taken since, as far as can be
    /// guessed.
    ///
    /// # Errors
    /// Nanoseconds until the window is over.
    pub fn take_alone(
        &mut self,
        terms: &Terms,
        expected: u64,
        now: u64,
        clock: &Clock,
    ) -> Result<(), u64> {
        let terms = &self.roll(terms, now);
        if terms.frame.named.is_none() && now >= clock.latest(self.end) {
            self.begin_unit(terms, now, clock);
        }
        if self.alone == 0 {
            let left = terms.limit.saturating_sub(self.guess_lost(now));
            let part = match self.share() {
                0 => left.checked_div(expected).unwrap_or(0),
                share => left.saturating_mul(share) >> 16,
            };
            // At least one request must fit, or a small limit would be no limit but a wall.
            let least = if left < terms.cost { 0 } else { terms.cost };
            self.alone = part.max(least).saturating_add(1);
        }
        match self.alone.checked_sub(terms.cost) {
            Some(rest) if rest > 0 => {
                self.alone = rest;
                self.pass_unasked(terms, now);
                Ok(())
            }
            _ => Err(self.resets_in(now, clock).max(1)),
        }
    }

    /// The unit's window that has surely begun. The service tells no more which one that is.
    fn begin_unit(&mut self, terms: &Terms, now: u64, clock: &Clock) {
        let length = terms.frame.length();
        let start = clock
            .surely(now)
            .checked_div(length)
            .unwrap_or(0)
            .saturating_mul(length);
        let end = start.saturating_add(length);
        if end > self.end {
            self.begin(start, end, now);
        }
    }

    /// A request passes although nobody knows whether it may: the fleet is told with the next question.
    pub fn pass_unasked(&mut self, terms: &Terms, now: u64) {
        self.roll(terms, now);
        self.owed = self.owed.saturating_add(terms.cost).min(terms.limit);
    }
}
