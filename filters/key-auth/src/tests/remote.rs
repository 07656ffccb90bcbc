//! A key set that is fetched: who fetches, what is served when, and what a source that fails changes.

use super::{BASIC, Fixture, GOLD, build, config};
use crate::{Digest, KeyAuth};
use tollgate_core::drive::{Drive, Step};
use tollgate_core::metrics::stat_name;
use tollgate_core::testing::{TestReply, TestWorld};
use tollgate_core::time::Duration;
use tollgate_core::world::{Call, CallId, Level, Outcome};
use tollgate_core::{Exchange, Headers, LocalReply, Metrics, Policy, UnixNanos};

const REMOTE: &str = "ps_live_remote-0123456789abcdef";
const OTHER: &str = "ps_live_other-0123456789abcdef";

const SOURCE: &str = r#""remote_keys": {"cluster": "keys", "path": "/live.txt"}"#;

fn hex(key: &str) -> String {
    let digest = Digest::of(key.as_bytes());
    digest.bytes().iter().map(|b| format!("{b:02x}")).collect()
}

fn set(lines: &[String]) -> String {
    let mut text = "tollgate-keys 1\n".to_owned();
    for line in lines {
        text.push_str(line);
        text.push('\n');
    }
    text
}

fn one(key: &str) -> String {
    set(&[format!("partner r1 {} groups=gold", hex(key))])
}

/// Workers of one proxy: they share the world, and each has its own policy.
struct Proxy {
    world: TestWorld,
    workers: Vec<KeyAuth>,
    metrics: Metrics,
}

enum Became {
    Passed(Box<Exchange>),
    Refused(LocalReply),
    Held(Box<(Drive<KeyAuth>, Exchange)>),
}

impl Became {
    fn details(&self) -> &str {
        match self {
            Self::Passed(_) => "passed",
            Self::Refused(reply) => &reply.details,
            Self::Held(_) => "held",
        }
    }

    fn header(&self, name: &str) -> Option<String> {
        let Self::Passed(exchange) = self else {
            panic!("{}", self.details());
        };
        let value = exchange.request.sole(name).unwrap();
        value.map(|v| String::from_utf8_lossy(v).into_owned())
    }
}

impl Proxy {
    fn new(workers: usize, json: &str) -> Self {
        let world = TestWorld::at(UnixNanos::parse(super::NOON).unwrap());
        let mut proxy = Self {
            world,
            workers: Vec::new(),
            metrics: Metrics::default(),
        };
        for _ in 0..workers {
            proxy.start(json);
        }
        proxy
    }

    fn start(&mut self, json: &str) {
        let (built, report) = build(json, &[("TOKEN", "secret-of-the-source")]);
        let Some((policy, metrics)) = built else {
            panic!("refused: {:?}", report.errors());
        };
        policy.on_start(&self.world);
        self.metrics = metrics;
        self.workers.push(policy);
    }

    fn tick(&self) -> Vec<(CallId, Call)> {
        for worker in &self.workers {
            worker.on_tick(&self.world);
        }
        self.world.take_background()
    }

    /// Ticks until nobody is busy.
    fn settle(&self) {
        for _ in 0..2000 {
            assert_eq!(self.tick(), []);
            if !self.workers.iter().any(Policy::is_busy) {
                return;
            }
        }
        panic!("busy for ever");
    }

    fn reply(&self, id: CallId, reply: &TestReply) {
        for worker in &self.workers {
            worker.on_background_reply(&self.world, id, reply);
        }
    }

    /// Ticks, demands one fetch, and answers it.
    fn fetch(&self, reply: &TestReply) -> Call {
        let mut sent = self.tick();
        assert_eq!(sent.len(), 1, "one fetch");
        let (id, call) = sent.remove(0);
        assert_eq!(self.tick(), [], "one fetch at a time");
        self.reply(id, reply);
        self.settle();
        call
    }

    fn later(&self, secs: u64) {
        self.world.advance(Duration::from_secs(secs));
    }

