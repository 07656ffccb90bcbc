//! What requests are answered, before and after a set is there.

use super::{Became, OTHER, Proxy, REMOTE, SOURCE, hex, ok, one, set};
use crate::tests::{BASIC, Fixture, GOLD, config};
use tollgate_core::Policy;
use tollgate_core::metrics::stat_name;
use tollgate_core::testing::TestReply;
use tollgate_core::world::{Level, Outcome};

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
fn a_wrong_section_is_refused_with_every_error() {
    let (errors, _) = crate::tests::check(
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
