//! `smooth`: a window's hits spread over the window.

use super::{Lease, Terms};
use crate::fleet::clock::Clock;

impl Lease {
    /// How many positions from `first` on may be spent now.
    pub(super) fn usable(&self, terms: &Terms, first: u64, now: u64, clock: &Clock) -> u64 {
        let Some(at_once) = terms.smooth else {
            return u64::MAX;
        };
        let passed = self.passed(terms, now, clock);
        let paced = u128::from(passed)
            .saturating_mul(u128::from(terms.limit))
            .checked_div(u128::from(terms.frame.length()))
            .unwrap_or(0);
        let until = u64::try_from(paced)
            .unwrap_or(u64::MAX)
            .saturating_add(at_once);
        until.saturating_add(1).saturating_sub(first)
    }

    /// Nanoseconds until the request's positions, from `first` on, may be spent.
    pub(super) fn usable_in(&self, terms: &Terms, first: u64, now: u64, clock: &Clock) -> u64 {
        let Some(at_once) = terms.smooth else {
            return 0;
        };
        let last = first.saturating_add(terms.cost).saturating_sub(1);
        let due = u128::from(last.saturating_sub(at_once))
            .saturating_mul(u128::from(terms.frame.length()))
            .div_ceil(u128::from(terms.limit.max(1)));
        let due = u64::try_from(due).unwrap_or(u64::MAX);
        due.saturating_sub(self.passed(terms, now, clock))
    }

    /// Nanoseconds since the window began.
    pub(super) fn passed(&self, terms: &Terms, now: u64, clock: &Clock) -> u64 {
        let start = self.end.saturating_sub(terms.frame.length());
        clock.service(now).saturating_sub(start)
    }
}
