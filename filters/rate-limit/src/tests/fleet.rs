use super::*;
use tollgate_core::world::{Call, CallAnswer};

fn config(limit: &str, fleet: &str) -> String {
    format!(
        r#"{{"fleet": {{"cluster": "ratelimit", "key": {{"env": "FLEET_KEY"}}, "mode": "classic"{fleet}}}, "limits": [
            {{"name": "api", "scope": "global", "descriptor": "shop-api", "key": [{{"header": "x-tenant"}}]{limit}, "rules": [
                {{"buckets": [{{"max_tokens": 4, "tokens_per_fill": 4, "fill_interval": "1m"}}]}}]}}]}}"#
    )
}

const OK: &[u8] = b"\x08\x01\x12\x0e\x08\x01\x12\x04\x08\x04\x10\x02\x18\x01\x22\x02\x08\x13";
const OVER: &[u8] = b"\x08\x02\x12\x0e\x08\x02\x12\x04\x08\x04\x10\x02\x18\x00\x22\x02\x08\x13";
const UNKNOWN: &[u8] = b"\x08\x01";

fn answer(status: u32, message: &[u8]) -> CallAnswer {
    CallAnswer::Grpc {
        status,
        message: message.to_vec(),
    }
}

fn ask(proxy: &Proxy<RateLimit>, tenant: &str, answers: &[CallAnswer]) -> (Seen, Vec<Call>) {
    let mut exchange = proxy.exchange("/", &[("x-tenant", tenant)]);
    let mut drive = Drive::<RateLimit>::default();
    let mut step = drive.request_headers(&proxy.policy, &mut exchange, &proxy.world);
    let mut calls = Vec::new();
    for answer in answers {
        assert_eq!(step, Step::Hold);
        calls.extend(proxy.world.take_calls());
        step = drive.call_answer(&proxy.policy, &mut exchange, &proxy.world, answer, &[][..]);
    }
    calls.extend(proxy.world.take_calls());
    drive.response_headers(&proxy.policy, &mut exchange, &proxy.world, true);
    let seen = match step {
        Step::Reply(reply) => Seen::reply(&reply),
        Step::Forward => Seen::answer(&mut exchange),
        Step::Hold => panic!("held after {} answers", answers.len()),
    };
    (seen, calls)
}

fn service(proxy: &Proxy<RateLimit>, reason: &str) -> u64 {
    proxy.counter("tollgate_limit_service_total", reason)
}

