//! Once in a whole fleet: the replay guard of deliveries.
//!
//! A counter's first hit belongs to one proxy alone, so who sees a counter at 1 after its own hit is the first. A
//! delivery has two counters. Its *claim* is hit by whoever wants to let it through. Its *outcome* is hit when the
//! exchange is over: once if the upstream did not take it, twice if it did. Who is not the first of a claim looks at the
//! outcome (a question for 0 hits): 0, the first is under way; 1, it failed, and the delivery may be tried again under the
//! next *attempt*, which has a claim and an outcome of its own; 2, it was delivered.
//!
//! **Windows.** The service forgets a counter when a window of its unit ends. Where the sender signs a time, the unit is
//! the shortest without such a border from before that time to the end of the rule's window: all proxies and all replays
//! take the same one. Where there is no such time, the window in which it came is part of the name, of a
//! unit without a border until the end of the window after that; and whoever comes later looks at the window before its
//! own first. So a delivery is remembered for at least the rule's window.

use super::name::Namer;
use super::unit::Unit;

/// How often a delivery that failed may be tried again.
const MOST_ATTEMPTS: u8 = 16;

/// One rule's guard.
#[derive(Clone, Debug)]
pub struct Guard {
    namer: Namer,
    window: u64,
}

/// What a delivery's time is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// A signed time, and how far it may be from the clock; nanoseconds.
    Signed {
        /// When the sender says that it is.
        at: u64,
        /// In the past or the future.
        tolerance: u64,
    },
    /// When it came, by the service's clock; nanoseconds.
    Seen(u64),
}

/// One question: a descriptor and hits; 0 hits look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The descriptor's key.
    pub unit: Unit,
    /// Its value.
    pub name: String,
    /// How many.
    pub hits: u64,
}

/// What is known of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not enough: ask [`Visit::question`].
    Ask,
    /// It is the first: let it through, then [`Visit::end`].
    First,
    /// It is under way elsewhere, or the proxy that had it died.
    InFlight,
    /// The upstream has it.
    Delivered,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    unit: Unit,
    label: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Before(Place),
    Claim,
    Outcome,
}

/// One delivery on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visit {
    delivery: Vec<u8>,
    place: Place,
    step: Step,
    attempt: u8,
}

impl Guard {
    /// `window` in nanoseconds.
    #[must_use]
    pub fn new(namer: &Namer, rule: &str, window: u64) -> Self {
        Self {
            namer: namer.of("once", rule, &[]),
            window: window.max(1),
        }
    }

    /// A delivery comes.
    #[must_use]
    pub fn begin(&self, delivery: &[u8], basis: Basis) -> Visit {
        let (place, step) = match basis {
            Basis::Signed { at, tolerance } => {
                let from = at.saturating_sub(tolerance);
                let to = at.saturating_add(tolerance).saturating_add(self.window);
                let unit = Unit::without_border(from, to, Unit::Minute);
                (Place { unit, label: 0 }, Step::Claim)
            }
            Basis::Seen(now) => {
                let index = now.checked_div(self.window).unwrap_or(0);
                let step = match index.checked_sub(1) {
                    Some(before) => Step::Before(self.place(before)),
                    None => Step::Claim,
                };
                (self.place(index), step)
            }
        };
        Visit {
            delivery: delivery.to_vec(),
            place,
            step,
            attempt: 0,
        }
    }

    /// Where what comes in a window is counted until the next one ends.
    fn place(&self, index: u64) -> Place {
        let start = index.saturating_mul(self.window);
        let end = start.saturating_add(self.window.saturating_mul(2));
        Place {
            unit: Unit::without_border(start, end, Unit::Minute),
            label: start.saturating_add(1),
        }
    }

    fn name(&self, visit: &Visit, place: Place, what: u8) -> String {
        let mut parts = visit.delivery.clone();
        parts.extend([what, visit.attempt]);
        self.namer.name(Some(place.label), &parts)
    }
}

impl Visit {
    /// What to ask next.
    #[must_use]
    pub fn question(&self, guard: &Guard) -> Question {
        let (place, what, hits) = match self.step {
            Step::Before(before) => (before, b'c', 0),
            Step::Claim => (self.place, b'c', 1),
            Step::Outcome => (self.place, b'o', 0),
        };
        Question {
            unit: place.unit,
            name: guard.name(self, place, what),
            hits,
        }
    }

    /// The counter's value after the question.
    pub fn answered(&mut self, after: u64) -> Verdict {
        self.step = match (self.step, after) {
            (Step::Before(_), 0) => Step::Claim,
            (Step::Before(before), _) => {
                self.place = before;
                Step::Outcome
            }
            (Step::Claim, 1) => return Verdict::First,
            (Step::Claim, _) => Step::Outcome,
            (Step::Outcome, 0) => return Verdict::InFlight,
            (Step::Outcome, 1) if self.attempt < MOST_ATTEMPTS => {
                self.attempt = self.attempt.saturating_add(1);
                Step::Claim
            }
            (Step::Outcome, 1) => return Verdict::InFlight,
            (Step::Outcome, _) => return Verdict::Delivered,
        };
        Verdict::Ask
    }

