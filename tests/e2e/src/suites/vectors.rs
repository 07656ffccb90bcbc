//! Every webhook vector (`tests/vectors/webhooks.json`, the published ones, and `own.json`) through the shipped module, the clock
//! where the vector says. One line a scheme: how many were accepted and how many refused, all as labelled.

use std::collections::BTreeMap;
use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tollgate_scenario::bytes::Bytes;
use tollgate_scenario::engine::Wanted;
use tollgate_scenario::model::{Answer, Chunk, HeaderItem, Request, lines};
use tollgate_scenario::time::Instant;
use tollgate_scenario::{Engine, Observed, Scenario};

use crate::engine::{EnvoyEngine, Setting};
use crate::{Options, Tally};

const FILES: [&str; 2] = ["webhooks.json", "own.json"];

/// What was counted for one scheme.
#[derive(Default)]
struct Row {
    accepted: u32,
    refused: u32,
    wrong: Vec<String>,
}

pub(super) fn run(setting: &Setting, options: &Options, tally: &Tally) {
    let name = format!("envoy {}", setting.binary.label);
    let mut engine = match EnvoyEngine::new(setting.clone(), &[]) {
        Ok(engine) => engine,
        Err(problem) => return tally.note("vectors", &name, Err(vec![problem])),
    };
    for file in FILES {
        let title = format!("vectors: {file}");
        if !title.contains(&options.filter) {
            continue;
        }
        match one_file(&mut engine, options, file) {
            Ok(rows) => {
                for (scheme, row) in rows {
                    let line = format!(
                        "{title}: {scheme:<22} {:>3} accepted {:>3} refused",
                        row.accepted, row.refused
                    );
                    let result = if row.wrong.is_empty() {
                        Ok(())
                    } else {
                        Err(row.wrong)
                    };
                    tally.note(&line, &name, result);
                }
            }
            Err(problem) => tally.note(&title, &name, Err(vec![problem])),
        }
    }
}

fn one_file(
    engine: &mut EnvoyEngine,
    options: &Options,
    file: &str,
) -> Result<BTreeMap<String, Row>, String> {
    let path = options.tests.join("vectors").join(file);
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let vectors: Vec<Value> = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    // One listener serves all vectors of one configuration.
    let mut groups: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for vector in &vectors {
        groups
            .entry(configuration(vector).to_string())
            .or_default()
            .push(vector);
    }
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    for group in groups.values() {
        let config = group.first().map(|v| configuration(v)).unwrap_or_default();
        let scenario: Scenario = serde_json::from_value(json!({
            "name": "vectors", "filter": "webhook-signature", "config": config,
            // Makes the engine read the access log; never run.
            "steps": [{"expect": {"details": {"present": true}}}],
        }))
        .map_err(|error| error.to_string())?;
        let started = engine.start(&scenario)?;
        for vector in group {
            let row = rows
                .entry(text_of(vector, "scheme").to_owned())
                .or_default();
            let verdict = match &started {
                // A secret that no configuration may have: nobody can send anything with it.
                Err(refusal) if refusal.0.contains("secrets[0].value: ") => {
                    row.refused += 1;
                    expect_refusal(vector)
                }
                Err(refusal) => Err(format!("configuration refused: {}", refusal.0)),
                Ok(()) => judge(engine, vector, row),
            };
            if let Err(problem) = verdict {
                row.wrong
                    .push(format!("{}: {problem}", text_of(vector, "name")));
            }
        }
        if started.is_ok() {
            engine.finish()?;
        }
    }
    Ok(rows)
}

fn text_of<'v>(vector: &'v Value, field: &str) -> &'v str {
    vector[field].as_str().unwrap_or_default()
}

fn expect_refusal(vector: &Value) -> Result<(), String> {
    if vector["valid"] == false {
        Ok(())
    } else {
        Err("should be accepted".to_owned())
    }
}

/// Origin, path and query.
fn split_url(url: &str) -> (&str, &str) {
    let host = url.find("://").map_or(0, |at| at + 3);
    let path = url[host..].find('/').map_or(url.len(), |at| at + host);
    url.split_at(path)
}

