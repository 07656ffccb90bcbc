use super::*;

const TWO: &str = r#"{"limits": [{"name": "api", "key": ["consumer"], "rules": [{"buckets": [
    {"max_tokens": 60, "tokens_per_fill": 60, "fill_interval": "60s"},
    {"max_tokens": 1000, "tokens_per_fill": 1000, "fill_interval": "1h"}]}]}]}"#;

#[test]
fn sixty_a_minute_and_a_thousand_an_hour() {
    let proxy = Proxy::new(TWO);
    let first = proxy.get("/");
    assert_eq!(first.number("x-ratelimit-limit"), 60);
    assert_eq!(first.number("x-ratelimit-remaining"), 59);
    assert_eq!(first.number("x-ratelimit-reset"), 1);
    assert_eq!(
        first.header("ratelimit-policy"),
        Some(r#""api-1m";q=60;w=60, "api-1h";q=1000;w=3600"#)
    );
    assert_eq!(
        first.header("ratelimit"),
        Some(r#""api-1m";r=59;t=1, "api-1h";r=999;t=4"#)
    );
    assert_eq!(proxy.admitted(100, "/"), 59);
    let refused = proxy.get("/");
    assert_eq!(refused.status, 429);
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(refused.details.as_deref(), Some("tollgate_rate_limited"));
    assert_eq!(
        refused.body,
        "{\"type\":\"https://iana.org/assignments/http-problem-types#quota-exceeded\",\
         \"title\":\"Too many requests\",\"status\":429,\"detail\":\"Try again in 1 second.\",\
         \"violated-policies\":[\"api-1m\"]}"
    );
    assert_eq!(refused.number("x-ratelimit-remaining"), 0);
    // Refusals were not charged to the hour: 940 are left, and in the 18 minutes that 60 a minute need
    // for them (and more) the hour gives 1000 * 18 / 60 = 300 more.
    let mut admitted = 60;
    let mut minutes = 0;
    loop {
        proxy.advance("1m");
        minutes += 1;
        let now = proxy.admitted(70, "/");
        admitted += now;
        if now < 60 {
            break;
        }
    }
    let gained = 1000 * minutes / 60;
    assert_eq!(admitted, 1000 + gained);
    assert_eq!(minutes, 22);
    let refused = proxy.get("/");
    assert!(refused.body.contains(r#""violated-policies":["api-1h"]"#));
    assert_eq!(refused.number("x-ratelimit-limit"), 1000);
    // 1320 s bring 366.67 tokens: the next is there in a third of 3.6 s.
    assert_eq!(refused.header("retry-after"), Some("2"));
    assert_eq!(proxy.decisions("api", "allowed"), admitted as u64);
}

#[test]
fn one_compare_and_set_a_request() {
    let proxy = Proxy::new(TWO);
    assert_eq!(proxy.admitted(61, "/"), 60);
    // The seed and one page.
    assert_eq!(proxy.world.keys(), 2);
}

#[test]
fn retry_after_is_exact_to_the_second_and_never_early() {
    let proxy = Proxy::new(
        r#"{"limits": [{"name": "slow", "key": ["client_address"], "rules": [{"buckets": [
            {"max_tokens": 2, "tokens_per_fill": 3, "fill_interval": "7s"}]}]}]}"#,
    );
    assert_eq!(proxy.admitted(3, "/"), 2);
    for _ in 0..100 {
        // A token comes each 7/3 s: asked for right after the last one, it is there in 3 s, not in 2.
        let refused = proxy.get("/");
        let wait = refused.number("retry-after");
        proxy.world.advance(Duration(wait * 1_000_000_000));
        assert_eq!(proxy.get("/").status, 200);
        proxy.admitted(2, "/");
    }
}

