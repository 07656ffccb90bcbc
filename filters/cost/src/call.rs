//! One priced call: what is remembered of it, and how its answer can be read.

use crate::accounts::{Hold, Warning};
use crate::meters::Reason;
use crate::request::Asked;
use crate::shared::Payments;
use crate::usage::{Findings, Reader, Usage};
use tollgate_core::{Consumer, Headers, Money, UnixNanos};

/// A priced call on its way.
#[derive(Debug)]
pub(crate) struct Call {
    /// The rules that could apply, in order; the answer's model chooses.
    pub(crate) candidates: Vec<usize>,
    /// The one with the highest estimate, or the one that the request's model chose: charged before the call, and after
    /// it in doubt.
    pub(crate) costliest: usize,
    pub(crate) estimate: Money,
    /// What is known of the call only when it has begun.
    pub(crate) needs: Needs,
    /// What the request asked for, if it was read.
    pub(crate) asked: Option<Box<Asked>>,
    pub(crate) started: UnixNanos,
    pub(crate) request_bytes: Option<u64>,
    pub(crate) hold: Option<Hold>,
    /// What the fleet is paid, or was.
    pub(crate) payments: Payments,
    pub(crate) remaining: Option<Money>,
    pub(crate) warning: Option<Notice>,
    pub(crate) consumer: Option<Consumer>,
    pub(crate) reader: Option<Box<Reader>>,
    /// What the answer's headers said about tokens.
    pub(crate) in_headers: Option<Box<Findings>>,
    /// The answer is held until its cost is known.
    pub(crate) held: bool,
    pub(crate) read: usize,
    /// The cost, once it is known.
    pub(crate) cost: Option<Money>,
}

/// What of an exchange has to be looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    pub(crate) status: bool,
    pub(crate) headers: bool,
    /// Usage or model in the body.
    pub(crate) usage: bool,
    pub(crate) end: bool,
    pub(crate) request_size: bool,
    /// Nothing: the price was known beforehand.
    pub(crate) flat: bool,
}

impl Needs {
    /// What two candidates need.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            status: self.status | other.status,
            headers: self.headers | other.headers,
            usage: self.usage | other.usage,
            end: self.end | other.end,
            request_size: self.request_size | other.request_size,
            flat: self.flat & other.flat,
        }
    }
}

/// A budget that is nearly used up, or a call that is expensive for it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Notice {
    Budget(Warning),
    /// The position of the budget.
    PerRequest(usize),
}

/// How an exchange ended, as far as its cost is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// What the answer said decides, as far as it was read.
    Answered,
    /// There was no answer, or it broke off.
    Broken,
    /// Its status costs nothing.
    Free,
    /// Another policy of the chain answered.
    Replied,
}

/// What a call cost, and why.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) cost: Money,
    pub(crate) price: usize,
    pub(crate) usage: Option<Usage>,
    pub(crate) model: Option<Vec<u8>>,
    pub(crate) reason: Reason,
}

/// The media type of an answer, in lower case; `None` if its body cannot be read.
pub(crate) fn readable_type(response: &Headers) -> Option<Vec<u8>> {
    let encoded = response
        .get_all("content-encoding")
        .any(|v| !v.trim_ascii().eq_ignore_ascii_case(b"identity"));
    if encoded {
        return None;
    }
    let value = response.first("content-type")?;
    let media_type = value.split(|b| *b == b';').next()?.trim_ascii();
    Some(media_type.to_ascii_lowercase())
}

/// How long a body says that it is.
pub(crate) fn content_length(headers: &Headers) -> Option<u64> {
    let value = headers.sole("content-length").ok()??;
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Whether answers of the type come bit by bit: they are never held.
pub(crate) fn is_stream(media_type: &[u8]) -> bool {
    const STREAMS: [&[u8]; 4] = [
        b"text/event-stream",
        b"application/vnd.amazon.eventstream",
        b"multipart/x-mixed-replace",
        b"application/stream+json",
    ];
    STREAMS.contains(&media_type)
        || media_type.starts_with(b"application/grpc")
        || media_type.ends_with(b"ndjson")
        || media_type.ends_with(b"jsonl")
        || media_type.ends_with(b"jsonlines")
}
