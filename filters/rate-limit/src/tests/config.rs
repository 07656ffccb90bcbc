use super::*;

const BUCKET: &str = r#"{"max_tokens": 5, "tokens_per_fill": 1, "fill_interval": "1s"}"#;

#[test]
fn the_smallest_configuration() {
    let json = format!(
        r#"{{"limits": [{{"name": "api", "key": ["client_address"], "rules": [{{"buckets": [{BUCKET}]}}]}}]}}"#
    );
    assert_eq!(errors(&json), [""; 0]);
    // Hosts may hand over 5 as 5.0.
    assert_eq!(errors(&json.replace("5,", "5.0,")), [""; 0]);
}

#[test]
fn all_errors_at_once_each_with_its_path() {
    let json = r#"{
        "headers": ["x-ratelimit", "draft-03"],
        "on_contention": "shrug",
        "table": {"max_bytes": 1},
        "limit": [],
        "limits": [
            {"name": "a b", "key": [], "mode": "off", "on_missing_key": "?", "ipv6_prefix": 64, "rules": []},
            {"name": "x", "key": ["consumer", "ip", {"header": "x y"}, {}, {"query": "a", "cookie": "b"}], "failure_mode": "deny", "rules": [
                {"buckets": []},
                {"cost": 6, "buckets": [{"max_tokens": 5, "tokens_per_fill": 1, "fill_interval": "1s"}]},
                {"buckets": [{"max_tokens": 0, "tokens_per_fill": 1, "fill_interval": "1s"}]},
                {"buckets": [{"max_tokens": 1, "tokens_per_fill": 1, "fill_interval": "soon"}]},
                {"buckets": [{"max_tokens": 1, "tokens_per_fill": 1, "fill_interval": "0s"}]},
                {"buckets": [{"max_tokens": 2, "tokens_per_fill": 1, "fill_interval": "3650d"}]},
                {"buckets": [{"max_tokens": 1}], "extra": 1},
                {"buckets": [{"max_tokens": 5, "tokens_per_fill": 1, "fill_interval": "1s"}], "groups": {"gold": []}}]},
            {"name": "x", "key": [{"template": "id"}], "rules": [{"buckets": [{"max_tokens": 5, "tokens_per_fill": 1, "fill_interval": "1s"}]}]},
            {"name": "g", "key": ["host"], "scope": "global", "rules": [{"buckets": [{"max_tokens": 5, "tokens_per_fill": 1, "fill_interval": "1s"}]}]}
        ]}"#;
    let list = "must be a list of 1 to 6 buckets";
    let tokens = "must be a whole number from 1 to 1000000000";
    assert_eq!(
        errors(json),
        [
            "headers[1]: must be one of ietf, x-ratelimit",
            "on_contention: must be one of refuse, allow",
            "table.max_bytes: must be a whole number from 65536 to 1073741824",
            "limits[0].name: must be 1 to 128 characters out of A-Z a-z 0-9 . _ - / @ : +",
            "limits[0].key: must not be empty; for one bucket for all requests write [{constant: all}]",
            "limits[0].ipv6_prefix: has a meaning only with client_address in key",
            "limits[0].mode: must be one of enforce, shadow",
            "limits[0].on_missing_key: must be one of shared, skip",
            "limits[0].rules: needs at least one rule",
            "limits[1].key[1]: must be one of consumer, group, client_address, host, method, path",
            "limits[1].key[2].header: must be a header name",
            "limits[1].key[3]: needs exactly one of header, query, cookie, constant, template",
            "limits[1].key[4]: needs exactly one of header, query, cookie, constant, template",
            "limits[1].failure_mode: has a meaning only with scope: global",
            &format!("limits[1].rules[0].buckets: {list}"),
            "limits[1].rules[1].cost: is more than a bucket of this rule can hold (max_tokens): no request would ever pass",
            &format!("limits[1].rules[2].buckets[0].max_tokens: {tokens}"),
            "limits[1].rules[3].buckets[0].fill_interval: must be a time span such as 250ms, 60s, 10m, 24h, 90d",
            "limits[1].rules[4].buckets[0].fill_interval: must be longer than nothing",
            "limits[1].rules[5].buckets[0]: would take more than 10 years to become full",
            "limits[1].rules[6].buckets[0].tokens_per_fill: is missing",
            "limits[1].rules[6].buckets[0].fill_interval: is missing",
            "limits[1].rules[6].extra: unknown field; known here: buckets, consumers, cost, groups, match",
            &format!("limits[1].rules[7].groups.gold: {list}"),
            "limits[2].rules[0]: the limit's key has a template variable that this rule's match.path.template lacks",
            "limits[2].name: another limit has the same name",
            "limits[3].scope: needs the section fleet, which names the rate limit service's cluster",
            "limit: unknown field; known here: fleet, headers, leases, limits, on_contention, rate_limited_status, shadow_header, table",
        ]
    );
}

