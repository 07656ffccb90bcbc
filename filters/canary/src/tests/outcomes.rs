//! What counts for a variant, and what a trip does, in the world of one or two workers.

use super::{at, compiled};
use crate::{Canary, CanaryStream};
use tollgate_core::exchange::Exchange;
use tollgate_core::flow::ResponseRead;
use tollgate_core::headers::Headers;
use tollgate_core::metrics::{Metrics, stat_name};
use tollgate_core::policy::Policy;
use tollgate_core::testing::TestWorld;
use tollgate_core::time::Duration;
use tollgate_core::world::{Attribute, Level};

/// Workers of one proxy.
struct Proxy {
    workers: Vec<Canary>,
    metrics: Metrics,
    world: TestWorld,
}

fn proxy(fields: &str) -> Proxy {
    let json = format!(
        r#"{{"experiments": [{{"flag": "f", "owner": "o", "expires_at": "2027-02-18", "sticky_key": [{{"header": "u"}}],
            "overrides": {{"c": "canary", "s": "stable", "b": "b"}}, "route_header": "x-v",
            "force": [{{"header": "x-force", "names_variant": true}}],
            "variants": [{{"name": "stable"}}, {{"name": "canary"}}, {{"name": "b"}}], {fields}}}]}}"#
    );
    let world = TestWorld::at(at("2026-11-21T12:00:00Z"));
    let first = compiled(&json);
    assert_eq!(first.report.errors(), []);
    let workers = vec![first.canary.unwrap(), compiled(&json).canary.unwrap()];
    workers.iter().for_each(|worker| worker.on_start(&world));
    Proxy {
        workers,
        metrics: first.metrics,
        world,
    }
}

/// What an upstream does.
#[derive(Clone, Copy, Default)]
struct Answer<'a> {
    status: u16,
    headers: &'a [(&'a str, &'a str)],
    millis: u64,
    grpc: bool,
    /// Nothing of `status` and so on comes.
    none: bool,
    /// A body follows.
    body: bool,
    /// Answered by a policy behind this one.
    local: bool,
}

const FINE: Answer<'_> = Answer {
    status: 200,
    headers: &[],
    millis: 5,
    grpc: false,
    none: false,
    body: false,
    local: false,
};

impl Proxy {
    /// One request of a user in a worker; the variant that it got.
    fn request(&self, worker: usize, user: &str, force: &str, answer: Answer<'_>) -> String {
        let policy = &self.workers[worker];
        let kind = if answer.grpc {
            "application/grpc"
        } else {
            "text/plain"
        };
        let pairs = [("u", user), ("x-force", force), ("content-type", kind)];
        let mut exchange = Exchange::new(Headers::from_pairs(pairs), true);
        let mut stream = CanaryStream::default();
        policy.prepare(&mut stream, &mut exchange, &self.world);
        policy.on_request_headers(&mut stream, &mut exchange, &self.world);
        self.world.advance(Duration::from_millis(answer.millis));
        if !answer.none {
            let reads = policy.reads_response(&stream);
            if reads >= ResponseRead::Status {
                exchange.status = Some(answer.status);
            }
            if reads == ResponseRead::Headers {
                exchange.response = Headers::from_pairs(answer.headers.iter().copied());
            }
            exchange.replied = answer.local.then(|| "tollgate_budget_exceeded".to_owned());
            policy.on_response_headers(&mut stream, &mut exchange, &self.world, !answer.body);
        }
        policy.on_log(&mut stream, &mut exchange, &self.world);
        let variant = exchange.request.first("x-v").unwrap().to_vec();
        String::from_utf8(variant).unwrap()
    }

    fn tick(&self) {
        self.workers
            .iter()
            .for_each(|worker| worker.on_tick(&self.world));
    }

    fn metric(&self, name: &str, variant: &str, more: &[(&str, &str)]) -> u64 {
        let mut labels = vec![("flag", "f"), ("variant", variant)];
        labels.extend_from_slice(more);
        self.world.metric(&self.metrics, &stat_name(name, &labels))
    }

    fn errors(&self, kind: &str) -> u64 {
        self.metric("tollgate_variant_errors_total", "canary", &[("kind", kind)])
    }

