//! Runs of 10,000 requests through two workers of one proxy: what trips, when, and what must not.
//!
//! A few runs of each by default; `make simulate` makes a thousand, optimized, and prints the table of `docs/canary.md`.
#![allow(
    clippy::float_arithmetic,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss
)]

use super::{at, compiled};
use crate::Canary;
use tollgate_core::drive::Drive;
use tollgate_core::exchange::Exchange;
use tollgate_core::headers::Headers;
use tollgate_core::policy::Policy;
use tollgate_core::testing::TestWorld;
use tollgate_core::time::{Duration, UnixNanos};
use tollgate_core::world::World;

const REQUESTS: u64 = 10_000;
/// 100 requests a second, a tick of each worker every 250 ms.
const GAP: u64 = 10_000_000;
const TICK: u64 = 25;

/// SplitMix64 with a seed of its own for each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Box and Muller.
    fn normal(&mut self) -> f64 {
        let (u, v) = (1.0 - self.next(), self.next());
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }
}

/// How long answers take.
#[derive(Clone, Copy, Debug)]
enum Shape {
    /// From 50 to 150 ms.
    Uniform,
    /// Median 80 ms and this spread of the logarithm: 0.25 has a p99 of 1.8, 0.5 of 3.2 times the median.
    LogNormal(f64),
    /// Mean 80 ms.
    Exponential,
    /// 97 % take 20 ms, the others 400 to 500.
    Bimodal,
}

impl Shape {
    fn micros(self, random: &mut Random) -> f64 {
        match self {
            Self::Uniform => 50_000.0 + 100_000.0 * random.next(),
            Self::LogNormal(spread) => 80_000.0 * (spread * random.normal()).exp(),
            Self::Exponential => -80_000.0 * (1.0 - random.next()).ln(),
            Self::Bimodal if random.next() < 0.97 => 20_000.0,
            Self::Bimodal => 400_000.0 + 100_000.0 * random.next(),
        }
    }
}

/// What one variant does.
#[derive(Clone, Copy, Debug)]
struct Side {
    errors: f64,
    conversions: f64,
    slower: f64,
}

const WELL: Side = Side {
    errors: 0.0,
    conversions: 0.1,
    slower: 1.0,
};

#[derive(Clone, Copy, Debug)]
struct Case<'a> {
    rules: &'a str,
    /// Percent of the users on the canary.
    share: u32,
    requests: u64,
    shape: Shape,
    stable: Side,
    canary: Side,
}

const EQUAL: Case<'static> = Case {
    rules: r#""error_rate": {"absolute": "5%", "relative": 1.5}, "latency_p99": {"relative": 1.5},
              "conversion_rate": {"relative": 0.95}"#,
    share: 50,
    requests: REQUESTS,
    shape: Shape::Exponential,
    stable: WELL,
    canary: WELL,
};

/// The number of canary requests at which it tripped, and the log line.
fn run(case: &Case<'_>, seed: u64) -> Option<(u64, String)> {
    let stable = 100 - case.share;
    let json = format!(
        r#"{{"experiments": [{{"flag": "run-{seed}", "owner": "o", "expires_at": "2027-02-18",
            "sticky_key": [{{"header": "x-user-id"}}], "route_header": "x-variant",
            "variants": [{{"name": "stable", "weight": {stable}}}, {{"name": "canary", "weight": {}}}],
            "outcome": {{"conversion": {{"header": "x-order", "present": true}}}},
            "rollback": {{{}}}}}]}}"#,
        case.share, case.rules
    );
    let workers: Vec<Canary> = (0..2).map(|_| compiled(&json).canary.unwrap()).collect();
    let world = TestWorld::at(at("2026-11-21T12:00:00Z"));
    workers.iter().for_each(|worker| worker.on_start(&world));
    let mut random = Random(seed.wrapping_mul(0x1234_5678_9abc_def1));
    let mut canaries = 0;
    let start = world.now();
    for n in 0..case.requests {
        let worker = &workers[usize::from(random.next() < 0.5)];
        let now = UnixNanos(start.0 + n * GAP);
        world.set_now(now);
        canaries += u64::from(exchange(worker, &world, n, case, &mut random));
        if n % TICK == TICK - 1 {
            world.set_now(UnixNanos(now.0 + GAP / 2));
            workers.iter().for_each(|worker| worker.on_tick(&world));
            let lines = world.take_logs();
            if let Some((_, line)) = lines.into_iter().find(|(_, l)| l.contains("rolled back")) {
                return Some((canaries, line));
            }
        }
    }
    None
}

