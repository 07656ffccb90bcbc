//! What a refused client sees.

use super::{EARLY, EXPIRED, Fixture, GOLD, NOON, REVOKED, config};
use tollgate_core::flow::GrpcStatus;
use tollgate_core::time::Duration;
use tollgate_core::{UnixNanos, World};

const BOTH: &str = r#", "realm": "shop", "key_sources": [{"header": "authorization", "scheme": "Bearer"}, {"header": "x-api-key"},
    {"query": "api_key"}], "rules": [{"match": {"path": {"prefix": "/admin"}}, "allow": {"groups": ["admin"]}},
    {"match": {"path": {"prefix": "/w"}}, "allow": {"scopes": ["delete", "purge"]}}]"#;

#[test]
fn a_missing_key_is_challenged_without_an_error() {
    let outcome = Fixture::new(&config(BOTH)).get("/", &[]);
    assert_eq!(outcome.status(), 401);
    assert_eq!(
        outcome.challenge().as_deref(),
        Some(r#"Bearer realm="shop", ApiKey realm="shop", in="header", name="x-api-key""#)
    );
    assert_eq!(
        outcome.body(),
        r#"{"type":"urn:tollgate:problem:key-missing","title":"API key missing","status":401,"detail":"Send your API key in the header authorization after the word Bearer, in the header x-api-key or in the query parameter api_key."}"#
    );
    let reply = outcome.reply.unwrap();
    assert_eq!(reply.grpc, GrpcStatus::UNAUTHENTICATED);
    let json = ("content-type".into(), b"application/problem+json".to_vec());
    assert!(reply.headers.contains(&json));
}

#[test]
fn the_default_challenge_names_the_header() {
    let outcome = Fixture::new(&config("")).get("/", &[]);
    let challenge = outcome.challenge();
    assert_eq!(
        challenge.as_deref(),
        Some(r#"ApiKey realm="api", in="header", name="x-api-key""#)
    );
}

#[test]
fn a_bearer_error_is_told_only_to_who_used_bearer() {
    let fixture = Fixture::new(&config(BOTH));
    let wrong = fixture.get("/", &[("authorization", "Bearer wrong")]);
    assert_eq!(
        wrong.challenge().as_deref(),
        Some(
            r#"Bearer realm="shop", error="invalid_token", error_description="API key invalid", ApiKey realm="shop", in="header", name="x-api-key""#
        )
    );
    let wrong = fixture.get("/", &[("x-api-key", "wrong")]);
    assert!(!wrong.challenge().unwrap().contains("error"));

    let both = [("authorization", "Bearer 1"), ("x-api-key", "2")];
    let several = fixture.get("/", &both);
    assert_eq!(several.status(), 400);
    assert_eq!(
        several.challenge().as_deref(),
        Some(
            r#"Bearer realm="shop", error="invalid_request", error_description="Several API keys""#
        )
    );
    assert_eq!(several.reply.unwrap().grpc, GrpcStatus::INVALID_ARGUMENT);
    let several = fixture.get("/?api_key=1&api_key=2", &[]);
    assert_eq!(several.challenge(), None);
}

#[test]
fn a_good_key_on_the_wrong_route_is_a_403() {
    let fixture = Fixture::new(&config(BOTH));
    let bearer = format!("Bearer {GOLD}");
    let outcome = fixture.get("/admin", &[("authorization", &bearer)]);
    assert_eq!(outcome.status(), 403);
    assert_eq!(outcome.challenge(), None);
    assert_eq!(
        outcome.body(),
        r#"{"type":"urn:tollgate:problem:key-forbidden","title":"Not allowed with this API key","status":403,"detail":"The API key is good, but its consumer may not do this."}"#
    );
    assert_eq!(outcome.reply.unwrap().grpc, GrpcStatus::PERMISSION_DENIED);

    let outcome = fixture.get("/w", &[("authorization", &bearer)]);
    assert_eq!(
        outcome.challenge().as_deref(),
        Some(
            r#"Bearer realm="shop", error="insufficient_scope", error_description="Not allowed with this API key", scope="delete purge""#
        )
    );
    assert!(
        outcome
            .body()
            .contains(r#""required_scopes":["delete","purge"]"#)
    );
    let outcome = fixture.get("/w", &[("x-api-key", GOLD)]);
    assert_eq!((outcome.status(), outcome.challenge()), (403, None));
}

#[test]
fn only_the_holder_of_the_true_key_learns_what_is_wrong_with_it() {
    let fixture = Fixture::new(&config(""));
    for (key, name, more) in [
        (
            EXPIRED,
            "expired",
            r#","expired_at":"2026-11-21T12:00:00Z""#,
        ),
        (
            EARLY,
            "not-yet-valid",
            r#","valid_from":"2026-11-21T12:00:00"#,
        ),
        (REVOKED, "revoked", ""),
    ] {
        let outcome = fixture.get("/", &[("x-api-key", key)]);
        assert_eq!(outcome.status(), 401);
        let body = outcome.body();
        assert!(body.contains(&format!("problem:key-{name}\"")), "{body}");
        assert!(body.contains(more), "{body}");
        assert_eq!(
            outcome.details(),
            format!("tollgate_key_{}", name.replace('-', "_"))
        );
        // One character less, and it is just invalid.
        let almost = key.trim_end_matches('f');
        let outcome = fixture.get("/", &[("x-api-key", almost)]);
        assert_eq!(outcome.details(), "tollgate_key_invalid");
    }
}

#[test]
fn keys_begin_and_end_to_the_nanosecond() {
    let fixture = Fixture::new(&config(""));
    let noon = UnixNanos::parse(NOON).unwrap();
    let details = |key| fixture.get("/", &[("x-api-key", key)]).details().to_owned();
    fixture.world.set_now(UnixNanos(noon.0 - 1));
    assert_eq!(details(EXPIRED), "passed");
    fixture.world.set_now(noon);
    assert_eq!(details(EXPIRED), "tollgate_key_expired");
    assert_eq!(details(EARLY), "tollgate_key_not_yet_valid");
    fixture.world.advance(Duration(1));
    assert_eq!(details(EARLY), "passed");
}

#[test]
fn during_the_overlap_the_old_and_the_new_key_both_work() {
    let json = r#"{"consumers": [{"id": "web-app", "keys": [
        {"id": "2026-q3", "env": "OLD", "expires_at": "2026-10-02T00:00:00Z"},
        {"id": "2026-q4", "env": "NEW", "not_before": "2026-10-01T00:00:00Z", "expires_at": "2026-12-31T00:00:00Z"}]}]}"#;
    let (old, new) = ("old-0123456789abcdef", "new-0123456789abcdef");
    let fixture = Fixture::with_env(json, &[("OLD", old), ("NEW", new)]);
    let status = |at: &str| {
        fixture.world.set_now(UnixNanos::parse(at).unwrap());
        let of = |key| fixture.get("/", &[("x-api-key", key)]).status();
        (of(old), of(new))
    };
    assert_eq!(status("2026-09-30T23:59:59Z"), (200, 401));
    assert_eq!(status("2026-10-01T00:00:00Z"), (200, 200));
    assert_eq!(status("2026-10-01T23:59:59Z"), (200, 200));
    assert_eq!(status("2026-10-02T00:00:00Z"), (401, 200));
    assert_eq!(status("2026-12-31T00:00:00Z"), (401, 401));
}

