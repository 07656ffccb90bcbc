use super::*;
use crate::json::Table;
use proptest::prelude::*;
use std::rc::Rc;

const CHAT: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","model":"gpt-4-0613","choices":[{"index":0,
 "message":{"role":"assistant","content":"say \"usage\": {\"prompt_tokens\": 1} caf\u00e9 é 😀"},"finish_reason":"stop"}],
 "usage":{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29,
 "prompt_tokens_details":{"cached_tokens":5,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":3}}}"#;

const STREAM: &str = "data: {\"model\":\"gpt-4\",\"choices\":[{\"delta\":{\"content\":\"é\"}}],\"usage\":null}\r\n\r\n\
: keep alive\n\ndata: {\"model\":\"gpt-4\",\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2}}\n\n\
data: [DONE]\n\n";

fn read(mut reader: Reader, pieces: &[&[u8]]) -> Option<(Option<String>, Option<Usage>)> {
    for piece in pieces {
        reader.feed(piece, false);
    }
    reader.feed(&[], true);
    reader.findings().map(|f| {
        let model = f
            .model
            .as_ref()
            .map(|m| String::from_utf8_lossy(m).into_owned());
        (model, f.usage())
    })
}

fn table() -> Rc<Table> {
    Format::default().table.unwrap()
}

fn reader_json() -> Reader {
    Reader::json(table())
}

fn reader_events() -> Reader {
    Reader::events(table())
}

fn json(text: &str) -> Option<Usage> {
    read(reader_json(), &[text.as_bytes()]).and_then(|(_, usage)| usage)
}

fn plain(input: u64, output: u64) -> Option<Usage> {
    Some(Usage {
        input,
        output,
        ..Usage::default()
    })
}

#[test]
fn reads_a_chat_completion_cut_at_every_byte() {
    let expected = Some((
        Some("gpt-4-0613".to_owned()),
        Some(Usage {
            input: 19,
            output: 10,
            cached_read: 5,
            cached_write: 0,
            cached_write_1h: 0,
            reasoning: 3,
        }),
    ));
    let bytes = CHAT.as_bytes();
    for at in 0..=bytes.len() {
        let (head, tail) = bytes.split_at(at);
        assert_eq!(read(reader_json(), &[head, tail]), expected, "{at}");
    }
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(read(reader_json(), &single), expected);
}

#[test]
fn reads_a_stream_cut_at_every_byte() {
    let expected = Some((Some("gpt-4".to_owned()), plain(7, 2)));
    let bytes = STREAM.as_bytes();
    for at in 0..=bytes.len() {
        let (head, tail) = bytes.split_at(at);
        assert_eq!(read(reader_events(), &[head, tail]), expected, "{at}");
    }
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(read(reader_events(), &single), expected);
}

#[test]
fn reads_embeddings_and_responses() {
    assert_eq!(
        json(r#"{"usage":{"prompt_tokens":8,"total_tokens":8}}"#),
        plain(8, 0)
    );
    assert_eq!(json(r#"{"usage":{"total_tokens":8}}"#), plain(8, 0));
    let responses = r#"{"object":"response","usage":{"input_tokens":36,"input_tokens_details":{"cached_tokens":30},
        "output_tokens":87,"output_tokens_details":{"reasoning_tokens":64},"total_tokens":123}}"#;
    let usage = json(responses).unwrap();
    assert_eq!(
        (
            usage.input,
            usage.output,
            usage.cached_read,
            usage.reasoning
        ),
        (36, 87, 30, 64)
    );
    let event = b"event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"model\":\"gpt-4o\",\
        \"usage\":{\"input_tokens\":36,\"output_tokens\":87}}}\n\n";
    assert_eq!(
        read(reader_events(), &[event]),
        Some((Some("gpt-4o".to_owned()), plain(36, 87)))
    );
}

#[test]
fn a_usage_that_makes_no_sense_is_missing_not_zero() {
    for bad in [
        r#"{}"#,
        r#"{"usage":null}"#,
        r#"{"usage":{}}"#,
        r#"{"usage":{"completion_tokens":5}}"#,
        r#"{"usage":{"completion_tokens":5,"total_tokens":9}}"#,
        r#"{"usage":{"prompt_tokens":-1,"completion_tokens":5}}"#,
        r#"{"usage":{"prompt_tokens":1.5,"completion_tokens":5}}"#,
        r#"{"usage":{"prompt_tokens":"1","completion_tokens":5}}"#,
        r#"{"usage":{"prompt_tokens":1,"completion_tokens":1e3}}"#,
        r#"{"usage":{"prompt_tokens":1,"completion_tokens":1000000001}}"#,
        r#"{"usage":{"prompt_tokens":99999999999999999999}}"#,
        r#"{"choices":[{"usage":{"prompt_tokens":1,"completion_tokens":1}}]}"#,
        r#"{"usage":{"prompt_tokens":1,"completion_tokens":1}"#,
        r#"{"usage":{"prompt_tokens":1,"completion_tokens":1}}}"#,
    ] {
        assert_eq!(json(bad), None, "{bad}");
    }
    assert_eq!(
        json(r#"{"usage":{"prompt_tokens":1.0,"completion_tokens":2.0}}"#),
        plain(1, 2)
    );
}

#[test]
fn a_part_is_never_more_than_its_whole() {
    let usage = json(
        r#"{"usage":{"prompt_tokens":5,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":9}}}"#,
    );
    assert_eq!(usage.unwrap().cached_read, 5);
}

#[test]
fn usage_in_every_event_is_not_added_up() {
    let mut text = String::new();
    for output in 1..=5 {
        text.push_str(&format!(
            "data: {{\"usage\":{{\"prompt_tokens\":7,\"completion_tokens\":{output}}}}}\n\n"
        ));
    }
    assert_eq!(
        read(reader_events(), &[text.as_bytes()]).unwrap().1,
        plain(7, 5)
    );
}

#[test]
fn a_broken_event_reports_nothing_and_spoils_nothing() {
    let text = b"data: {\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":1}}\n\n\
        data: {\"usage\":{\"prompt_tokens\":1,\n\ndata: \xff\n\n";
    assert_eq!(read(reader_events(), &[text]).unwrap().1, plain(7, 1));
}

#[test]
fn half_a_document_says_nothing() {
    let mut reader = reader_json();
    reader.feed(
        br#"{"usage":{"prompt_tokens":1,"completion_tokens":1}"#,
        false,
    );
    assert_eq!(reader.findings(), None);
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        for reader in [reader_json(), reader_events()] {
            let _ = read(reader, &[&bytes]);
        }
    }
}

/// Each transcript, how its documents lie in it, and what must be found: input, output, read from a cache, written to
/// it, reasoning.
const TRANSCRIPTS: [(&str, &str, &str, [u64; 5]); 13] = [
    (
        include_str!("../../../../tests/vectors/usage/openai-chat.json"),
        "application/json",
        "gpt-4.1-2025-04-14",
        [19, 10, 5, 0, 3],
    ),
    (
        include_str!("../../../../tests/vectors/usage/openai-chat.sse"),
        "text/event-stream",
        "gpt-4o-mini",
        [7, 2, 0, 0, 0],
    ),
    (
        include_str!("../../../../tests/vectors/usage/openai-completion.json"),
        "application/json",
        "gpt-3.5-turbo-instruct",
        [5, 7, 0, 0, 0],
    ),
    (
        include_str!("../../../../tests/vectors/usage/openai-embedding.json"),
        "application/json",
        "text-embedding-ada-002",
        [8, 0, 0, 0, 0],
    ),
    (
        include_str!("../../../../tests/vectors/usage/openai-responses.json"),
        "application/json",
        "gpt-4.1-2025-04-14",
        [36, 87, 30, 0, 64],
    ),
    (
        include_str!("../../../../tests/vectors/usage/openai-responses.sse"),
        "text/event-stream",
        "gpt-4.1",
        [37, 11, 0, 0, 0],
    ),
    (
        include_str!("../../../../tests/vectors/usage/anthropic-message.json"),
        "application/json",
        "claude-sonnet-4-20250514",
        [2112, 6, 2000, 100, 0],
    ),
    (
        include_str!("../../../../tests/vectors/usage/anthropic-message.sse"),
        "text/event-stream",
        "claude-sonnet-4-20250514",
        [32, 15, 7, 0, 0],
    ),
    (
        include_str!("../../../../tests/vectors/usage/gemini.json"),
        "application/json",
        "gemini-2.5-flash",
        [8, 1121, 3, 0, 1111],
    ),
    (
        include_str!("../../../../tests/vectors/usage/gemini-stream.json"),
        "application/json",
        "gemini-2.5-flash",
        [8, 10, 0, 0, 6],
    ),
    (
        include_str!("../../../../tests/vectors/usage/gemini.sse"),
        "text/event-stream",
        "gemini-2.5-flash",
        [8, 10, 0, 0, 6],
    ),
    (
        include_str!("../../../../tests/vectors/usage/bedrock-converse.json"),
        "application/json",
        "",
        [41, 628, 5, 6, 0],
    ),
    (
        include_str!("../../../../tests/vectors/usage/ollama.ndjson"),
        "application/x-ndjson",
        "llama3.2",
        [26, 282, 0, 0, 0],
    ),
];

#[test]
fn every_provider_is_read_cut_at_every_byte() {
    for (text, media_type, model, [input, output, cached_read, cached_write, reasoning]) in
        TRANSCRIPTS
    {
        let reader = || Reader::of_type(media_type.as_bytes(), table()).unwrap();
        let usage = Usage {
            input,
            output,
            cached_read,
            cached_write,
            cached_write_1h: 0,
            reasoning,
        };
        let expected = Some(((!model.is_empty()).then(|| model.to_owned()), Some(usage)));
        let bytes = text.as_bytes();
        for at in 0..=bytes.len() {
            let (head, tail) = bytes.split_at(at);
            assert_eq!(read(reader(), &[head, tail]), expected, "{at} of {text}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(read(reader(), &single), expected, "{text}");
    }
}

#[test]
fn what_anthropics_cache_keeps_for_an_hour_is_told_apart() {
    let written = |creation: &str| {
        let text = format!(
            r#"{{"usage":{{"input_tokens":3,"output_tokens":4,"cache_creation_input_tokens":100,"cache_creation":{creation}}}}}"#
        );
        json(&text).map(|usage| (usage.input, usage.cached_write, usage.cached_write_1h))
    };
    let split = r#"{"ephemeral_5m_input_tokens":30,"ephemeral_1h_input_tokens":70}"#;
    assert_eq!(written(split), Some((103, 100, 70)));
    assert_eq!(written("null"), Some((103, 100, 0)));
    assert_eq!(written("{}"), Some((103, 100, 0)));
    // Never more than was written.
    let more = r#"{"ephemeral_1h_input_tokens":700}"#;
    assert_eq!(written(more), Some((103, 100, 100)));
    assert_eq!(written(r#"{"ephemeral_1h_input_tokens":-1}"#), None);
}

#[test]
fn lines_end_with_a_line_feed_or_the_body() {
    let lines =
        |text: &str| read(Reader::lines(table()), &[text.as_bytes()]).and_then(|(_, usage)| usage);
    let last = r#"{"prompt_eval_count":3,"eval_count":4}"#;
    assert_eq!(lines(last), plain(3, 4));
    assert_eq!(
        lines(&format!(
            "\n\r\n{{\"prompt_eval_count\":1}}\r\n{last}\r\n\n"
        )),
        plain(3, 4)
    );
    assert_eq!(
        lines(&format!("{last}\n{{\"prompt_eval_count\":9,")),
        plain(3, 4),
        "half a line says nothing"
    );
    assert_eq!(lines(&format!("garbage\n{last}")), plain(3, 4));
    assert_eq!(lines(""), None);
}

#[test]
fn a_media_type_chooses_the_reader() {
    for (media_type, good) in [
        ("application/json", true),
        ("application/vnd.api+json", true),
        ("application/x-ndjson", true),
        ("application/jsonl", true),
        ("text/event-stream", true),
        ("text/plain", false),
        ("application/grpc", false),
        ("", false),
    ] {
        assert_eq!(
            Reader::of_type(media_type.as_bytes(), table()).is_some(),
            good,
            "{media_type}"
        );
    }
}