/// One request; whether it was the canary's.
fn exchange(
    worker: &Canary,
    world: &TestWorld,
    user: u64,
    case: &Case<'_>,
    random: &mut Random,
) -> bool {
    let user = user.to_string();
    let mut exchange = Exchange::new(Headers::from_pairs([("x-user-id", user.as_str())]), true);
    let mut drive = Drive::default();
    drive.request_headers(worker, &mut exchange, world);
    let is_canary = exchange.request.first("x-variant") == Some(b"canary");
    let side = if is_canary { case.canary } else { case.stable };
    let micros = case.shape.micros(random) * side.slower;
    world.advance(Duration(micros as u64 * 1_000));
    let failed = random.next() < side.errors;
    exchange.status = Some(if failed { 503 } else { 200 });
    if random.next() < side.conversions {
        exchange.response = Headers::from_pairs([("x-order", "1")]);
    }
    drive.response_headers(worker, &mut exchange, world, true);
    drive.log(worker, &mut exchange, world);
    is_canary
}

/// How many of the runs trip within the first 3,000 canary requests, and how many at all.
fn trips(case: &Case<'_>, runs: u64) -> (u64, u64) {
    let threads: u64 = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    std::thread::scope(|scope| {
        let part = |first: u64| {
            move || {
                let seeds = (first..runs).step_by(threads as usize);
                let found: Vec<u64> = seeds.filter_map(|s| Some(run(case, s + 1)?.0)).collect();
                let soon = found.iter().filter(|n| **n <= 3_000).count();
                (soon as u64, found.len() as u64)
            }
        };
        let parts: Vec<_> = (0..threads).map(|first| scope.spawn(part(first))).collect();
        let joined = parts.into_iter().map(|p| p.join().unwrap());
        joined.fold((0, 0), |(soon, all), (n, m)| (soon + n, all + m))
    })
}

fn with_errors(stable: f64, canary: f64) -> Case<'static> {
    let side = |errors| Side { errors, ..WELL };
    Case {
        stable: side(stable),
        canary: side(canary),
        ..EQUAL
    }
}

fn slower(shape: Shape, slower: f64) -> Case<'static> {
    Case {
        shape,
        canary: Side { slower, ..WELL },
        ..EQUAL
    }
}

const SHAPES: [Shape; 5] = [
    Shape::Uniform,
    Shape::LogNormal(0.25),
    Shape::LogNormal(0.5),
    Shape::Exponential,
    Shape::Bimodal,
];

#[test]
fn equal_variants_and_an_error_rate_below_the_limit_do_not_trip() {
    assert_eq!(trips(&with_errors(0.049, 0.049), 10).1, 0);
}

#[test]
fn an_error_rate_above_the_limit_trips_within_3_000_canary_requests() {
    assert_eq!(trips(&with_errors(0.049, 0.08), 10).0, 10);
    let (_, line) = run(&with_errors(0.01, 0.08), 1).unwrap();
    assert!(
        line.contains("rule error_rate_absolute (critical): "),
        "{line}"
    );
}

#[test]
fn a_p99_of_1_6_trips_and_of_1_3_does_not() {
    assert_eq!(trips(&slower(Shape::Uniform, 1.6), 5).0, 5);
    assert_eq!(trips(&slower(Shape::Uniform, 1.3), 5).1, 0);
}

#[test]
fn a_slow_stable_does_not_trip() {
    let slow = Side {
        slower: 5.0,
        ..WELL
    };
    let case = Case {
        rules: r#""latency_p99": {"absolute": "600ms", "relative": 1.5}"#,
        stable: slow,
        ..EQUAL
    };
    assert_eq!(trips(&case, 4).1, 0);
    // Nor when the canary is as slow.
    assert_eq!(
        trips(
            &Case {
                canary: slow,
                ..case
            },
            4
        )
        .1,
        0
    );
    assert_eq!(
        trips(
            &Case {
                stable: WELL,
                canary: slow,
                ..case
            },
            4
        )
        .0,
        4
    );
}

