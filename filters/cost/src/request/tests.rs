use super::*;
use proptest::prelude::*;

fn read(pieces: &[&[u8]]) -> Result<Asked, Invalid> {
    let mut reader = Reader::new(Rc::new(table()));
    for piece in pieces {
        reader.feed(piece);
    }
    reader.finish()
}

fn asked(text: &str) -> Asked {
    read(&[text.as_bytes()]).unwrap()
}

fn wrong(text: &str) -> String {
    read(&[text.as_bytes()]).unwrap_err().field
}

const CHAT: &str = r#"{"model": "gpt-4", "max_tokens": 50, "n": 2, "temperature": 0.7, "stream": true,
 "messages": [{"role": "system", "content": "caf\u00e9 é"}, {"role": "user", "content": [
   {"type": "text", "text": "😀\ud83d\ude00"}, {"type": "image_url", "image_url": {"url": "data:aaaaaaaaaaaa"}}]}],
 "tools": [{"function": {"name": "max_tokens", "parameters": {"max_tokens": 9}}}]}"#;

#[test]
fn a_request_reads_the_same_cut_at_every_byte() {
    let bytes = CHAT.as_bytes();
    let whole = read(&[bytes]).unwrap();
    assert_eq!(whole.model.as_deref(), Some(&b"gpt-4"[..]));
    assert_eq!(
        (whole.messages, whole.chars, whole.input_tokens()),
        (2, 8, 2)
    );
    assert_eq!(
        (whole.max_tokens(), whole.answers(), whole.stream),
        (Some(50), 2, true)
    );
    assert_eq!(
        whole.temperatures().collect::<Vec<_>>(),
        [("temperature", Some(700_000))]
    );
    assert_eq!(whole.empty_message(), None);
    for at in 0..=bytes.len() {
        let (head, tail) = bytes.split_at(at);
        assert_eq!(read(&[head, tail]).unwrap(), whole, "{at}");
    }
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(read(&single).unwrap(), whole);
}

