//! Configurations that are refused, and what their errors say.

use super::*;

fn errors(rule: &str) -> Vec<String> {
    load(&format!(r#"{{"rules": [{rule}]}}"#))
        .err()
        .unwrap_or_default()
}

#[test]
fn configurations_that_cannot_be_meant_are_refused_with_their_path() {
    let scheme = |fields: &str| {
        format!(
            r#"{{"secrets": [{{"env": "SECRET"}}], "scheme": {{"signature": {{"headers": ["x-s"]}}, {fields}}}}}"#
        )
    };
    let replay = |preset: &str, fields: &str| {
        format!(
            r#"{{"secrets": [{{"env": "SECRET"}}], "scheme": "{preset}", "replay": {{{fields}}}}}"#
        )
    };
    let hmac = r#""encoding": "hex", "algorithm": "hmac-sha256""#;
    for (rule, expected) in [
        (r#"{}"#.to_owned(), "rules[0].scheme: is missing"),
        (r#"{"scheme": "acme", "secrets": [{"env": "SECRET"}]}"#.into(), "rules[0].scheme: is not a preset"),
        (
            r#"{"secrets": [{"env": "SECRET"}], "scheme": {"name": "unverified"}}"#.into(),
            "rules[0].scheme.name: is what the verdict header says",
        ),
        (r#"{"scheme": "github"}"#.into(), "rules[0].secrets: is missing"),
        (r#"{"scheme": "github", "secrets": []}"#.into(), "rules[0].secrets: must hold 1 to 16 secrets"),
        (r#"{"scheme": "github", "secrets": [{"id": "a"}]}"#.into(), "rules[0].secrets[0]: needs exactly one of env, value"),
        (r#"{"scheme": "github", "secrets": [{"env": "NOT_SET"}]}"#.into(), "rules[0].secrets[0].env: this environment variable is not set"),
        (
            r#"{"scheme": "github", "secrets": [{"id": "a", "env": "SECRET"}, {"id": "a", "env": "SECRET"}]}"#.into(),
            "rules[0].secrets[1]: has the id of an earlier secret",
        ),
        (r#"{"scheme": "github", "secrets": [{"env": "SECRET", "encoding": "whpk"}]}"#.into(), "rules[0].secrets[0].encoding: does not fit"),
        (r#"{"scheme": "github", "secrets": [{"env": "SECRET"}], "tolerance": "1m"}"#.into(), "rules[0].tolerance: this scheme has no timestamp"),
        (r#"{"scheme": "github", "secrets": [{"env": "SECRET"}], "public_url": "https://h"}"#.into(), "rules[0]: public_url is for schemes"),
        (r#"{"scheme": "square", "secrets": [{"env": "SECRET"}]}"#.into(), "rules[0]: this scheme signs the URL"),
        (r#"{"scheme": "square", "secrets": [{"env": "SECRET"}], "public_url": "h"}"#.into(), "rules[0].public_url: must be a URL"),
        (r#"{"scheme": "github", "secrets": [{"env": "SECRET"}], "mode": "shadow"}"#.into(), "rules[0].mode: must be one of enforce, report"),
        (r#"{"scheme": "github", "secrets": [{"env": "SECRET"}], "on_missing": "allow"}"#.into(), "rules[0].on_missing: must be one of refuse, pass"),
        (r#"{"scheme": "github", "secrets": [{"env": "SECRET"}], "max_body_bytes": 0}"#.into(), "rules[0].max_body_bytes: must be a whole number"),
        (r#"{"scheme": "github", "secrets": [{"env": "SECRET"}], "replay": {}}"#.into(), "rules[0].replay.window: is missing"),
        (replay("github", r#""window": "0s""#), "rules[0].replay.window: must be from 1s to 400d"),
        (replay("github", r#""window": "1m", "max_entries": 0"#), "rules[0].replay.max_entries: must be a whole number"),
        (replay("github", r#""window": "1m", "delivered_status": 301"#), "rules[0].replay.delivered_status: must be a status"),
        (replay("github", r#""window": "1m", "in_flight_status": 410"#), "rules[0].replay.in_flight_status: must be a status"),
        (replay("github", r#""window": "1m", "on_full": "evict""#), "rules[0].replay.on_full: must be one of refuse, pass"),
        (replay("github", r#""window": "1m", "scope": "everywhere""#), "rules[0].replay.scope: must be one of local"),
        (replay("gitlab-token", r#""window": "1m""#), "rules[0].replay: a token is the same in every request"),
        (r#"{"scheme": "github", "secrets": [{"env": "SECRET"}], "pass_unverified": true}"#.into(), "rules[0].pass_unverified: this scheme has no"),
        (
            r#"{"scheme": "github", "secrets": [{"env": "SECRET"}], "pass_unverified": [{}]}"#.into(),
            "rules[0].pass_unverified[0]: needs match or query",
        ),
        (scheme(&format!(r#"{hmac}, "payload": "{{timestamp}}""#)), "rules[0].scheme: payload must have {body}"),
        (scheme(&format!(r#"{hmac}, "payload": "{{timestamp}}.{{body}}""#)), "payload has {timestamp}, so timestamp must say"),
        (scheme(&format!(r#"{hmac}, "payload": "{{id}}.{{body}}""#)), "payload has {id}, so id must name"),
        (scheme(&format!(r#"{hmac}, "payload": "{{body}}.{{when}}""#)), "rules[0].scheme.payload: has an unknown placeholder"),
        (scheme(&format!(r#"{hmac}, "payload": "{{body}}{{sorted_form}}""#)), "rules[0].scheme: payload has {sorted_form} and {body}"),
        (scheme(&format!(r#"{hmac}, "payload": "{{json:/a}}{{form:b}}{{body}}""#)), "rules[0].scheme: takes values out of JSON and out of a form"),
        (scheme(&format!(r#"{hmac}, "payload": "{{json:/a}}""#)), "rules[0].scheme: payload must have {body}"),
        (scheme(&format!(r#"{hmac}, "payload": "{{body}}", "unsigned_body": true"#)), "rules[0].scheme: unsigned_body is for payloads without"),
        (scheme(&format!(r#"{hmac}, "payload": "{{body}}", "body_digest_query": "sum""#)), "rules[0].scheme: body_digest_query is for a {url}"),
        (scheme(&format!(r#"{hmac}, "payload": "{{body}}", "url_port_variants": true"#)), "rules[0].scheme: url_port_variants is for a {url}"),
        (scheme(&format!(r#"{hmac}, "payload": "{{body}}", "id": {{"field": "x"}}"#)), "rules[0].scheme.id: needs exactly one of header"),
        (
            scheme(&format!(r#"{hmac}, "payload": "{{timestamp}}", "unsigned_body": true, "timestamp": {{"json_pointer": "t", "format": "unix"}}"#)),
            "rules[0].scheme.timestamp.json_pointer: must be a JSON pointer",
        ),
        (
            r#"{"secrets": [{"env": "SECRET"}], "scheme": {"signature": {"json_pointer": "/s", "form_field": "s"},
                "encoding": "hex", "algorithm": "hmac-sha1", "payload": "{body}"}}"#.into(),
            "rules[0].scheme.signature: json_pointer and form_field exclude each other",
        ),
        (
            r#"{"secrets": [{"env": "SECRET"}], "scheme": {"signature": {"json_pointer": "/s"}, "nonsense": 1,
                "encoding": "hex", "algorithm": "hmac-sha1", "payload": "{body}"}}"#.into(),
            "rules[0].scheme.nonsense: unknown field",
        ),
        (
            scheme(&format!(r#"{hmac}, "payload": "{{body}}", "timestamp": {{"header": "x-t", "format": "unix"}}"#)),
            "rules[0].scheme: payload must have {timestamp}",
        ),
        (
            scheme(&format!(r#"{hmac}, "payload": "{{timestamp}}{{body}}", "timestamp": {{"field": "t", "format": "unix"}}"#)),
            "rules[0].scheme: timestamp.field needs signature.item_separator",
        ),
        (scheme(r#""encoding": "hex", "algorithm": "md5", "payload": "{body}""#), "rules[0].scheme.algorithm: must be one of hmac-sha1"),
        (scheme(r#""algorithm": "hmac-sha1", "payload": "{body}""#), "rules[0].scheme: encoding is missing"),
        (scheme(r#""encoding": "token", "algorithm": "hmac-sha1", "payload": "{body}""#), "rules[0].scheme.encoding: the encoding token goes"),
        (scheme(r#""algorithm": "token", "payload": "{timestamp}""#), "rules[0].scheme: a token signs nothing"),
        (
            r#"{"secrets": [{"env": "SECRET"}], "scheme": {"signature": {"headers": ["x-s"], "key": "v1"},
                "encoding": "hex", "algorithm": "hmac-sha1", "payload": "{body}"}}"#.into(),
            "rules[0].scheme.signature: key and key_separator go together",
        ),
        (
            r#"{"secrets": [{"env": "SECRET"}], "scheme": {"signature": {}, "encoding": "hex", "algorithm": "hmac-sha1", "payload": "{body}"}}"#.into(),
            "rules[0].scheme.signature: needs exactly one of headers, header_series",
        ),
    ] {
        let errors = errors(&rule);
        assert!(errors.iter().any(|e| e.contains(expected)), "{rule}\n{errors:#?}");
    }
}

#[test]
fn no_error_shows_a_secret() {
    for (secret, encoding, word) in [
        ("", "text", "is empty"),
        ("s3cr3t!", "text", "shorter than 8 bytes"),
        ("s3cr3t-not-hex", "hex", "is not hexadecimal"),
        ("s3cr3t not base64", "base64", "white space"),
        ("s3cr3t!not!base64", "base64", "is not base64"),
        ("v1,whsec_s3cr3t", "whsec", "begins with `v1,`"),
        ("whpk_s3cr3t", "whsec", "half of a key pair"),
        ("whsec_", "whsec", "is empty"),
        ("whsec_AAAA", "whsec", "shorter than 8 bytes"),
    ] {
        let errors = errors(&format!(
            r#"{{"scheme": "github", "secrets": [{{"value": "{secret}", "encoding": "{encoding}"}}]}}"#
        ));
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(
            errors[0].starts_with("rules[0].secrets[0].value: "),
            "{errors:?}"
        );
        assert!(errors[0].contains(word), "{errors:?}");
        assert!(!errors[0].contains("s3cr3t"), "{errors:?}");
    }
    let b = bench(X);
    assert!(!format!("{:?}", b.policy).contains("0123"));
}

#[cfg(not(feature = "ecdsa"))]
#[test]
fn a_build_without_an_algorithm_says_so() {
    let errors = errors(r#"{"scheme": "sendgrid", "secrets": [{"value": "AAAA"}]}"#);
    assert!(
        errors
            .iter()
            .any(|e| e.contains("ECDSA is not part of this build")),
        "{errors:?}"
    );
}

#[cfg(feature = "ed25519")]
#[test]
fn weak_and_malformed_public_keys_are_refused() {
    for (key, word) in [
        ("01".repeat(31), "32 bytes"),
        (format!("01{}", "00".repeat(31)), "not a usable"),
        ("00".repeat(32), "not a usable"),
        (format!("ecff{}7f", "ff".repeat(29)), "not a usable"),
    ] {
        let errors = errors(&format!(
            r#"{{"scheme": "discord", "secrets": [{{"value": "{key}"}}]}}"#
        ));
        assert!(errors.len() == 1 && errors[0].contains(word), "{errors:?}");
    }
}

#[test]
fn rules_without_names_are_told_apart() {
    let b = load(&format!(r#"{{"rules": [{X}, {X}]}}"#)).unwrap();
    let stale: Vec<&str> = b
        .metrics
        .iter()
        .map(|m| m.stat())
        .filter(|stat| stat.contains("reason=.=stale"))
        .collect();
    assert_eq!(stale.len(), 2, "{stale:?}");
    let named = X
        .replace('{', r#"{"name": "n", "#)
        .replace(r#"[{"name": "n", "#, "[{");
    let errors = load(&format!(r#"{{"rules": [{named}, {named}]}}"#))
        .err()
        .unwrap();
    assert_eq!(
        errors,
        ["rules[1].name: is the name of an earlier rule, too"]
    );
}

/// Fields, reasons, outcomes and problem types are what somebody looks up.
#[test]
fn the_documentation_names_everything_that_can_be_seen_or_written() {
    let docs = include_str!("../../../../docs/webhook-signature.md");
    let problems = include_str!("../../../../docs/problems.md");
    let sources = [
        include_str!("../lib.rs"),
        include_str!("../rule.rs"),
        include_str!("../scheme.rs"),
        include_str!("../carrier.rs"),
        include_str!("../place.rs"),
        include_str!("../secret.rs"),
        include_str!("../replay.rs"),
        include_str!("../handshake.rs"),
    ];
    let quoted = |mark: &str| -> Vec<&str> {
        sources
            .iter()
            .flat_map(|s| s.split(mark).skip(1))
            .filter_map(|rest| rest.split('"').next())
            .collect()
    };
    let mut missing = Vec::new();
    let fields = [
        "optional(\"",
        "required(\"",
        "items(\"",
        "flag(&section, \"",
        "separator(&section, \"",
    ];
    let fields: Vec<&str> = fields.into_iter().flat_map(quoted).collect();
    assert!(fields.len() > 40, "{}", fields.len());
    missing.extend(fields.into_iter().filter(|f| !docs.contains(f)));
    let seen = crate::meters::REASONS
        .iter()
        .chain(&crate::meters::OUTCOMES);
    missing.extend(seen.copied().filter(|w| !docs.contains(&format!("`{w}`"))));
    for word in include_str!("../fault.rs").split('"') {
        if word.starts_with("webhook-") || word.starts_with("tollgate_webhook_") {
            missing.extend(
                [docs, problems]
                    .iter()
                    .filter(|d| !d.contains(word))
                    .map(|_| word),
            );
        }
    }
    for (word, _) in crate::mac::ALGORITHMS {
        missing.extend((!docs.contains(&format!("`{word}`"))).then_some(*word));
    }
    for (word, _) in crate::secret::SECRET_ENCODINGS {
        missing.extend((!docs.contains(&format!("`{word}`"))).then_some(*word));
    }
    assert_eq!(missing, Vec::<&str>::new());
}
