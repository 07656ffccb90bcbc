//! Every published vector and our own cases, judged by the shipped presets through the real chain and hold logic.
//! Prints vendor x verdict: `cargo test -p tollgate-webhook-signature --test vectors -- --nocapture`.
#![cfg(all(feature = "ed25519", feature = "ecdsa"))]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects,
    clippy::print_stdout
)] // a test may fail by panicking; this one prints a table

#[cfg(all(test, target_arch = "wasm32", target_os = "unknown"))]
#[macro_use(test)]
extern crate tollgate_wasm_test;

use serde_json::{Value, json};
use std::collections::BTreeMap;
use tollgate_core::config::{Compile, Report, parse};
use tollgate_core::drive::{Drive, Step};
use tollgate_core::testing::TestWorld;
use tollgate_core::{Exchange, Headers, Metrics, UnixNanos};
use tollgate_webhook_signature::{WebhookSignature, compile, preset_names};

const VECTORS: &str = include_str!("../../../tests/vectors/webhooks.json");
/// Written by `generate.py` beside it, without a line of the code under test.
const OWN: &str = include_str!("../../../tests/vectors/own.json");
const SCHEMES: &str = include_str!("../../../tests/vectors/webhook-schemes.json");

/// The only vectors whose secret is refused at load, which is how they are judged invalid.
const REFUSED_AT_LOAD: &[&str] = &[
    "discord-derived-identity-key",
    "github-empty-secret",
    "gitlab-token-empty-both",
];

#[derive(Debug)]
enum Verdict {
    Passed,
    Replied(u16, String),
    RefusedAtLoad(Vec<String>),
}

fn text<'v>(vector: &'v Value, field: &str) -> &'v str {
    vector[field].as_str().unwrap_or_default()
}

fn configuration(vector: &Value) -> Value {
    let encoding = match text(vector, "secret_encoding") {
        "utf8" => "text",
        other => other,
    };
    let secrets: Vec<Value> = match vector["secrets"].as_array() {
        Some(list) => list.clone(),
        None => vec![vector["secret"].clone()],
    }
    .into_iter()
    .map(|s| json!({"value": s, "encoding": encoding, "allow_short": true}))
    .collect();
    let mut rule = json!({"scheme": vector["scheme"], "secrets": secrets});
    for (field, value) in vector["rule"].as_object().into_iter().flatten() {
        rule[field] = value.clone();
    }
    if vector["public_url"].is_string() {
        rule["public_url"] = vector["public_url"].clone();
    } else if vector["rule"].is_null()
        && matches!(text(vector, "scheme"), "square" | "hubspot-v3" | "twilio")
    {
        rule["public_url"] = json!(split_url(text(vector, "url")).0);
    }
    json!({"rules": [rule]})
}

/// Origin, path and query.
fn split_url(url: &str) -> (&str, &str) {
    let host = url.find("://").unwrap() + 3;
    let path = url[host..].find('/').map_or(url.len(), |at| at + host);
    url.split_at(path)
}

fn load(config: &Value) -> Result<WebhookSignature, Vec<String>> {
    let report = Report::default();
    let mut metrics = Metrics::default();
    let root = parse(&config.to_string(), &report).unwrap();
    let policy = compile(
        root.value(&report).section().unwrap(),
        &mut Compile::new(&|_| None, &mut metrics),
    );
    let errors: Vec<String> = report.errors().iter().map(ToString::to_string).collect();
    if errors.is_empty() {
        Ok(policy.unwrap())
    } else {
        Err(errors)
    }
}

/// Sends the vector with its body in pieces of `piece` bytes.
fn judge(vector: &Value, piece: usize) -> Verdict {
    let policy = match load(&configuration(vector)) {
        Ok(policy) => policy,
        Err(errors) => return Verdict::RefusedAtLoad(errors),
    };
    let body = match vector["body_base64"].as_str() {
        Some(text) => {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD
                .decode(text)
                .unwrap()
        }
        None => text(vector, "body").as_bytes().to_vec(),
    };
    let (_, path) = split_url(text(vector, "url"));
    let mut pairs = vec![
        (":method".to_owned(), text(vector, "method").to_owned()),
        (":path".to_owned(), path.to_owned()),
    ];
    for pair in vector["headers"].as_array().into_iter().flatten() {
        let text = |at: usize| pair[at].as_str().unwrap().to_owned();
        pairs.push((text(0), text(1)));
    }
    for (name, value) in vector["headers"].as_object().into_iter().flatten() {
        let values = value.as_array().cloned().unwrap_or(vec![value.clone()]);
        for value in values {
            pairs.push((name.clone(), value.as_str().unwrap().to_owned()));
        }
    }
    let world = TestWorld::at(UnixNanos::from_secs(vector["now"].as_u64().unwrap()));
    let mut exchange = Exchange::new(Headers::from_pairs(pairs), body.is_empty());
    let mut drive = Drive::<WebhookSignature>::default();
    let mut step = drive.request_headers(&policy, &mut exchange, &world);
    let mut sent = 0;
    while step == Step::Hold {
        sent = (sent + piece).min(body.len());
        let end = sent == body.len();
        step = drive.request_body(&policy, &mut exchange, &world, &body[..sent], sent, end);
    }
    match step {
        Step::Reply(reply) => Verdict::Replied(reply.status, reply.details.into_owned()),
        _ => {
            let mark = exchange.request.first("x-webhook-verified");
            let expected = text(vector, "scheme");
            assert_eq!(mark, Some(expected.as_bytes()), "{expected}");
            Verdict::Passed
        }
    }
}

