//! Several workers are several policies over one world.

use super::*;

const TWO: &str = r#"{"limits": [{"name": "api", "key": ["client_address"], "rules": [{"buckets": [
    {"max_tokens": 10000, "tokens_per_fill": 10000, "fill_interval": "60s"},
    {"max_tokens": 20000, "tokens_per_fill": 20000, "fill_interval": "1h"}]}]}]}"#;

/// Another worker of the same proxy.
fn worker(json: &str) -> RateLimit {
    try_compile(json).0.unwrap()
}

impl Proxy<RateLimit> {
    fn switch(&mut self, to: &mut RateLimit) {
        std::mem::swap(&mut self.policy, to);
    }

    fn leases(&self, reason: &str) -> u64 {
        self.counter("tollgate_limit_leases_total", reason)
    }
}

#[test]
fn most_requests_are_lease_hits_and_their_headers_are_right() {
    let proxy = Proxy::new(TWO);
    for i in 1..=5_000_u64 {
        let seen = proxy.get("/");
        assert_eq!(seen.status, 200);
        assert_eq!(seen.number("x-ratelimit-remaining"), 10_000 - i);
        let expected = format!(
            r#""api-1m";r={};t=1, "api-1h";r={};t=1"#,
            10_000 - i,
            20_000 - i
        );
        assert_eq!(seen.header("ratelimit"), Some(expected.as_str()));
    }
    assert_eq!(proxy.leases("hit") + proxy.leases("renewed"), 5_000);
    assert!(proxy.leases("renewed") < 80, "{}", proxy.leases("renewed"));
    assert_eq!(proxy.decisions("api", "allowed"), 5_000);
    assert_eq!(proxy.admitted(6_000, "/"), 5_000);
    let refused = proxy.get("/");
    assert_eq!((refused.status, refused.number("retry-after")), (429, 1));
}

#[test]
fn two_workers_admit_all_there_is_and_not_one_more() {
    let mut proxy = Proxy::new(TWO);
    let mut other = worker(TWO);
    let mut admitted = 0;
    for _ in 0..200 {
        admitted += proxy.admitted(70, "/");
        proxy.switch(&mut other);
    }
    assert_eq!(admitted, 10_000);
    proxy.advance("6s");
    for _ in 0..40 {
        admitted += proxy.admitted(70, "/");
        proxy.switch(&mut other);
    }
    assert_eq!(admitted, 11_000);
}

