//! Any bytes as marker, cookie, key, answer and shared data of a canary: one of the variants is chosen, nothing that was not
//! signed chooses it, and ticks go on.
#![no_main]

use libfuzzer_sys::{arbitrary, arbitrary::Arbitrary, fuzz_target};
use tollgate_core::config::{self, Report};
use tollgate_core::drive::Drive;
use tollgate_core::testing::TestWorld;
use tollgate_core::time::{Duration, UnixNanos};
use tollgate_core::world::{Attribute, Expect, Store};
use tollgate_core::{Exchange, Headers, Metrics, Policy};

#[derive(Arbitrary, Debug)]
struct Input {
    marker: Vec<u8>,
    visitor: Vec<u8>,
    user: Vec<u8>,
    grpc: Vec<u8>,
    order: Vec<u8>,
    flags: Vec<u8>,
    status: u16,
    trips: Vec<u8>,
    window: Vec<u8>,
    framed: bool,
    wait: u32,
}

const CONFIG: &str = r#"{"marker": {"header": "x-m", "keys": [{"env": "K"}]}, "decision_log": {"sample": 50},
  "experiments": [{"flag": "f", "owner": "o", "expires_at": "2099-01-01", "route_header": "x-v",
    "sticky_key": [{"header": "u"}], "variants": [{"name": "stable", "weight": 100}, {"name": "canary", "weight": 0}],
    "visitor_cookie": {"name": "v", "keys": [{"env": "K"}]}, "response_header": "x-shown",
    "outcome": {"conversion": {"header": "x-order", "prefix": "p"}, "errors": {"client_aborts": true}},
    "rollback": {"min_samples": 100, "error_rate": {"absolute": "5%", "relative": 2}, "cool_down": "1h",
      "latency_p99": {"relative": 1.5, "absolute": "1s"}, "conversion_rate": {"relative": 0.9, "absolute": 1}}}]}"#;

fuzz_target!(|input: Input| {
    let (report, mut metrics) = (Report::default(), Metrics::default());
    let env = |_: &str| Some("0123456789abcdef0123456789abcdef".to_owned());
    let gateway = config::parse(CONFIG, &report)
        .and_then(|root| tollgate_gateway::compile("canary", &root, &report, &env, &mut metrics))
        .expect("the configuration is good");
    let world = TestWorld::at(UnixNanos::from_secs(1_795_262_400));
    let slot = 1_795_262_400 / 360 % 10;
    for (key, head, bytes) in [
        ("rollback/f".to_owned(), &b"TGRT\x01"[..], &input.trips),
        (format!("rollback/f/0/{slot}"), b"TGRB\x01", &input.window),
    ] {
        let mut all = if input.framed { head.to_vec() } else { Vec::new() };
        all.extend(bytes);
        let _ = world.store(&key, &all, Expect::Anything);
    }
    gateway.chain.on_start(&world);
    let cookie = [b"v=", input.visitor.as_slice()].concat();
    let pairs = [
        ("x-m", input.marker.as_slice()),
        ("cookie", &cookie),
        ("u", &input.user),
        ("content-type", b"application/grpc"),
    ];
    for _ in 0..2 {
        let mut exchange = Exchange::new(Headers::from_pairs(pairs), true);
        let mut drive = Drive::default();
        drive.request_headers(&gateway.chain, &mut exchange, &world);
        assert_eq!(exchange.request.first("x-v"), Some(&b"stable"[..]));
        world.advance(Duration(u64::from(input.wait) * 1_000));
        exchange.status = Some(input.status);
        exchange.response = Headers::from_pairs([("grpc-status", &input.grpc), ("x-order", &input.order)]);
        drive.response_headers(&gateway.chain, &mut exchange, &world, false);
        world.set_attribute(Attribute::GrpcStatus, input.grpc.clone());
        world.set_attribute(Attribute::ResponseFlags, input.flags.clone());
        drive.log(&gateway.chain, &mut exchange, &world);
        gateway.chain.on_tick(&world);
    }
    gateway.chain.on_stop(&world);
});