#[test]
fn every_published_vector_is_judged_as_labelled() {
    let refused_at_load = judge_all(VECTORS, 163);
    assert_eq!(refused_at_load, REFUSED_AT_LOAD);
}

#[test]
fn every_case_of_our_own_is_judged_as_labelled() {
    assert_eq!(judge_all(OWN, 434), Vec::<String>::new());
}

/// Prints scheme by verdict; returns what was refused at load.
fn judge_all(file: &str, count: usize) -> Vec<String> {
    let vectors: Vec<Value> = serde_json::from_str(file).unwrap();
    assert_eq!(
        vectors.len(),
        count,
        "vectors were added or lost: adapt this number"
    );
    let mut table: BTreeMap<String, [u32; 2]> = BTreeMap::new();
    let (mut wrong, mut refused_at_load) = (Vec::new(), Vec::new());
    for vector in &vectors {
        let name = text(vector, "name");
        let row = table.entry(text(vector, "scheme").to_owned()).or_default();
        for piece in [usize::MAX / 2, 7] {
            let verdict = judge(vector, piece);
            let valid = vector["valid"].as_bool().unwrap();
            let right = match &verdict {
                Verdict::Passed => valid,
                Verdict::Replied(status, details) => {
                    let reason = details.strip_prefix("tollgate_webhook_");
                    !valid
                        && matches!(status, 400 | 401 | 413)
                        && vector["reason"].as_str().is_none_or(|r| Some(r) == reason)
                }
                Verdict::RefusedAtLoad(errors) => {
                    assert!(
                        errors
                            .iter()
                            .all(|e| e.contains("rules[0].secrets[0].value: ")),
                        "{errors:?}"
                    );
                    refused_at_load.push(name.to_owned());
                    !valid
                }
            };
            if !right {
                wrong.push(format!("{name}: {verdict:?}"));
            }
            row[usize::from(!valid)] += 1;
        }
    }
    println!("{:24}{:>10}{:>10}", "scheme", "accepted", "refused");
    for (scheme, [accepted, refused]) in &table {
        println!("{scheme:24}{:>10}{:>10}", accepted / 2, refused / 2);
    }
    assert_eq!(wrong, Vec::<String>::new());
    refused_at_load.sort_unstable();
    refused_at_load.dedup();
    refused_at_load
}

#[test]
fn every_known_scheme_is_a_preset() {
    let schemes: BTreeMap<String, Value> = serde_json::from_str(SCHEMES).unwrap();
    let presets = preset_names();
    let missing: Vec<&String> = schemes.keys().filter(|s| !presets.contains(s)).collect();
    assert_eq!(missing, Vec::<&String>::new());
}

#[test]
fn the_documentation_lists_every_preset() {
    let docs = include_str!("../../../docs/webhook-signature.md");
    let missing: Vec<String> = preset_names()
        .into_iter()
        .filter(|name| !docs.contains(&format!("`{name}`")))
        .collect();
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn a_vector_with_a_space_after_its_body_is_refused() {
    let vectors: Vec<Value> = serde_json::from_str(VECTORS).unwrap();
    let mut changed = 0;
    for vector in vectors
        .iter()
        .filter(|v| v["valid"] == true && v["body"].is_string())
    {
        let scheme = text(vector, "scheme");
        // A token signs nothing, and of Mailgun's body only two values are signed.
        if matches!(scheme, "gitlab-token" | "mailgun") {
            continue;
        }
        let mut body = text(vector, "body").to_owned();
        body.push(' ');
        let mut bad = vector.clone();
        bad["body"] = json!(body);
        assert!(
            matches!(judge(&bad, 64), Verdict::Replied(401, _)),
            "{}",
            text(vector, "name")
        );
        changed += 1;
    }
    assert!(changed > 50, "{changed}");
}