#[test]
fn a_wrong_prefix_is_explained_without_a_lookup() {
    let fixture = Fixture::new(&config(r#", "key_prefix": "ps_test_""#));
    let outcome = fixture.get("/", &[("x-api-key", GOLD)]);
    assert_eq!(outcome.details(), "tollgate_key_wrong_prefix");
    assert_eq!(
        outcome.body(),
        r#"{"type":"urn:tollgate:problem:key-invalid","title":"API key invalid","status":401,"detail":"API keys begin with ps_test_ here."}"#
    );
}

#[test]
fn keys_that_expire_soon_are_named_in_the_log_and_shown_as_a_gauge() {
    use tollgate_core::Policy;
    let more = r#", "metrics": {"key": true}, "warn_expiry": "60d""#;
    let fixture = Fixture::new(&config(more));
    fixture.policy.on_start(&fixture.world);
    let lines: Vec<String> = fixture.world.take_logs().into_iter().map(|l| l.1).collect();
    assert_eq!(
        lines,
        [
            "key_auth: keys that have expired or expire within 60d (2): web-app/q3 2026-11-21T12:00:00Z, web-app/q4 2027-01-01T00:00:00Z"
        ]
    );
    let expires = |key| {
        let labels = [("consumer", "web-app"), ("key", key)];
        fixture.metric("tollgate_key_expires_at_seconds", &labels)
    };
    assert_eq!(expires("q3"), fixture.world.now().secs());
    assert_eq!(expires("next"), 0);

    let quiet = Fixture::new(&config(r#", "warn_expiry": "0s""#));
    quiet.world.set_now(UnixNanos(quiet.world.now().0 - 1));
    quiet.policy.on_start(&quiet.world);
    assert_eq!(quiet.world.take_logs(), []);
}
