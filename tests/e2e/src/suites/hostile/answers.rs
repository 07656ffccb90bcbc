//! What is odd about answers.

use tollgate_scenario::bytes::Bytes;
use tollgate_scenario::model::HeaderItem;

use super::{Change, data};

pub(super) fn answers(case: &mut dyn FnMut(String, Change)) {
    case(
        "an answer with \\xff in its headers".to_owned(),
        Box::new(|x| {
            x.answer.headers.extend([
                HeaderItem::Pair("content-type".into(), Bytes(b"\xff".to_vec())),
                HeaderItem::Pair("x-request-cost".into(), Bytes(b"\xfe".to_vec())),
            ])
        }),
    );
    case(
        "an answer with 1,000 headers".to_owned(),
        Box::new(|x| {
            x.answer.headers.extend(
                (0..1000).map(|i| HeaderItem::Pair(format!("x-{i}").as_str().into(), "v".into())),
            )
        }),
    );
    case(
        "an answer that is cut".to_owned(),
        Box::new(|x| {
            x.answer.body = serde_yaml_ng::from_str("[start, {cut: true}]").unwrap_or_default()
        }),
    );
    case(
        "an answer of 2 MiB".to_owned(),
        Box::new(|x| x.answer.body = vec![data(vec![b'a'; 2 << 20])]),
    );
    case(
        "an answer with trailers".to_owned(),
        Box::new(|x| {
            x.answer.trailers = vec![HeaderItem::Pair("x-t".into(), Bytes(b"\xff".to_vec()))]
        }),
    );
    for status in [204, 304, 404, 500, 599] {
        case(
            format!("an answer with status {status}"),
            Box::new(move |x| x.answer.status = status),
        );
    }
    let usages = [
        r#"{"usage":{"prompt_tokens":1e400,"completion_tokens":-1}}"#,
        r#"{"usage":{"prompt_tokens":18446744073709551616,"completion_tokens":18446744073709551615}}"#,
        r#"{"usage":{"prompt_tokens":"12","completion_tokens":null}}"#,
        r#"{"usage":[]}"#,
        r#"{"usage":{"prompt_tokens":5,"completion_tokens":5,"prompt_tokens":7}"#,
        "[[[[",
        "",
    ];
    for usage in usages {
        for kind in ["application/json", "text/event-stream"] {
            case(
                format!("an answer of {kind}: {usage}"),
                Box::new(move |x| {
                    let text = if kind == "text/event-stream" {
                        format!("data: {usage}\n\ndata: [DONE]\n\n")
                    } else {
                        usage.to_owned()
                    };
                    let (left, right) = text.split_at(text.len() / 2);
                    x.answer.headers = vec![HeaderItem::Pair("content-type".into(), kind.into())];
                    x.answer.body = vec![data(left), data(right)];
                    x.answer.chunked = true;
                }),
            );
        }
    }
    case(
        "a JSON answer of brackets".to_owned(),
        Box::new(|x| {
            x.answer.headers = vec![HeaderItem::Pair(
                "content-type".into(),
                "application/json".into(),
            )];
            x.answer.body = vec![data(vec![b'['; 200_000])];
        }),
    );
    case(
        "an answer that claims to be gzip".to_owned(),
        Box::new(|x| {
            x.answer.headers = vec![
                HeaderItem::Pair("content-type".into(), "application/json".into()),
                HeaderItem::Pair("content-encoding".into(), "gzip".into()),
            ];
        }),
    );
}
