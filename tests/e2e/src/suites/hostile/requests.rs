//! What is odd about requests: their headers, paths and bodies.

use tollgate_scenario::bytes::{Bytes, show};
use tollgate_scenario::model::{Chunk, HeaderItem};

use super::{Change, Exchange, FORGED, IDENTITY, data};

/// Headers that some policy reads or sets.
const READ: [&str; 19] = [
    "authorization",
    "x-api-key",
    "cookie",
    "x-signature",
    "stripe-signature",
    "x-hub-signature-256",
    "x-slack-signature",
    "x-slack-request-timestamp",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
    "x-user-id",
    "x-user-group",
    "x-variant",
    "x-forwarded-for",
    "content-type",
    "user-agent",
    "x-request-id",
    "origin",
];

pub(super) fn headers(case: &mut dyn FnMut(String, Change)) {
    for name in READ.iter().chain(&IDENTITY) {
        for value in [
            b"\xff\xfe".to_vec(),
            b"caf\xe9=\x80; t=\xff,v1=\xff".to_vec(),
            Vec::new(),
            b"a".to_vec(),
            b"t=99999999999999999999,v1=,=,;".to_vec(),
        ] {
            case(
                format!("{name}: {}", show(&value)),
                Box::new(move |x| x.headers.push(header(name, value.clone()))),
            );
        }
        case(
            format!("{name} of 64 KiB"),
            Box::new(|x| x.headers.push(header(name, vec![b'a'; 65_536]))),
        );
        case(
            format!("{name} twice"),
            Box::new(|x| x.headers.extend([header(name, "a"), header(name, "b")])),
        );
    }
    case(
        "a name with an odd value: \\xff".to_owned(),
        Box::new(|x| x.headers.push(header("x-odd", "\u{ff}\u{10ffff}"))),
    );
    case(
        "every header of its own twice".to_owned(),
        Box::new(|x| x.headers.extend(x.headers.clone())),
    );
    case(
        "every header of its own emptied".to_owned(),
        Box::new(|x| x.headers.iter_mut().for_each(|line| line.1.clear())),
    );
    case(
        "every header of its own with \\xff".to_owned(),
        Box::new(|x| x.headers.iter_mut().for_each(|line| line.1.push(0xff))),
    );
    case(
        "1,000 headers".to_owned(),
        Box::new(|x| {
            x.headers
                .extend((0..1000).map(|i| header(&format!("x-{i}"), "v")))
        }),
    );
    case(
        "1,000 times the same header".to_owned(),
        Box::new(|x| {
            x.headers
                .extend((0..1000).map(|_| header("x-api-key", "v")))
        }),
    );
    case(
        "2,000 cookies".to_owned(),
        Box::new(|x| {
            x.headers.push(header(
                "cookie",
                (0..2000).map(|i| format!("c{i}=v; ")).collect::<String>(),
            ))
        }),
    );
    case(
        "a cookie of separators".to_owned(),
        Box::new(|x| {
            x.headers
                .push(header("cookie", ";;=;=a;a=;\"\";\"=;;session"))
        }),
    );
    case(
        "identity headers".to_owned(),
        Box::new(|x| {
            x.headers
                .extend(IDENTITY.iter().map(|name| header(name, FORGED)))
        }),
    );
    case(
        "identity headers in capitals".to_owned(),
        Box::new(|x| {
            x.headers.extend(
                IDENTITY
                    .iter()
                    .map(|name| header(&name.to_ascii_uppercase(), FORGED)),
            )
        }),
    );
    case(
        "a host with \\xff".to_owned(),
        Box::new(|x| x.request.authority = Bytes(b"a\xff".to_vec())),
    );
    for method in ["BREW", "HEAD", "OPTIONS", "DELETE", "TRACE"] {
        case(
            method.to_owned(),
            Box::new(move |x| method.clone_into(&mut x.request.method)),
        );
    }
}

