//! Limits by every part of a request, over pages of any bytes: answered, and never more than the buckets hold.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate_core::config::{Compile, Report, parse};
use tollgate_core::drive::{Drive, Step};
use tollgate_core::testing::TestWorld;
use tollgate_core::world::{Attribute, Expect, Store};
use tollgate_core::{Exchange, Headers, Metrics, Policy, UnixNanos};
use tollgate_rate_limit::RateLimit;

/// One page, so that everything meets.
const CONFIG: &str = r#"{"table": {"max_bytes": 65536}, "leases": {"min_tokens": 10, "max_percent": 25}, "limits": [
    {"name": "all", "trusted_hops": 1, "on_missing_key": "shared",
     "key": ["client_address", "host", "method", "path", {"header": "x-k"}, {"cookie": "c"}, {"query": "q"}],
     "rules": [{"cost": {"header": "x-cost", "min": 0}, "buckets": [
         {"max_tokens": 40, "tokens_per_fill": 7, "fill_interval": "13s"}, {"max_tokens": 60, "tokens_per_fill": 1, "fill_interval": "1h"}]}]},
    {"name": "small", "key": [{"constant": "all"}],
     "rules": [{"buckets": [{"max_tokens": 3, "tokens_per_fill": 1, "fill_interval": "1h"}]}]}]}"#;

fn policy() -> RateLimit {
    let report = Report::default();
    let mut metrics = Metrics::default();
    let env = |_: &str| None;
    let root = parse(CONFIG, &report).expect("the configuration is JSON");
    let section = root.value(&report).section().expect("it is an object");
    let policy = tollgate_rate_limit::compile(section, &mut Compile::new(&env, &mut metrics));
    assert!(report.is_ok(), "{:?}", report.errors());
    policy.expect("it is a good configuration")
}

fuzz_target!(|bytes: &[u8]| {
    // A page, an address, then requests: times and header maps.
    let (page, rest) = bytes.split_at(bytes.len().min(600) / 3);
    let (address, rest) = rest.split_at(rest.len().min(20));
    let world = TestWorld::at(UnixNanos::from_secs(1_795_000_000));
    for n in 0..105 {
        let key = format!("b/{n}");
        let _ = world.store(&key, page, Expect::Anything);
    }
    world.set_attribute(Attribute::SourceAddress, address);
    let policies = [policy(), policy()];
    let mut admitted = 0;
    let start = world_now(&world);
    for (i, piece) in rest.split(|b| *b == 0xfe).take(12).enumerate() {
        let (step, text) = piece.split_at(piece.len().min(2));
        let step = step.iter().fold(0_u64, |n, b| n * 256 + u64::from(*b));
        // Up to 65 s on, or as much back.
        let now = world_now(&world);
        world.set_now(UnixNanos(if i % 5 == 4 { now - step * 1_000_000 } else { now + step * 1_000_000 }));
        let half = text.len() / 2;
        let (path, value) = text.split_at(half);
        let request = Headers::from_pairs([
            (":method", &b"GET"[..]),
            (":path", path),
            (":authority", value),
            ("x-k", value),
            ("cookie", path),
            ("x-cost", value),
            ("x-forwarded-for", path),
            ("x-forwarded-for", value),
        ]);
        let policy = &policies[i % 2];
        let mut exchange = Exchange::new(request, true);
        let mut drive = Drive::<RateLimit>::default();
        match drive.request_headers(policy, &mut exchange, &world) {
            Step::Forward => admitted += 1,
            Step::Reply(reply) => assert!([400, 429].contains(&reply.status)),
            Step::Hold => panic!("held"),
        }
        drive.response_headers(policy, &mut exchange, &world, true);
        drive.log(policy, &mut exchange, &world);
        policy.on_tick(&world);
    }
    // Twelve requests in less than an hour; what the page said can only have made it less.
    assert!(world_now(&world) < start + 3_600_000_000_000);
    assert!(admitted <= 3, "{admitted} admitted of 3");
    for policy in &policies {
        policy.on_stop(&world);
    }
});

fn world_now(world: &TestWorld) -> u64 {
    tollgate_core::World::now(world).0
}
