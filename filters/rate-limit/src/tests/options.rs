//! Cost from a header, statuses, shadow marks, trusted hops, occupancy.

use super::*;

fn one(options: &str, limit: &str, rule: &str, max: u64) -> String {
    format!(
        r#"{{{options} "limits": [{{"name": "api", "key": ["client_address"], {limit} "rules": [{{{rule}
            "buckets": [{{"max_tokens": {max}, "tokens_per_fill": {max}, "fill_interval": "100s"}}]}}]}}]}}"#
    )
}

#[test]
fn a_trusted_header_says_what_a_request_costs() {
    let cost = r#""cost": {"header": "x-cost", "default": 2, "max": 50},"#;
    let proxy = Proxy::new(&one("", "", cost, 100));
    let left = |headers: &[(&str, &str)]| {
        let seen = proxy.get_with("/", headers);
        (seen.status, seen.number("x-ratelimit-remaining"))
    };
    assert_eq!(left(&[]), (200, 98));
    assert_eq!(left(&[("x-cost", "8")]), (200, 90));
    assert_eq!(left(&[("x-cost", "0")]), (200, 89));
    assert_eq!(left(&[("x-cost", "1000")]), (200, 39));
    // Nobody knows what it should have cost: the most.
    assert_eq!(left(&[("x-cost", "cheap")]), (429, 39));
    assert_eq!(left(&[("x-cost", "1"), ("x-cost", "1")]), (429, 39));
    assert_eq!(proxy.decisions("api", "cost_unreadable"), 2);
    let refused = proxy.get_with("/", &[("x-cost", "40")]);
    assert_eq!((refused.status, refused.number("retry-after")), (429, 1));
    assert_eq!(left(&[("x-cost", "39")]), (200, 0));
}

#[test]
fn a_header_can_make_a_request_free_where_the_rule_says_so() {
    let cost = r#""cost": {"header": "x-cost", "min": 0},"#;
    let proxy = Proxy::new(&one("", "", cost, 3));
    assert_eq!(proxy.admitted(5, "/"), 3);
    for _ in 0..3 {
        let free = proxy.get_with("/", &[("x-cost", "0")]);
        assert_eq!(
            (free.status, free.number("x-ratelimit-remaining")),
            (200, 0)
        );
    }
    // No more than the smallest bucket holds.
    proxy.advance("200s");
    let all = proxy.get_with("/", &[("x-cost", "99")]);
    assert_eq!((all.status, all.number("x-ratelimit-remaining")), (200, 0));
}

#[test]
fn a_cost_of_each_request_works_with_leases() {
    let cost = r#""cost": {"header": "x-cost"},"#;
    let proxy = Proxy::new(&one("", "", cost, 30_000));
    let mut spent = 0;
    for i in 0..3_000_u64 {
        let cost = 1 + i * i % 17;
        let seen = proxy.get_with("/", &[("x-cost", &cost.to_string())]);
        spent += cost;
        assert_eq!(seen.number("x-ratelimit-remaining"), 30_000 - spent);
    }
    assert!(proxy.counter("tollgate_limit_leases_total", "hit") > 2_900);
    assert_eq!(proxy.admitted(30_000, "/") as u64, 30_000 - spent);
}

