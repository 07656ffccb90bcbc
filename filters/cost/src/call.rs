//! One priced call: what is remembered of it, and how its answer can be read.

use crate::accounts::{Hold, Warning};
use crate::ask::Asking;
use crate::meters::Reason;
use crate::request::Asked;
use crate::shared::Payments;
use crate::usage::{Findings, Reader, Usage};
use tollgate_core::{Consumer, Exchange, Headers, Money, UnixNanos};

/// A priced call on its way.
#[derive(Debug, Default)]
pub(crate) struct Call {
    /// The rule that applies. Of several: the one with the highest estimate, or the one that the request's model chose;
    /// charged before the call, and after it in doubt.
    pub(crate) costliest: usize,
    pub(crate) estimate: Money,
    /// What is known of the call only when it has begun.
    pub(crate) needs: Needs,
    /// It matters who sends it.
    pub(crate) has_payer: bool,
    pub(crate) hold: Option<Hold>,
    pub(crate) remaining: Option<Money>,
    /// The cost, once it is known.
    pub(crate) cost: Option<Money>,
    pub(crate) details: Option<Box<Details>>,
}

/// What is remembered of calls whose price is not simply known, or that are worth a warning; others do not pay for it.
#[derive(Debug, Default)]
pub(crate) struct Details {
    /// If there are several rules that could apply: all of them, in order; the answer's model chooses.
    pub(crate) candidates: Vec<usize>,
    /// What is known of the request while its body is read.
    pub(crate) asking: Option<Box<Asking>>,
    /// What the request asked for, if it was read.
    pub(crate) asked: Option<Box<Asked>>,
    pub(crate) started: Option<UnixNanos>,
    pub(crate) request_bytes: Option<u64>,
    /// What the fleet is paid, or was.
    pub(crate) payments: Payments,
    pub(crate) warning: Option<Notice>,
    pub(crate) reader: Option<Box<Reader>>,
    /// What the answer's headers said about tokens.
    pub(crate) in_headers: Option<Box<Findings>>,
    /// The answer is held until its cost is known.
    pub(crate) held: bool,
    pub(crate) read: usize,
}

impl Call {
    /// A call by this rule alone, as far as it is known.
    pub(crate) const fn new(costliest: usize, estimate: Money, needs: Needs) -> Self {
        Self {
            costliest,
            estimate,
            needs,
            has_payer: false,
            hold: None,
            remaining: None,
            cost: None,
            details: None,
        }
    }

    /// The details, which there are from now on.
    pub(crate) fn details_mut(&mut self) -> &mut Details {
        self.details.get_or_insert_default()
    }

    /// The rules that could apply, in order.
    pub(crate) fn candidates(&self) -> &[usize] {
        match self.several() {
            [] => std::slice::from_ref(&self.costliest),
            several => several,
        }
    }

    /// The same, but empty if [`Call::costliest`] is the only one.
    pub(crate) fn several(&self) -> &[usize] {
        self.details.as_ref().map_or(&[], |d| &d.candidates)
    }

    pub(crate) fn asked(&self) -> Option<&Asked> {
        self.details.as_ref()?.asked.as_deref()
    }

    pub(crate) fn reader(&self) -> Option<&Reader> {
        self.details.as_ref()?.reader.as_deref()
    }

    pub(crate) fn warning(&self) -> Option<Notice> {
        self.details.as_ref()?.warning
    }

    pub(crate) fn is_held(&self) -> bool {
        self.details.as_ref().is_some_and(|d| d.held)
    }

    /// Who sent it, if that matters.
    pub(crate) fn consumer<'e>(&self, exchange: &'e Exchange) -> Option<&'e Consumer> {
        exchange.facts.consumer().filter(|_| self.has_payer)
    }
}

/// The rules that could apply to a request, in order. Nearly always it is one, which needs no list.
#[derive(Debug, Default)]
pub(crate) enum Candidates {
    #[default]
    None,
    One(usize),
    Several(Vec<usize>),
}

impl Candidates {
    pub(crate) fn as_slice(&self) -> &[usize] {
        match self {
            Self::None => &[],
            Self::One(at) => std::slice::from_ref(at),
            Self::Several(all) => all,
        }
    }
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
    pub(crate) reason: Reason,
    pub(crate) told: Option<Box<Told>>,
}

/// What an answer, or its request, told of a model.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) usage: Option<Usage>,
    pub(crate) model: Option<Vec<u8>>,
}

impl Outcome {
    pub(crate) fn usage(&self) -> Option<&Usage> {
        self.told.as_ref()?.usage.as_ref()
    }

    pub(crate) fn model(&self) -> Option<&[u8]> {
        self.told.as_ref()?.model.as_deref()
    }
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
