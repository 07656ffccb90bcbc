//! The steps of a decision and their order.

use super::{FIVE_PERCENT, Rig, one};
use std::rc::Rc;
use tollgate_core::exchange::{Consumer, Exchange};
use tollgate_core::headers::Headers;
use tollgate_core::policy::Policy;
use tollgate_core::world::Attribute;

/// Every step can apply at once.
fn everything(enabled: bool) -> String {
    one(&format!(
        r#""enabled": {enabled},
        "variants": [{{"name": "stable", "weight": 0}}, {{"name": "a", "weight": 100}}, {{"name": "b", "weight": 0}}, {{"name": "c", "weight": 0}}],
        "force": [{{"header": "x-force", "present": true, "variant": "c"}}],
        "overrides": {{"user-42": "b"}},
        "segments": [{{"headers": [{{"name": "x-country", "in": ["de", "at"]}}], "variant": "stable"}}]"#
    ))
}

#[test]
fn each_step_comes_before_those_behind_it() {
    let all: [(&str, &[u8]); 3] = [
        ("x-force", b""),
        ("x-user-id", b"user-42"),
        ("x-country", b"de"),
    ];
    let other: [(&str, &[u8]); 2] = [("x-user-id", b"user-1"), ("x-country", b"at")];
    let rig = Rig::new(&everything(true));
    assert_eq!(rig.request("/", &all).state(), ("checkout-v2:c", "forced"));
    assert_eq!(
        rig.request("/", &all[1..]).state(),
        ("checkout-v2:b", "override")
    );
    assert_eq!(
        rig.request("/", &other).state(),
        ("checkout-v2:stable", "segment")
    );
    assert_eq!(
        rig.request("/", &other[..1]).state(),
        ("checkout-v2:a", "percentage")
    );
    assert_eq!(
        rig.request("/", &[]).state(),
        ("checkout-v2:stable", "missing_key")
    );
    assert_eq!(
        rig.request("/", &other[1..]).state(),
        ("checkout-v2:stable", "segment")
    );
    for (variant, reason, count) in [
        ("c", "forced", 1),
        ("b", "override", 1),
        ("stable", "segment", 2),
        ("a", "percentage", 1),
        ("stable", "missing_key", 1),
    ] {
        assert_eq!(
            rig.counted("checkout-v2", variant, reason),
            count,
            "{reason}"
        );
    }

    let off = Rig::new(&everything(false));
    let seen = off.request("/", &all);
    assert_eq!(seen.state(), ("checkout-v2:stable", "kill_switch"));
    assert_eq!(seen.request_header("x-variant"), [b"stable"]);
    assert_eq!(off.counted("checkout-v2", "stable", "kill_switch"), 1);
}

#[test]
fn the_kill_switch_of_the_section_is_for_all() {
    let json = one(FIVE_PERCENT).replacen('{', r#"{"enabled": false, "#, 1);
    assert_eq!(
        Rig::new(&json).user("user-42"),
        ("checkout-v2:stable".into(), "kill_switch".into())
    );
}

#[test]
fn forced_headers_compare_in_four_ways() {
    let rig = Rig::new(&one(&format!(
        r#"{FIVE_PERCENT}, "force": [
            {{"header": "x-exact", "exact": "canary-testers", "variant": "canary"}},
            {{"header": "x-prefix", "prefix": "test-", "variant": "canary"}},
            {{"header": "x-regex", "regex": "qa[0-9]+", "variant": "canary"}},
            {{"header": "x-present", "present": true, "variant": "canary"}},
            {{"header": "x-named", "names_variant": true}}]"#
    )));
    let reason = |name: &str, value: &[u8]| {
        let seen = rig.request("/", &[("x-user-id", b"user-1"), (name, value)]);
        let (variant, reason) = seen.state();
        format!("{variant} {reason}")
    };
    let no = "checkout-v2:stable percentage";
    let yes = "checkout-v2:canary forced";
    for (name, value, expected) in [
        ("x-exact", &b"canary-testers"[..], yes),
        ("X-Exact", b"canary-testers", yes),
        ("x-exact", b"canary-testers2", no),
        ("x-exact", b"Canary-Testers", no),
        ("x-prefix", b"test-7", yes),
        ("x-prefix", b"a-test-7", no),
        ("x-regex", b"qa12", yes),
        ("x-regex", b"qa12x", no),
        ("x-regex", b"qa1\xff", no),
        ("x-present", b"", yes),
        ("x-present", b"\xff", yes),
        ("x-named", b"canary", yes),
        ("x-named", b"stable", "checkout-v2:stable forced"),
        ("x-named", b"nobody", no),
        ("x-named", b"\xff", no),
        ("x-canary", b"always", no),
    ] {
        assert_eq!(
            reason(name, value),
            expected,
            "{name}: {}",
            value.escape_ascii()
        );
    }
}