fn configuration(vector: &Value) -> Value {
    let encoding = match text_of(vector, "secret_encoding") {
        "utf8" => "text",
        other => other,
    };
    let secrets = match vector["secrets"].as_array() {
        Some(list) => list.clone(),
        None => vec![vector["secret"].clone()],
    };
    let secrets: Vec<Value> = secrets
        .into_iter()
        .map(|s| json!({"value": s, "encoding": encoding, "allow_short": true}))
        .collect();
    let mut rule = json!({"scheme": vector["scheme"], "secrets": secrets});
    for (field, value) in vector["rule"].as_object().into_iter().flatten() {
        rule[field] = value.clone();
    }
    let signs_url = ["square", "hubspot-v3", "twilio"].contains(&text_of(vector, "scheme"));
    if vector["public_url"].is_string() {
        rule["public_url"] = vector["public_url"].clone();
    } else if signs_url && vector["rule"].is_null() {
        rule["public_url"] = json!(split_url(text_of(vector, "url")).0);
    }
    json!({"rules": [rule]})
}

fn request(vector: &Value) -> Result<Request, String> {
    let (origin, path) = split_url(text_of(vector, "url"));
    let authority = origin.rsplit(['/', '@']).next().unwrap_or_default();
    let bytes = |text: &Value| Bytes(text.as_str().unwrap_or_default().as_bytes().to_vec());
    let mut headers = Vec::new();
    for pair in vector["headers"].as_array().into_iter().flatten() {
        headers.push(HeaderItem::Pair(bytes(&pair[0]), bytes(&pair[1])));
    }
    for (name, value) in vector["headers"].as_object().into_iter().flatten() {
        let values = value.as_array().cloned().unwrap_or(vec![value.clone()]);
        for value in &values {
            headers.push(HeaderItem::Pair(name.as_str().into(), bytes(value)));
        }
    }
    let body = match vector["body_base64"].as_str() {
        Some(text) => STANDARD.decode(text).map_err(|error| error.to_string())?,
        None => text_of(vector, "body").as_bytes().to_vec(),
    };
    Ok(Request {
        method: text_of(vector, "method").to_owned(),
        path: path.into(),
        authority: authority.into(),
        headers,
        body: if body.is_empty() {
            Vec::new()
        } else {
            vec![Chunk::Data(Bytes(body))]
        },
        ..Request::default()
    })
}

fn judge(engine: &mut EnvoyEngine, vector: &Value, row: &mut Row) -> Result<(), String> {
    let now = vector["now"].as_i64().ok_or("now is missing")?;
    engine.set_clock(Instant(now * 1_000_000_000), true)?;
    let request = request(vector)?;
    let wanted = Wanted {
        access_log: true,
        state: Vec::new(),
    };
    let seen = engine.exchange(
        &request,
        &lines(&request.headers),
        &Answer::default(),
        &wanted,
    )?;
    let details = String::from_utf8_lossy(seen.details.as_deref().unwrap_or_default()).into_owned();
    let status = seen.reply.status;
    if vector["valid"] == true {
        row.accepted += 1;
        return accepted(vector, &request, &seen)
            .map_err(|problem| format!("{problem}; status {status}, {details}"));
    }
    row.refused += 1;
    let reason = details.strip_prefix("tollgate_webhook_");
    if !matches!(status, 400 | 401 | 413) || !seen.upstream.is_empty() || seen.upstream_bytes != 0 {
        return Err(format!("should be refused; status {status}, {details}"));
    }
    match vector["reason"].as_str() {
        Some(expected) if Some(expected) != reason => {
            Err(format!("refused as {details}, not {expected}"))
        }
        _ => Ok(()),
    }
}

fn accepted(vector: &Value, request: &Request, seen: &Observed) -> Result<(), String> {
    let [upstream] = seen.upstream.as_slice() else {
        return Err("should be accepted".to_owned());
    };
    let verdicts: Vec<_> = upstream
        .headers
        .iter()
        .filter(|(name, _)| name == b"x-webhook-verified")
        .map(|(_, value)| value.as_slice())
        .collect();
    if verdicts != [text_of(vector, "scheme").as_bytes()] {
        return Err("the verdict header is not the scheme's name".to_owned());
    }
    if upstream.body != request.whole_body() {
        return Err("the body changed on its way".to_owned());
    }
    Ok(())
}
