//! Which answer a request gets, by its path and `x-respond-*` headers.
//!
//! | path | answer |
//! |---|---|
//! | `/status/NNN` | that status |
//! | `/delay/MS/rest` | what `/rest` answers, MS milliseconds later (at most 60,000) |
//! | `/bytes/N` | N bytes of `x` (at most 64 MiB) |
//! | `/sse?events=5&interval_ms=100` | server-sent events |
//! | `/v1/chat/completions`, `/v1/completions`, `/v1/embeddings` | an OpenAI-style answer with `usage`, streamed when the request says `"stream": true` |
//! | `/call/rest` | what `/rest` answers; the target of plain HTTP calls of a filter |
//! | `/_control/...` | see [`crate::control`] |
//! | anything else | the request, as JSON |
//!
//! Request headers change that: `x-respond-status: 503`, `x-respond-header: name=value` (repeatable),
//! `x-respond-trailer: name=value` (repeatable), `x-respond-chunked: 1`.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;

use crate::answer::{Answer, Lines, Piece};
use crate::record::{Record, State, latin1};
use crate::{chat, control};

const MAX_DELAY_MS: u64 = 60_000;
const MAX_BYTES: usize = 64 << 20;

/// The answer to a complete request.
pub async fn answer(state: &State, record: &Record) -> Answer {
    if record.path.starts_with(b"/_control/") {
        return control::answer(state, record);
    }
    let slow = Duration::from_millis(state.slow_ms.load(Ordering::SeqCst).min(MAX_DELAY_MS));
    if let Some(mut answer) = state.scripted(&record.path) {
        answer.delay += slow;
        return answer;
    }
    let path = latin1(&record.path);
    let mut answer = by_path(state, record, &path);
    answer.delay += slow;
    answer
        .headers
        .push((b"x-upstream".to_vec(), state.name.clone().into_bytes()));
    if let Some(status) = record
        .header("x-respond-status")
        .next()
        .and_then(|value| latin1(value).parse().ok())
    {
        answer.status = status;
    }
    answer.headers.extend(pairs(record, "x-respond-header"));
    answer.trailers.extend(pairs(record, "x-respond-trailer"));
    answer.chunked |= record.header("x-respond-chunked").next().is_some();
    answer
}

fn by_path(state: &State, record: &Record, path: &str) -> Answer {
    let (bare, query) = path.split_once('?').unwrap_or((path, ""));
    if let Some(rest) = bare.strip_prefix("/call/") {
        return by_path(state, record, &format!("/{rest}"));
    }
    if let Some((ms, rest)) = bare
        .strip_prefix("/delay/")
        .map(|rest| rest.split_once('/').unwrap_or((rest, "")))
    {
        let mut answer = by_path(state, record, &format!("/{rest}?{query}"));
        answer.delay += Duration::from_millis(ms.parse().unwrap_or(0).min(MAX_DELAY_MS));
        return answer;
    }
    if let Some(status) = bare
        .strip_prefix("/status/")
        .and_then(|status| status.parse().ok())
    {
        return Answer::json(status, &json!({"name": state.name, "status": status}));
    }
    if let Some(bytes) = bare
        .strip_prefix("/bytes/")
        .and_then(|bytes| bytes.parse::<usize>().ok())
    {
        return Answer::new(
            200,
            "application/octet-stream",
            vec![b'x'; bytes.min(MAX_BYTES)],
        );
    }
    match bare {
        "/sse" => events(query),
        "/v1/chat/completions" | "/v1/completions" | "/v1/embeddings" => chat::answer(record),
        _ => echo(state, record),
    }
}

fn echo(state: &State, record: &Record) -> Answer {
    let mut value = record.to_json();
    value["name"] = json!(state.name);
    Answer::json(200, &value)
}

fn events(query: &str) -> Answer {
    let number = |name: &str, default: u64| {
        let value = query
            .split('&')
            .find_map(|item| item.strip_prefix(name)?.strip_prefix('='));
        value
            .and_then(|value| value.parse().ok())
            .unwrap_or(default)
    };
    let pause = Duration::from_millis(number("interval_ms", 100).min(MAX_DELAY_MS));
    let mut answer = Answer::new(200, "text/event-stream", "");
    answer.chunked = true;
    for event in 0..number("events", 5).min(10_000) {
        if event > 0 {
            answer.body.push(Piece::Pause(pause));
        }
        answer.body.push(Piece::Data(
            format!("data: {{\"event\":{event}}}\n\n").into_bytes(),
        ));
    }
    answer
}

/// `name=value` of every header called `header`.
fn pairs(record: &Record, header: &str) -> Lines {
    let pair = |value: &[u8]| {
        let equals = value.iter().position(|&byte| byte == b'=')?;
        Some((
            value[..equals].to_ascii_lowercase(),
            value[equals + 1..].to_vec(),
        ))
    };
    record.header(header).filter_map(pair).collect()
}
