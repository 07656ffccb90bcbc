//! Sets that are not taken.

use super::{OTHER, Proxy, REMOTE, alone, header, hex, ok, one, set, with_etag};
use tollgate_core::testing::TestReply;
use tollgate_core::world::{Level, Outcome};

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