#[test]
fn a_small_limit_is_not_leased_nor_one_that_says_so() {
    let small = TWO.replace("10000", "999");
    let one_small = TWO.replacen("20000", "999", 1);
    let off = TWO.replacen('{', r#"{"leases": {"enabled": false}, "#, 1);
    let limit_off = TWO.replace(r#""name""#, r#""leases": false, "name""#);
    let larger = TWO.replacen('{', r#"{"leases": {"min_tokens": 10001}, "#, 1);
    for json in [small, one_small, off, limit_off, larger] {
        let proxy = Proxy::new(&json);
        assert_eq!(proxy.admitted(100, "/"), 100);
        assert_eq!(proxy.leases("hit") + proxy.leases("renewed"), 0, "{json}");
    }
    let smaller = r#"{"leases": {"min_tokens": 10, "max_percent": "2.5"}, "#;
    let proxy = Proxy::new(&TWO.replacen('{', smaller, 1).replace("10000", "400"));
    assert_eq!(proxy.admitted(1000, "/"), 400);
    assert!(proxy.leases("hit") > 200);
}

#[test]
fn what_a_later_limit_refuses_goes_back_into_the_lease() {
    let json = TWO.replace(
        "]}]}]}",
        r#"]}]}, {"name": "narrow", "key": ["path"], "rules": [{"buckets": [
            {"max_tokens": 1, "tokens_per_fill": 1, "fill_interval": "1h"}]}]}]}"#,
    );
    let proxy = Proxy::new(&json);
    assert_eq!(proxy.get("/a").status, 200);
    for _ in 0..500 {
        let refused = proxy.get("/a");
        assert_eq!(refused.status, 429);
        assert_eq!(
            refused.header("ratelimit"),
            Some(r#""api-1m";r=9999;t=1, "api-1h";r=19999;t=1, "narrow";r=0;t=3600"#)
        );
        assert!(refused.body.contains(r#""violated-policies":["narrow"]"#));
    }
    let others = (0..11_000).filter(|i| proxy.get(&format!("/b{i}")).status == 200);
    assert_eq!(others.count(), 9_999);
    assert_eq!(
        proxy.counter("tollgate_limit_table_total", "not_given_back"),
        0
    );
}

#[test]
fn a_refusal_looks_at_later_limits_with_their_leases() {
    let json = TWO.replace(
        r#"{"limits": ["#,
        r#"{"limits": [{"name": "narrow", "key": ["path"], "rules": [{"buckets": [
            {"max_tokens": 9999, "tokens_per_fill": 1, "fill_interval": "1h"}]}]}, "#,
    );
    let proxy = Proxy::new(&json);
    assert_eq!(proxy.admitted(10_000, "/"), 9_999);
    let refused = proxy.get("/");
    assert!(
        refused.body.contains(r#""violated-policies":["narrow"]"#),
        "{}",
        refused.body
    );
    assert_eq!(proxy.get("/b").status, 200);
    let both = proxy.get("/");
    assert!(
        both.body
            .contains(r#""violated-policies":["narrow","api-1m"]"#),
        "{}",
        both.body
    );
}

#[test]
fn a_reload_hands_leases_back() {
    let mut proxy = Proxy::new(TWO);
    assert_eq!(proxy.admitted(50, "/"), 50);
    proxy.policy.on_stop(&proxy.world);
    assert_eq!(proxy.leases("returned"), 1);
    proxy.policy = worker(TWO);
    assert_eq!(proxy.get("/").number("x-ratelimit-remaining"), 9_949);
    // Without leases from now on: the same buckets.
    proxy.policy.on_stop(&proxy.world);
    proxy.policy = worker(&TWO.replacen('{', r#"{"leases": {"enabled": false}, "#, 1));
    assert_eq!(proxy.get("/").number("x-ratelimit-remaining"), 9_948);
}

#[test]
fn the_tick_hands_back_what_is_not_used() {
    let json = TWO.replace("60s", "1h");
    let mut proxy = Proxy::new(&json);
    assert_eq!(proxy.admitted(50, "/"), 50);
    proxy.policy.on_tick(&proxy.world);
    assert_eq!(proxy.leases("returned"), 0);
    proxy.advance("600ms");
    proxy.policy.on_tick(&proxy.world);
    assert_eq!(proxy.leases("returned"), 1);
    proxy.policy = worker(&json);
    // 600 ms bring 1.7 of 10,000 an hour.
    assert_eq!(proxy.get("/").number("x-ratelimit-remaining"), 9_950);
}

#[test]
fn a_free_request_shows_what_the_lease_knows() {
    let json = TWO.replace(
        r#""rules": ["#,
        r#""rules": [{"match": {"path": {"exact": "/quota"}}, "cost": 0, "buckets": [
            {"max_tokens": 10000, "tokens_per_fill": 10000, "fill_interval": "60s"},
            {"max_tokens": 20000, "tokens_per_fill": 20000, "fill_interval": "1h"}]}, "#,
    );
    let proxy = Proxy::new(&json);
    assert_eq!(proxy.get("/quota").number("x-ratelimit-remaining"), 10_000);
    for i in 1..200 {
        assert_eq!(proxy.get("/").number("x-ratelimit-remaining"), 10_000 - i);
        assert_eq!(
            proxy.get("/quota").number("x-ratelimit-remaining"),
            10_000 - i
        );
    }
    assert!(proxy.leases("renewed") < 20, "{}", proxy.leases("renewed"));
}

#[test]
fn a_clock_that_steps_back_frees_nobody() {
    let proxy = Proxy::new(TWO);
    assert_eq!(proxy.admitted(500, "/"), 500);
    let now = tollgate_core::World::now(&proxy.world).0;
    proxy.world.set_now(UnixNanos(now - 5_000_000_000));
    let admitted = proxy.admitted(20_000, "/");
    // What was leased and not used is lost, no more.
    assert!((9_400 - 833..=9_500).contains(&admitted), "{admitted}");
}

#[test]
fn requests_of_two_stages_share_the_rules() {
    let proxy = Proxy::new(TWO);
    let limits = std::rc::Rc::new(proxy.policy);
    let chain = tollgate_core::Then(crate::EarlyLimits(limits.clone()), crate::Limits(limits));
    let proxy = Proxy {
        world: proxy.world,
        policy: chain,
        metrics: proxy.metrics,
    };
    assert_eq!(proxy.admitted(11_000, "/"), 10_000);
    proxy.advance("1s");
    proxy.policy.on_tick(&proxy.world);
    proxy.policy.on_stop(&proxy.world);
}
