//! Where credentials stand, how many, and how they are taken out.

use super::{BASIC, Fixture, GOLD, config};
use proptest::prelude::*;

const ALL: &str = r#", "key_sources": [{"header": "X-API-Key"}, {"header": "authorization", "scheme": "Bearer"},
    {"header": "Authorization", "scheme": "apikey"}, {"query": "api_key"}, {"cookie": "api_key"}]"#;

fn everywhere() -> Fixture {
    Fixture::new(&config(ALL))
}

#[test]
fn a_key_is_found_at_every_source_and_hidden() {
    let fixture = everywhere();
    for (path, header, value) in [
        ("/p", "x-api-key", GOLD.to_owned()),
        ("/p", "X-Api-Key", format!("  {GOLD}\t")),
        ("/p", "authorization", format!("Bearer {GOLD}")),
        ("/p", "authorization", format!("bEARER   {GOLD}")),
        ("/p", "authorization", format!("ApiKey {GOLD}")),
        ("/p", "cookie", format!("a=1; api_key={GOLD}; b=2")),
        ("/p?a=1&api_key=", "x-other", "1".to_owned()),
    ] {
        let path = if path.ends_with('=') {
            format!("{path}{}", GOLD.replace('_', "%5F"))
        } else {
            path.to_owned()
        };
        let outcome = fixture.get(&path, &[(header, &value)]);
        assert_eq!(outcome.details(), "passed", "{header}");
        assert_eq!(outcome.header("x-consumer-id").as_deref(), Some("web-app"));
        let left: Vec<u8> = outcome
            .exchange
            .request
            .iter()
            .flat_map(|(_, v)| v.to_vec())
            .collect();
        assert!(!String::from_utf8(left).unwrap().contains("gold-0123"));
    }
    let cookie = format!("a=1; api_key={GOLD}; b=2");
    let outcome = fixture.get("/p", &[("cookie", &cookie)]);
    assert_eq!(outcome.header("cookie").as_deref(), Some("a=1; b=2"));
    let outcome = fixture.get(&format!("/p?a=1&api_key={GOLD}&b=%2F"), &[]);
    assert_eq!(outcome.path(), "/p?a=1&b=%2F");
    assert_eq!(fixture.decisions("allowed"), 9);
}

