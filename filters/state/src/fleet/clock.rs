//! What the service's clock says, from what its answers say.
//!
//! An answer tells how many whole seconds are left of the window. That bounds the moment of the border on our clock
//! from both sides, and each further answer, sent at another fraction of a second, bounds it closer: soon to less than
//! one round trip.

use super::unit::Unit;
use tollgate_core::time::SECOND;

/// What a clock may gain or lose: 100 parts per million.
const DRIFT: u64 = 10_000;

/// Where the service's borders are on our clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    bounds: Option<Bounds>,
    rtt: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bounds {
    /// Our clock minus the service's, in nanoseconds: not before, not after.
    lo: i64,
    hi: i64,
    learnt: u64,
}

impl Clock {
    /// Learns from an answer to a call that was sent at `sent` and answered at `answered` (ours): `left` whole seconds
    /// of the unit's window. Returns that window's end in the service's time.
    pub fn learn(&mut self, unit: Unit, sent: u64, answered: u64, left: u64) -> u64 {
        let took = answered.saturating_sub(sent);
        self.rtt = match self.rtt {
            0 => took,
            known => known.saturating_sub(known / 8).saturating_add(took / 8),
        };
        let left = left.clamp(1, unit.seconds()).saturating_mul(SECOND);
        let earliest = sent.saturating_add(left).saturating_sub(SECOND);
        let latest = answered.saturating_add(left).max(earliest);
        let middle = earliest.saturating_add(latest.saturating_sub(earliest) / 2);
        let unit = unit.nanos();
        let end = middle
            .saturating_add(unit / 2)
            .checked_div(unit)
            .unwrap_or(0)
            .saturating_mul(unit);
        let (lo, hi) = (difference(earliest, end), difference(latest, end));
        let bounds = match self.bounds {
            Some(known) => {
                let past = answered.saturating_sub(known.learnt) / DRIFT;
                let past = i64::try_from(past).unwrap_or(i64::MAX);
                let lo = lo.max(known.lo.saturating_sub(past));
                let hi = hi.min(known.hi.saturating_add(past));
                (lo <= hi).then_some((lo, hi))
            }
            None => None,
        };
        // Bounds that contradict each other come from a clock that was set.
        let (lo, hi) = bounds.unwrap_or((lo, hi));
        self.bounds = Some(Bounds {
            lo,
            hi,
            learnt: answered,
        });
        end
    }

    /// Nanoseconds that a call takes, smoothed; 0 before the first.
    #[must_use]
    pub fn rtt(&self) -> u64 {
        self.rtt
    }

    /// Whether borders are known to so many nanoseconds.
    #[must_use]
    pub fn is_known_within(&self, nanos: u64) -> bool {
        self.bounds.is_some_and(|b| b.hi.abs_diff(b.lo) <= nanos)
    }

    /// The service's time at ours; the best guess.
    #[must_use]
    pub fn service(&self, ours: u64) -> u64 {
        match self.bounds {
            Some(b) => moved(ours, b.lo.midpoint(b.hi).saturating_neg()),
            None => ours,
        }
    }

    /// The service's time at ours; at least that. A window is not taken for begun before it has.
    #[must_use]
    pub fn surely(&self, ours: u64) -> u64 {
        moved(ours, self.bounds.map_or(0, |b| b.hi).saturating_neg())
    }

    /// Not before this moment of ours is it `time` at the service.
    #[must_use]
    pub fn earliest(&self, time: u64) -> u64 {
        moved(time, self.bounds.map_or(0, |b| b.lo))
    }

    /// At this moment of ours it certainly is.
    #[must_use]
    pub fn latest(&self, time: u64) -> u64 {
        moved(time, self.bounds.map_or(0, |b| b.hi))
    }
}

fn difference(a: u64, b: u64) -> i64 {
    let abs = i64::try_from(a.abs_diff(b)).unwrap_or(i64::MAX);
    if a >= b { abs } else { abs.saturating_neg() }
}

fn moved(time: u64, by: i64) -> u64 {
    time.saturating_add_signed(by)
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::cast_possible_wrap)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What the service answers at its time: the rest of the window, rounded up to whole seconds.
    fn left(unit: Unit, time: u64) -> u64 {
        unit.seconds() - (time / SECOND) % unit.seconds()
    }

    proptest! {
        #[test]
        fn borders_are_within_the_bounds(
            offset in -20_000_000_000_i64..20_000_000_000,
            asks in prop::collection::vec((0_u64..10_000_000_000, 1_u64..200_000_000, 0_u64..=100), 1..40),
        ) {
            let unit = Unit::Minute;
            let mut clock = Clock::default();
            let mut ours = 1_800_000_000 * SECOND;
            for (pause, rtt, at) in asks {
                ours += pause;
                let there = (ours + rtt * at / 100).saturating_add_signed(-offset);
                let end = clock.learn(unit, ours, ours + rtt, left(unit, there));
                ours += rtt;
                prop_assert_eq!(end, (there / unit.nanos() + 1) * unit.nanos());
                let border = end.saturating_add_signed(offset);
                prop_assert!(clock.earliest(end) <= border && border <= clock.latest(end));
            }
        }
    }

    #[test]
    fn many_answers_pin_the_clock_down() {
        let mut clock = Clock::default();
        let (rtt, offset) = (2_000_000, 7_123_456_789_i64);
        for i in 0..60 {
            let ours = 1_800_000_000 * SECOND + i * 217_000_000;
            let there = (ours + rtt / 2).saturating_add_signed(-offset);
            clock.learn(Unit::Minute, ours, ours + rtt, left(Unit::Minute, there));
        }
        let width = clock.latest(0x1_0000_0000_0000) - clock.earliest(0x1_0000_0000_0000);
        assert!(width < 30_000_000, "{width}");
        let error = clock
            .service(1_900_000_000 * SECOND)
            .abs_diff(1_900_000_000 * SECOND - offset.unsigned_abs());
        assert!(error < 20_000_000, "{error}");
    }

    #[test]
    fn a_clock_that_was_set_is_learnt_anew() {
        let mut clock = Clock::default();
        let ours = 1_800_000_000 * SECOND;
        clock.learn(Unit::Hour, ours, ours + 1_000_000, left(Unit::Hour, ours));
        let there = ours + 100 * SECOND;
        clock.learn(Unit::Hour, ours, ours + 1_000_000, left(Unit::Hour, there));
        let error = clock.service(ours).abs_diff(there);
        assert!(error <= SECOND, "{error}");
    }
}
