//! Schemes: timestamps, secrets, tokens, URLs, one of the user's own.

use super::*;

#[test]
fn the_timestamp_window_has_two_sides_and_can_be_moved() {
    let stripe = preset("stripe").unwrap();
    let at = |b: &Bench, secs: u64| {
        let headers = signed(
            &stripe,
            SECRET.as_bytes(),
            b"{}",
            UnixNanos::from_secs(secs),
        );
        b.send(&pairs(&headers), Some(b"{}"))
    };
    let b = bench(r#"{"scheme": "stripe", "secrets": [{"env": "SECRET"}]}"#);
    for (secs, good) in [
        (1_699_999_700, true),
        (1_699_999_699, false),
        (1_700_000_300, true),
        (1_700_000_301, false),
    ] {
        let expected = if good {
            passed("stripe")
        } else {
            refused(401, "stale", false)
        };
        assert_eq!(at(&b, secs), expected, "{secs}");
    }
    assert_eq!(
        b.metric(
            "tollgate_webhook_clock_behind_seconds",
            &[("rule", "stripe")]
        ),
        2
    );
    assert_eq!(
        b.metric(
            "tollgate_webhook_clock_ahead_seconds",
            &[("rule", "stripe")]
        ),
        2
    );
    let b = bench(
        r#"{"scheme": "stripe", "secrets": [{"env": "SECRET"}], "tolerance": "10m", "future_tolerance": "1s"}"#,
    );
    assert_eq!(at(&b, 1_699_999_400), passed("stripe"));
    assert_eq!(at(&b, 1_699_999_399), refused(401, "stale", false));
    assert_eq!(at(&b, 1_700_000_001), passed("stripe"));
    assert_eq!(at(&b, 1_700_000_002), refused(401, "stale", false));
}

#[test]
fn several_secrets_and_the_one_that_fits_is_counted() {
    let b = bench(
        r#"{"name": "pay", "scheme": "x-signature", "secrets": [{"id": "new", "value": "another-secret-0123"},
            {"id": "old", "env": "SECRET"}]}"#,
    );
    assert_eq!(
        b.send(&pairs(&x_signature(b"{}")), Some(b"{}")),
        passed("x-signature")
    );
    let used = |id| {
        b.metric(
            "tollgate_webhook_secret_used_total",
            &[("rule", "pay"), ("secret", id)],
        )
    };
    assert_eq!((used("new"), used("old")), (0, 1));
}

#[test]
fn a_token_is_judged_without_the_body() {
    let b =
        bench(r#"{"scheme": "gitlab-token", "secrets": [{"env": "SECRET"}], "max_body_bytes": 1}"#);
    let send = |value: &[u8]| b.send(&[("x-gitlab-token", value)], Some(b"{\"long\": true}"));
    assert_eq!(send(SECRET.as_bytes()), passed("gitlab-token"));
    assert_eq!(send(b"0123456789abcdef"), refused(401, "mismatch", false));
    assert_eq!(send(b""), refused(401, "malformed", false));
}

/// A vendor nobody has heard of, by configuration alone.
#[test]
fn a_scheme_of_ones_own_uses_every_placeholder() {
    let b = bench(
        r#"{"name": "acme", "public_url": "https://hooks.example.com", "secrets": [{"env": "SECRET"}], "scheme": {
            "name": "acme-v2",
            "signature": {"headers": ["x-acme-a", "x-acme-b"], "item_separator": ";", "key_separator": ":", "key": "s", "prefix": "~"},
            "encoding": "base64url", "algorithm": "hmac-sha512",
            "payload": "{method} {path} {url} {id} {timestamp} {header:X-Acme-Tenant} {body}|{body_sha256}",
            "timestamp": {"field": "at", "format": "rfc3339", "tolerance": "1m", "future": "5s"},
            "id": "x-acme-id", "id_forbid": " ", "require": {"X-Acme-Version": "2"}}}"#,
    );
    let scheme = &b.policy.rules[0].scheme;
    let tenant = Headers::from_pairs([("x-acme-tenant", "t1")]);
    let request = Unsigned {
        method: b"POST",
        path: b"/hook?a=b",
        url: b"https://hooks.example.com/hook?a=b",
        headers: &tenant,
        id: b"id-1",
        body: b"{\"a\": 1}",
        at: NOW,
    };
    let headers = sign(scheme, SECRET.as_bytes(), &request).unwrap();
    let value = String::from_utf8(headers[0].1.clone()).unwrap();
    assert!(value.starts_with("at:2023-11-14T22:13:20Z;s:~"), "{value}");
    let send = |change: Option<(&str, &[u8])>, path: &str, body: &[u8]| {
        let mut all = pairs(&headers);
        all.push(("x-acme-tenant", b"t1"));
        if let Some((name, value)) = change {
            all.retain(|(n, _)| *n != name);
            if value != b"(absent)" {
                all.push((name, value));
            }
        }
        b.send_to(path, &all, Some(body)).0
    };
    let (path, body) = ("/hook?a=b", request.body);
    assert_eq!(send(None, path, body), passed("acme-v2"));
    assert_eq!(
        send(None, "/hook?a=c", body),
        refused(401, "mismatch", true)
    );
    assert_eq!(
        send(None, path, b"{\"a\": 2}"),
        refused(401, "mismatch", true)
    );
    assert_eq!(
        send(Some(("x-acme-tenant", b"t2")), path, body),
        refused(401, "mismatch", true)
    );
    for (name, value) in [
        ("x-acme-tenant", &b"(absent)"[..]),
        ("x-acme-id", b"(absent)"),
        ("x-acme-id", b"id 1"),
        ("x-acme-id", b""),
        ("x-acme-version", b"3"),
        ("x-acme-version", b"(absent)"),
    ] {
        assert_eq!(
            send(Some((name, value)), path, body),
            refused(401, "malformed", false),
            "{name}"
        );
    }
    let mut twice = pairs(&headers);
    twice.extend([("x-acme-tenant", &b"t1"[..]), ("x-acme-tenant", b"t2")]);
    assert_eq!(
        b.send_to(path, &twice, Some(body)).0,
        refused(400, "duplicate", false)
    );
}

/// Who signs a URL must agree with us about it, and the request's own headers have no say.
#[test]
fn the_public_url_comes_from_the_configuration() {
    let square = preset("square").unwrap();
    let headers = signed(&square, SECRET.as_bytes(), b"{}", NOW);
    for (url, good) in [
        ("https://hooks.example.com", true),
        ("https://hooks.example.com/hook", true),
        ("https://hooks.example.com/hook/", false),
        ("http://hooks.example.com", false),
    ] {
        let b = bench(&format!(
            r#"{{"scheme": "square", "secrets": [{{"env": "SECRET"}}], "public_url": "{url}"}}"#
        ));
        let mut all = pairs(&headers);
        all.extend([
            (":authority", &b"hooks.example.com"[..]),
            ("x-forwarded-proto", b"https"),
        ]);
        let expected = if good {
            passed("square")
        } else {
            refused(401, "mismatch", true)
        };
        assert_eq!(b.send(&all, Some(b"{}")), expected, "{url}");
    }
}
