#![allow(clippy::arithmetic_side_effects, clippy::float_arithmetic)]

use super::latency::{BUCKETS, bucket, lowest};
use super::significance::test_ln;
use super::trips::PLACES;
use super::*;
use proptest::prelude::*;
use tollgate_core::testing::TestWorld;
use tollgate_core::world::{Expect, Store};
use tollgate_core::{Duration, UnixNanos};

const START: UnixNanos = UnixNanos::from_secs(1_700_000_000);

fn tally(requests: u64, errors: u64) -> Tally {
    let mut tally = Tally {
        requests,
        errors,
        ..Tally::default()
    };
    for i in 0..requests {
        tally.latency.add(1_000 + i);
    }
    tally
}

#[test]
fn buckets_are_log_scaled_by_a_ratio_of_at_most_1_08() {
    assert_eq!(lowest(0), 0);
    for at in 0..BUCKETS {
        let (start, end) = (lowest(at), lowest(at + 1));
        assert_eq!(bucket(start), at);
        assert_eq!(bucket(end - 1), at);
        // From 32 us on; below, every microsecond has its own.
        assert!(
            end * 100 <= start * 108 || end == start + 1,
            "{start} {end}"
        );
    }
    assert_eq!(lowest(BUCKETS), 1 << 27);
    assert_eq!(bucket(u64::MAX), BUCKETS - 1);
}

#[test]
fn quantiles_of_what_was_counted() {
    let mut latency = Latency::default();
    assert_eq!(latency.quantile(9_900), None);
    for micros in 1..=100_000 {
        latency.add(micros);
    }
    assert_eq!(latency.total(), 100_000);
    assert_eq!(latency.sum(), 5_000_050_000);
    let p99 = latency.quantile(9_900).unwrap();
    assert!((98_500..=99_500).contains(&p99.about), "{p99:?}");
    assert_eq!(p99.end, 100_352);
    assert!((19_990..=20_010).contains(&latency.from(80_001)));
    assert_eq!(latency.from(0), 100_000);
    assert_eq!(latency.from(u64::MAX), 0);
}

#[test]
fn a_window_slides_by_a_tenth() {
    let world = TestWorld::at(START);
    let windows = Windows::new("f", Duration::from_secs(100), 1, 2);
    let add = |at: u64, requests| {
        let mut pending = [tally(requests, 1), Tally::default()];
        let now = UnixNanos::from_secs(1_700_000_000 + at);
        windows.add(&world, 0, now, &mut pending).unwrap();
        assert!(pending.iter().all(Tally::is_empty));
    };
    let seen = |at: u64| -> Vec<u64> {
        let slots = windows.load(&world, 0, UnixNanos::from_secs(1_700_000_000 + at));
        slots.iter().map(|s| s.tallies[0].requests).collect()
    };
    add(0, 3);
    add(9, 4);
    add(10, 5);
    assert_eq!(seen(10), [5, 7]);
    assert_eq!(seen(99), [5, 7]);
    assert_eq!(seen(100), [5]);
    assert_eq!(seen(110), [0; 0]);
    let slots = windows.load(&world, 0, UnixNanos::from_secs(1_700_000_010));
    assert_eq!(slots[1].start, START);
    // Its key is used again.
    add(100, 9);
    assert_eq!(seen(100), [9, 5]);
    assert_eq!(world.keys(), 2);
    // The clock has been set back: what is in the future does not count.
    assert_eq!(seen(15), [5]);
}

#[test]
fn what_another_configuration_or_version_counted_does_not_count() {
    let world = TestWorld::at(START);
    let first = Windows::new("f", Duration::from_secs(100), 1, 1);
    first.add(&world, 0, START, &mut [tally(5, 0)]).unwrap();
    for other in [
        Windows::new("f", Duration::from_secs(100), 2, 1),
        Windows::new("f", Duration::from_secs(100), 1, 2),
        Windows::new("f", Duration::from_secs(200), 1, 1),
    ] {
        assert!(other.load(&world, 0, START).is_empty());
    }
    assert_eq!(first.load(&world, 0, START).len(), 1);
    assert!(first.load(&world, 1, START).is_empty());
}

#[test]
fn nothing_is_lost_when_others_are_faster() {
    let world = TestWorld::at(START);
    let windows = Windows::new("f", Duration::from_secs(100), 1, 1);
    let mut pending = [tally(5, 2)];
    world.conflicts.set(100);
    assert!(windows.add(&world, 0, START, &mut pending).is_err());
    assert_eq!(pending[0].requests, 5);
    world.conflicts.set(3);
    windows.add(&world, 0, START, &mut pending).unwrap();
    assert_eq!(windows.load(&world, 0, START)[0].tallies[0], tally(5, 2));
}

fn trip(variant: u8, at: u64, until: u64) -> Trip {
    Trip {
        variant,
        rule: 3,
        at: UnixNanos(at),
        until: UnixNanos(until),
    }
}

#[test]
fn a_trip_is_written_once_and_seen_by_all() {
    let world = TestWorld::at(START);
    let (worker, other) = (Trips::new("f", 7), Trips::new("f", 7));
    let at = START.0;
    assert_eq!(worker.visit(&world, START).unwrap().trips(), []);
    let place = worker.add(&world, trip(1, at, at + 50)).unwrap().unwrap();
    assert_eq!(place.trips(), [trip(1, at, at + 50)]);
    assert_eq!(other.add(&world, trip(1, at + 1, at + 60)), Ok(None));
    assert_eq!(other.visit(&world, START), Ok(place));
    // Another variant, and again once it is over.
    other
        .add(&world, trip(2, at + 2, u64::MAX))
        .unwrap()
        .unwrap();
    other
        .add(&world, trip(1, at + 50, at + 99))
        .unwrap()
        .unwrap();
    let place = worker.visit(&world, START).unwrap();
    assert_eq!(place.trip_of(1), Some(&trip(1, at + 50, at + 99)));
    assert_eq!(place.trip_of(2).unwrap().until, UnixNanos(u64::MAX));
}

