//! Rules: which applies, what each mode does, who may.

use super::{BASIC, EXPIRED, Fixture, GOLD, REVOKED, config};
use tollgate_core::world::Attribute;
use tollgate_core::{Exchange, Headers};

const RULES: &str = r#", "rules": [
    {"match": {"path": {"exact": "/health"}}, "mode": "off"},
    {"match": {"path": {"prefix": "/public/"}}, "mode": "optional"},
    {"name": "trial", "match": {"path": {"prefix": "/trial/"}}, "mode": "observe", "allow": {"groups": ["gold"]}},
    {"match": {"path": {"prefix": "/admin/"}}, "allow": {"groups": ["admin", "gold"]}},
    {"match": {"path": {"prefix": "/write/"}}, "allow": {"scopes": ["write", "all"]}},
    {"match": {"path": {"prefix": "/web/"}}, "allow": {"consumers": ["web-app"], "groups": ["gold"], "scopes": ["read"]}}
]"#;

fn rules() -> Fixture {
    Fixture::new(&config(RULES))
}

fn key(key: &str) -> [(&str, &str); 1] {
    [("x-api-key", key)]
}

#[test]
fn required_is_the_default() {
    let fixture = rules();
    assert_eq!(fixture.get("/x", &[]).details(), "tollgate_key_missing");
    let wrong = fixture.get("/x", &key("wrong"));
    assert_eq!(wrong.details(), "tollgate_key_invalid");
    assert_eq!(fixture.get("/x", &key(BASIC)).details(), "passed");
}

#[test]
fn off_looks_at_nothing() {
    let fixture = rules();
    for headers in [&[][..], &key("wrong"), &key(GOLD)] {
        let mut outcome = fixture.get("/health", headers);
        assert_eq!(outcome.details(), "passed");
        assert_eq!(outcome.exchange.consumer(&fixture.world), None);
        assert!(outcome.state.is_empty());
    }
}

#[test]
fn optional_lets_nobody_pass_as_anonymous_who_sent_a_wrong_key() {
    let fixture = rules();
    let mut anonymous = fixture.get("/public/x", &[]);
    assert_eq!(anonymous.details(), "passed");
    assert_eq!(anonymous.exchange.consumer(&fixture.world), None);
    assert_eq!(anonymous.header("x-consumer-id"), None);
    assert_eq!(fixture.decisions("anonymous"), 1);
    for wrong in ["wrong", "", EXPIRED, REVOKED] {
        assert_eq!(fixture.get("/public/x", &key(wrong)).status(), 401);
    }
    let mut known = fixture.get("/public/x", &key(GOLD));
    let consumer = known.exchange.consumer(&fixture.world).unwrap();
    assert_eq!(&*consumer.id, "web-app");
}

#[test]
fn observe_lets_everything_pass_and_counts_what_it_would_have_done() {
    let fixture = rules();
    let counted = |reason| {
        let labels = [
            ("policy", "key_auth"),
            ("reason", reason),
            ("rule", "trial"),
            ("mode", "observe"),
        ];
        fixture.metric("tollgate_decisions_total", &labels)
    };
    for (name, headers, consumer) in [
        ("missing", &[][..], None),
        ("invalid", &key("wrong"), None),
        ("expired", &key(EXPIRED), None),
        ("forbidden", &key(BASIC), Some("mobile-app")),
        ("allowed", &key(GOLD), Some("web-app")),
    ] {
        let mut outcome = fixture.get("/trial/x", headers);
        assert_eq!(outcome.details(), "passed", "{name}");
        assert_eq!(counted(name), 1, "{name}");
        assert_eq!(outcome.header("x-consumer-id").as_deref(), consumer);
        assert_eq!(outcome.header("x-api-key"), None);
        let known = outcome.exchange.consumer(&fixture.world);
        assert_eq!(known.map(|c| &*c.id), consumer, "{name}");
    }
    assert_eq!(fixture.decisions("missing"), 0);
}

#[test]
fn allow_asks_for_one_of_every_kind() {
    let fixture = rules();
    let cases = [
        ("/admin/x", GOLD, "passed"),
        ("/admin/x", BASIC, "tollgate_key_forbidden"),
        ("/write/x", GOLD, "passed"),
        ("/write/x", BASIC, "tollgate_key_forbidden"),
        ("/web/x", GOLD, "passed"),
        ("/web/x", BASIC, "tollgate_key_forbidden"),
    ];
    for (path, with, details) in cases {
        assert_eq!(fixture.get(path, &key(with)).details(), details, "{path}");
    }
    assert_eq!(fixture.decisions("forbidden"), 3);
    assert_eq!(fixture.decisions("allowed"), 3);
}

