//! Header lines as a proxy shows them to its filters, and messages made of them.

use tollgate_core::{Headers, LocalReply};

use crate::engine::{Reply, Seen, upstream_for};
use crate::model::{self, Answer, Chunk, Lines, Request};

pub(super) fn wire(lines: &Lines) -> Headers {
    // Through the wire form, so that names and values stay bytes and the parser is the proxy's.
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
    let mut bytes = number(lines.len()).to_vec();
    for (name, value) in lines {
        bytes.extend(number(name.len()));
        bytes.extend(number(value.len()));
    }
    for (name, value) in lines {
        bytes.extend(name.to_ascii_lowercase());
        bytes.push(0);
        bytes.extend(value);
        bytes.push(0);
    }
    Headers::from_wire(&bytes).unwrap_or_default()
}

/// The request headers as a filter sees them: Envoy trims values and joins the lines of its inline headers.
pub(super) fn request_lines(request: &Request, headers: &Lines) -> Lines {
    let mut lines: Lines = vec![
        (b":authority".to_vec(), request.authority.0.clone()),
        (b":path".to_vec(), request.path.0.clone()),
        (b":method".to_vec(), request.method.clone().into_bytes()),
        (b":scheme".to_vec(), b"http".to_vec()),
    ];
    for (name, value) in headers {
        let name = name.to_ascii_lowercase();
        let value = value.trim_ascii().to_vec();
        const INLINE: [&[u8]; 5] = [
            b"authorization",
            b"accept",
            b"content-type",
            b"user-agent",
            b"x-forwarded-for",
        ];
        let joins = INLINE.contains(&name.as_slice());
        match lines.iter_mut().find(|(n, _)| joins && *n == name) {
            Some((_, first)) => {
                first.push(b',');
                first.extend(value);
            }
            None => lines.push((name, value)),
        }
    }
    if !request.chunked && !request.body.is_empty() && request.http == 1 {
        let length = request.whole_body().len().to_string().into_bytes();
        lines.push((b"content-length".to_vec(), length));
    }
    lines
}

pub(super) fn upstream_request(request: &Request, lines: &Lines) -> Seen {
    let pseudo = |name: &[u8]| {
        lines
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.clone())
            .unwrap_or_default()
    };
    let headers: Lines = lines
        .iter()
        .filter(|(n, _)| !n.starts_with(b":"))
        .cloned()
        .collect();
    Seen {
        name: upstream_for(&headers).to_owned(),
        method: pseudo(b":method"),
        path: pseudo(b":path"),
        headers,
        body: request.whole_body(),
        trailers: model::lines(&request.trailers),
        complete: true,
    }
}

pub(super) fn upstream_reply(answer: &Answer) -> Reply {
    let lower = |lines: Lines| {
        lines
            .into_iter()
            .map(|(n, v)| (n.to_ascii_lowercase(), v))
            .collect()
    };
    let mut headers: Lines = lower(model::lines(&answer.headers));
    let framed = headers.iter().any(|(n, _)| n == b"content-length");
    if !answer.chunked && answer.trailers.is_empty() && !framed && reply_complete(answer, false) {
        headers.push((
            b"content-length".to_vec(),
            model::whole(&answer.body).len().to_string().into_bytes(),
        ));
    }
    Reply {
        status: answer.status,
        headers,
        body: model::whole(&answer.body),
        trailers: lower(model::lines(&answer.trailers)),
        complete: reply_complete(answer, false),
    }
}

pub(super) fn local_reply(local: &LocalReply) -> Reply {
    Reply {
        status: local.status,
        headers: local
            .headers
            .iter()
            .map(|(n, v)| (n.as_bytes().to_ascii_lowercase(), v.clone()))
            .collect(),
        body: local.body.clone(),
        trailers: Lines::new(),
        complete: true,
    }
}

/// An upstream that breaks off never says "end of stream".
pub(super) fn reply_complete(answer: &Answer, local: bool) -> bool {
    local
        || !answer
            .body
            .iter()
            .any(|chunk| matches!(chunk, Chunk::Cut { .. }))
}