#[test]
fn hide_credentials_false_leaves_them_for_the_upstream() {
    let more = format!(r#"{ALL}, "hide_credentials": false"#);
    let fixture = Fixture::new(&config(&more));
    let outcome = fixture.get("/p", &[("x-api-key", GOLD)]);
    assert_eq!(outcome.header("x-api-key").as_deref(), Some(GOLD));
    let path = format!("/p?api_key={GOLD}");
    assert_eq!(fixture.get(&path, &[]).path(), path);
    // The log of a refusal does not need it.
    let outcome = fixture.get("/p?api_key=wrong&x=1", &[]);
    assert_eq!(outcome.details(), "tollgate_key_invalid");
    assert_eq!(outcome.path(), "/p?x=1");
}

#[test]
fn several_credentials_are_a_400_even_if_all_are_good() {
    let fixture = everywhere();
    let bearer = format!("Bearer {GOLD}");
    let two_bearers = format!("Bearer {GOLD},Bearer {GOLD}");
    let mixed = format!("Basic Zm9vOmJhcg==,Bearer {GOLD}");
    let list = format!("Bearer {GOLD},");
    let path = format!("/p?api_key={GOLD}&api_key={GOLD}");
    let cookies = format!("api_key={GOLD}; api_key={BASIC}");
    let cases: [(&str, &[(&str, &str)]); 8] = [
        ("/p", &[("x-api-key", GOLD), ("X-API-KEY", GOLD)]),
        ("/p", &[("x-api-key", GOLD), ("x-api-key", "")]),
        ("/p", &[("x-api-key", GOLD), ("authorization", &bearer)]),
        ("/p", &[("authorization", &two_bearers)]),
        ("/p", &[("authorization", &mixed)]),
        ("/p", &[("authorization", &list)]),
        (&path, &[]),
        ("/p", &[("cookie", &cookies)]),
    ];
    for (path, headers) in cases {
        let outcome = fixture.get(path, headers);
        assert_eq!(outcome.status(), 400, "{headers:?}");
        assert_eq!(outcome.details(), "tollgate_key_multiple");
        assert!(!outcome.path().contains("api_key"));
    }
    assert_eq!(fixture.decisions("multiple"), 8);
}

#[test]
fn only_what_a_source_takes_is_a_credential() {
    let fixture = Fixture::new(&config(""));
    let jwt = "Bearer eyJhbGciOiJIUzI1NiJ9.e30.c2ln";
    let headers = [("x-api-key", GOLD), ("authorization", jwt)];
    let outcome = fixture.get("/p?api_key=1", &headers);
    assert_eq!(outcome.details(), "passed");
    assert_eq!(outcome.header("authorization").as_deref(), Some(jwt));
    assert_eq!(outcome.path(), "/p?api_key=1");

    let everywhere = everywhere();
    let basic = [("x-api-key", GOLD), ("authorization", "Basic Zm9vOmJhcg==")];
    let outcome = everywhere.get("/p", &basic);
    assert_eq!(outcome.details(), "passed");
    assert_eq!(outcome.header("authorization").as_deref(), Some(basic[1].1));
    // "Bearerx" is another scheme.
    let outcome = everywhere.get("/p", &[("authorization", &format!("Bearerx{GOLD}"))]);
    assert_eq!(outcome.details(), "tollgate_key_missing");
}

#[test]
fn an_empty_or_oversized_key_is_invalid() {
    let fixture = Fixture::new(&config(r#", "max_key_bytes": 64"#));
    for key in [
        String::new(),
        " ".to_owned(),
        "x".repeat(65),
        "x".repeat(65_536),
    ] {
        let outcome = fixture.get("/p", &[("x-api-key", &key)]);
        assert_eq!(outcome.details(), "tollgate_key_invalid");
    }
    let everywhere = everywhere();
    for (name, value) in [("authorization", "Bearer"), ("cookie", "api_key=")] {
        let outcome = everywhere.get("/p", &[(name, value)]);
        assert_eq!(outcome.details(), "tollgate_key_invalid", "{name}");
    }
    let outcome = everywhere.get("/p?api_key", &[]);
    assert_eq!(outcome.details(), "tollgate_key_invalid");
    assert_eq!(outcome.path(), "/p");
}

#[test]
fn a_key_of_exactly_the_cap_is_looked_up() {
    let key = "k".repeat(64);
    let json =
        r#"{"max_key_bytes": 64, "consumers": [{"id": "a", "keys": [{"id": "1", "env": "KEY"}]}]}"#;
    let fixture = Fixture::with_env(json, &[("KEY", &key)]);
    assert_eq!(fixture.get("/", &[("x-api-key", &key)]).details(), "passed");
}

#[test]
fn a_bare_header_is_never_split_at_commas() {
    let json = r#"{"consumers": [{"id": "a", "keys": [{"id": "1", "env": "KEY"}]}]}"#;
    let key = "one,two,three-four-five";
    let fixture = Fixture::with_env(json, &[("KEY", key)]);
    assert_eq!(fixture.get("/", &[("x-api-key", key)]).details(), "passed");
}

#[test]
fn the_query_loses_its_key_on_rules_that_are_off_too_unless_they_have_no_sources() {
    let more = format!(
        r#"{ALL}, "rules": [{{"match": {{"path": {{"exact": "/health"}}}}, "mode": "off"}},
           {{"match": {{"path": {{"exact": "/raw"}}}}, "mode": "off", "key_sources": []}}]"#
    );
    let fixture = Fixture::new(&config(&more));
    let path = |p: &str| format!("{p}?api_key={GOLD}&v=1");
    assert_eq!(fixture.get(&path("/health"), &[]).path(), "/health?v=1");
    assert_eq!(fixture.get(&path("/raw"), &[]).path(), path("/raw"));
    // Headers there are none of our business.
    let outcome = fixture.get("/health", &[("authorization", "Bearer jwt")]);
    assert!(outcome.header("authorization").is_some());
    assert_eq!(fixture.decisions("off"), 3);
}

proptest! {
    #[test]
    fn no_random_credential_is_ever_accepted(
        key in proptest::collection::vec(any::<u8>(), 0..80),
        place in 0..4_usize,
    ) {
        let fixture = everywhere();
        let joined = |prefix: &[u8]| [prefix, &key].concat();
        let (path, name, value) = match place {
            0 => (b"/p".to_vec(), "x-api-key", key.clone()),
            1 => (b"/p".to_vec(), "authorization", joined(b"Bearer ")),
            2 => (b"/p".to_vec(), "cookie", joined(b"api_key=")),
            _ => (joined(b"/p?api_key="), "x-other", Vec::new()),
        };
        let outcome = fixture.send("GET", &path, &[(name, &value)]);
        prop_assert!(matches!(outcome.status(), 400 | 401));
    }

    #[test]
    fn a_good_key_passes_whatever_else_is_in_the_request(
        noise in proptest::collection::vec(("x-[a-z]{1,8}", proptest::collection::vec(any::<u8>(), 0..20)), 0..8),
        query in "[!-\"$-~]{0,30}",
    ) {
        prop_assume!(!query.contains("api") && !query.contains('%'));
        let fixture = everywhere();
        let mut headers: Vec<(&str, &[u8])> = vec![("x-api-key", GOLD.as_bytes())];
        let kept: Vec<_> = noise.iter().filter(|(n, _)| n != "x-api-key").collect();
        headers.extend(kept.iter().map(|(n, v)| (n.as_str(), v.as_slice())));
        let path = format!("/p?{query}");
        let outcome = fixture.send("GET", path.as_bytes(), &headers);
        prop_assert_eq!(outcome.details(), "passed");
        prop_assert_eq!(outcome.path(), path);
        for (name, value) in kept {
            prop_assert!(outcome.exchange.request.get_all(name).any(|v| v == value));
        }
    }
}
