//! OpenAI-style answers with a `usage` member, whole or streamed.
//!
//! `x-test-usage: prompt,completion` sets the token counts; without it the prompt counts one token
//! per four bytes of the request and the completion 12.

use serde_json::{Value, json};

use crate::answer::{Answer, Piece};
use crate::record::{Record, latin1};

const WORDS: [&str; 6] = ["Tolls", " are", " due", " at", " the", " gate."];

pub(crate) fn answer(record: &Record) -> Answer {
    let request: Value = serde_json::from_slice(&record.body).unwrap_or_default();
    let given = record
        .header("x-test-usage")
        .next()
        .map(latin1)
        .unwrap_or_default();
    let mut numbers = given
        .split(',')
        .filter_map(|number| number.trim().parse::<u64>().ok());
    let prompt = numbers.next().unwrap_or(record.body_bytes.div_ceil(4));
    let completion = numbers.next().unwrap_or(12);
    let model = request["model"].as_str().unwrap_or("gpt-4").to_owned();
    let embedding = record.path.starts_with(b"/v1/embeddings");
    let usage = if embedding {
        json!({"prompt_tokens": prompt, "total_tokens": prompt})
    } else {
        json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion})
    };
    if embedding {
        let data = json!([{"object": "embedding", "index": 0, "embedding": [0.5, -0.25]}]);
        return Answer::json(
            200,
            &json!({"object": "list", "model": model, "data": data, "usage": usage}),
        );
    }
    if request["stream"] == json!(true) {
        return stream(
            &model,
            &usage,
            request["stream_options"]["include_usage"] == json!(true),
        );
    }
    let message = json!({"role": "assistant", "content": WORDS.concat()});
    Answer::json(
        200,
        &json!({
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1_700_000_000, "model": model,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": usage,
        }),
    )
}

fn stream(model: &str, usage: &Value, include_usage: bool) -> Answer {
    let mut answer = Answer::new(200, "text/event-stream", "");
    answer.chunked = true;
    let mut event = |choices: Value, usage: Option<&Value>| {
        let mut chunk = json!({
            "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": model,
            "choices": choices,
        });
        if include_usage {
            chunk["usage"] = usage.cloned().unwrap_or(Value::Null);
        }
        answer
            .body
            .push(Piece::Data(format!("data: {chunk}\n\n").into_bytes()));
    };
    for word in WORDS {
        event(
            json!([{"index": 0, "delta": {"content": word}, "finish_reason": null}]),
            None,
        );
    }
    event(
        json!([{"index": 0, "delta": {}, "finish_reason": "stop"}]),
        None,
    );
    if include_usage {
        event(json!([]), Some(usage));
    }
    answer.body.push(Piece::Data(b"data: [DONE]\n\n".to_vec()));
    answer
}
