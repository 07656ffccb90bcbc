//! Does the time of a lookup tell how close a wrong key came?
//!
//! `cargo bench -p tollgate-benches --bench timing`. Two wrong keys are looked up in random order, a million times in all: one shares
//! 31 of 32 bytes of its digest with a true key, the other nothing. Welch's t of the two sets of times must stay below
//! 4.5, the threshold of the TVLA and dudect methods (<https://eprint.iacr.org/2016/1123>). Times above the 99.5th
//! percentile of both sets together are left out, as in dudect: they are interrupts. For comparison the same is measured for a search
//! that compares byte by byte; if that did not fail, the measurement would be worth nothing.
#![allow(missing_docs)]

use sha2::{Digest as _, Sha256};
use std::hint::black_box;
use std::time::Instant;
use tollgate_core::Consumer;
use tollgate_key_auth::{Digest, Key, KeySet, KeyTable};

const LOOKUPS: usize = 1_000_000;

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

/// Nanoseconds of lookups of the two digests, in random order.
fn measure(pair: &[Digest; 2], mut find: impl FnMut(&Digest) -> bool) -> [Vec<f64>; 2] {
    let mut random = Random(1);
    let mut times = [Vec::new(), Vec::new()];
    for i in 0..LOOKUPS + 10_000 {
        let class = usize::from(random.next() & 1 == 1);
        let wanted = black_box(pair[class]);
        let begin = Instant::now();
        let found = black_box(find(&wanted));
        let spent = begin.elapsed();
        assert!(!found);
        if i >= 10_000 {
            times[class].push(spent.as_nanos() as f64);
        }
    }
    times
}

fn welch(times: &[Vec<f64>; 2]) -> (f64, [f64; 2]) {
    let mut all: Vec<f64> = times.iter().flatten().copied().collect();
    all.sort_by(f64::total_cmp);
    let limit = all[all.len() * 995 / 1000];
    let [a, b] = [0, 1].map(|class| {
        let kept: Vec<f64> = times[class]
            .iter()
            .copied()
            .filter(|t| *t <= limit)
            .collect();
        let n = kept.len() as f64;
        let mean = kept.iter().sum::<f64>() / n;
        let variance = kept.iter().map(|t| (t - mean).powi(2)).sum::<f64>() / (n - 1.0);
        (mean, variance / n)
    });
    ((a.0 - b.0) / (a.1 + b.1).sqrt(), [a.0, b.0])
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
    // `cargo bench` passes --bench.
    let mut failed = false;
    println!("| search | keys | mean ns, shares 0 bytes | mean ns, shares 31 bytes | Welch t |");
    println!("|---|---|---|---|---|");
    let mut show = |name: &str, keys: usize, times: &[Vec<f64>; 2], must_pass: bool| {
        let (t, [far, near]) = welch(times);
        println!("| {name} | {keys} | {far:.2} | {near:.2} | {t:.2} |");
        failed |= (t.abs() < 4.5) != must_pass;
    };
    for keys in [10, 100_000] {
        let true_one = digest(3);
        let mut near = true_one;
        near[31] ^= 1;
        let bytes = [digest(keys + 7), near];
        let pair = bytes.map(Digest::from_bytes);

        let mut table = KeyTable::default();
        for i in 0..keys {
            let key = Key {
                digest: Digest::from_bytes(digest(i)),
                consumer: None,
                identity: Consumer::default(),
                scopes: [].into(),
                not_before: None,
                expires_at: None,
                revoked: false,
                headers: Vec::new(),
                metadata: None,
            };
            assert!(table.insert(key).is_ok());
        }
        let times = measure(&pair, |wanted| table.find(wanted).is_some());
        show("keys of the configuration", keys, &times, true);

        let mut text = String::from("tollgate-keys 1\n");
        for i in 0..keys {
            let hex: String = digest(i).iter().map(|b| format!("{b:02x}")).collect();
            text.push_str(&format!("consumer-{i} k {hex}\n"));
        }
        let set = KeySet::parse(text.as_bytes()).expect("a set");
        assert!(set.contains(&Digest::from_bytes(true_one)));
        let times = measure(&pair, |wanted| set.contains(wanted));
        show("remote key set", keys, &times, true);

        if keys == 10 {
            let all: Vec<[u8; 32]> = (0..keys).map(digest).collect();
            let times = measure(&pair, |wanted| careless(&all, wanted, &bytes, &pair));
            show("byte by byte, for comparison", keys, &times, false);
        }
    }
    if failed {
        println!(
            "failed: |t| must be below 4.5 for both searches, and above it for the comparison"
        );
        std::process::exit(1);
    }
}