#[test]
fn refusals_have_the_status_that_is_configured() {
    for (options, limit, status) in [
        ("", "", 429),
        (r#""rate_limited_status": 503,"#, "", 503),
        ("", r#""rate_limited_status": 420,"#, 420),
        (
            r#""rate_limited_status": 503,"#,
            r#""rate_limited_status": 403,"#,
            403,
        ),
    ] {
        let proxy = Proxy::new(&one(options, limit, "", 1));
        assert_eq!(proxy.get("/").status, 200);
        let refused = proxy.get("/");
        assert_eq!(refused.status, status);
        assert_eq!(refused.number("retry-after"), 100);
        assert_eq!(refused.number("x-ratelimit-remaining"), 0);
        assert_eq!(refused.header("ratelimit"), Some(r#""api";r=0;t=100"#));
        assert_eq!(refused.details.as_deref(), Some("tollgate_rate_limited"));
        let expected = format!(
            "{{\"type\":\"https://iana.org/assignments/http-problem-types#quota-exceeded\",\
             \"title\":\"Too many requests\",\"status\":{status},\"detail\":\"Try again in 100 seconds.\",\
             \"violated-policies\":[\"api\"]}}"
        );
        assert_eq!(refused.body, expected);
    }
}

#[test]
fn shadow_limits_tell_the_upstream_and_nobody_else_can() {
    let json = r#"{"limits": [
        {"name": "one", "mode": "shadow", "key": ["client_address"], "rules": [{"buckets": [{"max_tokens": 1, "tokens_per_fill": 1, "fill_interval": "1h"}]}]},
        {"name": "two", "mode": "shadow", "key": ["client_address"], "rules": [{"buckets": [{"max_tokens": 2, "tokens_per_fill": 1, "fill_interval": "1h"}]}]}]}"#;
    let marks = |json: &str, header: &str| -> Vec<Option<String>> {
        let proxy = Proxy::new(json);
        let mut seen = Vec::new();
        for _ in 0..3 {
            let mut exchange = proxy.exchange("/", &[(header, "forged")]);
            let mut drive = Drive::<RateLimit>::default();
            drive.request_headers(&proxy.policy, &mut exchange, &proxy.world);
            let mark = exchange.request.sole(header).unwrap();
            seen.push(mark.map(|m| String::from_utf8(m.to_vec()).unwrap()));
        }
        seen
    };
    let expected = [None, Some("one".to_owned()), Some("one,two".to_owned())];
    assert_eq!(marks(json, "x-tollgate-shadow-limit"), expected);
    let named = json.replacen('{', r#"{"shadow_header": "X-Shadow", "#, 1);
    assert_eq!(marks(&named, "x-shadow"), expected);
    // Nothing in shadow mode: the header is none of ours.
    let enforced = json
        .replace("shadow", "enforce")
        .replace("\"max_tokens\": 1,", "\"max_tokens\": 9,");
    let forged = Some("forged".to_owned());
    assert_eq!(marks(&enforced, "x-tollgate-shadow-limit")[0], forged);
}

#[test]
fn trusted_hops_are_the_limits_own() {
    let proxy = Proxy::new(&one("", r#""trusted_hops": 1,"#, "", 1));
    let status = |forwarded| {
        let seen = proxy.get_with("/", &[("x-forwarded-for", forwarded)]);
        seen.status
    };
    assert_eq!(status("203.0.113.1, 10.0.0.1"), 200);
    assert_eq!(status("203.0.113.1, 10.0.0.1"), 429);
    assert_eq!(status("203.0.113.2, 10.0.0.1"), 200);
    // What a client writes in front of it changes nothing.
    assert_eq!(status("1.2.3.4, 203.0.113.2, 10.0.0.1"), 429);
    // Past the load balancer: the peer itself.
    assert_eq!(proxy.get("/").status, 200);
    assert_eq!(status("10.0.0.1"), 429);
}

#[test]
fn the_table_says_how_full_it_is() {
    let proxy = Proxy::new(&one(r#""table": {"max_bytes": 65536},"#, "", "", 10));
    let gauge = |name: &str| proxy.world.metric(&proxy.metrics, name);
    // 105 pages, 32 a tick.
    let tick = || (0..4).for_each(|_| proxy.policy.on_tick(&proxy.world));
    tick();
    assert_eq!(gauge("tollgate_limit_table_keys"), 0);
    assert_eq!(gauge("tollgate_limit_table_max_bytes"), 105 * 496);
    for host in 1..=20 {
        let address = format!("10.0.1.{host}:9");
        proxy.world.set_attribute(Attribute::SourceAddress, address);
        assert_eq!(proxy.get("/").status, 200);
    }
    tick();
    assert_eq!(gauge("tollgate_limit_table_keys"), 20);
    assert_eq!(gauge("tollgate_limit_table_used_bytes"), 20 * 17);
    proxy.advance("10s");
    tick();
    assert_eq!(gauge("tollgate_limit_table_keys"), 0);
}

#[test]
fn wrong_options_are_refused() {
    for (options, limit, rule, expected) in [
        (
            r#""rate_limited_status": 500,"#,
            "",
            "",
            "rate_limited_status: must be a status from 400 to 499, or 503",
        ),
        (
            "",
            r#""rate_limited_status": 200,"#,
            "",
            "limits[0].rate_limited_status: must be a whole number from 400 to 503",
        ),
        (
            r#""leases": {"max_percent": 26},"#,
            "",
            "",
            "leases.max_percent: must be a number, not negative, in bounds and with no more decimals than are allowed here",
        ),
        (
            r#""leases": {"min_tokens": 0},"#,
            "",
            "",
            "leases.min_tokens: must be a whole number from 1 to 1000000000",
        ),
        (
            "",
            r#""leases": "yes","#,
            "",
            "limits[0].leases: must be true or false, not a string",
        ),
        (
            "",
            r#""trusted_hops": 33,"#,
            "",
            "limits[0].trusted_hops: must be a whole number from 0 to 32",
        ),
        (
            "",
            "",
            r#""cost": {"default": 1},"#,
            "limits[0].rules[0].cost.header: is missing",
        ),
        (
            "",
            "",
            r#""cost": {"header": "x-c", "min": 3, "max": 2},"#,
            "limits[0].rules[0].cost: min is more than max",
        ),
        (
            "",
            "",
            r#""cost": {"header": "x-c", "max": 7, "default": 8},"#,
            "limits[0].rules[0].cost: default is not between min and max",
        ),
        (
            "",
            "",
            r#""cost": {"header": "x-c", "max": 11},"#,
            "limits[0].rules[0].cost: is more than a bucket of this rule can hold (max_tokens): no request would ever pass",
        ),
        (
            r#""shadow_header": ":path","#,
            "",
            "",
            "shadow_header: must be a header name",
        ),
    ] {
        let found = errors(&one(options, limit, rule, 10));
        assert!(found.contains(&expected.to_owned()), "{found:?}");
    }
    let elsewhere =
        one("", r#""trusted_hops": 1,"#, "", 10).replace("\"client_address\"", "\"host\"");
    assert_eq!(
        errors(&elsewhere),
        ["limits[0].trusted_hops: has a meaning only with client_address in key"]
    );
}
