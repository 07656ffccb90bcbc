use super::*;
use crate::gcra::Verdict;
use crate::seed::Seed;
use crate::table::Key;
use proptest::prelude::*;
use std::cell::Cell;
use tollgate_core::testing::TestWorld;
use tollgate_core::world::{Conflict, Expect, Version};

const SECOND: u64 = 1_000_000_000;
const MS: u64 = 1_000_000;
const NOW: u64 = 1_795_000_000 * SECOND;
const ONE_PERCENT: Terms = Terms { basis_points: 100 };

fn bucket(max: u64, fill: u64, interval: u64) -> Bucket {
    Bucket::new(max, fill, interval).unwrap()
}

/// Counts trips to the shared data.
#[derive(Default)]
struct Trips {
    world: TestWorld,
    count: Cell<u32>,
}

impl Store for Trips {
    fn load(&self, key: &str, out: &mut Vec<u8>) -> Option<Version> {
        self.count.set(self.count.get() + 1);
        self.world.load(key, out)
    }
    fn store(&self, key: &str, value: &[u8], expect: Expect) -> Result<(), Conflict> {
        self.world.store(key, value, expect)
    }
}

struct Worker {
    table: Table,
    leases: Leases,
}

impl Worker {
    fn new(bytes: u64) -> Self {
        Self {
            table: Table::new(bytes, 3600 * SECOND),
            leases: Leases::new(ONE_PERCENT, 2),
        }
    }

    fn place(&self, key: u64) -> Place {
        let mut parts = Key::new(Seed([3; 16]));
        parts.number(key);
        self.table.place(&parts)
    }

    fn take(&self, store: &dyn Store, key: u64, buckets: &[Bucket], n: u64, now: u64) -> Answer {
        let spans: Vec<Tat> = buckets.iter().map(|b| b.span(n)).collect();
        let charge = Charge {
            tokens: n,
            spans: &spans,
        };
        let place = self.place(key);
        self.leases
            .take(&self.table, store, place, buckets, charge, now)
            .unwrap()
    }

    #[allow(clippy::too_many_arguments)]
    fn give_back(
        &self,
        store: &dyn Store,
        key: u64,
        buckets: &[Bucket],
        n: u64,
        elapsed: u64,
        now: u64,
    ) -> bool {
        let spans: Vec<Tat> = buckets.iter().map(|b| b.span(n)).collect();
        let place = self.place(key);
        self.leases
            .give_back(&self.table, store, place, buckets, &spans, elapsed, now)
    }
}

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

/// Another worker makes a whole request before each of the next writes.
struct Racing<'a> {
    store: &'a TestWorld,
    between: RefCell<Vec<Box<dyn FnMut() + 'a>>>,
}

impl Store for Racing<'_> {
    fn load(&self, key: &str, out: &mut Vec<u8>) -> Option<Version> {
        self.store.load(key, out)
    }
    fn store(&self, key: &str, value: &[u8], expect: Expect) -> Result<(), Conflict> {
        if let Some(mut other) = self.between.borrow_mut().pop() {
            other();
        }
        self.store.store(key, value, expect)
    }
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
        let racing = Racing {
            store: &world,
            between: RefCell::new(Vec::new()),
        };
        for _ in 0..round % 8 {
            let other = || ask(&theirs, &world);
            racing.between.borrow_mut().push(Box::new(other));
        }
        ask(&mine, &racing);
        ask(&theirs, &world);
    }
    assert_eq!(admitted.get(), 1_000);
}

/// Charged with what was admitted and nothing else: the bucket itself.
struct Exact {
    tats: Vec<Tat>,
}

impl Exact {
    fn take(&mut self, buckets: &[Bucket], n: u64, now: u64) -> bool {
        let mut new = Vec::new();
        for (bucket, tat) in buckets.iter().zip(&self.tats) {
            match bucket.take(*tat, now, bucket.span(n)) {
                Verdict::Taken { tat } => new.push(tat),
                Verdict::Refused { .. } => return false,
            }
        }
        self.tats = new;
        true
    }
}

#[derive(Clone, Debug)]
enum Step {
    Ask(usize, u64),
    AskAndGiveBack(usize, u64),
    Flood(u64),
    Wait(u64),
    Tick(usize),
    Restart(usize),
    Reload(usize),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..3_usize, prop_oneof![4 => Just(1_u64), 1 => 2..30_u64]).prop_map(|(w, n)| Step::Ask(w, n)),
        2 => (0..3_usize, 1..40_u64).prop_map(|(w, n)| Step::AskAndGiveBack(w, n)),
        1 => (2..500_u64).prop_map(Step::Flood),
        4 => prop_oneof![0..50 * MS, 0..3 * SECOND, 0..200 * SECOND].prop_map(Step::Wait),
        1 => (0..3_usize).prop_map(Step::Tick),
        1 => (0..3_usize).prop_map(Step::Restart),
        1 => (0..3_usize).prop_map(Step::Reload),
    ]
}

