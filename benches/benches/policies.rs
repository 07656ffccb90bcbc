//! What the policies cost natively, without any proxy: one exchange through the chain, phase by phase.
//!
//! `cargo bench -p tollgate-benches`. Figures that matter to a user are those in a real Envoy
//! (`benches/envoy/cpu.py`); these here show what a change did to the policies themselves.
#![allow(missing_docs)] // criterion_group! makes a public function

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::hint::black_box;
use tollgate_core::config::{self, Report};
use tollgate_core::drive::{Drive, Step};
use tollgate_core::testing::{TestReply, TestWorld};
use tollgate_core::world::Outcome;
use tollgate_core::{Exchange, Headers, Metrics, Policy, UnixNanos};
use tollgate_gateway::{Chain, Gateway};

const KEY: &str = "bench-key-0123456789abcdef";
const SECRET: &str = "bench-webhook-secret-0123456789";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The configuration of the Envoy benchmark.
fn gateway_config() -> String {
    let lines = include_str!("../gateway.yaml").lines();
    let json: Vec<&str> = lines.filter(|line| !line.starts_with('#')).collect();
    json.join("\n")
}

fn compile(root_id: &str, json: &str) -> Gateway {
    let report = Report::default();
    let mut metrics = Metrics::default();
    let root = config::parse(json, &report).expect("JSON");
    let env = |name: &str| (name == "BENCH_WEBHOOK_SECRET").then(|| SECRET.to_owned());
    let gateway = tollgate_gateway::compile(root_id, &root, &report, &env, &mut metrics);
    assert!(report.is_ok(), "{:?}", report.errors());
    gateway.expect("a configuration without errors")
}

/// A section of the gateway's configuration by itself.
fn single(root_id: &str, json: &str) -> (Gateway, TestWorld) {
    let gateway = compile(root_id, json);
    let world = TestWorld::at(UnixNanos::parse("2026-11-21T12:00:00Z").expect("a time"));
    gateway.chain.on_start(&world);
    (gateway, world)
}

fn request(path: &str) -> Vec<(&'static str, String)> {
    vec![
        (":authority", "api.example.com".to_owned()),
        (":path", path.to_owned()),
        (":method", "GET".to_owned()),
        ("user-agent", "bench".to_owned()),
        ("accept", "application/json".to_owned()),
        ("x-user-id", "user-4711".to_owned()),
        ("x-api-key", KEY.to_owned()),
    ]
}

/// One exchange: request headers, body if any, response headers, log.
fn exchange(gateway: &Gateway, world: &TestWorld, headers: &[(&str, String)], body: &[u8]) {
    let mut drive: Drive<Chain> = Drive::default();
    let pairs = headers.iter().map(|(n, v)| (*n, v.as_bytes()));
    let mut ex = Exchange::new(Headers::from_pairs(pairs), body.is_empty());
    let chain = &gateway.chain;
    let mut step = drive.request_headers(chain, &mut ex, world);
    if step == Step::Hold {
        step = drive.request_body(chain, &mut ex, world, body, body.len(), true);
    }
    assert_eq!(step, Step::Forward);
    drive.response_headers(chain, &mut ex, world, true);
    drive.log(chain, &mut ex, world);
    black_box((
        ex.request.take_ops(),
        ex.response.take_ops(),
        ex.facts.take_published(),
    ));
}

fn chains(c: &mut Criterion) {
    let mut group = c.benchmark_group("exchange");
    let headers = request("/api/orders?page=2");
    for (root_id, json) in [
        ("gateway", gateway_config()),
        (
            "canary",
            r#"{"experiments": [{"flag": "checkout-v2", "sticky_key": [{"header": "x-user-id"}],
                "variants": [{"name": "stable", "weight": 95}, {"name": "canary", "weight": 5}],
                "route_header": "x-variant"}]}"#
                .to_owned(),
        ),
        (
            "rate-limit",
            r#"{"limits": [{"name": "api", "key": [{"header": "x-user-id"}], "rules": [{"buckets": [
                {"max_tokens": 1000000000, "tokens_per_fill": 1000000000, "fill_interval": "60s"},
                {"max_tokens": 1000000000, "tokens_per_fill": 1000000000, "fill_interval": "1h"}]}]}]}"#
                .to_owned(),
        ),
        (
            "cost",
            r#"{"prices": [{"name": "api", "base": "0.0001"}]}"#.to_owned(),
        ),
    ] {
        let (gateway, world) = single(root_id, &json);
        group.bench_function(root_id, |b| {
            b.iter(|| exchange(&gateway, &world, &headers, b""));
        });
    }
    group.finish();
}

