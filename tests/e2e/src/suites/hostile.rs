//! Requests and answers that nobody should send: each must be a clear 4xx or a correct pass, and the module must go on working.
//!
//! Every case is tried on top of each module's good requests (so that it gets behind the key check) and of a bare `GET /`, over HTTP/1.1
//! and HTTP/2.

mod answers;
mod requests;

use tollgate_scenario::bytes::{Bytes, show};
use tollgate_scenario::model::{Answer, Chunk, Lines, Request};
use tollgate_scenario::{Engine, Observed, Scenario};

use super::modules;
use crate::engine::{EnvoyEngine, Setting};
use crate::{Options, Tally};

/// A client's own claim; it must never get to the upstream as an identity.
const FORGED: &[u8] = b"forged-by-the-client";

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

fn cases() -> Vec<(String, Change)> {
    let mut cases: Vec<(String, Change)> =
        vec![("nothing".to_owned(), Box::new(|_: &mut Exchange| {}))];
    requests::headers(&mut |name, change| cases.push((name, change)));
    requests::paths(&mut |name, change| cases.push((name, change)));
    requests::bodies(&mut |name, change| cases.push((name, change)));
    answers::answers(&mut |name, change| cases.push((name, change)));
    cases
}

fn data(bytes: impl Into<Vec<u8>>) -> Chunk {
    Chunk::Data(Bytes(bytes.into()))
}
