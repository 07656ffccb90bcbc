//! What the upstream is told, and what a client cannot make it believe.

use super::{BASIC, EARLY, EXPIRED, Fixture, GOLD, REVOKED, config};
use tollgate_core::exchange::state_name;

#[test]
fn the_consumer_reaches_headers_facts_and_filter_state() {
    let more = r#", "forwarding": {"consumer": "X-Consumer-ID", "groups": "x-consumer-groups", "key_id": "x-key-id",
        "scopes": "x-scopes", "metadata": {"tier": "x-tier"}}"#;
    let fixture = Fixture::new(&config(more));
    let mut outcome = fixture.get("/", &[("x-api-key", GOLD)]);
    for (header, value) in [
        ("x-consumer-id", "web-app"),
        ("x-consumer-groups", "gold,beta"),
        ("x-key-id", "q4"),
        ("x-scopes", "read write"),
        ("x-tier", "one"),
    ] {
        assert_eq!(outcome.header(header).as_deref(), Some(value));
    }
    let state = |name| outcome.state(name);
    assert_eq!(state(state_name::CONSUMER).as_deref(), Some("web-app"));
    assert_eq!(state(state_name::GROUPS).as_deref(), Some("gold,beta"));
    assert_eq!(state(state_name::KEY_ID).as_deref(), Some("q4"));
    let consumer = outcome.exchange.consumer(&fixture.world).unwrap();
    assert!(consumer.in_group("gold") && consumer.in_group("beta"));
    assert_eq!(consumer.key_id.as_deref(), Some("q4"));

    // Nothing is known of the other: no header at all, rather than an empty or an old one.
    let outcome = fixture.get("/", &[("x-api-key", BASIC), ("x-tier", "forged")]);
    assert_eq!(outcome.header("x-consumer-groups"), None);
    assert_eq!(outcome.header("x-tier"), None);
    assert_eq!(outcome.state(state_name::GROUPS), None);
}

#[test]
fn identity_headers_of_the_client_never_pass() {
    let more = r#", "remove_headers": ["x-credential"], "rules": [
        {"match": {"path": {"exact": "/off"}}, "mode": "off"},
        {"match": {"path": {"exact": "/optional"}}, "mode": "optional"},
        {"match": {"path": {"exact": "/observe"}}, "mode": "observe"},
        {"match": {"path": {"exact": "/trap"}, "headers": [{"name": "x-consumer-id", "present": true}]}, "mode": "off"}]"#;
    let fixture = Fixture::new(&config(more));
    let forged: &[(&str, &[u8])] = &[
        ("x-consumer-id", b"admin"),
        ("X-Consumer-Id", b"admin2"),
        ("x_consumer_id", b"admin"),
        ("X-Consumer_Groups", b"\xff"),
        ("x-credential", b"c"),
        ("x-consumer-idx", b"stays"),
    ];
    for path in ["/off", "/optional", "/observe", "/trap"] {
        let outcome = fixture.send("GET", path.as_bytes(), forged);
        let status = if path == "/trap" { 401 } else { 200 };
        assert_eq!(outcome.status(), status, "{path}");
        let names: Vec<&[u8]> = outcome.exchange.request.iter().map(|(n, _)| n).collect();
        let known: [&[u8]; 4] = [b":method", b":path", b":authority", b"x-consumer-idx"];
        assert_eq!(names, known, "{path}");
    }
    let with_key = [forged, &[("x-api-key", GOLD.as_bytes())]].concat();
    let outcome = fixture.send("GET", b"/", &with_key);
    assert_eq!(outcome.header("x-consumer-id").as_deref(), Some("web-app"));
    assert_eq!(
        outcome.header("x-consumer-groups").as_deref(),
        Some("gold,beta")
    );
    assert_eq!(outcome.header("x_consumer_id"), None);
}

#[test]
fn forwarding_can_be_turned_off() {
    let fixture = Fixture::new(&config(r#", "forwarding": {}"#));
    let outcome = fixture.get("/", &[("x-api-key", GOLD)]);
    assert_eq!(outcome.header("x-consumer-id"), None);
    assert_eq!(
        outcome.state(state_name::CONSUMER).as_deref(),
        Some("web-app")
    );
}

#[test]
fn the_access_log_names_who_came_with_a_key_that_no_longer_works() {
    let fixture = Fixture::new(&config(""));
    for (key, id) in [(EXPIRED, "q3"), (EARLY, "next"), (REVOKED, "lost")] {
        let mut outcome = fixture.get("/", &[("x-api-key", key)]);
        assert_eq!(outcome.status(), 401);
        assert_eq!(outcome.state(state_name::KEY_ID).as_deref(), Some(id));
        assert_eq!(
            outcome.state(state_name::CONSUMER).as_deref(),
            Some("web-app")
        );
        assert_eq!(outcome.exchange.consumer(&fixture.world), None);
    }
    let outcome = fixture.get("/", &[("x-api-key", "unknown")]);
    assert!(outcome.state.is_empty());
}

#[test]
fn consumers_and_keys_are_counted_where_it_is_asked_for() {
    let fixture = Fixture::new(&config(r#", "metrics": {"consumer": true, "key": true}"#));
    for key in [GOLD, GOLD, EXPIRED, BASIC, "unknown"] {
        fixture.get("/", &[("x-api-key", key)]);
    }
    let consumer = |consumer, reason| {
        let labels = [
            ("policy", "key_auth"),
            ("consumer", consumer),
            ("reason", reason),
        ];
        fixture.metric("tollgate_consumer_decisions_total", &labels)
    };
    assert_eq!(consumer("web-app", "allowed"), 2);
    assert_eq!(consumer("web-app", "expired"), 1);
    assert_eq!(consumer("mobile-app", "allowed"), 1);
    let uses = |consumer, key| {
        fixture.metric(
            "tollgate_key_uses_total",
            &[("consumer", consumer), ("key", key)],
        )
    };
    assert_eq!((uses("web-app", "q4"), uses("web-app", "q3")), (2, 1));

    let plain = Fixture::new(&config(""));
    plain.get("/", &[("x-api-key", GOLD)]);
    let asked_for = [
        "tollgate_consumer_decisions_total",
        "tollgate_key_uses_total",
    ];
    assert!(!plain.metrics.iter().any(|m| asked_for.contains(&&*m.name)));
}