/// The key of a consumer of the benchmark; number 0 is [`KEY`].
fn key(i: usize) -> String {
    match i {
        0 => KEY.to_owned(),
        _ => format!("key-{i}-of-many-consumers"),
    }
}

/// Key auth with so many keys in its configuration, or in a remote set.
fn key_auth(count: usize, remote: bool) -> (Gateway, TestWorld) {
    let digest = |i| hex(&Sha256::digest(key(i)));
    if !remote {
        let consumers: Vec<String> = (0..count)
            .map(|i| {
                format!(
                    r#"{{"id": "consumer-{i}", "keys": [{{"id": "k", "sha256": "{}"}}]}}"#,
                    digest(i)
                )
            })
            .collect();
        return single(
            "key-auth",
            &format!(r#"{{"consumers": [{}]}}"#, consumers.join(",")),
        );
    }
    let (gateway, world) = single(
        "key-auth",
        r#"{"remote_keys": {"cluster": "keys", "path": "/"}}"#,
    );
    let mut text = String::from("tollgate-keys 1\n");
    for i in 0..count {
        text.push_str(&format!("consumer-{i} k {} groups=gold\n", digest(i)));
    }
    gateway.chain.on_tick(&world);
    let (id, _) = world.take_background().remove(0);
    let reply = TestReply::new(Outcome::Http(200), text);
    gateway.chain.on_background_reply(&world, id, &reply);
    while gateway.chain.is_busy() {
        gateway.chain.on_tick(&world);
    }
    (gateway, world)
}

/// Whole exchanges, each with another of 64 keys from all over the set.
fn keys(c: &mut Criterion) {
    let mut group = c.benchmark_group("key_auth");
    for remote in [false, true] {
        for count in [10_usize, 100_000] {
            let (gateway, world) = key_auth(count, remote);
            let requests: Vec<_> = (0..64)
                .map(|i| {
                    let mut headers = request("/api/orders");
                    if let Some((_, value)) = headers.iter_mut().find(|(n, _)| *n == "x-api-key") {
                        *value = key(i * 1543 % count);
                    }
                    headers
                })
                .collect();
            let mut next = 0_usize;
            let place = if remote { "remote" } else { "inline" };
            group.bench_function(format!("{place}, {count} keys"), |b| {
                b.iter(|| {
                    next = (next + 1) % requests.len();
                    exchange(&gateway, &world, &requests[next], b"");
                });
            });
        }
    }
    group.finish();
}

fn webhooks(c: &mut Criterion) {
    let mut group = c.benchmark_group("webhook_signature");
    let json = format!(
        r#"{{"rules": [{{"scheme": "x-signature", "max_body_bytes": 2097152,
            "secrets": [{{"id": "s", "value": "{SECRET}"}}]}}]}}"#
    );
    for size in [256_usize, 64 * 1024, 1024 * 1024] {
        let body = vec![b'x'; size];
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any length");
        mac.update(&body);
        let mut headers = request("/hooks/x");
        headers.push(("x-signature", hex(&mac.finalize().into_bytes())));
        let (gateway, world) = single("webhook-signature", &json);
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(format!("{size} bytes"), |b| {
            b.iter(|| exchange(&gateway, &world, &headers, &body));
        });
    }
    group.finish();
}

criterion_group!(benches, chains, keys, webhooks);
criterion_main!(benches);
