use super::*;
use proptest::prelude::*;

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

fn json(text: &str) -> Option<Usage> {
    read(Reader::json(), &[text.as_bytes()]).and_then(|(_, usage)| usage)
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
            reasoning: 3,
        }),
    ));
    let bytes = CHAT.as_bytes();
    for at in 0..=bytes.len() {
        let (head, tail) = bytes.split_at(at);
        assert_eq!(read(Reader::json(), &[head, tail]), expected, "{at}");
    }
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(read(Reader::json(), &single), expected);
}

#[test]
fn reads_a_stream_cut_at_every_byte() {
    let expected = Some((Some("gpt-4".to_owned()), plain(7, 2)));
    let bytes = STREAM.as_bytes();
    for at in 0..=bytes.len() {
        let (head, tail) = bytes.split_at(at);
        assert_eq!(read(Reader::events(), &[head, tail]), expected, "{at}");
    }
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(read(Reader::events(), &single), expected);
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
        read(Reader::events(), &[event]),
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
        read(Reader::events(), &[text.as_bytes()]).unwrap().1,
        plain(7, 5)
    );
}

#[test]
fn a_broken_event_reports_nothing_and_spoils_nothing() {
    let text = b"data: {\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":1}}\n\n\
        data: {\"usage\":{\"prompt_tokens\":1,\n\ndata: \xff\n\n";
    assert_eq!(read(Reader::events(), &[text]).unwrap().1, plain(7, 1));
}

#[test]
fn half_a_document_says_nothing() {
    let mut reader = Reader::json();
    reader.feed(
        br#"{"usage":{"prompt_tokens":1,"completion_tokens":1}"#,
        false,
    );
    assert_eq!(reader.findings(), None);
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        for reader in [Reader::json(), Reader::events()] {
            let _ = read(reader, &[&bytes]);
        }
    }
}
