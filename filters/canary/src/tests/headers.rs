//! What is set, what is removed, and several experiments at once.

use super::{FIVE_PERCENT, Rig, one};

#[test]
fn a_clients_own_route_header_never_arrives() {
    let rig = Rig::new(&one(&format!(
        r#"{FIVE_PERCENT}, "match": {{"path": {{"prefix": "/checkout"}}}}"#
    )));
    let forged: [(&str, &[u8]); 3] = [
        ("x-user-id", b"user-1"),
        ("x-variant", b"canary"),
        ("X-Variant", b"\xff"),
    ];
    assert_eq!(
        rig.request("/checkout", &forged)
            .request_header("x-variant"),
        [b"stable"]
    );
    // Not even where the experiment does not apply.
    let elsewhere = rig.request("/other", &forged);
    assert_eq!(elsewhere.request_header("x-variant"), Vec::<&[u8]>::new());
    assert_eq!(elsewhere.state(), ("-", "-"));
}

#[test]
fn the_route_header_is_removed_even_where_another_policy_answers() {
    use tollgate_core::exchange::Exchange;
    use tollgate_core::headers::Headers;
    use tollgate_core::policy::Policy;
    let rig = Rig::new(&one(FIVE_PERCENT));
    let mut exchange = Exchange::new(Headers::from_pairs([("x-variant", "canary")]), true);
    let mut stream = Default::default();
    rig.canary.prepare(&mut stream, &mut exchange, &rig.world);
    assert!(!exchange.request.contains("x-variant"));
    // The filter then sees the answer, but has decided nothing.
    rig.canary
        .on_response_headers(&mut stream, &mut exchange, &rig.world, true);
    rig.canary.on_log(&mut stream, &mut exchange, &rig.world);
    assert!(exchange.response.is_empty());
    assert_eq!(exchange.facts.take_published(), []);
}

#[test]
fn the_client_is_told_if_that_is_wanted() {
    let told = Rig::new(&one(&format!(
        r#"{FIVE_PERCENT}, "response_header": "X-Checkout""#
    )));
    let seen = told.request("/", &[("x-user-id", b"user-42")]);
    assert_eq!(
        seen.response,
        [("x-checkout".to_owned(), b"canary".to_vec())]
    );
    let untold = Rig::new(&one(FIVE_PERCENT));
    assert_eq!(
        untold.request("/", &[("x-user-id", b"user-42")]).response,
        []
    );
}

fn two(first: &str, second: &str) -> String {
    let experiment = |flag: &str, more: &str| {
        format!(
            r#"{{"flag": "{flag}", "sticky_key": [{{"header": "x-user-id"}}], {more},
                "variants": [{{"name": "stable", "weight": 50}}, {{"name": "canary", "weight": 50}}]}}"#
        )
    };
    format!(
        r#"{{"experiments": [{}, {}]}}"#,
        experiment("checkout-v2", first),
        experiment("search-v3", second)
    )
}

#[test]
fn every_experiment_that_matches_sets_its_own_header() {
    let rig = Rig::new(&two(
        r#""route_header": "x-checkout", "response_header": "x-c""#,
        r#""route_header": "x-search", "match": {"path": {"prefix": "/search"}},
           "force": [{"header": "x-t", "present": true, "variant": "canary"}]"#,
    ));
    // checkout-v2: 141, search-v3: 4,887.
    let seen = rig.request("/search", &[("x-user-id", b"user-42")]);
    assert_eq!(
        seen.state(),
        (
            "checkout-v2:canary,search-v3:canary",
            "percentage,percentage"
        )
    );
    assert_eq!(seen.request_header("x-checkout"), [b"canary"]);
    assert_eq!(seen.request_header("x-search"), [b"canary"]);
    assert_eq!(seen.response, [("x-c".to_owned(), b"canary".to_vec())]);
    // 539 and 9,857: independent.
    let seen = rig.request("/search", &[("x-user-id", b"alice")]);
    assert_eq!(seen.state().0, "checkout-v2:canary,search-v3:stable");
    let seen = rig.request("/search", &[("x-user-id", b"alice"), ("x-t", b"1")]);
    assert_eq!(seen.state().1, "percentage,forced");
    let seen = rig.request("/", &[("x-user-id", b"alice"), ("x-search", b"canary")]);
    assert_eq!(seen.state().0, "checkout-v2:canary");
    assert!(seen.request_header("x-search").is_empty());
}

#[test]
fn of_experiments_that_set_the_same_header_the_first_match_wins() {
    let same = r#""route_header": "x-variant", "response_header": "x-v""#;
    let rig = Rig::new(&two(
        &format!(r#"{same}, "match": {{"path": {{"prefix": "/checkout"}}}}"#),
        same,
    ));
    let seen = rig.request("/checkout", &[("x-user-id", b"alice")]);
    assert_eq!(seen.state().0, "checkout-v2:canary");
    assert_eq!(seen.request_header("x-variant"), [b"canary"]);
    let seen = rig.request("/search", &[("x-user-id", b"alice")]);
    assert_eq!(seen.state().0, "search-v3:stable");
    assert_eq!(rig.counted("search-v3", "stable", "percentage"), 1);
    assert_eq!(rig.counted("search-v3", "canary", "percentage"), 0);
}

#[test]
fn a_thousand_headers_are_only_long() {
    let rig = Rig::new(&one(FIVE_PERCENT));
    let names: Vec<String> = (0..1_000).map(|i| format!("x-{i}")).collect();
    let mut headers: Vec<(&str, &[u8])> =
        names.iter().map(|n| (n.as_str(), &b"\xff"[..])).collect();
    headers.push(("x-user-id", b"user-42"));
    assert_eq!(
        rig.request("/", &headers).state(),
        ("checkout-v2:canary", "percentage")
    );
}

proptest::proptest! {
    #[test]
    fn any_bytes_in_any_header_are_decided(
        values in proptest::collection::vec(
            ("(x-user-id|cookie|x-t|x-variant)", proptest::collection::vec(0x20_u8..=0xff, 0..40)), 0..8),
    ) {
        let rig = Rig::new(&one(&format!(
            r#"{FIVE_PERCENT}, "force": [{{"header": "x-t", "regex": ".*a", "variant": "canary"}}]"#
        )).replace(r#"[{"header": "x-user-id"}]"#, r#"[{"header": "x-user-id"}, {"cookie": "s"}]"#));
        let headers: Vec<(&str, &[u8])> = values.iter().map(|(n, v)| (n.as_str(), v.as_slice())).collect();
        let seen = rig.request("/", &headers);
        let decided = seen.request_header("x-variant");
        proptest::prop_assert!(decided == [b"stable"] || decided == [b"canary"]);
    }
}