pub(super) fn paths(case: &mut dyn FnMut(String, Change)) {
    let tails: [&[u8]; 12] = [
        b"\xff",
        b"?api_key=\xff",
        b"?api_key=%ff%fe",
        b"?api_key=%",
        b"?api_key=%zz&api_key=%f",
        b"?api_key=a&api_key=b",
        b"?",
        b"?&&=&=a&a=&%00",
        b"#fragment?api_key=a",
        b"/../../%2e%2e/x",
        b"//%2F%5c..;a=b",
        b"%00",
    ];
    for tail in tails {
        case(
            format!("a path with {}", show(tail)),
            Box::new(move |x| x.request.path.0.extend_from_slice(tail)),
        );
    }
    case(
        "a query of 60 KB".to_owned(),
        Box::new(|x| {
            x.request
                .path
                .0
                .extend([b"?api_key=".as_slice(), &[b'a'; 60_000]].concat())
        }),
    );
    case(
        "2,000 query parameters".to_owned(),
        Box::new(|x| {
            x.request.path.0.extend(
                (0..2000)
                    .flat_map(|i| format!("{}p{i}=v", if i == 0 { '?' } else { '&' }).into_bytes()),
            )
        }),
    );
    case(
        "a path of 60 KB".to_owned(),
        Box::new(|x| {
            x.request
                .path
                .0
                .extend(std::iter::repeat_n(b"/a", 30_000).flatten())
        }),
    );
    case(
        "an asterisk".to_owned(),
        Box::new(|x| (x.request.method, x.request.path) = ("OPTIONS".to_owned(), "*".into())),
    );
    case(
        "no path".to_owned(),
        Box::new(|x| x.request.path = "".into()),
    );
}

fn post(x: &mut Exchange, body: Vec<Chunk>) {
    "POST".clone_into(&mut x.request.method);
    x.request.body = body;
}

pub(super) fn bodies(case: &mut dyn FnMut(String, Change)) {
    let json = || HeaderItem::Pair("content-type".into(), "application/json".into());
    for chunked in [false, true] {
        case(
            format!("a body of 2 MiB, chunked {chunked}"),
            Box::new(move |x| {
                post(x, vec![data(vec![b'a'; 2 << 20])]);
                x.request.chunked = chunked;
            }),
        );
        case(
            format!("an empty body, chunked {chunked}"),
            Box::new(move |x| {
                post(x, vec![data("")]);
                x.request.chunked = chunked;
            }),
        );
        case(
            format!("given up after the headers, chunked {chunked}"),
            Box::new(move |x| {
                post(x, Vec::new());
                x.request.chunked = chunked;
                x.request.abort = true;
                x.request.body = vec![data("")];
            }),
        );
        case(
            format!("given up in the body, chunked {chunked}"),
            Box::new(move |x| {
                post(x, vec![data("a"), data("b")]);
                x.request.chunked = chunked;
                x.request.abort = true;
            }),
        );
    }
    case(
        "POST without a body".to_owned(),
        Box::new(|x| post(x, Vec::new())),
    );
    case(
        "fifty chunks of one byte".to_owned(),
        Box::new(|x| {
            post(x, (0..50).map(|_| data("a")).collect());
            x.request.chunked = true;
        }),
    );
    case(
        "trailers with \\xff".to_owned(),
        Box::new(|x| {
            post(x, vec![data("a")]);
            x.request.chunked = true;
            x.request.trailers = vec![
                HeaderItem::Pair("x-t".into(), Bytes(b"\xff".to_vec())),
                HeaderItem::Pair("x-signature".into(), "a".into()),
            ];
        }),
    );
    let texts: [(&str, Vec<u8>); 9] = [
        ("a JSON body with \\xff", b"{\"model\":\"\xff\",\"messages\":[]}".to_vec()),
        ("a JSON body cut in a string", b"{\"model\":\"gpt".to_vec()),
        ("a JSON body of brackets", vec![b'['; 200_000]),
        ("a JSON body of objects", b"{\"a\":".repeat(50_000)),
        ("a JSON body with a huge number", b"{\"model\":\"gpt-4\",\"max_tokens\":1e999999999,\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}".to_vec()),
        ("a JSON body with a negative number", b"{\"model\":\"gpt-4\",\"max_tokens\":-9223372036854775808,\"messages\":[]}".to_vec()),
        ("a JSON body with everything twice", b"{\"model\":\"a\",\"model\":\"b\",\"stream\":true,\"stream\":false,\"messages\":[],\"messages\":{}}".to_vec()),
        ("a JSON body of the wrong types", b"{\"model\":{},\"stream\":\"yes\",\"max_tokens\":[],\"messages\":\"a\"}".to_vec()),
        ("a JSON body with odd escapes", b"{\"model\":\"\\ud800\\u0000\\\"\",\"messages\":[{\"content\":\"\\udfff\"}]}".to_vec()),
    ];
    for (name, text) in texts {
        case(
            name.to_owned(),
            Box::new(move |x| {
                let middle = text.len() / 2;
                post(x, vec![data(&text[..middle]), data(&text[middle..])]);
                let HeaderItem::Pair(name, value) = json() else {
                    return;
                };
                x.headers.push((name.0, value.0));
            }),
        );
    }
}

fn header(name: &str, value: impl Into<Vec<u8>>) -> (Vec<u8>, Vec<u8>) {
    (name.as_bytes().to_vec(), value.into())
}