    fn send(&self, worker: usize, key: &str) -> Became {
        let request = Headers::from_pairs([
            (":method", "GET"),
            (":path", "/"),
            (":authority", "api.example.test"),
            ("x-api-key", key),
        ]);
        let mut exchange = Exchange::new(request, true);
        let mut drive = Drive::default();
        let step = drive.request_headers(&self.workers[worker], &mut exchange, &self.world);
        match step {
            Step::Forward => Became::Passed(Box::new(exchange)),
            Step::Reply(reply) => Became::Refused(*reply),
            Step::Hold => Became::Held(Box::new((drive, exchange))),
        }
    }

    fn details(&self, key: &str) -> Vec<String> {
        (0..self.workers.len())
            .map(|w| self.send(w, key).details().to_owned())
            .collect()
    }

    fn fetches(&self, outcome: &str) -> u64 {
        let name = stat_name("tollgate_key_set_fetches_total", &[("outcome", outcome)]);
        self.world.metric(&self.metrics, &name)
    }

    fn number(&self, name: &str) -> u64 {
        self.world.metric(&self.metrics, name)
    }
}

fn ok(body: impl Into<Vec<u8>>) -> TestReply {
    TestReply::new(Outcome::Http(200), body)
}

fn with_etag(body: &str, etag: &str) -> TestReply {
    let mut reply = ok(body);
    reply.headers.push(("etag".to_owned(), etag.into()));
    reply
}

fn header(call: &Call, name: &str) -> Option<String> {
    let Call::Http { headers, .. } = call else {
        panic!("not HTTP");
    };
    let found = headers.iter().find(|(n, _)| n == name);
    found.map(|(_, v)| String::from_utf8(v.clone()).unwrap())
}

fn alone() -> String {
    format!("{{{SOURCE}}}")
}

#[test]
fn before_the_first_load_inline_keys_work_and_others_are_503_never_401() {
    let proxy = Proxy::new(1, &config(&format!(", {SOURCE}")));
    assert_eq!(proxy.send(0, GOLD).details(), "passed");
    let Became::Refused(reply) = proxy.send(0, REMOTE) else {
        panic!("passed");
    };
    assert_eq!(
        (reply.status, &*reply.details),
        (503, "tollgate_key_set_unavailable")
    );
    assert!(
        reply
            .headers
            .contains(&("retry-after".into(), b"1".to_vec()))
    );
    assert!(!reply.headers.iter().any(|(n, _)| n == "www-authenticate"));
    assert_eq!(proxy.send(0, "").details(), "tollgate_key_invalid");
    let labels = [("policy", "key_auth"), ("reason", "not_loaded")];
    assert_eq!(
        proxy.number(&stat_name("tollgate_decisions_total", &labels)),
        1
    );

    proxy.fetch(&TestReply::new(Outcome::Http(500), "oops"));
    assert_eq!(
        proxy.send(0, REMOTE).details(),
        "tollgate_key_set_unavailable"
    );
    assert_eq!(proxy.send(0, BASIC).details(), "passed");
    proxy.later(1);
    proxy.fetch(&ok(one(REMOTE)));
    assert_eq!(proxy.send(0, REMOTE).details(), "passed");
    assert_eq!(proxy.send(0, OTHER).details(), "tollgate_key_invalid");
}

#[test]
fn one_worker_fetches_for_all() {
    let proxy = Proxy::new(4, &alone());
    let call = proxy.fetch(&ok(one(REMOTE)));
    assert_eq!(header(&call, ":path").as_deref(), Some("/live.txt"));
    assert_eq!(header(&call, ":authority").as_deref(), Some("keys"));
    assert_eq!(header(&call, "if-none-match"), None);
    assert_eq!(proxy.details(REMOTE), ["passed"; 4]);
    assert_eq!(proxy.details(OTHER), ["tollgate_key_invalid"; 4]);
    assert_eq!(
        (
            proxy.fetches("loaded"),
            proxy.number("tollgate_key_set_keys")
        ),
        (1, 1)
    );
    let lines: Vec<String> = proxy
        .world
        .take_logs()
        .into_iter()
        .map(|(_, l)| l)
        .collect();
    let length = one(REMOTE).len();
    assert_eq!(
        lines,
        [format!(
            "key_auth: key set in force: keys=1 bytes={length} cluster=keys"
        )]
    );
}

