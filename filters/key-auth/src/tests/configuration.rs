//! What is refused and what is warned about; where; and that no secret is in the message.

use super::{check, config};

fn errors(json: &str) -> Vec<String> {
    check(json, &[]).0
}

const ONE: &str = r#""consumers": [{"id": "a", "keys": [{"id": "1", "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}]}]"#;

fn with(more: &str) -> Vec<String> {
    errors(&format!("{{{ONE}, {more}}}"))
}

#[test]
fn the_smallest_configuration_is_consumers() {
    assert_eq!(errors("{}"), ["consumers: is missing"]);
    assert_eq!(errors(&format!("{{{ONE}}}")), [""; 0]);
    assert_eq!(errors(&config("")), [""; 0]);
}

#[test]
fn all_errors_come_at_once_each_with_its_path() {
    let json = r#"{
        "key_sources": [{"header": "x y"}, {"query": "a", "cookie": "b"}, {"query": "k", "scheme": "Bearer"}, {"haeder": "x"}],
        "hide_credentials": "yes", "key_prefix": "", "max_key_bytes": 8, "realm": "a b",
        "consumers": [
            {"id": "bad id", "keys": [{"id": "1"}]},
            {"id": "b", "groups": ["g", "g"], "keys": [{"id": "1", "sha256": "x", "env": "Y"}, {"sha256": "ps_live_SECRET"}]},
            {"id": "c", "keys": [{"id": "1", "env": "ps_live-SECRET"}, {"id": "2", "env": "UNSET"}], "metadata": {"a": "b\nc", "n": 1}}],
        "rules": [{"mode": "sometimes"}, {"mode": "optional", "allow": {"groups": ["g"]}}, {"allow": {}}, {"key_sources": []},
                  {"match": {"path": {"prefix": "no-slash"}}}],
        "metrics": {"user": true}, "warn_expiry": "soon", "typo": 1}"#;
    let found = errors(json);
    let expected = [
        "key_sources[0].header: must be a header name",
        "key_sources[1]: needs exactly one of header, query, cookie",
        "key_sources[2].scheme: goes with header only",
        "key_sources[3]: needs exactly one of header, query, cookie",
        "key_sources[3].haeder: unknown field; known here: cookie, header, query, scheme",
        "key_prefix: must be 1 to 128 characters out of A-Z a-z 0-9 . _ - / @ : +",
        "hide_credentials: must be true or false, not a string",
        "realm: must be 1 to 128 characters out of A-Z a-z 0-9 . _ - / @ : +",
        "max_key_bytes: must be a whole number from 16 to 65536",
        "consumers[0].id: must be 1 to 128 characters out of A-Z a-z 0-9 . _ - / @ : +",
        "consumers[0].keys[0]: needs exactly one of sha256 (the digest of the key) and env (the variable that holds the key)",
        "consumers[1].groups[1]: is there already",
        "consumers[1].keys[0]: needs exactly one of sha256 (the digest of the key) and env (the variable that holds the key)",
        "consumers[1].keys[1].id: is missing",
        "consumers[1].keys[1].sha256: must be the SHA-256 of the key, never the key: 64 hex digits, or base64 of 32 bytes; `printf %s \"$KEY\" | sha256sum` computes it",
        "consumers[2].metadata.a: must be at most 1024 bytes without control characters",
        "consumers[2].metadata.n: must be a string, not a number",
        "consumers[2].keys[0].env: must be the name of an environment variable",
        "consumers[2].keys[1].env: names a variable that the VM does not have: list it in host_env_keys of the filter's vm_config.environment_variables, or in vmConfig.env with valueFrom: HOST, and set it for the proxy",
        "rules[0].mode: must be one of required, optional, observe, off",
        "rules[1].allow: needs mode required or observe: here it would let anonymous requests pass",
        "rules[2].allow: needs at least one of consumers, groups, scopes, and not an empty list",
        "rules[3].key_sources: must not be empty, except in a rule that is off",
        "rules[4].match.path.prefix: must start with a slash",
        "metrics.user: unknown field; known here: consumer, key",
        "warn_expiry: must be a time span such as 250ms, 60s, 10m, 24h, 90d",
    ];
    for line in expected {
        assert!(
            found.iter().any(|e| e == line),
            "{line}\nnot in\n{found:#?}"
        );
    }
    assert!(found.iter().any(|e| e.starts_with("typo: unknown field")));
    assert_eq!(found.len(), expected.len() + 1, "{found:#?}");
    assert!(!found.concat().contains("SECRET"));
}

#[test]
fn a_key_belongs_to_one_consumer_and_ids_are_unique() {
    let json = r#"{"consumers": [
        {"id": "web", "keys": [{"id": "1", "env": "KEY"}, {"id": "1", "env": "OTHER"}]},
        {"id": "app", "keys": [{"id": "x", "env": "KEY"}]},
        {"id": "web", "keys": [{"id": "3", "sha256": "9a1ad5ffdaa8e7eed7bc97ab6d3f4b48b5cf8ea0a9de1d4b1f7e6d0d7d3b7c55"}]}]}"#;
    let env = [
        ("KEY", "key-0123456789abcdef"),
        ("OTHER", "other-0123456789abcdef"),
    ];
    let (found, _) = check(json, &env);
    assert_eq!(
        found,
        [
            "consumers[0].keys[1].id: web has a key 1 already",
            "consumers[1].keys[0]: app/x is the same key as web/1",
            "consumers[2].id: the consumer web is there already",
        ]
    );
}

#[test]
fn the_digest_of_nothing_is_not_a_key() {
    for sha256 in [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "01ba4719c80b6fe911b091a7c05124b64eeece964e09c058ef8f9805daca546b",
    ] {
        let json = format!(
            r#"{{"consumers": [{{"id": "a", "keys": [{{"id": "1", "sha256": "{sha256}"}}]}}]}}"#
        );
        assert_eq!(
            errors(&json),
            ["consumers[0].keys[0].sha256: is the digest of an empty key"]
        );
    }
}