    fn requests(&self) -> u64 {
        self.metric("tollgate_variant_requests_total", "canary", &[])
    }

    fn tripped(&self) -> usize {
        let logs = self.world.take_logs();
        logs.iter()
            .filter(|(_, l)| l.contains("rolled back by"))
            .count()
    }
}

#[test]
fn answers_that_break_off_count_once_and_only_if_the_upstream_did_it() {
    let proxy = proxy(r#""outcome": {}"#);
    let body = Answer { body: true, ..FINE };
    let flags = |bits: u64| {
        let text = bits.to_string().into_bytes();
        proxy.world.set_attribute(Attribute::ResponseFlags, text);
    };
    for bit in [2, 3, 4, 5, 6, 16, 19, 22, 23] {
        flags(1 << bit);
        proxy.request(0, "c", "", body);
    }
    assert_eq!((proxy.requests(), proxy.errors("reset")), (9, 9));
    // The client went away: Envoy resets the upstream itself.
    for bits in [0, 1 << 14, 1 << 14 | 1 << 3, 1 << 28 | 1 << 4, 1 << 7] {
        flags(bits);
        proxy.request(0, "c", "", body);
    }
    flags(1 << 6);
    proxy.request(0, "c", "", FINE);
    assert_eq!((proxy.requests(), proxy.errors("reset")), (15, 9));
    // An error already by its status.
    proxy.request(
        0,
        "c",
        "",
        Answer {
            status: 500,
            ..body
        },
    );
    assert_eq!((proxy.errors("status"), proxy.errors("reset")), (1, 9));
}

#[test]
fn grpc_statuses_of_headers_and_trailers() {
    let proxy = proxy(r#""outcome": {"errors": {"grpc": ["UNAVAILABLE", 2]}}"#);
    let grpc = Answer { grpc: true, ..FINE };
    for status in ["14", "2", "99", "x", "13", "0"] {
        proxy.request(
            0,
            "c",
            "",
            Answer {
                headers: &[("grpc-status", status)],
                ..grpc
            },
        );
    }
    // An unknown status is UNKNOWN.
    assert_eq!(proxy.errors("grpc"), 4);
    let trailers = Answer { body: true, ..grpc };
    for status in ["14", "0"] {
        proxy.world.set_attribute(Attribute::GrpcStatus, status);
        proxy.request(0, "c", "", trailers);
    }
    proxy.world.set_attribute(Attribute::GrpcStatus, "14");
    proxy.request(0, "c", "", Answer { body: true, ..FINE });
    assert_eq!((proxy.errors("grpc"), proxy.requests()), (5, 9));
}

#[test]
fn clients_that_go_away_and_replies_of_other_policies() {
    let gone = Answer { none: true, ..FINE };
    let local = Answer {
        local: true,
        status: 503,
        ..FINE
    };
    let usual = proxy(r#""outcome": {}"#);
    usual.request(0, "c", "", gone);
    usual.request(0, "c", "", local);
    assert_eq!((usual.requests(), usual.errors("status")), (0, 0));
    let counting = proxy(r#""outcome": {"errors": {"client_aborts": true}}"#);
    counting.request(0, "c", "", gone);
    assert_eq!(
        (counting.requests(), counting.errors("client_abort")),
        (1, 1)
    );
}

#[test]
fn latency_is_shown_by_quantile_for_both_workers_together() {
    let proxy = proxy(r#""outcome": {}"#);
    for n in 0..1_000 {
        proxy.request(
            n % 2,
            "c",
            "",
            Answer {
                millis: if n < 980 { 10 } else { 100 },
                ..FINE
            },
        );
    }
    assert_eq!(
        proxy.metric("tollgate_variant_latency_us_total", "canary", &[]),
        11_800_000
    );
    proxy.tick();
    let quantile = |q| proxy.metric("tollgate_variant_latency_us", "canary", &[("quantile", q)]);
    assert!(
        (9_900..=10_240).contains(&quantile("0.5")),
        "{}",
        quantile("0.5")
    );
    assert!(
        (97_000..=102_400).contains(&quantile("0.99")),
        "{}",
        quantile("0.99")
    );
}

const STRICT: &str =
    r#""rollback": {"min_samples": 100, "error_rate": {"absolute": "5%"}, "cool_down": "1h"}"#;
const BROKEN: Answer<'_> = Answer {
    status: 503,
    ..FINE
};

#[test]
fn the_counts_of_all_workers_together_roll_back_for_all_of_them() {
    let proxy = proxy(STRICT);
    for n in 0..99 {
        proxy.request(n % 2, "c", "", BROKEN);
    }
    proxy.tick();
    assert_eq!(proxy.tripped(), 0);
    proxy.request(0, "c", "", BROKEN);
    // The second worker has nothing to add, and learns it all the same.
    proxy.tick();
    assert_eq!(proxy.tripped(), 1);
    proxy.tick();
    for worker in [0, 1] {
        assert_eq!(proxy.request(worker, "c", "", FINE), "stable");
        assert_eq!(proxy.request(worker, "c", "canary", FINE), "canary");
        // A/B/n: the other one stays.
        assert_eq!(proxy.request(worker, "b", "", FINE), "b");
    }
    assert_eq!(proxy.metric("tollgate_rolled_back", "canary", &[]), 1);
    assert_eq!(proxy.metric("tollgate_rolled_back", "b", &[]), 0);
    let labels = [("rule", "error_rate_absolute"), ("severity", "critical")];
    assert_eq!(
        proxy.metric("tollgate_rollbacks_total", "canary", &labels),
        1
    );
}

#[test]
fn after_the_cool_down_old_counts_do_not_count() {
    let proxy = proxy(STRICT);
    for _ in 0..200 {
        proxy.request(0, "c", "", BROKEN);
    }
    proxy.tick();
    assert_eq!(proxy.tripped(), 1);
    proxy.world.advance(Duration::from_secs(3_600));
    proxy.tick();
    for _ in 0..99 {
        assert_eq!(proxy.request(0, "c", "", BROKEN), "canary");
    }
    proxy.tick();
    assert_eq!(proxy.tripped(), 0);
    // The slot in which it came back has an earlier beginning; the next one counts.
    proxy.world.advance(Duration::from_secs(360));
    for _ in 0..100 {
        proxy.request(0, "c", "", BROKEN);
    }
    proxy.tick();
    assert_eq!(proxy.tripped(), 1);
}

#[test]
fn a_busy_store_delays_counts_and_trips_and_loses_none() {
    let proxy = proxy(STRICT);
    for _ in 0..200 {
        proxy.request(0, "c", "", BROKEN);
    }
    proxy.world.conflicts.set(8);
    proxy.tick();
    assert_eq!(proxy.tripped(), 0);
    // Counts are added, and the trip is in the way of others.
    proxy.tick();
    assert_eq!(proxy.tripped(), 1);
    let delayed = stat_name("tollgate_variant_counts_delayed_total", &[("flag", "f")]);
    assert_eq!(proxy.world.metric(&proxy.metrics, &delayed), 1);
}

#[test]
fn what_a_replaced_configuration_has_counted_is_handed_over() {
    let proxy = proxy(STRICT);
    for _ in 0..100 {
        proxy.request(0, "c", "", BROKEN);
    }
    proxy.workers[0].on_stop(&proxy.world);
    proxy.request(1, "c", "", BROKEN);
    proxy.workers[1].on_tick(&proxy.world);
    assert_eq!(proxy.tripped(), 1);
}

/// A new configuration is a new instance; what other experiments say is no part of this one.
#[test]
fn counts_and_trips_survive_a_reload_of_other_parts_and_no_change_of_their_own() {
    let world = TestWorld::at(at("2026-11-21T12:00:00Z"));
    let load = |owner: &str, other: u32| {
        let json = format!(
            r#"{{"experiments": [{{"flag": "f", "owner": "{owner}", "expires_at": "2027-02-18", "route_header": "x-v",
                "match": {{"path": {{"prefix": "/f"}}}}, "sticky_key": [{{"header": "u"}}], "overrides": {{"c": "canary"}},
                "variants": [{{"name": "stable"}}, {{"name": "canary"}}], {STRICT}}},
              {{"flag": "g", "owner": "o", "expires_at": "2027-02-{other}", "route_header": "x-g",
                "variants": [{{"name": "stable"}}, {{"name": "canary"}}]}}]}}"#
        );
        let worker = compiled(&json).canary.unwrap();
        worker.on_start(&world);
        worker
    };
    let send = |worker: &Canary, times: u32| {
        let mut variant = None;
        for _ in 0..times {
            let pairs = [("u", "c"), (":path", "/f")];
            let mut exchange = Exchange::new(Headers::from_pairs(pairs), true);
            let mut stream = CanaryStream::default();
            worker.prepare(&mut stream, &mut exchange, &world);
            worker.on_request_headers(&mut stream, &mut exchange, &world);
            exchange.status = Some(503);
            worker.on_response_headers(&mut stream, &mut exchange, &world, true);
            variant = exchange.request.first("x-v").map(<[u8]>::to_vec);
        }
        worker.on_tick(&world);
        String::from_utf8(variant.unwrap()).unwrap()
    };
    let old = load("o", 18);
    send(&old, 60);
    let new = load("o", 19);
    send(&new, 39);
    assert_eq!(send(&new, 1), "canary");
    assert_eq!(send(&new, 1), "stable");
    assert_eq!(send(&load("o", 20), 1), "stable");
    // Connections that drain from the old one are rolled back, too.
    old.on_tick(&world);
    assert_eq!(send(&old, 1), "stable");
    let changed = load("p", 20);
    assert_eq!(send(&changed, 1), "canary");
    // The old one, still ticking, has no say in it.
    old.on_tick(&world);
    assert_eq!(send(&changed, 98), "canary");
    assert_eq!(send(&old, 1), "stable");
}