#[test]
fn the_first_matching_rule_of_each_limit_applies() {
    let proxy = Proxy::new(
        r#"{"limits": [
            {"name": "by-path", "key": ["client_address"], "rules": [
                {"match": {"path": {"prefix": "/api/optimize"}}, "buckets": [{"max_tokens": 5, "tokens_per_fill": 1, "fill_interval": "1s"}]},
                {"match": {"path": {"prefix": "/api/"}}, "buckets": [{"max_tokens": 20, "tokens_per_fill": 10, "fill_interval": "1s"}]}]},
            {"name": "all", "key": [{"constant": "all"}], "rules": [
                {"buckets": [{"max_tokens": 30, "tokens_per_fill": 30, "fill_interval": "1s"}]}]}]}"#,
    );
    assert_eq!(proxy.admitted(10, "/api/optimize"), 5);
    assert_eq!(proxy.admitted(25, "/api/other"), 20);
    // 25 of 30 are gone: the refused ones gave back what the second limit would have charged.
    assert_eq!(proxy.admitted(10, "/elsewhere"), 5);
    let refused = proxy.get("/api/optimize");
    assert!(
        refused
            .body
            .contains(r#""violated-policies":["by-path","all"]"#),
        "{}",
        refused.body
    );
}

#[test]
fn what_an_earlier_limit_took_is_given_back() {
    let proxy = Proxy::new(
        r#"{"limits": [
            {"name": "wide", "key": ["client_address"], "rules": [{"buckets": [{"max_tokens": 10, "tokens_per_fill": 10, "fill_interval": "1h"}]}]},
            {"name": "narrow", "key": ["path"], "rules": [{"buckets": [{"max_tokens": 1, "tokens_per_fill": 1, "fill_interval": "1h"}]}]}]}"#,
    );
    assert_eq!(proxy.admitted(50, "/a"), 1);
    let refused = proxy.get("/a");
    assert_eq!(
        refused.header("ratelimit"),
        Some(r#""wide";r=9;t=360, "narrow";r=0;t=3600"#)
    );
    let others = (0..50)
        .filter(|i| proxy.get(&format!("/b{i}")).status == 200)
        .count();
    assert_eq!(others, 9);
}

#[test]
fn groups_and_consumers_have_their_own_buckets() {
    let proxy = Proxy::new(
        r#"{"headers": ["x-ratelimit"], "limits": [{"name": "api", "key": ["consumer"], "rules": [{
            "buckets": [{"max_tokens": 2, "tokens_per_fill": 2, "fill_interval": "1m"}],
            "groups": {"gold": [{"max_tokens": 4, "tokens_per_fill": 4, "fill_interval": "1m"}],
                       "beta": [{"max_tokens": 3, "tokens_per_fill": 3, "fill_interval": "1m"}]},
            "consumers": {"vip": [{"max_tokens": 5, "tokens_per_fill": 5, "fill_interval": "1m"}]}}]}]}"#,
    );
    let limit = |consumer, groups| {
        proxy
            .get_as("/", consumer, groups)
            .number("x-ratelimit-limit")
    };
    assert_eq!(limit("plain", "silver"), 2);
    assert_eq!(limit("rich", "silver,gold"), 4);
    // The consumer's own order decides, not the configuration's, which a host may have sorted.
    assert_eq!(limit("tester", "beta,gold"), 3);
    assert_eq!(limit("vip", "gold"), 5);
    let rich = (0..10)
        .filter(|_| proxy.get_as("/", "rich", "gold").status == 200)
        .count();
    assert_eq!(rich, 3);
    assert_eq!(proxy.get_as("/", "plain", "").status, 200);
    assert_eq!(proxy.get_as("/", "plain", "").status, 429);
    assert!(proxy.get_as("/", "plain", "").header("ratelimit").is_none());
}

