//! What passes, what is refused, and what the upstream and the log are told.

use super::*;

#[test]
fn a_right_signature_passes_and_is_named() {
    let b = bench(X);
    let headers = x_signature(b"{\"a\":1}");
    let (seen, mut exchange) = b.send_to("/hook", &pairs(&headers), Some(b"{\"a\":1}"));
    assert_eq!(seen, passed("x-signature"));
    assert_eq!(
        exchange.facts.take_published(),
        [
            ("tollgate.webhook_secret", b"a".to_vec()),
            ("tollgate.webhook", b"verified".to_vec())
        ]
    );
    assert_eq!(b.reasons("x-signature", "verified"), 1);
    let labels = [("rule", "x-signature"), ("secret", "a")];
    assert_eq!(b.metric("tollgate_webhook_secret_used_total", &labels), 1);
}

#[test]
fn wrong_and_missing_signatures_are_refused() {
    let b = bench(X);
    let headers = x_signature(b"{}");
    assert_eq!(
        b.send(&pairs(&headers), Some(b"{ }")),
        refused(401, "mismatch", true)
    );
    assert_eq!(b.send(&[], Some(b"{}")), refused(401, "missing", false));
    assert_eq!(
        b.send(&[("x-signature", b"")], Some(b"{}")),
        refused(401, "malformed", false)
    );
    assert_eq!(
        b.send(&[("x-signature", b"\xff")], Some(b"{}")),
        refused(401, "malformed", false)
    );
    let twice = [pairs(&headers), pairs(&headers)].concat();
    assert_eq!(
        b.send(&twice, Some(b"{}")),
        refused(400, "duplicate", false)
    );
    for (reason, n) in [
        ("mismatch", 1),
        ("missing", 1),
        ("malformed", 2),
        ("duplicate", 1),
        ("verified", 0),
    ] {
        assert_eq!(b.reasons("x-signature", reason), n, "{reason}");
    }
}

#[test]
fn the_clients_own_verdict_is_stripped_everywhere() {
    let b = load(
        r#"{"rules": [{"match": {"path": {"prefix": "/hooks/"}}, "scheme": "x-signature", "on_missing": "pass",
            "secrets": [{"env": "SECRET"}]}]}"#,
    )
    .unwrap();
    let own: &[(&str, &[u8])] = &[
        ("x-webhook-verified", b"stripe"),
        ("X-Webhook-Verified", b"x"),
    ];
    assert_eq!(b.send_to("/other", own, None).0, Seen::Upstream(None));
    assert_eq!(
        b.send_to("/hooks/a", own, Some(b"{}")).0,
        passed("unverified")
    );
}