    /// What is asked in the background when the exchange of a first delivery is over.
    #[must_use]
    pub fn end(&self, guard: &Guard, delivered: bool) -> Question {
        Question {
            unit: self.place.unit,
            name: guard.name(self, self.place, b'o'),
            hits: if delivered { 2 } else { 1 },
        }
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use crate::fleet::testing::FakeService;
    use proptest::prelude::*;
    use tollgate_core::UnixNanos;
    use tollgate_core::time::SECOND;

    const MINUTE: u64 = 60 * SECOND;

    fn guard(window: u64) -> Guard {
        let namer = Namer::new(b"0123456789abcdef-fleet").unwrap();
        Guard::new(&namer, "stripe", window)
    }

    fn at(text: &str) -> u64 {
        UnixNanos::parse(text).unwrap().0
    }

    fn put(service: &mut FakeService, question: &Question, now: u64) -> u64 {
        service
            .count(question.unit, &question.name, question.hits, now)
            .0
    }

    fn visit(
        service: &mut FakeService,
        guard: &Guard,
        id: &[u8],
        basis: Basis,
        now: u64,
    ) -> (Verdict, Visit) {
        let mut visit = guard.begin(id, basis);
        loop {
            let after = put(service, &visit.question(guard), now);
            match visit.answered(after) {
                Verdict::Ask => {}
                verdict => return (verdict, visit),
            }
        }
    }

    #[test]
    fn of_many_one_is_the_first() {
        let (mut service, guard) = (FakeService::default(), guard(10 * MINUTE));
        let now = at("2026-11-21T12:00:00Z");
        for id in 0..200_u64 {
            let firsts = (0..24).filter(|_| {
                let basis = Basis::Seen(now);
                visit(&mut service, &guard, &id.to_le_bytes(), basis, now).0 == Verdict::First
            });
            assert_eq!(firsts.count(), 1);
        }
    }

    #[test]
    fn what_failed_may_come_again_and_what_was_taken_may_not() {
        let (mut service, guard) = (FakeService::default(), guard(10 * MINUTE));
        let now = at("2026-11-21T12:00:00Z");
        let basis = Basis::Signed {
            at: now,
            tolerance: 5 * MINUTE,
        };
        for _ in 0..3 {
            let (verdict, first) = visit(&mut service, &guard, b"id", basis, now);
            assert_eq!(verdict, Verdict::First);
            assert_eq!(
                visit(&mut service, &guard, b"id", basis, now).0,
                Verdict::InFlight
            );
            put(&mut service, &first.end(&guard, false), now);
        }
        let (verdict, first) = visit(&mut service, &guard, b"id", basis, now);
        assert_eq!(verdict, Verdict::First);
        put(&mut service, &first.end(&guard, true), now);
        for _ in 0..3 {
            assert_eq!(
                visit(&mut service, &guard, b"id", basis, now).0,
                Verdict::Delivered
            );
        }
        assert_eq!(
            visit(&mut service, &guard, b"other", basis, now).0,
            Verdict::First
        );
    }

    #[test]
    fn a_first_delivery_with_a_signed_time_is_one_question() {
        let (mut service, guard) = (FakeService::default(), guard(10 * MINUTE));
        let now = at("2026-11-21T12:00:00Z");
        visit(
            &mut service,
            &guard,
            b"id",
            Basis::Signed {
                at: now,
                tolerance: MINUTE,
            },
            now,
        );
        assert_eq!(service.asks, 1);
        visit(&mut service, &guard, b"seen", Basis::Seen(now), now);
        assert_eq!(service.asks, 3);
    }

    #[test]
    fn a_delivery_that_fails_again_and_again_is_given_up() {
        let (mut service, guard) = (FakeService::default(), guard(10 * MINUTE));
        let now = at("2026-11-21T12:00:00Z");
        let mut tries = 0;
        loop {
            let (verdict, first) = visit(&mut service, &guard, b"id", Basis::Seen(now), now);
            if verdict != Verdict::First {
                assert_eq!(verdict, Verdict::InFlight);
                break;
            }
            tries += 1;
            put(&mut service, &first.end(&guard, false), now);
        }
        assert_eq!(tries, 17);
    }

    proptest! {
        /// Whenever it comes and whatever borders lie between: never twice within the window.
        #[test]
        fn a_replay_within_the_window_is_never_first(
            window in prop::sample::select(vec![10_u64, 90, 600, 3_600, 86_400, 604_800]),
            start in 1_790_000_000_u64..1_830_000_000,
            part in 0_u64..=100,
            skew in 0_u64..300,
            signed in any::<bool>(),
        ) {
            let (mut service, guard) = (FakeService::default(), guard(window * SECOND));
            let basis = |now: u64| if signed {
                Basis::Signed { at: start * SECOND, tolerance: 300 * SECOND }
            } else {
                Basis::Seen(now)
            };
            let first = (start + skew * u64::from(signed)) * SECOND;
            let (verdict, taken) = visit(&mut service, &guard, b"id", basis(first), first);
            prop_assert_eq!(verdict, Verdict::First);
            put(&mut service, &taken.end(&guard, true), first);
            let later = first + window * SECOND / 100 * part;
            // The border of the service's year cannot be avoided by anything.
            let year = Unit::Year.nanos();
            prop_assume!((first - 300 * SECOND) / year == (later + 2 * window * SECOND) / year);
            prop_assert_eq!(visit(&mut service, &guard, b"id", basis(later), later).0, Verdict::Delivered);
        }
    }
}