#[test]
fn a_free_route_shows_the_same_buckets_and_charges_nothing() {
    let proxy = Proxy::new(
        r#"{"limits": [{"name": "api", "key": ["client_address"], "rules": [
            {"match": {"path": {"exact": "/health"}}, "cost": 0, "buckets": [{"max_tokens": 3, "tokens_per_fill": 3, "fill_interval": "1m"}]},
            {"match": {"path": {"prefix": "/bulk"}}, "cost": 3, "buckets": [{"max_tokens": 3, "tokens_per_fill": 3, "fill_interval": "1m"}]},
            {"buckets": [{"max_tokens": 3, "tokens_per_fill": 3, "fill_interval": "1m"}]}]}]}"#,
    );
    let fresh = proxy.get("/health");
    assert_eq!(fresh.header("ratelimit"), Some(r#""api";r=3"#));
    assert_eq!(fresh.number("x-ratelimit-reset"), 0);
    assert_eq!(proxy.get("/").number("x-ratelimit-remaining"), 2);
    for _ in 0..10 {
        assert_eq!(proxy.get("/health").number("x-ratelimit-remaining"), 2);
    }
    // Three at once are not there: nothing is charged, and the wait is for all three.
    let bulk = proxy.get("/bulk");
    assert_eq!((bulk.status, bulk.number("retry-after")), (429, 20));
    assert_eq!(proxy.admitted(5, "/"), 2);
    assert_eq!(proxy.get("/health").status, 200);
    // A path that an upstream may read as another one is not free.
    assert_eq!(proxy.get("/health/../").status, 429);
}

#[test]
fn a_request_without_a_key_shares_or_is_skipped() {
    let json = |rule: &str| {
        format!(
            r#"{{"limits": [{{"name": "tenant", "key": [{{"header": "x-tenant"}}], {rule} "rules": [
                {{"buckets": [{{"max_tokens": 2, "tokens_per_fill": 2, "fill_interval": "1m"}}]}}]}}]}}"#
        )
    };
    let shared = Proxy::new(&json(""));
    assert_eq!(shared.admitted(5, "/"), 2);
    assert_eq!(shared.get_with("/", &[("x-tenant", "")]).status, 429);
    assert_eq!(shared.get_with("/", &[("x-tenant", "a")]).status, 200);
    assert_eq!(shared.decisions("tenant", "no_key"), 6);
    let skipped = Proxy::new(&json(r#""on_missing_key": "skip","#));
    assert_eq!(skipped.admitted(5, "/"), 5);
    assert_eq!(skipped.get("/").header("ratelimit"), None);
    let twice = [("x-tenant", "a"), ("x-tenant", "b")];
    let ambiguous = shared.get_with("/", &twice);
    assert_eq!(ambiguous.status, 400);
    assert_eq!(
        ambiguous.details.as_deref(),
        Some("tollgate_rate_limit_key_ambiguous")
    );
}

#[test]
fn a_template_value_is_a_key() {
    let proxy = Proxy::new(
        r#"{"limits": [{"name": "sessions", "key": [{"template": "id"}], "rules": [
            {"match": {"path": {"template": "/api/sessions/{id}"}}, "buckets": [{"max_tokens": 1, "tokens_per_fill": 10, "fill_interval": "1m"}]}]}]}"#,
    );
    assert_eq!(proxy.admitted(3, "/api/sessions/1"), 1);
    assert_eq!(proxy.admitted(3, "/api/sessions/2"), 1);
    assert_eq!(proxy.admitted(3, "/api/sessions"), 3);
}

#[test]
fn shadow_counts_and_marks_but_refuses_nothing() {
    let proxy = Proxy::new(
        r#"{"limits": [{"name": "new", "mode": "shadow", "key": ["client_address"], "rules": [
            {"buckets": [{"max_tokens": 1, "tokens_per_fill": 1, "fill_interval": "1m"}]}]}]}"#,
    );
    assert_eq!(proxy.admitted(3, "/"), 3);
    assert_eq!(proxy.decisions("new", "allowed"), 1);
    assert_eq!(proxy.decisions("new", "shadow_limited"), 2);
    assert_eq!(proxy.decisions("new", "limited"), 0);
    assert_eq!(proxy.get("/").headers, BTreeMap::new());
    let mut exchange = proxy.exchange("/", &[]);
    Drive::<RateLimit>::default().request_headers(&proxy.policy, &mut exchange, &proxy.world);
    let published = exchange.facts.take_published();
    assert_eq!(published, [("tollgate.shadow_limit", b"new".to_vec())]);
    let mark = exchange.request.sole("x-tollgate-shadow-limit");
    assert_eq!(mark, Ok(Some(&b"new"[..])));
}

