//! Not asking a service that does not answer.

use tollgate_core::time::SECOND;

/// Failures in a row until it opens.
pub const FAILURES: u32 = 3;
/// How long it is open first, in nanoseconds; doubles with every failed probe.
pub const FIRST: u64 = SECOND / 4;
/// How long at most.
pub const LONGEST: u64 = 10_000_000_000;
/// How long after it could have been tried an open breaker says nothing about the service any more.
pub const FORGOTTEN: u64 = 30 * SECOND;

/// Opens after three failures in a row; then one question at a time finds out whether the service is back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Breaker {
    failures: u32,
    open: Option<Open>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Open {
    until: u64,
    step: u64,
    probing: bool,
}

impl Breaker {
    /// Whether the service may be asked now. When it was open long enough the first who asks this must ask the
    /// service, too, and report how that went.
    pub fn admits(&mut self, now: u64) -> bool {
        match &mut self.open {
            None => true,
            Some(open) if now >= open.until && !open.probing => {
                open.probing = true;
                true
            }
            Some(_) => false,
        }
    }

    /// Whether it is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Closes it when nobody has wanted to ask for so long that it says nothing any more: a worker without requests would
    /// report an outage for ever. `true`: it was open.
    pub fn forget(&mut self, now: u64) -> bool {
        let idle = |open: Open| !open.probing && now >= open.until.saturating_add(FORGOTTEN);
        self.open.is_some_and(idle) && self.succeeded()
    }

    /// The service answered. `true`: it was away before.
    pub fn succeeded(&mut self) -> bool {
        let was_open = self.open.is_some();
        *self = Self::default();
        was_open
    }

    /// The service failed. `random` spreads the proxies of a fleet. `true`: it opens now.
    pub fn failed(&mut self, now: u64, random: u64) -> bool {
        self.failures = self.failures.saturating_add(1);
        let step = match self.open {
            None if self.failures < FAILURES => return false,
            None => FIRST,
            Some(open) if open.probing => open.step.saturating_mul(2).min(LONGEST),
            // The answer to a question from before it opened.
            Some(_) => return false,
        };
        // 75 to 125 %.
        let percent = random.checked_rem(51).unwrap_or(0).saturating_add(75);
        let wait = step.saturating_mul(percent) / 100;
        let opened = self.open.is_none();
        self.open = Some(Open {
            until: now.saturating_add(wait),
            step,
            probing: false,
        });
        opened
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    #[test]
    fn opens_after_three_and_probes_one_at_a_time() {
        let mut breaker = Breaker::default();
        assert!(!breaker.failed(0, 25) && !breaker.failed(0, 25));
        assert!(breaker.admits(0));
        assert!(breaker.failed(0, 25) && breaker.is_open());
        assert!(!breaker.admits(FIRST - 1));
        // Late failures of questions that were under way change nothing.
        assert!(!breaker.failed(FIRST - 1, 25));
        assert!(breaker.admits(FIRST));
        assert!(!breaker.admits(FIRST));
        assert!(!breaker.failed(FIRST, 25));
        assert!(!breaker.admits(3 * FIRST - 1));
        assert!(breaker.admits(3 * FIRST));
        assert!(breaker.succeeded());
        assert!(!breaker.is_open() && breaker.admits(3 * FIRST));
        assert!(!breaker.succeeded());
    }

    #[test]
    fn an_outage_that_nobody_asks_about_is_forgotten() {
        let mut breaker = Breaker::default();
        for _ in 0..3 {
            breaker.failed(0, 25);
        }
        assert!(!breaker.forget(FIRST + FORGOTTEN - 1) && breaker.is_open());
        // Somebody is asking right now.
        assert!(breaker.admits(FIRST + FORGOTTEN));
        assert!(!breaker.forget(FIRST + FORGOTTEN));
        breaker.failed(FIRST + FORGOTTEN, 25);
        let until = FIRST + FORGOTTEN + 2 * FIRST;
        assert!(!breaker.forget(until + FORGOTTEN - 1));
        assert!(breaker.forget(until + FORGOTTEN) && !breaker.is_open());
        assert!(!breaker.forget(until + FORGOTTEN));
    }

    #[test]
    fn a_success_in_between_starts_the_count_anew() {
        let mut breaker = Breaker::default();
        for _ in 0..10 {
            assert!(!breaker.failed(0, 0) && !breaker.failed(0, 0));
            breaker.succeeded();
        }
    }

    #[test]
    fn waits_ten_seconds_at_most_and_not_all_the_same_time() {
        let (mut breaker, mut now) = (Breaker::default(), 0);
        for _ in 0..3 {
            breaker.failed(now, 50);
        }
        for _ in 0..20 {
            now += 100 * SECOND;
            assert!(breaker.admits(now));
            breaker.failed(now, 50);
        }
        assert!(!breaker.admits(now + LONGEST * 5 / 4 - 1));
        assert!(breaker.admits(now + LONGEST * 5 / 4));
        breaker.failed(now, 0);
        assert!(breaker.admits(now + LONGEST * 3 / 4));
    }
}