#[test]
fn on_missing_pass_never_lets_a_wrong_signature_pass() {
    let b = bench(r#"{"scheme": "stripe", "secrets": [{"env": "SECRET"}], "on_missing": "pass"}"#);
    assert_eq!(b.send(&[], Some(b"{}")), passed("unverified"));
    assert_eq!(b.send(&[], None), passed("unverified"));
    assert_eq!(b.reasons("stripe", "unverified"), 2);
    assert_eq!(b.reasons("stripe", "missing"), 0);
    for bad in ["", "t=1700000000", "v1=00", "t=1700000000,v0=aa"] {
        let seen = b.send(&[("stripe-signature", bad.as_bytes())], Some(b"{}"));
        assert_eq!(seen, refused(401, "malformed", false), "{bad:?}");
    }
    let headers = signed(&preset("stripe").unwrap(), b"another secret", b"{}", NOW);
    assert_eq!(
        b.send(&pairs(&headers), Some(b"{}")),
        refused(401, "mismatch", true)
    );
}

/// `/open/../closed` reads as `/open/` here and as `/closed` at many an upstream.
#[test]
fn a_dotted_path_does_not_profit_from_a_lenient_rule() {
    for lenient in [r#""on_missing": "pass""#, r#""mode": "report""#] {
        let b = bench(&format!(
            r#"{{"match": {{"path": {{"prefix": "/open/"}}}}, "scheme": "x-signature", "secrets": [{{"env": "SECRET"}}], {lenient}}}"#
        ));
        assert_eq!(
            b.send_to("/open/a", &[], Some(b"{}")).0,
            passed("unverified")
        );
        for path in ["/open/../closed", "/open/%2e%2e/closed", "/open//a"] {
            assert_eq!(
                b.send_to(path, &[], Some(b"{}")).0,
                refused(401, "missing", false),
                "{path}"
            );
        }
    }
}

#[test]
fn report_mode_lets_everything_pass_and_says_what_it_would_have_done() {
    let b = bench(
        r#"{"scheme": "x-signature", "secrets": [{"env": "SECRET"}], "mode": "report", "max_body_bytes": 4}"#,
    );
    let right = x_signature(b"{}");
    assert_eq!(b.send(&pairs(&right), Some(b"{}")), passed("x-signature"));
    assert_eq!(b.send(&pairs(&right), Some(b"[]")), passed("unverified"));
    assert_eq!(
        b.send(&pairs(&right), Some(b"123456789")),
        passed("unverified")
    );
    assert_eq!(b.send(&[], Some(b"{}")), passed("unverified"));
    assert_eq!(b.send(&pairs(&right), None), passed("unverified"));
    for reason in ["verified", "mismatch", "too_large", "missing", "empty_body"] {
        assert_eq!(b.reasons("x-signature", reason), 1, "{reason}");
    }
}

#[test]
fn a_body_that_is_too_long_is_413_before_or_while_it_is_read() {
    let b =
        bench(r#"{"scheme": "x-signature", "secrets": [{"env": "SECRET"}], "max_body_bytes": 10}"#);
    let ten = x_signature(b"0123456789");
    assert_eq!(
        b.send(&pairs(&ten), Some(b"0123456789")),
        passed("x-signature")
    );
    let eleven = x_signature(b"0123456789a");
    assert_eq!(
        b.send(&pairs(&eleven), Some(b"0123456789a")),
        refused(413, "too_large", true)
    );
    let mut announced = pairs(&eleven);
    announced.push(("content-length", b"11"));
    assert_eq!(
        b.send(&announced, Some(b"0123456789a")),
        refused(413, "too_large", false)
    );
    let default = bench(X);
    let body = vec![b'x'; 1024 * 1024];
    assert_eq!(
        default.send(&pairs(&x_signature(&body)), Some(&body)),
        passed("x-signature")
    );
    let body = vec![b'x'; 1024 * 1024 + 1];
    assert_eq!(
        default.send(&pairs(&x_signature(&body)), Some(&body)),
        refused(413, "too_large", true)
    );
}

#[test]
fn an_empty_body_needs_permission() {
    let b = bench(X);
    let headers = x_signature(b"");
    assert_eq!(
        b.send(&pairs(&headers), None),
        refused(401, "empty_body", false)
    );
    assert_eq!(
        b.send(&pairs(&headers), Some(b"")),
        refused(401, "empty_body", true)
    );
    let b = bench(
        r#"{"scheme": "x-signature", "secrets": [{"env": "SECRET"}], "allow_empty_body": true}"#,
    );
    assert_eq!(b.send(&pairs(&headers), None), passed("x-signature"));
    assert_eq!(b.send(&pairs(&headers), Some(b"")), passed("x-signature"));
    assert_eq!(
        b.send(&pairs(&headers), Some(b"x")),
        refused(401, "mismatch", true)
    );
    // What a rule says goes before what the preset says.
    let b =
        bench(r#"{"scheme": "github", "secrets": [{"env": "SECRET"}], "allow_empty_body": false}"#);
    let headers = signed(&preset("github").unwrap(), SECRET.as_bytes(), b"", NOW);
    assert_eq!(
        b.send(&pairs(&headers), None),
        refused(401, "empty_body", false)
    );
}

#[test]
fn rules_are_tried_in_order_and_the_rest_passes_untouched() {
    let b = load(
        r#"{"rules": [
            {"match": {"path": {"exact": "/a"}}, "scheme": "github", "secrets": [{"env": "SECRET"}]},
            {"match": {"path": {"prefix": "/"}, "methods": ["POST"], "headers": [{"name": "x-kind", "exact": "b"}]},
             "scheme": "stripe", "secrets": [{"env": "SECRET"}]}], "verdict_header": "x-ok"}"#,
    )
    .unwrap();
    assert_eq!(
        b.send_to("/a", &[], Some(b"{}")).0,
        refused(401, "missing", false)
    );
    assert_eq!(b.reasons("github", "missing"), 1);
    assert_eq!(
        b.send_to("/b", &[("x-kind", b"b")], Some(b"{}")).0,
        refused(401, "missing", false)
    );
    assert_eq!(b.reasons("stripe", "missing"), 1);
    let (seen, mut exchange) = b.send_to("/b", &[], Some(b"{}"));
    assert_eq!(seen, Seen::Upstream(None));
    assert!(!exchange.request.is_changed());
    assert_eq!(exchange.facts.take_published(), []);
    let headers = signed(&preset("github").unwrap(), SECRET.as_bytes(), b"{}", NOW);
    let (_, exchange) = b.send_to("/a", &pairs(&headers), Some(b"{}"));
    assert_eq!(exchange.request.first("x-ok"), Some(&b"github"[..]));
}
