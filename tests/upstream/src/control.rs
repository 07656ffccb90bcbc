//! The test's own door: `/_control/...`. Requests here are not recorded.
//!
//! - `GET /_control/ready`: 200.
//! - `GET /_control/requests`: `{"name", "connections", "bytes", "requests": [...], "ratelimit": [...]}`.
//! - `DELETE /_control/requests`: forgets them and zeroes `bytes` (the count then starts with this answer's connection).
//! - `POST /_control/ratelimit`: how the rate limit service answers, see [`crate::ratelimit::Mode`].
//! - `POST /_control/answer`: `{"status", "headers": [[n, v]], "body": "...", "trailers": [[n, v]], "delay_ms", "chunked"}`
//!   for every request from now on, `null` = back to the normal behaviour.
//! - `POST /_control/slow`: `{"ms": 1000}`: every answer comes that much later, `{"ms": 0}` ends it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::answer::{Answer, Lines, Piece};
use crate::record::{Record, State};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Script {
    #[serde(default = "ok")]
    status: u16,
    #[serde(default)]
    headers: Vec<(String, String)>,
    #[serde(default)]
    body: String,
    #[serde(default)]
    trailers: Vec<(String, String)>,
    #[serde(default)]
    delay_ms: u64,
    #[serde(default)]
    chunked: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Slow {
    ms: u32,
}

fn ok() -> u16 {
    200
}

pub(crate) fn answer(state: &State, record: &Record) -> Answer {
    let done = || Answer::json(200, &json!({"ok": true}));
    match (record.method.as_slice(), record.path.as_slice()) {
        (b"GET", b"/_control/ready") => done(),
        (b"GET", b"/_control/requests") => Answer::json(200, &seen(state)),
        (b"DELETE", b"/_control/requests") => {
            state.forget();
            done()
        }
        (b"POST", b"/_control/ratelimit") => match serde_json::from_slice(&record.body) {
            Ok(mode) => {
                state.ratelimit.lock().unwrap().set(mode);
                done()
            }
            Err(error) => refused(&error),
        },
        (b"POST", b"/_control/slow") => match serde_json::from_slice::<Slow>(&record.body) {
            Ok(slow) => {
                state.slow_ms.store(slow.ms.into(), Ordering::SeqCst);
                done()
            }
            Err(error) => refused(&error),
        },
        (b"POST", b"/_control/answer") => {
            match serde_json::from_slice::<Option<Script>>(&record.body) {
                Ok(script) => {
                    state.script(script.map(Into::into));
                    done()
                }
                Err(error) => refused(&error),
            }
        }
        _ => Answer::json(
            404,
            &json!({"error": "no such control; see the documentation of tollgate-upstream"}),
        ),
    }
}

fn refused(error: &serde_json::Error) -> Answer {
    Answer::json(400, &json!({"error": error.to_string()}))
}

fn seen(state: &State) -> Value {
    let requests: Vec<Value> = state.requests().iter().map(Record::to_json).collect();
    json!({
        "name": state.name,
        "connections": state.connections.load(Ordering::SeqCst),
        "bytes": state.bytes.load(Ordering::SeqCst),
        "requests": requests,
        "ratelimit": state.ratelimit.lock().unwrap().asked,
    })
}

impl From<Script> for Answer {
    fn from(script: Script) -> Self {
        let lines = |pairs: Vec<(String, String)>| -> Lines {
            pairs
                .into_iter()
                .map(|(name, value)| (name.into_bytes(), value.into_bytes()))
                .collect()
        };
        Self {
            delay: Duration::from_millis(script.delay_ms),
            status: script.status,
            headers: lines(script.headers),
            body: vec![Piece::Data(script.body.into_bytes())],
            trailers: lines(script.trailers),
            chunked: script.chunked,
        }
    }
}