#[test]
fn the_service_is_asked_with_a_name_that_says_nothing() {
    let proxy = Proxy::new(&config("", r#", "timeout": "250ms", "domain": "shop""#));
    let (seen, calls) = ask(&proxy, "secret-tenant", &[answer(0, OK)]);
    assert_eq!(seen.status, 200);
    // The fleet has less left (1) than this proxy's own bucket (3).
    assert_eq!(seen.number("x-ratelimit-remaining"), 1);
    assert_eq!(seen.number("x-ratelimit-reset"), 19);
    let [
        Call::Grpc {
            cluster,
            service,
            method,
            message,
            timeout_ms,
        },
    ] = calls.as_slice()
    else {
        panic!("{calls:?}");
    };
    assert_eq!(
        (
            cluster.as_str(),
            service.as_str(),
            method.as_str(),
            *timeout_ms
        ),
        (
            "ratelimit",
            "envoy.service.ratelimit.v3.RateLimitService",
            "ShouldRateLimit",
            250
        )
    );
    // printf '\1\3\0\0\0\0\0\0\0api\1\15\0\0\0\0\0\0\0secret-tenant' |
    //   openssl dgst -sha256 -mac hmac -macopt key:0123456789abcdef-fleet
    let name = "4b87716c465f7093cc3a7fbcd609cb5e";
    let expected = tollgate_state::fleet::proto::request("shop", "shop-api", name, 1);
    assert_eq!(message, &expected, "{}", String::from_utf8_lossy(message));
}

/// Limitador 0.14: `X-RateLimit-Limit: 4, 4;w=60`, `-Remaining: 1`, `-Reset: 18` (rounded down), and no status.
fn limitador(code: u8) -> Vec<u8> {
    [
        &[0x08, code][..],
        b"\x1a\x1f\x0a\x11X-RateLimit-Limit\x12\x0a4, 4;w=60 ",
        b"\x1a\x1a\x0a\x15X-RateLimit-Remaining\x12\x011",
        b"\x1a\x17\x0a\x11X-RateLimit-Reset\x12\x0218",
    ]
    .concat()
}

#[test]
fn limitador_names_its_limit_in_headers_only() {
    let proxy = Proxy::new(&config("", ""));
    let (seen, _) = ask(&proxy, "a", &[answer(0, &limitador(1))]);
    assert_eq!(seen.status, 200);
    assert_eq!(seen.number("x-ratelimit-remaining"), 1);
    assert_eq!(seen.number("x-ratelimit-reset"), 19);
    let (seen, _) = ask(&proxy, "a", &[answer(0, &limitador(2))]);
    assert_eq!((seen.status, seen.number("retry-after")), (429, 19));
    assert_eq!(
        (service(&proxy, "ok"), service(&proxy, "over_limit")),
        (1, 1)
    );
    // Over the limit without headers: until the bucket would be full again.
    let (seen, _) = ask(&proxy, "a", &[answer(0, b"\x08\x02")]);
    assert_eq!((seen.status, seen.number("retry-after")), (429, 60));
    // A limit but no number: this proxy's own bucket is what is shown.
    let bare = b"\x08\x01\x1a\x17\x0a\x11X-RateLimit-Limit\x12\x024,";
    let (seen, _) = ask(&proxy, "a", &[answer(0, bare)]);
    assert_eq!(
        (seen.status, seen.number("x-ratelimit-remaining")),
        (200, 2)
    );
}

#[test]
fn over_limit_is_refused_and_nothing_is_kept() {
    let proxy = Proxy::new(&config("", ""));
    for _ in 0..10 {
        let (seen, _) = ask(&proxy, "a", &[answer(0, OVER)]);
        assert_eq!((seen.status, seen.number("retry-after")), (429, 19));
        assert_eq!(seen.number("x-ratelimit-remaining"), 0);
    }
    assert_eq!(service(&proxy, "over_limit"), 10);
    assert_eq!(proxy.decisions("api", "limited"), 10);
    // This proxy's own bucket is still full: four pass, the fifth is refused without a call.
    for _ in 0..4 {
        assert_eq!(ask(&proxy, "a", &[answer(0, OK)]).0.status, 200);
    }
    let (seen, calls) = ask(&proxy, "a", &[]);
    assert_eq!((seen.status, calls), (429, Vec::new()));
    assert_eq!(proxy.decisions("api", "allowed"), 4);
}

#[test]
fn a_service_that_does_not_answer_is_handled_as_configured() {
    let failures = [
        (answer(14, b""), "unavailable"),
        (answer(2, b""), "error"),
        (answer(0, b"\x08"), "error"),
        (answer(0, b""), "error"),
        (answer(0, UNKNOWN), "unknown_limit"),
    ];
    for (failure, reason) in &failures {
        let once = std::slice::from_ref(failure);
        let deny = Proxy::new(&config(r#", "failure_mode": "deny""#, ""));
        let (seen, _) = ask(&deny, "a", once);
        assert_eq!((seen.status, seen.number("retry-after")), (503, 1));
        assert_eq!(
            seen.details.as_deref(),
            Some("tollgate_rate_limit_service_unavailable")
        );
        assert_eq!(service(&deny, reason), 1, "{reason}");
        assert_eq!(deny.decisions("api", "service_failed"), 1);

        let allow = Proxy::new(&config(r#", "failure_mode": "allow""#, ""));
        assert_eq!(ask(&allow, "a", once).0.status, 200);
        assert_eq!(allow.decisions("api", "allowed"), 1);

        // Of four tokens a minute, half are this proxy's share.
        let local = Proxy::new(&config("", r#", "expected_proxies": 2"#));
        let first = ask(&local, "a", once).0;
        assert_eq!(first.number("x-ratelimit-limit"), 2);
        assert_eq!(first.number("x-ratelimit-reset"), 30);
        assert_eq!(ask(&local, "a", once).0.status, 200);
        let third = ask(&local, "a", once).0;
        assert_eq!((third.status, third.number("retry-after")), (429, 30));
        // Three failures in a row: the service is left alone for a while, the share goes on deciding.
        let (fourth, calls) = ask(&local, "a", &[]);
        assert_eq!((fourth.status, calls.len()), (429, 0));
        assert_eq!(service(&local, "breaker_open"), 1);
        assert_eq!(local.decisions("api", "allowed"), 2);
        assert_eq!(local.decisions("api", "limited"), 2);
        local
            .world
            .advance(tollgate_core::Duration::from_millis(320));
        // Back again, the whole bucket counts.
        assert_eq!(ask(&local, "a", &[answer(0, OK)]).0.status, 200);
    }
}

#[test]
fn an_unknown_cluster_is_a_failure_at_once() {
    let deny = Proxy::new(&config(r#", "failure_mode": "deny""#, ""));
    deny.world.refuse_calls.set(true);
    assert_eq!(ask(&deny, "a", &[]).0.status, 503);
    assert_eq!(ask(&deny, "a", &[]).0.status, 503);
    assert_eq!(service(&deny, "unknown_cluster"), 2);
    assert_eq!(deny.world.take_logs().len(), 1);
    let local = Proxy::new(&config("", ""));
    local.world.refuse_calls.set(true);
    let admitted = (0..9).filter(|_| ask(&local, "a", &[]).0.status == 200);
    assert_eq!(admitted.count(), 4);
}

#[test]
fn an_unknown_limit_is_reported_once_and_never_ok() {
    let deny = Proxy::new(&config(r#", "failure_mode": "deny""#, ""));
    for _ in 0..3 {
        assert_eq!(ask(&deny, "a", &[answer(0, UNKNOWN)]).0.status, 503);
    }
    assert_eq!(service(&deny, "unknown_limit"), 3);
    assert_eq!(service(&deny, "ok"), 0);
    let logs = deny.world.take_logs();
    assert_eq!(logs.len(), 2, "{logs:?}");
    assert!(
        logs[0]
            .1
            .contains("no limit for domain tollgate and descriptor shop-api")
    );
    assert!(logs[1].1.contains("does not answer"));
}

#[test]
fn two_global_limits_ask_one_after_the_other() {
    let json = config("", "").replace(
        r#""limits": ["#,
        r#""limits": [{"name": "all", "scope": "global", "descriptor": "all", "key": [{"constant": "all"}], "rules": [
            {"buckets": [{"max_tokens": 9, "tokens_per_fill": 9, "fill_interval": "1m"}]}]},"#,
    );
    let proxy = Proxy::new(&json);
    let (seen, calls) = ask(&proxy, "a", &[answer(0, OK), answer(0, OK)]);
    assert_eq!((seen.status, calls.len()), (200, 2));
    // The second one refuses: the first one's local tokens are given back.
    for _ in 0..20 {
        let (seen, _) = ask(&proxy, "a", &[answer(0, OK), answer(0, OVER)]);
        assert_eq!(seen.status, 429);
    }
    for _ in 0..3 {
        let (seen, _) = ask(&proxy, "a", &[answer(0, OK), answer(0, OK)]);
        assert_eq!(seen.status, 200);
    }
}

#[test]
fn shadow_asks_and_refuses_nothing() {
    let proxy = Proxy::new(&config(r#", "mode": "shadow", "failure_mode": "deny""#, ""));
    assert_eq!(ask(&proxy, "a", &[answer(0, OVER)]).0.status, 200);
    assert_eq!(proxy.decisions("api", "shadow_limited"), 1);
    assert_eq!(ask(&proxy, "a", &[answer(14, b"")]).0.status, 200);
}

#[test]
fn an_answer_of_another_kind_is_an_error() {
    let proxy = Proxy::new(&config(r#", "failure_mode": "deny""#, ""));
    let odd = CallAnswer::Http {
        status: 200,
        body: Vec::new(),
    };
    assert_eq!(ask(&proxy, "a", &[odd]).0.status, 503);
    assert_eq!(service(&proxy, "error"), 1);
}