fn kinds() -> Vec<Vec<Bucket>> {
    vec![
        vec![bucket(1_000, 1_000, SECOND)],
        vec![
            bucket(1_000, 700, 60 * SECOND),
            bucket(5_000, 3_000, 3600 * SECOND),
        ],
        vec![bucket(2_000, 7, 13 * MS)],
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whatever workers, leases, restarts, reloads, floods and give-backs there are: each admitted request is one that
    /// the bucket itself, charged with the admitted ones only, admits too.
    #[test]
    fn never_admits_more_than_the_bucket(
        kind in 0..3_usize, small in any::<bool>(),
        steps in prop::collection::vec((any_step(), 1..200_usize), 1..120),
    ) {
        let buckets = &kinds()[kind];
        let world = TestWorld::default();
        let bytes = if small { 1 } else { 1 << 20 };
        let mut workers: Vec<Worker> = (0..3).map(|_| Worker::new(bytes)).collect();
        let mut exact = Exact { tats: vec![Tat::default(); buckets.len()] };
        let mut now = NOW;
        for (step, times) in steps {
            match step {
                Step::Ask(w, n) => for _ in 0..times {
                    if workers[w].take(&world, 1, buckets, n, now).allowed {
                        prop_assert!(exact.take(buckets, n, now), "admitted too much");
                    }
                },
                Step::AskAndGiveBack(w, n) => {
                    let before = now;
                    if workers[w].take(&world, 1, buckets, n, now).allowed {
                        now += times as u64 * MS;
                        for _ in 0..times % 7 {
                            if workers[w].take(&world, 1, buckets, 1, now).allowed {
                                prop_assert!(exact.take(buckets, 1, now), "admitted too much");
                            }
                        }
                        workers[w].give_back(&world, 1, buckets, n, now - before, now);
                    }
                }
                Step::Flood(keys) => for key in 0..keys {
                    workers[(key % 3) as usize].take(&world, 10 + key, buckets, 1, now);
                },
                Step::Wait(ns) => now += ns,
                Step::Tick(w) => { workers[w].leases.tick(&workers[w].table, &world, now); }
                Step::Restart(w) => workers[w] = Worker::new(bytes),
                Step::Reload(w) => {
                    workers[w].leases.stop(&workers[w].table, &world, now);
                    workers[w] = Worker::new(bytes);
                }
            }
        }
    }

    /// What a refused client misses is at most what workers hold, or have held and not used while the bucket fills once.
    #[test]
    fn under_use_is_bounded(
        kind in 0..3_usize,
        steps in prop::collection::vec((any_step(), 1..200_usize), 1..120),
    ) {
        let buckets = &kinds()[kind];
        let world = TestWorld::default();
        let workers: Vec<Worker> = (0..3).map(|_| Worker::new(1 << 20)).collect();
        let mut exact = Exact { tats: vec![Tat::default(); buckets.len()] };
        let mut now = NOW;
        for (step, times) in steps {
            match step {
                Step::Ask(w, n) => for _ in 0..times {
                    let answer = workers[w].take(&world, 1, buckets, n, now);
                    if answer.allowed {
                        prop_assert!(exact.take(buckets, n, now));
                        continue;
                    }
                    let by = answer.refused_by;
                    let left = buckets[by].read(exact.tats[by], now).remaining;
                    let missing = 2 * 3 * buckets[by].max_tokens() / 100;
                    prop_assert!(left < n + missing, "{} left, {} asked", left, n);
                },
                Step::Wait(ns) => now += ns,
                Step::Tick(w) => { workers[w].leases.tick(&workers[w].table, &world, now); }
                _ => {}
            }
        }
    }

    /// One worker by itself misses nothing.
    #[test]
    fn one_worker_is_exact(
        kind in 0..3_usize, tokens in 1..4_u64,
        steps in prop::collection::vec((0..3 * SECOND, 1..400_usize), 1..60),
    ) {
        let buckets = &kinds()[kind];
        let world = TestWorld::default();
        let worker = Worker::new(1 << 20);
        let mut exact = Exact { tats: vec![Tat::default(); buckets.len()] };
        let mut now = NOW;
        for (step, times) in steps {
            now += step * u64::from(step % 3 > 0) / (1 + step % 1000);
            for _ in 0..times {
                let answer = worker.take(&world, 1, buckets, tokens, now);
                let allowed = exact.take(buckets, tokens, now);
                prop_assert_eq!(answer.allowed, allowed);
                for ((reading, bucket), tat) in answer.readings.iter().zip(buckets).zip(&exact.tats) {
                    prop_assert_eq!(*reading, bucket.read(*tat, now));
                }
            }
        }
    }
}
