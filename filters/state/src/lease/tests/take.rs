//! What requests take, and how often that needs anything shared.

use super::*;

#[test]
fn most_requests_need_nothing_shared() {
    let store = Trips::default();
    let worker = Worker::new(1 << 20);
    let buckets = [
        bucket(100_000, 100_000, 60 * SECOND),
        bucket(1_000_000, 1_000_000, 3600 * SECOND),
    ];
    // 2000 a second for 10 s; the first bucket gains 1667 a second, so it is used all the time.
    for i in 0..20_000 {
        let answer = worker.take(&store, 1, &buckets, 1, NOW + i * MS / 2);
        assert!(answer.allowed);
        // One worker: what is left is exactly what there would be without leases.
        let exact = 100_000 - i - 1 + i * MS / 2 * 100_000 / (60 * SECOND);
        let (is, tolerance) = (answer.readings[0].remaining, 1);
        assert!(
            is.abs_diff(exact.min(99_999)) <= tolerance,
            "{i}: {is}, not {exact}"
        );
    }
    assert!(store.count.get() <= 50, "{} trips", store.count.get());
}

#[test]
fn a_key_that_is_asked_once_takes_one_token() {
    let world = TestWorld::default();
    let (first, second) = (Worker::new(1 << 20), Worker::new(1 << 20));
    let buckets = [bucket(10_000, 10_000, 3600 * SECOND)];
    let left = first.take(&world, 1, &buckets, 1, NOW).readings[0].remaining;
    assert_eq!(left, 9_999);
    let seen = second.take(&world, 1, &buckets, 0, NOW).readings[0].remaining;
    assert_eq!(seen, 9_999);
}

#[test]
fn all_tokens_can_be_had_through_leases_and_not_one_more() {
    let world = TestWorld::default();
    let workers = [Worker::new(1 << 20), Worker::new(1 << 20)];
    let buckets = [bucket(10_000, 10_000, 3600 * SECOND)];
    let mut admitted = 0;
    for i in 0..30_000_usize {
        admitted += u32::from(workers[i % 2].take(&world, 1, &buckets, 1, NOW).allowed);
    }
    assert_eq!(admitted, 10_000);
}

#[test]
fn a_clock_that_steps_back_ends_leases() {
    let world = TestWorld::default();
    let worker = Worker::new(1 << 20);
    let buckets = [bucket(10_000, 10_000, 3600 * SECOND)];
    for _ in 0..50 {
        worker.take(&world, 1, &buckets, 1, NOW);
    }
    let answer = worker.take(&world, 1, &buckets, 1, NOW - 1);
    assert_eq!(answer.events.source, Source::Renewed);
    // 50 used, up to 100 lost, and one.
    let left = answer.readings[0].remaining;
    assert!((9_849..9_950).contains(&left), "{left}");
}

#[test]
fn a_flood_of_keys_does_not_push_out_a_lease_in_use() {
    let store = Trips::default();
    let worker = Worker::new(1 << 24);
    let buckets = [bucket(1_000_000, 1_000_000, 3600 * SECOND)];
    for i in 0..10_000 {
        let now = NOW + i * MS / 100;
        worker.take(&store, 1_000 + i, &buckets, 1, now);
        worker.take(&store, 1, &buckets, 1, now);
    }
    let trips = store.count.get() - 10_000;
    assert!(trips < 50, "{trips} trips for the key in use");
}