#[test]
fn values_that_name_different_variants_name_none() {
    let rig = Rig::new(&one(&format!(
        r#"{FIVE_PERCENT}, "force": [{{"header": "x-named", "names_variant": true}}]"#
    )));
    let named = |a: &[u8], b: &[u8]| {
        let seen = rig.request(
            "/",
            &[("x-user-id", b"user-1"), ("x-named", a), ("x-named", b)],
        );
        seen.state().1.to_owned()
    };
    assert_eq!(named(b"canary", b"canary"), "forced");
    assert_eq!(named(b"canary", b"stable"), "percentage");
    assert_eq!(named(b"nobody", b"canary"), "forced");
}

#[test]
fn segments_need_everything_they_name() {
    let rig = Rig::new(&one(&format!(
        r#"{FIVE_PERCENT}, "segments": [
            {{"match": {{"path": {{"prefix": "/beta/"}}, "hosts": ["shop.example.test"]}},
              "headers": [{{"name": "x-country", "in": ["de", "at"]}}, {{"name": "x-plan", "in": ["gold"]}}],
              "groups": ["beta", "staff"], "variant": "canary"}}]"#
    )));
    let both: [(&str, &[u8]); 3] = [
        ("x-user-id", b"user-1"),
        ("x-country", b"at"),
        ("x-plan", b"gold"),
    ];
    assert_eq!(rig.request("/beta/x", &both).state().1, "percentage");
    rig.world
        .set_attribute(Attribute::FilterState("tollgate.consumer"), "web-app");
    rig.world
        .set_attribute(Attribute::FilterState("tollgate.groups"), "gold,staff");
    assert_eq!(
        rig.request("/beta/x", &both).state(),
        ("checkout-v2:canary", "segment")
    );
    assert_eq!(rig.request("/x", &both).state().1, "percentage");
    assert_eq!(rig.request("/beta/x", &both[..2]).state().1, "percentage");
    rig.world
        .set_attribute(Attribute::FilterState("tollgate.groups"), "gold");
    assert_eq!(rig.request("/beta/x", &both).state().1, "percentage");
}

#[test]
fn without_weights_only_the_rules_choose() {
    let json = r#"{"experiments": [{"flag": "f", "route_header": "x-variant",
        "variants": [{"name": "stable"}, {"name": "canary"}],
        "force": [{"header": "x-t", "exact": "1", "variant": "canary"}]}]}"#;
    let rig = Rig::new(json);
    assert_eq!(
        rig.request("/", &[("x-user-id", b"u")]).state(),
        ("f:stable", "default")
    );
    assert_eq!(
        rig.request("/", &[("x-t", b"1")]).state(),
        ("f:canary", "forced")
    );
    assert_eq!(rig.counted("f", "stable", "default"), 1);
}

fn sources(on_missing_key: &str) -> String {
    one(FIVE_PERCENT).replace(
        r#"[{"header": "x-user-id"}]"#,
        &format!(
            r#"["consumer", {{"header": "X-User-Id"}}, {{"cookie": "session"}}], "on_missing_key": {on_missing_key}"#
        ),
    )
}

#[test]
fn the_first_source_that_has_a_key_is_the_key() {
    // user-42 is on the canary (bucket 141), user-1 and user-2 are not.
    let rig = Rig::new(&sources("\"stable\""));
    let state = |headers: &[(&str, &[u8])]| {
        let seen = rig.request("/", headers);
        let (variant, reason) = seen.state();
        format!("{} {reason}", variant.trim_start_matches("checkout-v2:"))
    };
    let cookie = ("cookie", &b"a=b; session=user-42; c=d"[..]);
    assert_eq!(
        state(&[("x-user-id", b"user-1"), cookie]),
        "stable percentage"
    );
    assert_eq!(state(&[cookie]), "canary percentage");
    assert_eq!(state(&[("x-user-id", b""), cookie]), "canary percentage");
    assert_eq!(state(&[("cookie", b"a=b"), cookie]), "canary percentage");
    assert_eq!(
        state(&[("cookie", b"session=\"user-42\"")]),
        "canary percentage"
    );
    assert_eq!(
        state(&[("cookie", b"Session=user-42")]),
        "stable missing_key"
    );
    assert_eq!(state(&[("cookie", b"session=")]), "stable missing_key");
    assert_eq!(state(&[("cookie", b"session")]), "stable missing_key");
    assert_eq!(state(&[]), "stable missing_key");
    rig.world
        .set_attribute(Attribute::FilterState("tollgate.consumer"), "user-42");
    assert_eq!(state(&[("x-user-id", b"user-1")]), "canary percentage");
}

