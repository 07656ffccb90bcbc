//! Compared with the bucket itself, whatever happens.

use super::*;
use crate::gcra::Verdict;
use proptest::prelude::*;

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
