//! Nothing that comes in makes it panic, and no key comes out.

use super::{Fixture, GOLD, KEYS, config};
use proptest::prelude::*;

const ALL: &str = r#", "metrics": {"consumer": true, "key": true}, "key_sources": [{"header": "x-api-key"},
    {"header": "authorization", "scheme": "Bearer"}, {"query": "api_key"}, {"cookie": "api_key"}],
    "rules": [{"match": {"path": {"template": "/v1/{id}"}, "headers": [{"name": "x-m", "regex": "a+"}]}, "mode": "optional"},
              {"match": {"path": {"prefix": "/o"}}, "mode": "observe"}]"#;

#[test]
fn bytes_that_are_no_text_are_a_wrong_key() {
    let fixture = Fixture::new(&config(ALL));
    for (path, name, value) in [
        (&b"/"[..], "x-api-key", &b"\xff\xfe"[..]),
        (b"/", "authorization", b"Bearer \xff"),
        (b"/", "cookie", b"\xff=\xff; api_key=\xff"),
        (b"/\xff?api_key=\xff", "x-a", b"\xff"),
        (b"/?api_key=%ff", "x-a", b""),
    ] {
        let outcome = fixture.send("GET", path, &[(name, value)]);
        assert_eq!(outcome.details(), "tollgate_key_invalid");
    }
    let outcome = fixture.send("\u{ff}", b"\xff", &[("authorization", b"\xff \xff")]);
    assert_eq!(outcome.details(), "tollgate_key_missing");
    let good = fixture.send(
        "GET",
        b"/\xff?\xff=%&",
        &[("x-api-key", GOLD.as_bytes()), ("x-b", b"\xff")],
    );
    assert_eq!(good.details(), "passed");
    assert_eq!(
        good.exchange.request.first(":path"),
        Some(&b"/\xff?\xff=%&"[..])
    );
}

#[test]
fn a_thousand_headers_and_two_mebibytes_are_just_slow() {
    let fixture = Fixture::new(&config(ALL));
    let names: Vec<String> = (0..1000).map(|i| format!("x-h{i}")).collect();
    let big = vec![b'a'; 2 * 1024 * 1024];
    let mut headers: Vec<(&str, &[u8])> = names.iter().map(|n| (n.as_str(), &b"v"[..])).collect();
    headers.push(("x-big", &big));
    headers.push(("x-api-key", GOLD.as_bytes()));
    assert_eq!(fixture.send("GET", b"/", &headers).details(), "passed");
    let outcome = fixture.send("GET", b"/", &[("x-api-key", &big)]);
    assert_eq!(outcome.details(), "tollgate_key_invalid");
}

#[test]
fn no_request_header_at_all_is_a_missing_key() {
    let fixture = Fixture::new(&config(ALL));
    let empty = tollgate_core::Exchange::default();
    assert_eq!(fixture.exchange(empty).details(), "tollgate_key_missing");
}

#[test]
fn no_key_shows_in_answers_logs_metrics_or_filter_state() {
    let fixture = Fixture::new(&config(ALL));
    let mut seen = String::new();
    for key in KEYS.iter().chain(&["unknown-0123456789abcdef"]) {
        let bearer = format!("Bearer {key}");
        let cookie = format!("api_key={key}");
        let query = format!("/?api_key={key}");
        for (path, headers) in [
            ("/", [("x-api-key", *key)]),
            ("/", [("authorization", bearer.as_str())]),
            ("/", [("cookie", cookie.as_str())]),
            (query.as_str(), [("x-other", "1")]),
            ("/o", [("x-api-key", *key)]),
        ] {
            let outcome = fixture.get(path, &headers);
            seen.push_str(&format!(
                "{:?} {:?} {}",
                outcome.reply,
                outcome.exchange,
                outcome.path()
            ));
            if let Some(reply) = &outcome.reply {
                seen.push_str(&String::from_utf8_lossy(&reply.body));
            }
            for (_, value) in &outcome.state {
                seen.push_str(&String::from_utf8_lossy(value));
            }
        }
    }
    seen.push_str(&format!(
        "{:?} {:?}",
        fixture.metrics,
        fixture.world.take_logs()
    ));
    assert!(seen.len() > 10_000);
    for key in KEYS.iter().chain(&["unknown-0123456789abcdef"]) {
        let secret = key.trim_start_matches("ps_live_");
        assert!(!seen.contains(secret), "{secret}");
    }
}

proptest! {
    #[test]
    fn any_request_gets_an_answer(
        method in prop_oneof![Just("GET"), Just("OPTIONS")],
        path in proptest::collection::vec(any::<u8>(), 0..60),
        headers in proptest::collection::vec((
            prop_oneof![Just("x-api-key"), Just("authorization"), Just("cookie"), Just("x-consumer-id"),
                        Just("x_consumer_groups"), Just("x-m"), Just("origin")],
            prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..40),
                "(Bearer|bearer|Basic)?[ ,;=%\"]{0,3}(api_key)?[ ,;=%\"]{0,3}[a-z]{0,3}".prop_map(String::into_bytes),
            ],
        ), 0..6),
    ) {
        let fixture = Fixture::new(&config(ALL));
        let pairs: Vec<(&str, &[u8])> = headers.iter().map(|(n, v)| (*n, v.as_slice())).collect();
        let outcome = fixture.send(method, &path, &pairs);
        prop_assert!(matches!(outcome.status(), 200 | 400 | 401));
        prop_assert_eq!(outcome.header("x-consumer-id"), None);
        prop_assert_eq!(outcome.header("x_consumer_groups"), None);
    }
}
