//! Does the time of a lookup tell how close a wrong key came?
//!
//! `cargo bench -p tollgate-benches --bench timing`. Two wrong keys are looked up in random order, a million times in all: one shares
//! 31 of 32 bytes of its digest with a true key, the other nothing. Welch's t of the two sets of times must stay below
//! 4.5, the threshold of the TVLA and dudect methods (<https://eprint.iacr.org/2016/1123>). For comparison the same is measured for a
//! search that compares byte by byte; if that did not fail, the measurement would be worth nothing.
//!
//! Where in memory the buckets of a key lie is chosen by the seed of the table, and differs between any two keys, alike or not: an address
//! that collides with another one in the processor costs up to a nanosecond. So the million is spread over 50 tables, each with its own seed, and
//! Welch's test compares the means of the tables (without the slowest 0.5 % of times, which are interrupts). The last column is
//! the plain test over all times. A number as argument takes another wrong key.
#![allow(missing_docs)]

use sha2::{Digest as _, Sha256};
use std::hint::black_box;
use std::time::Instant;
use tollgate_core::Consumer;
use tollgate_key_auth::{Digest, Key, KeySet, KeyTable};

const LOOKUPS: usize = 1_000_000;
/// Where two keys lie in the index, and so in the cache, is chance: every table chooses it anew.
const TABLES: usize = 50;

fn digest(i: usize) -> [u8; 32] {
    Sha256::digest(format!("key-{i}")).into()
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Times of lookups of the two digests in random order, in nanoseconds.
struct Times {
    random: Random,
    all: [Vec<f64>; 2],
    /// Of each table.
    means: [Vec<f64>; 2],
}

impl Times {
    fn new() -> Self {
        Self {
            random: Random(1),
            all: Default::default(),
            means: Default::default(),
        }
    }

    fn measure(&mut self, pair: &[Digest; 2], mut find: impl FnMut(&Digest) -> bool) {
        let many = LOOKUPS / TABLES;
        // In the order of measuring, so that keeping a time costs the same for both.
        let mut kept: Vec<(usize, u64)> = Vec::with_capacity(many);
        for i in 0..many + 2000 {
            let class = usize::from(self.random.next() & 1 == 1);
            let wanted = black_box(pair[class]);
            // In the cache when the clock starts: what other programs push out of it tells nothing about the key.
            black_box(find(&wanted));
            let begin = Instant::now();
            let found = black_box(find(&wanted));
            let spent = begin.elapsed();
            assert!(!found);
            if i >= 2000 {
                kept.push((class, u64::try_from(spent.as_nanos()).unwrap_or(u64::MAX)));
            }
        }
        let times = [0, 1].map(|class| {
            let own = kept.iter().filter(|(c, _)| *c == class);
            own.map(|(_, t)| *t as f64).collect::<Vec<f64>>()
        });
        for (class, mean) in means(&times).into_iter().enumerate() {
            self.means[class].push(mean);
            self.all[class].extend(&times[class]);
        }
    }
}

/// Welch's t of two lists.
fn welch(lists: &[Vec<f64>; 2]) -> f64 {
    let [a, b] = [0, 1].map(|class| {
        let list = &lists[class];
        let n = list.len() as f64;
        let mean = list.iter().sum::<f64>() / n;
        let variance = list.iter().map(|t| (t - mean).powi(2)).sum::<f64>() / (n - 1.0);
        (mean, variance / n)
    });
    (a.0 - b.0) / (a.1 + b.1).sqrt()
}

/// The mean of each table, without the slowest 0.5 % of both classes together.
fn means(times: &[Vec<f64>; 2]) -> [f64; 2] {
    let mut all: Vec<f64> = times.iter().flatten().copied().collect();
    all.sort_by(f64::total_cmp);
    let limit = all[all.len() * 995 / 1000];
    [0, 1].map(|class| {
        let kept: Vec<f64> = times[class]
            .iter()
            .copied()
            .filter(|t| *t <= limit)
            .collect();
        kept.iter().sum::<f64>() / kept.len() as f64
    })
}

/// What a search without care does: sorted digests, compared byte by byte.
fn careless(all: &[[u8; 32]], wanted: &Digest, bytes: &[[u8; 32]; 2], pair: &[Digest; 2]) -> bool {
    let wanted = &bytes[usize::from(pair[1].is(wanted))];
    all.iter().any(|known| {
        known
            .iter()
            .zip(wanted)
            .all(|(a, b)| black_box(*a) == black_box(*b))
    })
}

fn main() {
    // Another number is another wrong key.
    let far = std::env::args().find_map(|a| a.parse().ok()).unwrap_or(7);
    let mut failed = false;
    println!(
        "| search | keys | Welch t | mean ns, shares nothing | mean ns, shares 31 bytes | t of all times |"
    );
    println!("|---|---|---|---|---|---|");
    let mut show = |name: &str, keys: usize, times: &Times, must_pass: bool| {
        let (t, plain) = (welch(&times.means), welch(&times.all));
        let [far, near] = [0, 1].map(|c| times.means[c].iter().sum::<f64>() / TABLES as f64);
        println!("| {name} | {keys} | {t:.2} | {far:.2} | {near:.2} | {plain:.2} |");
        failed |= (t.abs() < 4.5) != must_pass;
    };
    for keys in [10, 100_000] {
        let true_one = digest(3);
        let mut near = true_one;
        near[31] ^= 1;
        let bytes = [digest(keys + far), near];
        let pair = bytes.map(Digest::from_bytes);

        let mut times = [Times::new(), Times::new(), Times::new()];
        for _ in 0..TABLES {
            let mut table = KeyTable::default();
            let mut text = String::from("tollgate-keys 1\n");
            for i in 0..keys {
                let key = Key {
                    digest: Digest::from_bytes(digest(i)),
                    consumer: None,
                    identity: Consumer::default().into(),
                    scopes: [].into(),
                    not_before: None,
                    expires_at: None,
                    revoked: false,
                    headers: Vec::new(),
                    metadata: None,
                };
                text.push_str(&format!("consumer-{i} k {}\n", key.digest.base64()));
                assert!(table.insert(key).is_ok());
            }
            let set = KeySet::parse(text.as_bytes()).expect("a set");
            assert!(set.contains(&Digest::from_bytes(true_one)));
            times[0].measure(&pair, |wanted| table.find(wanted).is_some());
            times[1].measure(&pair, |wanted| set.contains(wanted));
            if keys == 10 {
                let all: Vec<[u8; 32]> = (0..keys).map(digest).collect();
                times[2].measure(&pair, |wanted| careless(&all, wanted, &bytes, &pair));
            }
        }
        show("keys of the configuration", keys, &times[0], true);
        show("remote key set", keys, &times[1], true);
        if keys == 10 {
            show("byte by byte, for comparison", keys, &times[2], false);
        }
    }
    if failed {
        println!(
            "failed: |t| must be below 4.5 for both searches, and above it for the comparison"
        );
        std::process::exit(1);
    }
}