#[test]
fn lost_races_are_refused_or_let_through_as_configured() {
    let refusing = Proxy::new(TWO);
    refusing.world.conflicts.set(8);
    let lost = refusing.get("/");
    assert_eq!((lost.status, lost.header("retry-after")), (503, Some("1")));
    assert_eq!(
        lost.details.as_deref(),
        Some("tollgate_rate_limit_contended")
    );
    assert_eq!(refusing.decisions("api", "contended"), 1);
    assert_eq!(refusing.admitted(70, "/"), 60);
    let admitting = Proxy::new(&TWO.replacen('{', r#"{"on_contention": "allow", "#, 1));
    admitting.world.conflicts.set(8);
    assert_eq!(admitting.get("/").status, 200);
    assert_eq!(admitting.decisions("api", "contended"), 1);
    admitting.world.conflicts.set(3);
    assert_eq!(admitting.get("/").status, 200);
    assert_eq!(
        admitting.counter("tollgate_limit_table_total", "cas_retry"),
        3
    );
}

#[test]
fn pages_of_another_version_are_discarded_with_one_warning() {
    use tollgate_core::world::{Expect, Store};
    let proxy = Proxy::new(&TWO.replacen('{', r#"{"table": {"max_bytes": 65536}, "#, 1));
    for page in 0..200 {
        let key = format!("b/{page}");
        proxy
            .world
            .store(&key, b"TGB\x00 what is this", Expect::Anything)
            .unwrap();
    }
    assert_eq!(proxy.admitted(70, "/"), 60);
    assert_eq!(proxy.get_as("/", "other", "").status, 200);
    assert_eq!(proxy.get_as("/", "third", "").status, 200);
    assert_eq!(proxy.counter("tollgate_limit_table_total", "discarded"), 3);
    assert_eq!(proxy.world.take_logs().len(), 1);
}

#[test]
fn a_reload_keeps_buckets_of_unchanged_limits_and_restarts_changed_ones() {
    let mut proxy = Proxy::new(TWO);
    assert_eq!(proxy.admitted(70, "/"), 60);
    proxy.policy = try_compile(TWO).0.unwrap();
    assert_eq!(proxy.admitted(70, "/"), 0);
    let changed = TWO.replace("\"max_tokens\": 60", "\"max_tokens\": 50");
    proxy.policy = try_compile(&changed).0.unwrap();
    assert_eq!(proxy.admitted(70, "/"), 50);
}

#[test]
fn odd_bytes_are_keys_like_any_others() {
    let proxy = Proxy::new(
        r#"{"limits": [{"name": "odd", "key": [{"header": "x-k"}, {"cookie": "c"}, {"query": "q"}, "host", "path", "method", "client_address"],
            "rules": [{"buckets": [{"max_tokens": 1, "tokens_per_fill": 1, "fill_interval": "1m"}]}]}]}"#,
    );
    for (value, expected) in [
        (&b"\xff"[..], 200),
        (b"\xff", 429),
        (b"\xfe", 200),
        (b"", 200),
    ] {
        let pairs = [
            (":method", &b"G\xff"[..]),
            (":authority", b"\xff:80"),
            (":path", b"/\xff?q=%\xff&%zz=%4"),
            ("x-k", value),
            ("cookie", b"c=\xff; \x80"),
        ];
        let mut exchange = Exchange::new(Headers::from_pairs(pairs), true);
        let mut drive = Drive::<RateLimit>::default();
        let step = drive.request_headers(&proxy.policy, &mut exchange, &proxy.world);
        let status = match step {
            Step::Reply(reply) => reply.status,
            _ => 200,
        };
        assert_eq!(status, expected);
    }
}
