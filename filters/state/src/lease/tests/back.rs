//! What goes back: with a tick, at the end, or because something else refused.

use super::*;

#[test]
fn an_idle_worker_keeps_less_than_its_share_and_hands_it_back() {
    let world = TestWorld::default();
    let (idle, busy) = (Worker::new(1 << 20), Worker::new(1 << 20));
    let buckets = [bucket(10_000, 10_000, 3600 * SECOND)];
    for _ in 0..50 {
        assert!(idle.take(&world, 1, &buckets, 1, NOW).allowed);
    }
    let seen = busy.take(&world, 1, &buckets, 0, NOW).readings[0].remaining;
    assert!((9_950 - 100..9_950).contains(&seen), "{seen}");
    let nothing = Returned::default();
    let tick = |ms| idle.leases.tick(&idle.table, &world, NOW + ms * MS);
    assert_eq!(tick(250), nothing);
    assert_eq!(tick(500).leases, 1);
    assert_eq!(tick(750), nothing);
    let seen = busy.take(&world, 2, &buckets, 0, NOW).readings[0].remaining;
    assert_eq!(seen, 10_000);
    let left = Worker::new(1 << 20)
        .take(&world, 1, &buckets, 0, NOW)
        .readings[0]
        .remaining;
    assert_eq!(left, 9_950);
}

#[test]
fn a_lease_that_others_have_queued_behind_is_not_handed_back() {
    let world = TestWorld::default();
    let (idle, busy) = (Worker::new(1 << 20), Worker::new(1 << 20));
    let buckets = [bucket(10_000, 10_000, 3600 * SECOND)];
    for _ in 0..50 {
        idle.take(&world, 1, &buckets, 1, NOW);
    }
    busy.take(&world, 1, &buckets, 1, NOW);
    assert_eq!(
        idle.leases.tick(&idle.table, &world, NOW + SECOND).leases,
        0
    );
    // It is still good where it is.
    let mut all = 51;
    for i in 0..30_000_usize {
        let worker = [&idle, &busy][i % 2];
        all += u32::from(worker.take(&world, 1, &buckets, 1, NOW + SECOND).allowed);
    }
    assert_eq!(all, 10_002);
}

#[test]
fn a_replaced_configuration_hands_its_leases_back() {
    let world = TestWorld::default();
    let (old, new) = (Worker::new(1 << 20), Worker::new(1 << 20));
    let buckets = [bucket(10_000, 10_000, 3600 * SECOND)];
    for _ in 0..50 {
        old.take(&world, 1, &buckets, 1, NOW);
    }
    assert_eq!(old.leases.stop(&old.table, &world, NOW).leases, 1);
    assert_eq!(
        new.take(&world, 1, &buckets, 0, NOW).readings[0].remaining,
        9_950
    );
}

#[test]
fn what_is_given_back_goes_into_the_lease() {
    let world = TestWorld::default();
    let worker = Worker::new(1 << 20);
    let buckets = [bucket(1_000, 1_000, 3600 * SECOND)];
    let mut admitted = 0;
    for _ in 0..2_000 {
        if worker.take(&world, 1, &buckets, 3, NOW).allowed {
            assert!(worker.give_back(&world, 1, &buckets, 3, 0, NOW));
        }
        admitted += u32::from(worker.take(&world, 1, &buckets, 1, NOW).allowed);
    }
    assert_eq!(admitted, 1_000);
    assert!(!worker.give_back(&world, 2, &buckets, 1, 0, NOW));
}

/// One worker's larger requests are refused by something else and given back; with `raced` another worker takes
/// tokens before they are. How many single tokens pass.
fn admitted_beside_refusals(raced: bool) -> u32 {
    let world = TestWorld::default();
    let (one, two) = (Worker::new(1 << 20), Worker::new(1 << 20));
    let buckets = [bucket(10_000, 10_000, 3600 * SECOND)];
    let mut admitted = 0;
    for _ in 0..12_000 {
        admitted += u32::from(one.take(&world, 1, &buckets, 1, NOW).allowed);
        admitted += u32::from(two.take(&world, 1, &buckets, 1, NOW).allowed);
        // Larger than what is left of the lease: the rest comes from behind the other worker's.
        if one.take(&world, 1, &buckets, 70, NOW).allowed {
            if raced {
                for _ in 0..90 {
                    admitted += u32::from(two.take(&world, 1, &buckets, 1, NOW).allowed);
                }
            }
            one.give_back(&world, 1, &buckets, 70, 0, NOW);
        }
    }
    admitted
}

#[test]
fn what_is_given_back_can_be_taken_by_everybody() {
    assert_eq!(admitted_beside_refusals(false), 10_000);
}

#[test]
fn what_is_given_back_does_not_reach_into_other_workers_tokens() {
    let admitted = admitted_beside_refusals(true);
    assert!((5_000..=10_000).contains(&admitted), "{admitted}");
}