#[test]
fn the_worst_rule_is_named_and_severity_is_how_loud() {
    let proxy = proxy(
        r#""rollback": {"min_samples": 100, "error_rate": {"absolute": "5%", "severity": "low"},
            "latency_p99": {"absolute": "50ms", "severity": "medium"}}"#,
    );
    for _ in 0..100 {
        proxy.request(
            0,
            "c",
            "",
            Answer {
                millis: 100,
                ..BROKEN
            },
        );
    }
    proxy.tick();
    let logs = proxy.world.take_logs();
    let (level, line) = logs
        .iter()
        .find(|(_, l)| l.contains("rolled back by"))
        .unwrap();
    assert_eq!(*level, Level::Warn);
    assert!(
        line.contains("rule latency_p99_absolute (medium): p99 "),
        "{line}"
    );
    assert!(line.contains("limit 50.000 ms"), "{line}");
}

#[test]
fn where_nothing_is_configured_nothing_is_asked_or_stored() {
    let proxy = proxy(r#""response_header": "x-shown""#);
    proxy.request(0, "c", "", BROKEN);
    proxy.tick();
    assert_eq!(proxy.world.keys(), 0);
    let policy = &proxy.workers[0];
    assert_eq!(
        policy.reads_response(&CanaryStream::default()),
        ResponseRead::Nothing
    );
}

/// Shared data is never freed: however many configurations and windows come, the keys are the same.
#[test]
fn the_number_of_keys_is_bounded() {
    let world = TestWorld::at(at("2026-11-21T12:00:00Z"));
    for owner in 0..20 {
        let json = format!(
            r#"{{"experiments": [{{"flag": "f", "owner": "o{owner}", "expires_at": "2027-02-18", "route_header": "x-v",
                "variants": [{{"name": "stable"}}, {{"name": "canary"}}], {STRICT}}}]}}"#
        );
        let worker = compiled(&json).canary.unwrap();
        worker.on_start(&world);
        for _ in 0..30 {
            let mut exchange = Exchange::new(Headers::from_pairs([("a", "b")]), true);
            let mut stream = CanaryStream::default();
            worker.prepare(&mut stream, &mut exchange, &world);
            worker.on_request_headers(&mut stream, &mut exchange, &world);
            worker.on_response_headers(&mut stream, &mut exchange, &world, true);
            world.advance(Duration::from_secs(361));
            worker.on_tick(&world);
        }
    }
    assert_eq!(world.keys(), 41);
    assert!(world.stored_bytes() < 10_000, "{}", world.stored_bytes());
}
