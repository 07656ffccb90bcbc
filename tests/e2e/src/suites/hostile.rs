//! Requests and answers that nobody should send: each must be a clear 4xx or a correct pass, and the module must go on working.
//!
//! Every case is tried on top of each module's good requests (so that it gets behind the key check) and of a bare `GET /`, over HTTP/1.1
//! and HTTP/2.

use tollgate_scenario::bytes::{Bytes, show};
use tollgate_scenario::model::{Answer, Chunk, HeaderItem, Lines, Request};
use tollgate_scenario::{Engine, Observed, Scenario};

use super::modules;
use crate::engine::{EnvoyEngine, Setting};
use crate::{Options, Tally};

/// A client's own claim; it must never get to the upstream as an identity.
const FORGED: &[u8] = b"forged-by-the-client";

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

/// Identity headers that the configurations in `tests/modules` set.
const IDENTITY: [&str; 2] = ["x-consumer-id", "x-consumer-groups"];

struct Exchange {
    request: Request,
    headers: Lines,
    answer: Answer,
}

type Change = Box<dyn Fn(&mut Exchange)>;

pub(super) fn run(setting: &Setting, options: &Options, tally: &Tally) {
    let name = format!("envoy {}", setting.binary.label);
    let all = modules::load(options, tally, &name);
    let mut engine = match EnvoyEngine::new(setting.clone(), &all) {
        Ok(engine) => engine,
        Err(problem) => return tally.note("hostile", &name, Err(vec![problem])),
    };
    for module in &all {
        let title = format!("hostile: {}", module.name);
        if title.contains(&options.filter) {
            tally.note(&title, &name, one_module(&mut engine, module));
        }
    }
}

fn one_module(engine: &mut EnvoyEngine, module: &Scenario) -> Result<(), Vec<String>> {
    let mut problems = Vec::new();
    let mut tried = 0;
    let result = modules::start(engine, module)
        .and_then(|()| modules::good(engine, module))
        .and_then(|()| {
            for (what, change) in cases() {
                for (base, mut exchange) in bases(module)? {
                    change(&mut exchange);
                    tried += 1;
                    let seen = modules::send(
                        engine,
                        &exchange.request,
                        &exchange.headers,
                        &exchange.answer,
                    );
                    let problem = match seen {
                        Ok(seen) => judge(&exchange, &seen)
                            .and_then(|()| {
                                if authenticates(module) {
                                    forged(&seen)
                                } else {
                                    Ok(())
                                }
                            })
                            .err(),
                        Err(broken) => Some(broken),
                    };
                    problems.extend(problem.map(|problem| format!("{what} on {base}: {problem}")));
                    if problems.len() > 10 {
                        return Err("too many problems".to_owned());
                    }
                }
            }
            modules::good(engine, module).map_err(|problem| format!("after all that, {problem}"))
        });
    problems.extend(result.err());
    problems.extend(engine.finish().err());
    if problems.is_empty() && tried == 0 {
        problems.push("nothing was tried".to_owned());
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems)
    }
}

fn bases(module: &Scenario) -> Result<Vec<(String, Exchange)>, String> {
    let mut bases = Vec::new();
    for http in [1, 2] {
        let bare = Request {
            http,
            ..Request::default()
        };
        bases.push((
            format!("GET / over HTTP/{http}"),
            Exchange {
                request: bare,
                headers: Lines::new(),
                answer: Answer::default(),
            },
        ));
        for (index, step) in module.steps.iter().enumerate() {
            let headers = modules::headers(module, step)?;
            let request = Request {
                http,
                ..step.request.clone()
            };
            bases.push((
                format!("good request {} over HTTP/{http}", index + 1),
                Exchange {
                    request,
                    headers,
                    answer: step.upstream.clone(),
                },
            ));
        }
    }
    Ok(bases)
}

/// Whether the module strips identity headers.
fn authenticates(module: &Scenario) -> bool {
    module.filters().is_ok_and(|filters| {
        filters
            .iter()
            .any(|(root, _)| root == "key-auth" || root == "gateway")
    })
}

fn forged(seen: &Observed) -> Result<(), String> {
    let mut lines = seen.upstream.iter().flat_map(|request| &request.headers);
    match lines.find(|(name, value)| {
        value == FORGED && IDENTITY.iter().any(|identity| name == identity.as_bytes())
    }) {
        Some((name, _)) => Err(format!("the upstream saw the client's own {}", show(name))),
        None => Ok(()),
    }
}

/// HTTP/2 has no place for this: Envoy resets the stream before any filter sees it.
fn malformed(request: &Request) -> bool {
    request.http == 2 && (!request.authority.0.is_ascii() || !request.path.0.starts_with(b"/"))
}

/// What is never right, whatever the configuration.
fn judge(sent: &Exchange, seen: &Observed) -> Result<(), String> {
    let status = seen.reply.status;
    let shown = format!("{status} {}", show(&seen.reply.body));
    if sent.request.abort {
        return Ok(());
    }
    let cut = sent
        .answer
        .body
        .iter()
        .any(|chunk| matches!(chunk, Chunk::Cut { .. }));
    match status {
        0 if malformed(&sent.request) && seen.upstream.is_empty() => Ok(()),
        0 => Err("no answer".to_owned()),
        400..=499 => Ok(()),
        _ if cut => Ok(()),
        _ if status == sent.answer.status && !seen.reply.complete => {
            Err(format!("a cut answer: {shown}"))
        }
        _ if status == sent.answer.status && seen.upstream.len() == 1 => {
            let request = &seen.upstream[0];
            let body = sent.request.whole_body();
            if !request.complete || request.body != body {
                return Err(format!(
                    "the upstream saw another body: {} bytes of {}",
                    request.body.len(),
                    body.len()
                ));
            }
            Ok(())
        }
        200..=299 => Ok(()),
        _ => Err(shown),
    }
}

fn header(name: &str, value: impl Into<Vec<u8>>) -> (Vec<u8>, Vec<u8>) {
    (name.as_bytes().to_vec(), value.into())
}

fn cases() -> Vec<(String, Change)> {
    let mut cases: Vec<(String, Change)> =
        vec![("nothing".to_owned(), Box::new(|_: &mut Exchange| {}))];
    headers(&mut |name, change| cases.push((name, change)));
    paths(&mut |name, change| cases.push((name, change)));
    bodies(&mut |name, change| cases.push((name, change)));
    answers(&mut |name, change| cases.push((name, change)));
    cases
}

fn headers(case: &mut dyn FnMut(String, Change)) {
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

fn paths(case: &mut dyn FnMut(String, Change)) {
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

fn data(bytes: impl Into<Vec<u8>>) -> Chunk {
    Chunk::Data(Bytes(bytes.into()))
}

fn bodies(case: &mut dyn FnMut(String, Change)) {
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

fn answers(case: &mut dyn FnMut(String, Change)) {
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