#[test]
fn configurations_that_drain_keep_their_places_and_the_number_is_bounded() {
    let world = TestWorld::at(START);
    let place = |configuration, at: u64| {
        let now = UnixNanos::from_secs(1_700_000_000 + at);
        Trips::new("f", configuration).visit(&world, now).unwrap()
    };
    Trips::new("f", 1)
        .add(&world, trip(1, START.0, u64::MAX))
        .unwrap();
    assert_eq!(place(2, 1).number, 1);
    assert_eq!(place(1, 2).trips().len(), 1);
    assert_eq!(place(2, 2).trips(), []);
    assert_eq!((place(3, 3).number, place(4, 4).number), (2, 3));
    // 1 goes on being used, 2 does not.
    assert_eq!(place(1, 100).number, 0);
    assert_eq!(place(5, 101).number, 1);
    assert_eq!(place(1, 102).trips().len(), 1);
    assert_eq!(world.keys(), 1);
    assert!((1..100).all(|c| place(c, 200 + c).number < PLACES));
}

proptest! {
    #[test]
    fn any_bytes_in_shared_data_are_taken_or_replaced(bytes: Vec<u8>, head: bool) {
        let world = TestWorld::at(START);
        let windows = Windows::new("f", Duration::from_secs(100), 1, 2);
        let trips = Trips::new("f", 1);
        for (key, magic) in [("rollback/f/0/0", b"TGRB\x01"), ("rollback/f", b"TGRT\x01")] {
            let mut all = if head { magic.to_vec() } else { Vec::new() };
            all.extend(&bytes);
            world.store(key, &all, Expect::Anything).unwrap();
        }
        let zero = UnixNanos(0);
        let _ = windows.load(&world, 0, zero);
        windows.add(&world, 0, zero, &mut [tally(1, 0), tally(2, 0)]).unwrap();
        prop_assert_eq!(windows.load(&world, 0, zero).len(), 1);
        prop_assert!(trips.visit(&world, zero).unwrap().number < PLACES);
    }

    #[test]
    fn tallies_read_as_they_were_written(
        first in proptest::collection::vec(0_u64..200_000_000, 0..50), errors: u64, conversions: u64,
    ) {
        let world = TestWorld::at(START);
        let windows = Windows::new("f", Duration::from_secs(100), 1, 1);
        let mut tally = Tally { requests: 9, errors, conversions, ..Tally::default() };
        for micros in first {
            tally.latency.add(micros);
        }
        windows.add(&world, 0, START, &mut [tally.clone()]).unwrap();
        prop_assert_eq!(&windows.load(&world, 0, START)[0].tallies[0], &tally);
    }

    #[test]
    fn logarithms_are_right_to_a_billionth(x in 1_u64..) {
        #[allow(clippy::cast_precision_loss)]
        let (ours, theirs) = (test_ln(x) as f64 / (1_u64 << 40) as f64, (x as f64).ln());
        prop_assert!((ours - theirs).abs() < 1e-9, "{} {}", ours, theirs);
    }
}

/// G and the boundary against values computed independently (Python, double precision):
/// `k*log(k/n/p) + (n-k)*log((n-k)/n/(1-p))`, and equation 14 with a = alpha / 10.
#[test]
fn evidence_and_bound_by_published_formulas() {
    let hundredths = |e: significance::Evidence| e.hundredths();
    assert_eq!(hundredths(Share::new(80, 1_000).above_limit(500)), 807);
    assert_eq!(hundredths(Share::new(240, 3_000).above_limit(500)), 2_423);
    assert_eq!(hundredths(Share::new(50, 1_000).above_limit(500)), 0);
    assert_eq!(
        hundredths(Share::new(1_000, 1_000).above_limit(500)),
        299_573
    );
    assert_eq!(
        hundredths(Share::new(80, 1_000).above(Share::new(50, 1_000))),
        373
    );
    assert_eq!(
        hundredths(Share::new(50, 1_000).above(Share::new(80, 1_000))),
        0
    );
    assert_eq!(
        hundredths(Share::new(10, 1_000).above(Share::new(0, 19_000))),
        3_000
    );
    let bound = Bound::new(10_000, 1_000);
    assert_eq!(hundredths(bound.at(1_000)), 810);
    assert_eq!(hundredths(bound.at(3_000)), 831);
    assert_eq!(hundredths(bound.at(1_000_000)), 1_102);
    assert_eq!(hundredths(bound.between(2_000, 2_000)), 810);
}

/// Borders computed independently (Python): `log(ratio) - log(1.5) >= min(50 v^2, 2) sqrt(v)`.
#[test]
fn a_ratio_is_beyond_by_a_margin_that_shrinks_with_the_counts() {
    let border = |theirs: u64, ratio: u64| {
        let share = |hits| Share::new(hits, 10_000);
        let beyond = |hits: &u64| share(*hits).beyond(share(theirs), ratio);
        let first = (0..=10_000).find(beyond).unwrap();
        assert!((first..=10_000).all(|hits| beyond(&hits)));
        first
    };
    assert_eq!(border(0, 15_000), 13);
    assert_eq!(border(10, 15_000), 23);
    assert_eq!(border(50, 15_000), 76);
    assert_eq!(border(400, 15_000), 601);
    assert!(!Share::new(0, 0).beyond(Share::new(0, 0), 15_000));
}