#[test]
fn global_limits_need_one_bucket_and_a_key() {
    let json = |fleet: &str, buckets: &str| {
        format!(
            r#"{{"fleet": {fleet}, "limits": [{{"name": "g", "scope": "global", "key": ["host"], "rules": [{{"buckets": [{buckets}]}}]}}]}}"#
        )
    };
    let good = r#"{"cluster": "rls", "key": {"env": "FLEET_KEY"}, "mode": "classic"}"#;
    assert_eq!(
        errors(&json(good, BUCKET)),
        [
            "limits[0].descriptor: is missing: in fleet.mode: classic the limit needs the name that it has in the service's \
             configuration"
        ]
    );
    let ticket = good.replace("classic", "ticket");
    let json = |fleet: &str, buckets: &str| {
        json(fleet, buckets).replace(
            r#""key": ["host"]"#,
            r#""descriptor": "d", "key": ["host"]"#,
        )
    };
    assert_eq!(errors(&json(good, BUCKET)), [""; 0]);
    let useless =
        "limits[0].descriptor: has a meaning only with scope: global and fleet.mode: classic";
    assert_eq!(errors(&json(&ticket, BUCKET)), [useless]);
    let local = json(good, BUCKET).replace(r#""scope": "global", "#, "");
    assert_eq!(errors(&local), [useless]);
    assert_eq!(
        errors(&json(good, &format!("{BUCKET}, {BUCKET}"))),
        ["limits[0].rules: a limit of scope: global has one bucket, the same in all rules"]
    );
    assert_eq!(
        errors(&json(
            r#"{"key": {"env": "SHORT"}, "timeout": "2h", "expected_proxies": 0}"#,
            BUCKET
        )),
        [
            "fleet.cluster: is missing",
            "fleet.key.env: the environment variable must hold at least 16 characters",
            "fleet.timeout: must be between 1ms and 60s",
            "fleet.expected_proxies: must be a whole number from 1 to 100000",
        ]
    );
    let unset = good.replace("FLEET_KEY", "NOT_SET");
    assert_eq!(
        errors(&json(&unset, BUCKET)),
        ["fleet.key.env: the environment variable is not set in the VM"]
    );
    let local = json(good, BUCKET)
        .replace("global", "local")
        .replace(r#""descriptor": "d", "#, "");
    let (_, _, report) = try_compile(&local);
    assert_eq!(report.errors(), []);
    assert_eq!(
        report.warnings()[0].to_string(),
        "fleet: no limit has scope: global, so the service is never asked"
    );
}

#[test]
fn nothing_at_all_is_an_error() {
    assert_eq!(errors(""), ["limits: is missing"]);
    assert_eq!(
        errors(r#"{"limits": []}"#),
        ["limits: needs at least one limit"]
    );
    assert_eq!(
        errors(r#"{"limits": {}}"#),
        ["limits: must be a list, not an object"]
    );
}

#[test]
fn buckets_of_one_interval_have_different_names() {
    let proxy = Proxy::new(&format!(
        r#"{{"limits": [{{"name": "api", "key": ["host"], "rules": [{{"buckets": [{BUCKET}, {BUCKET}]}}]}}]}}"#
    ));
    assert_eq!(
        proxy.get("/").header("ratelimit-policy"),
        Some(r#""api-1s";q=5;w=5, "api-1s-2";q=5;w=5"#)
    );
}
