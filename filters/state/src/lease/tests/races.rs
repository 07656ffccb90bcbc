//! Workers that change the same bytes at once.

use super::*;
use crate::testing::Racing;

#[test]
fn lost_races_take_nothing_and_keep_the_lease() {
    let world = TestWorld::default();
    let worker = Worker::new(1 << 20);
    let buckets = [bucket(1_000, 1_000, 3600 * SECOND)];
    world.conflicts.set(8);
    let spans = [buckets[0].span(1)];
    let charge = Charge {
        tokens: 1,
        spans: &spans,
    };
    let place = worker.place(1);
    let lost = worker
        .leases
        .take(&worker.table, &world, place, &buckets, charge, NOW);
    assert_eq!(lost, Err(Contended { retries: 8 }));
    let admitted = (0..2_000).filter(|_| worker.take(&world, 1, &buckets, 1, NOW).allowed);
    assert_eq!(admitted.count(), 1_000);
}

#[test]
fn interleaved_workers_admit_exactly_what_one_would() {
    let world = TestWorld::default();
    let (mine, theirs) = (Worker::new(1 << 20), Worker::new(1 << 20));
    let buckets = [
        bucket(1_000, 1_000, 60 * SECOND),
        bucket(5_000, 5_000, 3600 * SECOND),
    ];
    let admitted = Cell::new(0_u32);
    let ask = |worker: &Worker, store: &dyn Store| {
        let allowed = worker.take(store, 1, &buckets, 1, NOW).allowed;
        admitted.set(admitted.get() + u32::from(allowed));
    };
    for round in 0..2_000_usize {
        let racing = Racing::new(&world, round % 8, || ask(&theirs, &world));
        ask(&mine, &racing);
        ask(&theirs, &world);
    }
    assert_eq!(admitted.get(), 1_000);
}
