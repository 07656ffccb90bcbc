//! How fast hits arrive here: the last 100 ms, 1 s and 10 s, in 32 bytes.

use tollgate_core::time::SECOND;

const SPANS: [u64; 3] = [SECOND / 10, SECOND, SECOND.saturating_mul(10)];

/// Hits seen in sliding windows: each keeps two fixed ones and weighs the older by what is left of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// When the last hits arrived, nanoseconds.
    pub(super) at: u64,
    /// Of each span: the window before the one of `at`, and that one.
    pub(super) counts: [(u32, u32); 3],
}

impl Rates {
    /// Hits arrive.
    pub fn add(&mut self, now: u64, hits: u64) {
        let now = now.max(self.at);
        let hits = u32::try_from(hits).unwrap_or(u32::MAX);
        self.roll(now);
        for (_, current) in &mut self.counts {
            *current = current.saturating_add(hits);
        }
    }

    fn roll(&mut self, now: u64) {
        for ((before, current), span) in self.counts.iter_mut().zip(SPANS) {
            let index = |at: u64| at.checked_div(span).unwrap_or(0);
            match index(now).saturating_sub(index(self.at)) {
                0 => {}
                1 => (*before, *current) = (*current, 0),
                _ => (*before, *current) = (0, 0),
            }
        }
        self.at = now;
    }

    /// Hits of the last 100 ms, 1 s and 10 s.
    #[must_use]
    pub fn counts(&self, now: u64) -> [u64; 3] {
        let mut rolled = *self;
        rolled.roll(now.max(self.at));
        let mut counts = [0; 3];
        for ((count, (before, current)), span) in counts.iter_mut().zip(rolled.counts).zip(SPANS) {
            let left = span.saturating_sub(rolled.at.checked_rem(span).unwrap_or(0));
            let weighed = u64::from(before).saturating_mul(left).checked_div(span);
            *count = u64::from(current).saturating_add(weighed.unwrap_or(0));
        }
        counts
    }

    /// Thousandths of a hit per second, from what arrived besides `own` hits.
    #[must_use]
    pub fn per_second(&self, now: u64, own: u64) -> u64 {
        let [tenth, second, ten] = self.counts(now);
        let burst = if tenth >= 4 {
            tenth.saturating_mul(5_000)
        } else {
            0
        };
        second
            .saturating_sub(own)
            .saturating_mul(1_000)
            .max(ten.saturating_sub(own).saturating_mul(100))
            .max(burst)
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_rate_is_seen_as_it_is() {
        let mut rates = Rates::default();
        for i in 0..5_000_u64 {
            rates.add(1_000 * SECOND + i * SECOND / 250, 1);
        }
        let now = 1_020 * SECOND;
        assert_eq!(rates.counts(now), [25, 250, 2_500]);
        assert_eq!(rates.per_second(now, 1), 249_900);
    }

    #[test]
    fn what_is_long_ago_is_forgotten() {
        let mut rates = Rates::default();
        rates.add(1_000 * SECOND, 7);
        assert_eq!(rates.counts(1_000 * SECOND), [7, 7, 7]);
        assert_eq!(rates.counts(1_000 * SECOND + SECOND / 4), [0, 7, 7]);
        assert_eq!(rates.counts(1_021 * SECOND), [0, 0, 0]);
        // A clock that steps back does not.
        rates.add(990 * SECOND, 1);
        assert_eq!(rates.counts(1_000 * SECOND), [8, 8, 8]);
    }

    #[test]
    fn a_burst_counts_before_the_second_is_full() {
        let mut rates = Rates::default();
        rates.add(SECOND, 100);
        assert_eq!(rates.per_second(SECOND, 1), 500_000);
    }
}