#[test]
fn variables_that_cannot_be_a_key_are_refused_and_short_ones_warned_about() {
    let json =
        r#"{"key_prefix": "ps_", "consumers": [{"id": "a", "keys": [{"id": "1", "env": "KEY"}]}]}"#;
    let at = "consumers[0].keys[0].env: ";
    let long = "x".repeat(4097);
    for (key, problem) in [
        ("", "names a variable that is empty"),
        (
            "0123456789abcdef\n",
            "names a variable that begins or ends with white space, which no header keeps: store the key without a line break, e.g. with printf %s",
        ),
        (&long, "names a variable that is longer than max_key_bytes"),
    ] {
        let (found, _) = check(json, &[("KEY", key)]);
        assert_eq!(found, [[at, problem].concat()]);
    }
    let (found, warned) = check(json, &[("KEY", "short-SECRET")]);
    assert_eq!(found, [""; 0]);
    assert_eq!(
        warned,
        [
            "consumers[0].keys[0].env: names a key of less than 16 bytes: it can be guessed; `openssl rand -hex 32` makes a good one",
            "consumers[0].keys[0].env: names a key that does not begin with key_prefix",
        ]
    );
}

#[test]
fn contradictions_are_refused() {
    for (more, error) in [
        (r#""key_sources": []"#, "key_sources: must not be empty"),
        (
            r#""key_sources": [{"header": "X-A"}, {"header": "x-a", "scheme": "Bearer"}]"#,
            "key_sources[1]: takes the same credential as a source before it",
        ),
        (
            r#""key_sources": [{"header": "a", "scheme": "Bearer"}, {"header": "a", "scheme": "BEARER"}]"#,
            "key_sources[1]: takes the same credential as a source before it",
        ),
        (
            r#""key_sources": [{"header": "cookie"}]"#,
            "key_sources[0].header: one cookie is a source of its own: write cookie: NAME",
        ),
        (
            r#""key_sources": [{"query": "a b"}]"#,
            "key_sources[0].query: must be the name of a query parameter, decoded",
        ),
        (
            r#""key_sources": [{"header": "x-consumer-id"}]"#,
            "key_sources: a key cannot come in a header that names the consumer: it is removed from every request",
        ),
        (
            r#""forwarding": {"consumer": "x-a", "key_id": "X_A"}"#,
            "forwarding.key_id: is used for another fact already",
        ),
        (
            r#""forwarding": {"consumer": "Host"}"#,
            "forwarding.consumer: is not a header that can name anybody",
        ),
        (
            r#""forwarding": {"user": "x-a"}"#,
            "forwarding.user: unknown field; known here: consumer, groups, key_id, metadata, scopes",
        ),
        (
            r#""rules": [{"name": "a"}, {"name": "a"}]"#,
            "rules[1].name: another rule has this name",
        ),
        (
            r#""rules": [{"key_sources": [{"header": "x-consumer-groups"}]}]"#,
            "rules[0]: a key cannot come in a header that names the consumer: it is removed from every request",
        ),
    ] {
        assert_eq!(with(more), [error], "{more}");
    }
    let key = |more: &str| {
        errors(&format!(
            r#"{{"consumers": [{{"id": "a", "scopes": ["read"], "keys": [{{"id": "1", "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", {more}}}]}}]}}"#
        ))
    };
    assert_eq!(
        key(r#""not_before": "2026-02-01", "expires_at": "2026-02-01""#),
        ["consumers[0].keys[0]: expires_at must be later than not_before"]
    );
    assert_eq!(
        key(r#""scopes": ["write"]"#),
        ["consumers[0].keys[0].scopes[0]: is not a scope of the consumer"]
    );
}

#[test]
fn what_can_hardly_be_meant_is_warned_about() {
    let warned = |json: &str| check(json, &[]).1;
    assert_eq!(
        warned(r#"{"consumers": []}"#),
        ["consumers: there is no key: every request that needs one is refused"]
    );
    assert_eq!(
        warned(r#"{"consumers": [{"id": "a"}]}"#),
        [
            "consumers[0]: has no keys: nobody can be this consumer",
            "consumers: there is no key: every request that needs one is refused",
        ]
    );
    let more = |more: &str| warned(&format!("{{{ONE}, {more}}}"));
    assert_eq!(
        more(r#""rules": [{"allow": {"groups": ["typo"]}}]"#),
        ["rules[0].allow: nobody passes: no consumer here is among its groups"]
    );
    assert_eq!(
        more(r#""forwarding": {"metadata": {"tier": "x-tier"}}"#),
        ["forwarding.metadata.tier: no consumer has it"]
    );
    assert_eq!(
        more(r#""hide_credentials": false, "key_sources": [{"query": "k"}]"#),
        [
            "key_sources: with hide_credentials: false the key stays in the path of requests that pass, and in access logs"
        ]
    );
}

#[test]
fn more_than_ten_thousand_keys_are_warned_about() {
    let keys = |n: usize| {
        let all: Vec<String> = (0..n)
            .map(|i| format!(r#"{{"id": "{i}", "sha256": "{i:064x}"}}"#))
            .collect();
        format!(
            r#"{{"consumers": [{{"id": "a", "keys": [{}]}}]}}"#,
            all.join(",")
        )
    };
    let at_most = |n| check(&keys(n), &[]);
    assert_eq!(at_most(10_000), (vec![], vec![]));
    let (found, warned) = at_most(10_001);
    assert_eq!(found, [""; 0]);
    assert_eq!(warned.len(), 1);
}
