//! What is asked of the source, and when.

use super::{Became, OTHER, Proxy, REMOTE, alone, header, ok, one, with_etag};
use tollgate_core::testing::TestReply;
use tollgate_core::time::Duration;
use tollgate_core::world::{Call, Outcome};
use tollgate_core::{Policy, UnixNanos};

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
fn a_clock_that_is_set_back_does_not_stop_the_polling() {
    let proxy = Proxy::new(1, &alone());
    proxy.fetch(&ok(one(REMOTE)));
    proxy.world.set_now(UnixNanos::parse("2026-11-20").unwrap());
    proxy.fetch(&ok(one(OTHER)));
    assert_eq!(proxy.send(0, OTHER).details(), "passed");
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