#[test]
fn a_key_may_do_less_than_its_consumer() {
    let json = r#"{"consumers": [{"id": "a", "scopes": ["read", "write"], "keys": [
        {"id": "all", "env": "ALL"}, {"id": "ro", "env": "RO", "scopes": ["read"]}, {"id": "none", "env": "NO", "scopes": []}]}],
        "forwarding": {"scopes": "x-scopes"},
        "rules": [{"match": {"methods": ["POST"]}, "allow": {"scopes": ["write"]}}]}"#;
    let keys = [
        ("ALL", "all-0123456789abcdef"),
        ("RO", "ro-0123456789abcdef"),
        ("NO", "no-0123456789abcdef"),
    ];
    let fixture = Fixture::with_env(json, &keys);
    for ((_, key), (status, scopes)) in
        keys.iter()
            .zip([(200, Some("read write")), (403, Some("read")), (403, None)])
    {
        let post = fixture.send("POST", b"/", &[("x-api-key", key.as_bytes())]);
        assert_eq!(post.status(), status);
        let get = fixture.get("/", &[("x-api-key", key)]);
        assert_eq!(get.header("x-scopes").as_deref(), scopes);
    }
}

#[test]
fn the_first_rule_that_matches_decides() {
    let more = r#", "rules": [{"match": {"path": {"prefix": "/a"}}, "mode": "optional"}, {"mode": "off"},
        {"match": {"path": {"prefix": "/b"}}}]"#;
    let fixture = Fixture::new(&config(more));
    assert_eq!(fixture.get("/a", &key("wrong")).status(), 401);
    assert_eq!(fixture.get("/b", &key("wrong")).status(), 200);
}

#[test]
fn a_lenient_rule_does_not_catch_a_path_that_can_be_read_as_another() {
    let fixture = rules();
    for path in [
        "/public/../admin/x",
        "/public/%2e%2e/admin/x",
        "/public//x",
        "/public/..;/x",
        "/public/\\x",
        "/health/../x",
    ] {
        assert_eq!(fixture.get(path, &[]).status(), 401, "{path}");
    }
    // A strict one does.
    assert_eq!(fixture.get("/admin//x", &key(BASIC)).status(), 403);
}

#[test]
fn an_unquoted_off_arrives_as_false() {
    let fixture = Fixture::new(&config(r#", "rules": [{"mode": false}]"#));
    assert_eq!(fixture.get("/", &[]).status(), 200);
}

#[test]
fn a_preflight_passes_without_a_key() {
    let fixture = rules();
    let preflight: &[(&str, &[u8])] = &[
        ("origin", b"https://app.example.test"),
        ("access-control-request-method", b"POST"),
    ];
    assert_eq!(fixture.send("OPTIONS", b"/x", preflight).status(), 200);
    assert_eq!(fixture.decisions("preflight"), 1);
    let overridden = [preflight, &[("x-http-method-override", b"DELETE")]].concat();
    assert_eq!(fixture.send("OPTIONS", b"/x", &overridden).status(), 401);
    assert_eq!(
        fixture.send("OPTIONS", b"/x", &preflight[..1]).status(),
        401
    );
    assert_eq!(
        fixture.send("OPTIONS", b"/x", &preflight[1..]).status(),
        401
    );
    assert_eq!(fixture.send("GET", b"/x", preflight).status(), 401);
    let mut pairs: Vec<(&str, &[u8])> = vec![(":method", b"OPTIONS"), (":path", b"/x")];
    pairs.extend_from_slice(preflight);
    let with_body = Exchange::new(Headers::from_pairs(pairs), false);
    assert_eq!(fixture.exchange(with_body).status(), 401);

    let strict = Fixture::new(&config(r#", "run_on_preflight": true"#));
    assert_eq!(strict.send("OPTIONS", b"/x", preflight).status(), 401);
}

#[test]
fn a_rule_can_have_its_own_sources_prefix_and_hiding() {
    let more = r#", "key_prefix": "ps_live_", "rules": [
        {"match": {"path": {"prefix": "/test/"}}, "key_prefix": "ps_test_"},
        {"match": {"path": {"prefix": "/bearer/"}}, "key_sources": [{"header": "authorization", "scheme": "Bearer"}],
         "hide_credentials": false}]"#;
    let fixture = Fixture::new(&config(more));
    assert_eq!(fixture.get("/", &key(GOLD)).status(), 200);
    let wrong = fixture.get("/test/x", &key(GOLD));
    assert_eq!(wrong.details(), "tollgate_key_wrong_prefix");
    assert_eq!(fixture.decisions("wrong_prefix"), 1);
    let other_source = fixture.get("/bearer/x", &key(GOLD));
    assert_eq!(other_source.details(), "tollgate_key_missing");
    let bearer = format!("Bearer {GOLD}");
    let outcome = fixture.get("/bearer/x", &[("authorization", &bearer)]);
    assert_eq!(outcome.header("authorization"), Some(bearer));
}

#[test]
fn a_rule_can_be_about_a_route() {
    let fixture = Fixture::new(&config(
        r#", "rules": [{"match": {"route": "open"}, "mode": "off"}]"#,
    ));
    assert_eq!(fixture.get("/x", &[]).status(), 401);
    fixture.world.set_attribute(Attribute::RouteName, "open");
    assert_eq!(fixture.get("/x", &[]).status(), 200);
}
