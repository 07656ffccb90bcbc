//! The answer's way back through one plugin.

use std::collections::BTreeMap;

use tollgate_core::drive::ResponseStep;
use tollgate_core::headers::HeaderOp;
use tollgate_core::{Exchange, Headers, ResponseRead};

use super::exchange::{Side, publish};
use super::lines::{reply_complete, wire};
use crate::engine::Reply;
use crate::model::{Answer, Chunk, Lines};

/// One plugin's response phases. The whole answer passes each plugin before the next one sees it.
pub(super) fn response(
    side: &mut Side<'_>,
    reply: &mut Reply,
    answer: &Answer,
    state: &mut BTreeMap<&'static str, Vec<u8>>,
) {
    let Side {
        plugin,
        drive,
        exchange,
    } = side;
    let chain = &plugin.gateway.chain;
    let local = exchange.replied.is_some();
    let reads = drive.reads_response(chain);
    if reads >= ResponseRead::Status {
        exchange.status = Some(reply.status);
    }
    if reads == ResponseRead::Headers {
        let mut lines = vec![(b":status".to_vec(), reply.status.to_string().into_bytes())];
        lines.extend(reply.headers.clone());
        exchange.response = wire(&lines);
    }
    let chunks: Vec<Vec<u8>> = if local {
        vec![reply.body.clone()]
    } else {
        answer
            .body
            .iter()
            .filter_map(Chunk::data)
            .map(<[u8]>::to_vec)
            .collect()
    };
    let end = reply.body.is_empty() && reply.trailers.is_empty();
    let mut step = drive.response_headers(chain, exchange, &plugin.world, end);
    let mut held = step == ResponseStep::Hold;
    let mut change = |exchange: &mut Exchange, held: bool, first: bool| {
        let ops = exchange.response.take_ops();
        if held || first {
            apply(&mut reply.headers, ops);
        }
    };
    change(exchange, held, true);
    let mut buffer = Vec::new();
    if drive.watches_response() {
        exchange.response_trailers = Headers::from_pairs(
            reply
                .trailers
                .iter()
                .map(|(n, v)| (String::from_utf8_lossy(n).into_owned(), v)),
        );
    }
    let last = chunks.len();
    for (i, chunk) in chunks
        .iter()
        .chain(std::iter::once(&Vec::new()))
        .enumerate()
    {
        if step == ResponseStep::Forward || (i == last && !reply_complete(answer, local)) {
            break;
        }
        if held {
            buffer.extend_from_slice(chunk);
        } else {
            buffer.clone_from(chunk);
        }
        step = drive.response_body(
            chain,
            exchange,
            &plugin.world,
            buffer.as_slice(),
            buffer.len(),
            i == last,
        );
        change(exchange, held, false);
        held &= step == ResponseStep::Hold;
    }
    apply(&mut reply.trailers, exchange.response_trailers.take_ops());
    publish(exchange, state);
}

fn apply(lines: &mut Lines, ops: Vec<HeaderOp>) {
    for op in ops {
        let name = op.name().as_str().as_bytes().to_vec();
        if !matches!(op, HeaderOp::Append(..)) {
            lines.retain(|(n, _)| *n != name);
        }
        if let HeaderOp::Set(_, value) | HeaderOp::Append(_, value) = op {
            lines.push((name, value));
        }
    }
}