#[test]
fn the_request_has_what_the_configuration_says() {
    let json = r#"{"remote_keys": {"cluster": "keys", "path": "/a?b=c", "authority": "keys.example.test:8443", "timeout": "750ms",
        "headers": [{"name": "Authorization", "env": "TOKEN"}, {"name": "accept", "value": "text/plain"}]}}"#;
    let proxy = Proxy::new(1, json);
    let call = proxy.fetch(&ok(one(REMOTE)));
    assert_eq!(
        header(&call, ":authority").as_deref(),
        Some("keys.example.test:8443")
    );
    assert_eq!(header(&call, ":path").as_deref(), Some("/a?b=c"));
    assert_eq!(
        header(&call, "authorization").as_deref(),
        Some("secret-of-the-source")
    );
    assert_eq!(header(&call, "accept").as_deref(), Some("text/plain"));
    let Call::Http {
        cluster,
        timeout_ms,
        ..
    } = call
    else {
        panic!("not HTTP");
    };
    assert_eq!((&*cluster, timeout_ms), ("keys", 750));
}

#[test]
fn a_line_says_who_it_is_and_what_they_may() {
    let json = r#"{"remote_keys": {"cluster": "keys", "path": "/"},
        "forwarding": {"consumer": "x-user", "groups": "x-groups", "key_id": "x-key-id", "scopes": "x-scopes", "metadata": {"tier": "x-tier"}},
        "consumers": [{"id": "web-app", "groups": ["beta"], "scopes": ["read"], "metadata": {"tier": "two"}}],
        "rules": [{"match": {"path": {"prefix": "/admin"}}, "allow": {"groups": ["admin"]}}]}"#;
    let proxy = Proxy::new(1, json);
    let text = set(&[
        format!(
            "partner r1 {} groups=gold,silver scopes=read,write meta.tier=one",
            hex(REMOTE)
        ),
        format!("web-app r2 {}", hex(OTHER)),
        format!("late r3 {} expires_at=2026-11-21T12:00:00Z", hex("late")),
        format!("early r4 {} not_before=2026-11-21T12:00:01Z", hex("early")),
        format!("lost r5 {} revoked", hex("lost")),
    ]);
    proxy.fetch(&ok(text));
    let passed = proxy.send(0, REMOTE);
    for (name, value) in [
        ("x-user", "partner"),
        ("x-groups", "gold,silver"),
        ("x-key-id", "r1"),
        ("x-scopes", "read write"),
        ("x-tier", "one"),
    ] {
        assert_eq!(passed.header(name).as_deref(), Some(value), "{name}");
    }
    // A consumer that the configuration knows.
    let passed = proxy.send(0, OTHER);
    for (name, value) in [
        ("x-user", "web-app"),
        ("x-groups", "beta"),
        ("x-scopes", "read"),
        ("x-tier", "two"),
    ] {
        assert_eq!(passed.header(name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(proxy.send(0, "late").details(), "tollgate_key_expired");
    assert_eq!(
        proxy.send(0, "early").details(),
        "tollgate_key_not_yet_valid"
    );
    assert_eq!(proxy.send(0, "lost").details(), "tollgate_key_revoked");
    proxy.later(1);
    assert_eq!(proxy.send(0, "early").details(), "passed");
}

#[test]
fn an_etag_is_sent_back_and_nothing_is_fetched_twice() {
    let proxy = Proxy::new(2, &alone());
    proxy.fetch(&with_etag(&one(REMOTE), "\"v1\""));
    proxy.later(53);
    assert_eq!(proxy.tick(), [], "not due yet");
    proxy.later(8);
    let call = proxy.fetch(&TestReply::new(Outcome::Http(304), ""));
    assert_eq!(header(&call, "if-none-match").as_deref(), Some("\"v1\""));
    assert_eq!(proxy.details(REMOTE), ["passed"; 2]);
    assert_eq!(
        (proxy.fetches("loaded"), proxy.fetches("unchanged")),
        (1, 1)
    );
    proxy.later(30);
    proxy.tick();
    assert_eq!(proxy.number("tollgate_key_set_age_seconds"), 30);
}

#[test]
fn the_same_bytes_without_an_etag_are_not_read_again() {
    let proxy = Proxy::new(2, &alone());
    proxy.fetch(&ok(one(REMOTE)));
    proxy.later(61);
    proxy.fetch(&ok(one(REMOTE)));
    assert_eq!(
        (proxy.fetches("loaded"), proxy.fetches("unchanged")),
        (1, 1)
    );
}

#[test]
fn a_newer_set_replaces_the_old_one_in_all_workers() {
    let proxy = Proxy::new(3, &alone());
    proxy.fetch(&with_etag(&one(REMOTE), "\"v1\""));
    proxy.later(61);
    proxy.fetch(&with_etag(&one(OTHER), "\"v2\""));
    assert_eq!(proxy.details(REMOTE), ["tollgate_key_invalid"; 3]);
    assert_eq!(proxy.details(OTHER), ["passed"; 3]);
    proxy.later(61);
    let call = proxy.fetch(&TestReply::new(Outcome::Http(304), ""));
    assert_eq!(header(&call, "if-none-match").as_deref(), Some("\"v2\""));
}

#[test]
fn the_last_good_set_stays_whatever_the_source_does() {
    let proxy = Proxy::new(
        2,
        r#"{"remote_keys": {"cluster": "keys", "path": "/", "max_bytes": 65536}}"#,
    );
    proxy.fetch(&with_etag(&one(REMOTE), "\"v1\""));
    proxy.world.take_logs();
    let twice = set(&[format!("a k {}", hex(OTHER)), format!("b k {}", hex(OTHER))]);
    let http = |status| TestReply::new(Outcome::Http(status), "");
    let cases = [
        (http(500), "http_error", "status 500"),
        (http(503), "unavailable", "status 503"),
        (http(504), "timeout", "status 504"),
        (http(404), "http_error", "status 404"),
        (
            TestReply::new(Outcome::Refused, ""),
            "unknown_cluster",
            "the call was refused",
        ),
        (ok(""), "bad_format", "it is empty"),
        (
            ok("<html>ps_live_SECRET</html>"),
            "bad_format",
            "the first line must be `tollgate-keys 1`",
        ),
        (
            ok("tollgate-keys 1\nps_live_SECRET\n"),
            "bad_format",
            "line 2 has no key id as its second word",
        ),
        (
            ok("tollgate-keys 1 count=2\n"),
            "bad_format",
            "it says count=2 and has 0 keys",
        ),
        (
            ok(twice),
            "duplicate_key",
            "lines 2 and 3 have the same key",
        ),
        (
            ok(vec![b'x'; 65_537]),
            "too_large",
            "it is longer than max_bytes",
        ),
    ];
    let mut counts = std::collections::BTreeMap::new();
    for (reply, outcome, why) in cases {
        proxy.later(61);
        let call = proxy.fetch(&reply);
        assert_eq!(
            header(&call, "if-none-match").as_deref(),
            Some("\"v1\""),
            "{why}"
        );
        assert_eq!(proxy.details(REMOTE), ["passed"; 2], "{why}");
        assert_eq!(proxy.details(OTHER), ["tollgate_key_invalid"; 2], "{why}");
        *counts.entry(outcome).or_insert(0) += 1;
        assert_eq!(proxy.fetches(outcome), counts[outcome], "{why}");
        let logs = proxy.world.take_logs();
        let line = format!(
            "key_auth: no key set from cluster keys: {why} ({outcome}); the last good set stays"
        );
        assert_eq!(logs, [(Level::Warn, line)]);
    }
    proxy.later(61);
    proxy.fetch(&ok(one(OTHER)));
    assert_eq!(proxy.details(OTHER), ["passed"; 2]);
}

#[test]
fn a_first_set_that_is_none_is_refused_by_all_workers_and_logged_once() {
    let proxy = Proxy::new(3, &alone());
    proxy.fetch(&ok(set(&[
        format!("a k {}", hex(OTHER)),
        format!("b q {}", hex(OTHER)),
    ])));
    assert_eq!(proxy.details(OTHER), ["tollgate_key_set_unavailable"; 3]);
    let logs = proxy.world.take_logs();
    assert_eq!(logs, [(Level::Warn, "key_auth: no key set from cluster keys: line 3 has the same key twice: b/q as a/k (duplicate_key); \
        there is none yet: keys that are not in the configuration get 503".to_owned())]);
}

#[test]
fn a_pinned_set_is_taken_only_if_it_is_the_one() {
    let pin = hex(&one(REMOTE));
    let json =
        format!(r#"{{"remote_keys": {{"cluster": "keys", "path": "/", "sha256": "{pin}"}}}}"#);
    let proxy = Proxy::new(2, &json);
    proxy.fetch(&ok(one(OTHER)));
    assert_eq!(proxy.fetches("wrong_digest"), 1);
    assert_eq!(proxy.details(OTHER), ["tollgate_key_set_unavailable"; 2]);
    proxy.later(2);
    proxy.fetch(&ok(one(REMOTE)));
    assert_eq!(proxy.details(REMOTE), ["passed"; 2]);
    proxy.later(61);
    proxy.fetch(&ok(one(OTHER)));
    assert_eq!(proxy.fetches("wrong_digest"), 2);
    assert_eq!(proxy.details(REMOTE), ["passed"; 2]);
}

#[test]
fn failures_are_retried_at_growing_distances_up_to_the_interval() {
    let proxy = Proxy::new(1, &alone());
    let down = TestReply::new(Outcome::Http(503), "");
    for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
        proxy.fetch(&down);
        let Became::Refused(reply) = proxy.send(0, REMOTE) else {
            panic!("passed");
        };
        let retry = ("retry-after".into(), pause.to_string().into_bytes());
        assert!(reply.headers.contains(&retry), "{:?}", reply.headers);
        proxy.later(pause - 1);
        assert_eq!(proxy.tick(), []);
        proxy.later(1);
    }
}

#[test]
fn a_worker_that_dies_while_it_fetches_holds_up_nobody_for_long() {
    let proxy = Proxy::new(2, &alone());
    let dead = proxy.tick().remove(0).0;
    proxy.later(9);
    assert_eq!(proxy.tick(), [], "it may still be answered");
    proxy.later(1);
    let again = proxy.tick();
    assert_eq!(again.len(), 1, "the other worker");
    // The late reply changes nothing.
    proxy.reply(dead, &ok(one(OTHER)));
    assert_eq!(proxy.fetches("late"), 1);
    proxy.reply(again[0].0, &ok(one(REMOTE)));
    proxy.settle();
    assert_eq!(proxy.details(REMOTE), ["passed"; 2]);
}

#[test]
fn a_worker_that_dies_while_it_checks_holds_up_nobody_for_long() {
    let mut proxy = Proxy::new(1, &alone());
    let big: Vec<String> = (0..8_000)
        .map(|i| format!("c{i} k {}", hex(&i.to_string())))
        .collect();
    let id = proxy.tick().remove(0).0;
    proxy.reply(id, &ok(set(&big)));
    proxy.workers.clear();
    proxy.start(&alone());
    proxy.settle();
    // The bytes are there, and each worker judges for itself.
    assert_eq!(proxy.send(0, "7").details(), "passed");
    proxy.later(31);
    proxy.fetch(&ok(set(&big)));
    assert_eq!(proxy.send(0, "7").details(), "passed");
    assert_eq!(proxy.fetches("loaded"), 1);
}

#[test]
fn a_large_set_is_read_in_slices() {
    let proxy = Proxy::new(2, &alone());
    let mut lines: Vec<String> = (0..8_000)
        .map(|i| format!("consumer-{i} k1 {} groups=g{}", hex(&i.to_string()), i % 5))
        .collect();
    let text = set(&lines);
    assert!(text.len() > 9 * 64 * 1024);
    let id = proxy.tick().remove(0).0;
    proxy.reply(id, &ok(text));
    let mut ticks = 0;
    while proxy.send(1, "0").details() != "passed" {
        assert_eq!(
            proxy.send(1, "0").details(),
            if ticks == 0 {
                "tollgate_key_set_unavailable"
            } else {
                "held"
            }
        );
        assert!(proxy.workers[1].is_busy());
        assert_eq!(proxy.tick(), []);
        ticks += 1;
    }
    assert!((1..=5).contains(&ticks), "{ticks}");
    proxy.settle();
    assert_eq!(proxy.number("tollgate_key_set_keys"), 8_000);

    lines.truncate(7_999);
    lines.push(format!("consumer-x k1 {}", hex("x")));
    proxy.later(61);
    proxy.fetch(&ok(set(&lines)));
    for key in ["0", "2345", "7998", "x"] {
        assert_eq!(proxy.details(key), ["passed"; 2], "{key}");
    }
    assert_eq!(proxy.details("7999"), ["tollgate_key_invalid"; 2]);
    assert_eq!(proxy.number("tollgate_key_set_keys"), 8_000);
}

#[test]
fn a_new_configuration_has_the_set_at_once_and_requests_wait_for_it() {
    let mut proxy = Proxy::new(1, &alone());
    proxy.fetch(&ok(one(REMOTE)));
    proxy.workers.clear();
    proxy.start(&config(&format!(", {SOURCE}")));
    let Became::Held(held) = proxy.send(0, REMOTE) else {
        panic!("not held");
    };
    let (mut drive, mut exchange) = *held;
    let step = drive.wake(&proxy.workers[0], &mut exchange, &proxy.world, &[][..]);
    assert_eq!(step, Step::Hold);
    assert_eq!(proxy.tick(), [], "nothing is fetched");
    let step = drive.wake(&proxy.workers[0], &mut exchange, &proxy.world, &[][..]);
    assert_eq!(step, Step::Forward);
    assert_eq!(
        exchange.request.first("x-consumer-id"),
        Some(&b"partner"[..])
    );
}

#[test]
fn nobody_waits_for_ever() {
    let mut proxy = Proxy::new(1, &alone());
    proxy.fetch(&ok(one(REMOTE)));
    proxy.workers.clear();
    proxy.start(&alone());
    let Became::Held(held) = proxy.send(0, REMOTE) else {
        panic!("not held");
    };
    let (mut drive, mut exchange) = *held;
    proxy.later(2);
    let step = drive.wake(&proxy.workers[0], &mut exchange, &proxy.world, &[][..]);
    let Step::Reply(reply) = step else {
        panic!("{step:?}");
    };
    assert_eq!(reply.details, "tollgate_key_set_unavailable");
}

#[test]
fn another_source_begins_anew_and_the_former_configuration_does_not_fight() {
    let mut proxy = Proxy::new(1, &alone());
    proxy.fetch(&ok(one(REMOTE)));
    proxy.start(r#"{"remote_keys": {"cluster": "keys", "path": "/other.txt"}}"#);
    assert_eq!(
        proxy.send(1, REMOTE).details(),
        "tollgate_key_set_unavailable"
    );
    let call = proxy.fetch(&ok(one(OTHER)));
    assert_eq!(header(&call, ":path").as_deref(), Some("/other.txt"));
    assert_eq!(proxy.details(OTHER), ["tollgate_key_invalid", "passed"]);
    assert_eq!(proxy.details(REMOTE), ["passed", "tollgate_key_invalid"]);
    proxy.later(61);
    let call = proxy.fetch(&ok(one(OTHER)));
    assert_eq!(header(&call, ":path").as_deref(), Some("/other.txt"));
}

#[test]
fn shared_data_does_not_grow_with_refreshes() {
    let proxy = Proxy::new(2, &alone());
    let text = |salt: u32| {
        let lines: Vec<String> = (0..3000)
            .map(|i| format!("consumer-{i} k1 {}", hex(&format!("{salt}-{i}"))))
            .collect();
        set(&lines)
    };
    let mut seen = Vec::new();
    for salt in 0..6 {
        proxy.fetch(&ok(text(salt)));
        seen.push((proxy.world.keys(), proxy.world.stored_bytes() / 10_000));
        proxy.later(61);
    }
    assert_eq!(seen[1..], [seen[1]; 5]);
}

#[test]
fn a_key_of_the_configuration_counts_before_one_of_the_set() {
    let proxy = Proxy::new(1, &config(&format!(", {SOURCE}")));
    proxy.world.take_logs();
    proxy.fetch(&ok(set(&[
        format!("thief k {}", hex(GOLD)),
        format!("mobile-app again {}", hex(BASIC)),
    ])));
    assert_eq!(
        proxy.send(0, GOLD).header("x-consumer-id").as_deref(),
        Some("web-app")
    );
    let logs = proxy.world.take_logs();
    let line = "key_auth: the key set gives keys of the configuration to somebody else, who does not get them: thief/k is web-app/q4";
    assert_eq!(logs[0], (Level::Warn, line.to_owned()));
}

#[test]
fn a_clock_that_is_set_back_does_not_stop_the_polling() {
    let proxy = Proxy::new(1, &alone());
    proxy.fetch(&ok(one(REMOTE)));
    proxy.world.set_now(UnixNanos::parse("2026-11-20").unwrap());
    proxy.fetch(&ok(one(OTHER)));
    assert_eq!(proxy.send(0, OTHER).details(), "passed");
}

#[test]
fn a_configuration_that_is_replaced_while_it_fetches_gives_the_lock_back() {
    let mut proxy = Proxy::new(1, &alone());
    assert_eq!(proxy.tick().len(), 1);
    proxy.workers[0].on_stop(&proxy.world);
    proxy.workers.clear();
    proxy.start(&alone());
    proxy.fetch(&ok(one(REMOTE)));
    assert_eq!(proxy.send(0, REMOTE).details(), "passed");
}

#[test]
fn a_worker_that_serves_requests_leaves_refreshes_to_one_that_does_not() {
    let proxy = Proxy::new(2, &alone());
    proxy.fetch(&ok(one(REMOTE)));
    assert_eq!(proxy.send(0, REMOTE).details(), "passed");
    proxy.later(53);
    let mut sent = Vec::new();
    while sent.is_empty() {
        proxy.world.advance(Duration::from_millis(100));
        sent = proxy.tick();
    }
    let id = sent.remove(0).0;
    proxy.workers[1].on_background_reply(&proxy.world, id, &ok(one(OTHER)));
    proxy.settle();
    assert_eq!(proxy.fetches("loaded"), 2, "the second worker had asked");
}

#[test]
fn bytes_of_another_version_are_discarded() {
    use tollgate_core::world::{Expect, Store};
    let proxy = Proxy::new(1, &alone());
    proxy.fetch(&ok(one(REMOTE)));
    proxy
        .world
        .store("keys/state", b"\x07other", Expect::Anything)
        .unwrap();
    assert_eq!(proxy.tick(), []);
    proxy.fetch(&ok(one(OTHER)));
    assert_eq!(proxy.send(0, OTHER).details(), "passed");
}

#[test]
fn under_observe_a_key_that_cannot_be_checked_yet_passes_and_is_counted() {
    let json = format!(r#"{{{SOURCE}, "rules": [{{"mode": "observe"}}]}}"#);
    let proxy = Proxy::new(1, &json);
    assert_eq!(proxy.send(0, REMOTE).details(), "passed");
    let labels = [
        ("policy", "key_auth"),
        ("reason", "not_loaded"),
        ("mode", "observe"),
    ];
    assert_eq!(
        proxy.number(&stat_name("tollgate_decisions_total", &labels)),
        1
    );
}

#[test]
fn consumers_of_the_set_are_counted_without_naming_them() {
    let json = format!(
        r#"{{{SOURCE}, "consumers": [{{"id": "partner"}}], "metrics": {{"consumer": true, "key": true}}}}"#
    );
    let proxy = Proxy::new(1, &json);
    proxy.fetch(&ok(set(&[
        format!("partner k {}", hex(REMOTE)),
        format!("stranger k {}", hex(OTHER)),
    ])));
    for key in [REMOTE, OTHER, OTHER] {
        assert_eq!(proxy.send(0, key).details(), "passed");
    }
    let of = |consumer| {
        let labels = [
            ("policy", "key_auth"),
            ("consumer", consumer),
            ("reason", "allowed"),
        ];
        proxy.number(&stat_name("tollgate_consumer_decisions_total", &labels))
    };
    assert_eq!((of("partner"), of("remote")), (1, 2));
}

#[test]
fn a_wrong_section_is_refused_with_every_error() {
    let (errors, _) = super::check(
        r#"{"remote_keys": {"path": "no", "poll_interval": "10ms", "timeout": "0s", "max_bytes": 5, "sha256": "x",
            "headers": [{"name": "a"}, {"name": "b", "env": "UNSET"}, {"name": "c", "value": "SECRET\nx"}], "url": 1}}"#,
        &[],
    );
    let expected = [
        "remote_keys.cluster: is missing",
        "remote_keys.path: must be a path that begins with /, escaped",
        "remote_keys.headers[0]: needs exactly one of value and env (the variable that holds the value)",
        "remote_keys.headers[1].env: names a variable that the VM does not have, or that is empty",
        "remote_keys.headers[2].value: must be a header value of one line",
        "remote_keys.poll_interval: must be from 1s to 24h",
        "remote_keys.timeout: must be more than nothing and at most 60s",
        "remote_keys.max_bytes: must be a whole number from 1024 to 33554432",
        "remote_keys.sha256: must be the SHA-256 of the whole set",
        "remote_keys.url: unknown field",
    ];
    assert_eq!(errors.len(), expected.len(), "{errors:#?}");
    for (error, start) in errors.iter().zip(expected) {
        assert!(error.starts_with(start), "{error}");
        assert!(!error.contains("SECRET"));
    }
}

#[test]
fn what_the_set_holds_never_shows_in_a_log() {
    let fixture = Fixture::new(&config(&format!(", {SOURCE}")));
    fixture.policy.on_start(&fixture.world);
    fixture.policy.on_tick(&fixture.world);
    let (id, _) = fixture.world.take_background().remove(0);
    let text = format!("tollgate-keys 1\n{REMOTE} {REMOTE} {REMOTE}\n{REMOTE}");
    fixture
        .policy
        .on_background_reply(&fixture.world, id, &ok(text));
    for (_, line) in fixture.world.take_logs() {
        assert!(!line.contains("ps_live_"), "{line}");
    }
}

#[test]
fn bytes_of_another_fetch_are_never_taken_for_those_of_this_one() {
    use tollgate_core::world::{Expect, Store};
    let mut proxy = Proxy::new(1, &alone());
    proxy.fetch(&with_etag(&one(REMOTE), "\"v1\""));
    // A worker with another configuration writes to the same place before it notices.
    let mut bytes = Vec::new();
    let key = ["keys/0/0000", "keys/1/0000"].into_iter().find(|key| {
        proxy.world.load(key, &mut bytes);
        !bytes.is_empty()
    });
    let other = [&[7; 8], one(OTHER).as_bytes()].concat();
    proxy
        .world
        .store(key.unwrap(), &other, Expect::Anything)
        .unwrap();
    proxy.workers.clear();
    proxy.start(&alone());
    let sent = proxy.tick();
    assert_eq!(
        proxy.send(0, OTHER).details(),
        "tollgate_key_set_unavailable"
    );
    assert_eq!(header(&sent[0].1, "if-none-match"), None, "all of it, anew");
    proxy.reply(sent[0].0, &with_etag(&one(REMOTE), "\"v1\""));
    proxy.settle();
    assert_eq!(proxy.send(0, REMOTE).details(), "passed");
}