#[test]
fn thirty_samples_never_trip() {
    let dead = Side {
        errors: 1.0,
        conversions: 0.0,
        slower: 100.0,
    };
    let case = Case {
        rules: r#""min_samples": 100, "error_rate": {"absolute": "1%", "relative": 1},
            "latency_p99": {"relative": 1, "absolute": "1ms"}, "conversion_rate": {"relative": 1}"#,
        requests: 60,
        share: 50,
        canary: dead,
        ..EQUAL
    };
    assert_eq!(trips(&case, 20).1, 0);
    assert!(
        run(
            &Case {
                requests: 400,
                ..case
            },
            1
        )
        .is_some()
    );
}

/// The table of `docs/canary.md`: what the rules promise, a thousand runs of each.
#[test]
#[ignore = "a thousand runs of each case: minutes, optimized; `make simulate`"]
fn a_thousand_runs_of_each() {
    let mut table = Table::new(1_000);
    let none = Side {
        conversions: 0.05,
        ..WELL
    };
    let ten = Case {
        share: 10,
        requests: 30_000,
        ..with_errors(0.049, 0.08)
    };
    let alone = Case {
        rules: r#""error_rate": {"absolute": "5%"}"#,
        ..with_errors(0.005, 0.049)
    };
    table.rarely(
        "equal variants, 4.9 % errors, limit 5 %",
        &with_errors(0.049, 0.049),
    );
    table.rarely("4.9 % errors, stable 0.5 %, limit 5 %", &alone);
    table.nearly_always("8 % errors, limit 5 %", &with_errors(0.049, 0.08));
    table.nearly_always("8 % errors, limit 5 %, a canary of 10 %", &ten);
    table.nearly_always(
        "half the conversions, limit 0.95",
        &Case {
            canary: none,
            ..EQUAL
        },
    );
    for shape in [Shape::Uniform, Shape::LogNormal(0.25), Shape::Exponential] {
        table.rarely(
            &format!("p99 x 1.3, limit 1.5, {shape:?}"),
            &slower(shape, 1.3),
        );
    }
    for shape in [Shape::Uniform, Shape::LogNormal(0.25)] {
        table.nearly_always(
            &format!("p99 x 1.6, limit 1.5, {shape:?}"),
            &slower(shape, 1.6),
        );
    }
    table.end();
}

/// How far the tail rules see, for distributions from narrow to wide.
#[test]
#[ignore = "a hundred runs of each case: minutes, optimized; `make simulate`"]
fn a_hundred_runs_of_every_distribution() {
    let mut table = Table::new(100);
    for shape in SHAPES {
        for factor in [1.6, 1.3, 1.0, 1.8] {
            table.row(
                &format!("p99 x {factor}, limit 1.5, {shape:?}"),
                &slower(shape, factor),
            );
        }
    }
    table.end();
}

struct Table {
    runs: u64,
    wrong: Vec<String>,
}

#[allow(clippy::print_stdout)]
impl Table {
    fn new(runs: u64) -> Self {
        println!(
            "| case | of {runs} runs trip within 3,000 canary requests | within the run |\n|---|---|---|"
        );
        Self {
            runs,
            wrong: Vec::new(),
        }
    }

    fn rarely(&mut self, name: &str, case: &Case<'_>) {
        let (_, all) = self.row(name, case);
        self.check(name, all <= self.runs / 50);
    }

    fn nearly_always(&mut self, name: &str, case: &Case<'_>) {
        let (soon, all) = self.row(name, case);
        let errors = case.canary.errors > 0.0;
        let enough = if errors { soon } else { all };
        self.check(name, enough >= self.runs - self.runs / 100);
    }

    fn row(&mut self, name: &str, case: &Case<'_>) -> (u64, u64) {
        let (soon, all) = trips(case, self.runs);
        println!("| {name} | {soon} | {all} |");
        (soon, all)
    }

    fn check(&mut self, name: &str, good: bool) {
        self.wrong.extend((!good).then(|| name.to_owned()));
    }

    fn end(self) {
        assert_eq!(self.wrong, Vec::<String>::new());
    }
}