#[test]
fn every_provider_is_counted_by_its_own_words() {
    for (text, chars, most) in [
        (r#"{"prompt": "abcd", "max_tokens": 7}"#, 4, Some(7)),
        (r#"{"prompt": ["ab", "cd"]}"#, 4, None),
        (r#"{"input": "abcd", "max_output_tokens": 7}"#, 4, Some(7)),
        (r#"{"input": ["ab", "cd", "e"]}"#, 5, None),
        (
            r#"{"instructions": "ab", "input": [{"role": "user", "content": [{"type": "input_text", "text": "cd"}]}]}"#,
            4,
            None,
        ),
        (
            r#"{"system": [{"type": "text", "text": "ab"}], "messages": [{"role": "user", "content": [{"type": "tool_result", "content": [{"type": "text", "text": "cde"}]}]}], "max_tokens": 7}"#,
            5,
            Some(7),
        ),
        (
            r#"{"systemInstruction": {"parts": [{"text": "ab"}]}, "contents": [{"parts": [{"text": "cd"}]}], "generationConfig": {"maxOutputTokens": 7}}"#,
            4,
            Some(7),
        ),
        (
            r#"{"system": [{"text": "ab"}], "messages": [{"content": [{"text": "cd"}]}], "inferenceConfig": {"maxTokens": 7}}"#,
            4,
            Some(7),
        ),
        (
            r#"{"max_tokens": 5, "max_completion_tokens": 9}"#,
            0,
            Some(9),
        ),
        (
            r#"{"max_tokens": null, "messages": [{"content": "a"}]}"#,
            1,
            None,
        ),
    ] {
        let asked = asked(text);
        assert_eq!((asked.chars, asked.max_tokens()), (chars, most), "{text}");
    }
}

#[test]
fn empty_messages_are_found_by_their_place() {
    for (text, place) in [
        (
            r#"{"messages": [{"content": "a"}, {"content": ""}]}"#,
            Some("messages[1]"),
        ),
        (r#"{"messages": [{"role": "user"}]}"#, Some("messages[0]")),
        (r#"{"messages": [{"content": null}]}"#, Some("messages[0]")),
        (r#"{"messages": [{"content": []}]}"#, Some("messages[0]")),
        (
            r#"{"messages": [{"content": [{"type": "text", "text": " "}]}]}"#,
            Some("messages[0]"),
        ),
        (
            r#"{"contents": [{"role": "user", "parts": []}]}"#,
            Some("contents[0]"),
        ),
        (
            r#"{"input": [{"role": "user", "content": ""}]}"#,
            Some("input[0]"),
        ),
        (
            r#"{"messages": [{"content": null, "tool_calls": [{}]}]}"#,
            None,
        ),
        (
            r#"{"messages": [{"content": null, "tool_calls": null}]}"#,
            Some("messages[0]"),
        ),
        (r#"{"contents": [{"parts": [{"inlineData": {}}]}]}"#, None),
        (r#"{"messages": [{"content": "a"}]}"#, None),
    ] {
        assert_eq!(asked(text).empty_message().as_deref(), place, "{text}");
    }
}

#[test]
fn what_nobody_can_price_is_refused_with_its_field() {
    for (text, field) in [
        ("", "body"),
        ("[]", "body"),
        ("5", "body"),
        ("{", "body"),
        ("{} {}", "body"),
        (r#"{"model": 5}"#, "model"),
        (r#"{"model": {"a": 1}}"#, "model"),
        (r#"{"model": "a", "model": "b"}"#, "model"),
        (r#"{"stream": "yes"}"#, "stream"),
        (r#"{"messages": "hi"}"#, "messages"),
        (r#"{"messages": {}}"#, "messages"),
        (r#"{"messages": []}"#, "messages"),
        (r#"{"contents": []}"#, "contents"),
        (r#"{"messages": [{}], "messages": [{}]}"#, "messages"),
        (r#"{"max_tokens": [1]}"#, "max_tokens"),
        (r#"{"max_tokens": 1, "max_tokens": 2}"#, "max_tokens"),
        (
            r#"{"generationConfig": {"temperature": 1, "temperature": 2}}"#,
            "generationConfig.temperature",
        ),
        (
            r#"{"generationConfig": {}, "generationConfig": {}}"#,
            "body",
        ),
        (
            r#"{"stream_options": {}, "stream_options": {}}"#,
            "stream_options",
        ),
    ] {
        assert_eq!(wrong(text), field, "{text}");
    }
    let long = format!(r#"{{"model": "{}"}}"#, "m".repeat(129));
    assert_eq!(wrong(&long), "model");
}

#[test]
fn numbers_are_exact() {
    let number = |text: &str| millionths(text.as_bytes());
    for (text, expected) in [
        ("0", Some(0)),
        ("-0", Some(0)),
        ("-0.0e5", Some(0)),
        ("1", Some(1_000_000)),
        ("0.7", Some(700_000)),
        ("1e3", Some(1_000_000_000)),
        ("1.5E-1", Some(150_000)),
        ("12.0", Some(12_000_000)),
        ("0.0000001", None),
        ("0.0000010", Some(1)),
        ("-1", None),
        ("1e99", None),
        ("1e-99", None),
        ("1e99999999999", None),
        ("0e99999", Some(0)),
        ("99999999999999999999", None),
        ("", Some(0)),
        ("abc", None),
        ("1.2.3", None),
    ] {
        assert_eq!(number(text), expected, "{text}");
    }
}

#[test]
fn a_body_that_was_changed_is_json_that_asks_for_usage() {
    for text in [
        CHAT,
        r#"{"stream":true}"#,
        r#" { "stream" : true , "stream_options" : { } }"#,
        r#"{"stream_options":{ "x":[1] },"stream":true}"#,
        r#"{"stream_options":{"include_usage": null},"stream":true}"#,
        r#"{"stream_options":{"include_usage":false,"y":1},"stream":true}"#,
        r#"{"stream_options": null ,"stream":true}"#,
    ] {
        let before: serde_json::Value = serde_json::from_str(text).unwrap();
        let changed = asked(text)
            .usage_splice()
            .unwrap()
            .apply(text.as_bytes())
            .unwrap();
        let mut after: serde_json::Value = serde_json::from_slice(&changed).unwrap();
        assert_eq!(after["stream_options"]["include_usage"], true, "{text}");
        let options = after["stream_options"].as_object_mut().unwrap();
        options.remove("include_usage");
        let mut expected = before;
        if let Some(options) = expected["stream_options"].as_object_mut() {
            options.remove("include_usage");
        } else {
            expected["stream_options"] = serde_json::json!({});
        }
        assert_eq!(after, expected, "nothing else changed: {text}");
    }
    for text in [
        "{}",
        r#"{"stream":false}"#,
        r#"{"stream":true,"stream_options":{"include_usage":true}}"#,
        r#"{"stream":true,"stream_options":5}"#,
        r#"{"stream":true,"stream_options":[]}"#,
        r#"{"stream":true,"stream_options":{"include_usage":"x"}}"#,
    ] {
        assert_eq!(asked(text).usage_splice(), None, "{text}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>, cut: prop::sample::Index) {
        let (head, tail) = bytes.split_at(cut.index(bytes.len() + 1));
        prop_assert_eq!(read(&[head, tail]), read(&[&bytes]));
    }

    #[test]
    fn characters_are_those_of_the_text(texts in prop::collection::vec("\\PC{0,20}", 1..5)) {
        let messages: Vec<_> = texts.iter().map(|t| serde_json::json!({"role": "user", "content": t})).collect();
        let body = serde_json::json!({"messages": messages}).to_string();
        let chars: usize = texts.iter().map(|t| t.chars().count()).sum();
        prop_assert_eq!(asked(&body).chars, chars as u64);
        prop_assert_eq!(asked(&body).messages, texts.len() as u64);
    }

    #[test]
    fn a_number_is_the_same_however_its_point_is_moved(millionths_of_it in 0_u64..1_000_000_000_000, shift in 0_usize..20) {
        let text = format!("{}.{:06}", millionths_of_it / 1_000_000, millionths_of_it % 1_000_000);
        prop_assert_eq!(millionths(text.as_bytes()), Some(millionths_of_it));
        let text = format!("{millionths_of_it}{}e-{}", "0".repeat(shift.min(6)), shift.min(6) + 6);
        prop_assert_eq!(millionths(text.as_bytes()), Some(millionths_of_it));
        let text = format!("0.{}{millionths_of_it:012}E+{}", "0".repeat(shift), shift + 6);
        prop_assert_eq!(millionths(text.as_bytes()), Some(millionths_of_it));
    }

    #[test]
    fn any_number_is_read_or_not(text in "-?[0-9]{0,12}(\\.[0-9]{0,9})?([eE][+-]?[0-9]{0,4})?") {
        let _ = millionths(text.as_bytes());
    }
}