#[test]
fn a_source_with_two_values_is_no_key() {
    let rig = Rig::new(&sources("{\"variant\": \"canary\"}"));
    let state = |headers: &[(&str, &[u8])]| rig.request("/", headers).state().1.to_owned();
    let twice: [(&str, &[u8]); 2] = [("x-user-id", b"user-1"), ("x-user-id", b"user-2")];
    assert_eq!(state(&twice), "missing_key");
    assert_eq!(state(&[("cookie", b"session=a; session=b")]), "missing_key");
    assert_eq!(
        state(&[("cookie", b"session=a"), ("cookie", b"session=b")]),
        "missing_key"
    );
    assert_eq!(state(&[("cookie", b"session=a; session=a")]), "percentage");
    assert_eq!(rig.counted("checkout-v2", "canary", "missing_key"), 3);
}

#[test]
fn a_key_need_not_be_text() {
    // Bucket 1,122.
    let rig = Rig::new(
        &sources("\"stable\"")
            .replace("95", "88.77")
            .replace(": 5}", ": 11.23}"),
    );
    for header in [
        ("x-user-id", &b"\xff\xfe"[..]),
        ("cookie", b"session=\xff\xfe; \xff=\xff"),
    ] {
        let seen = rig.request("/\u{fc}", &[header]);
        assert_eq!(
            seen.state(),
            ("checkout-v2:canary", "percentage"),
            "{}",
            header.0
        );
    }
}

#[test]
fn the_client_address_is_a_key_without_its_port() {
    let json = one(FIVE_PERCENT)
        .replace(r#"[{"header": "x-user-id"}]"#, r#"["client_address"]"#)
        .replace("95", "49.19")
        .replace(": 5}", ": 50.81}");
    let rig = Rig::new(&json);
    assert_eq!(rig.request("/", &[]).state().1, "missing_key");
    // 192.0.2.1 is in bucket 5,080, 2001:db8::1 in 9,499.
    for (address, variant) in [
        ("192.0.2.1:4711", "checkout-v2:canary"),
        ("192.0.2.1:80", "checkout-v2:canary"),
        ("192.0.2.1", "checkout-v2:canary"),
        ("[2001:db8::1]:443", "checkout-v2:stable"),
        ("2001:db8::1", "checkout-v2:stable"),
    ] {
        rig.world.set_attribute(Attribute::SourceAddress, address);
        assert_eq!(
            rig.request("/", &[]).state(),
            (variant, "percentage"),
            "{address}"
        );
    }
    let smaller = json.replace("49.19", "49.20").replace("50.81", "50.80");
    let rig = Rig::new(&smaller);
    rig.world
        .set_attribute(Attribute::SourceAddress, "192.0.2.1:4711");
    assert_eq!(rig.request("/", &[]).state().0, "checkout-v2:stable");
}

#[test]
fn without_a_key_chance_has_the_same_shares() {
    let rig = Rig::new(&sources("\"random\""));
    for _ in 0..20_000 {
        assert_eq!(rig.request("/", &[]).state().1, "random");
    }
    let canary = rig.counted("checkout-v2", "canary", "random");
    // 1,000 expected, variance 950, 4 sigma.
    assert!(canary.abs_diff(1_000).pow(2) <= 16 * 950, "{canary}");
    assert_eq!(
        canary + rig.counted("checkout-v2", "stable", "random"),
        20_000
    );
    assert_eq!(
        rig.request("/", &[("x-user-id", b"user-42")]).state().1,
        "percentage"
    );
}

#[test]
fn the_consumer_of_key_auth_in_the_same_chain_is_the_key() {
    let rig = Rig::new(&sources("\"stable\""));
    let headers = Headers::from_pairs([(":path", "/"), ("x-user-id", "user-1")]);
    let mut exchange = Exchange::new(headers, true);
    exchange.facts.set_consumer(Some(Rc::new(Consumer {
        id: "user-42".into(),
        ..Consumer::default()
    })));
    let mut stream = Default::default();
    let _ = rig
        .canary
        .on_request_headers(&mut stream, &mut exchange, &rig.world);
    assert_eq!(exchange.request.first("x-variant"), Some(&b"canary"[..]));
}
