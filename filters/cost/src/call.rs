//! One priced call: what is remembered of it, and how its answer can be read.

use crate::ledger::Hold;
use crate::meters::Reason;
use crate::usage::{Reader, Usage};
use std::rc::Rc;
use tollgate_core::{Headers, Money};

/// A priced call on its way.
#[derive(Debug)]
pub(crate) struct Call {
    /// The rules that could apply, in order; the answer's model chooses.
    pub(crate) candidates: Vec<usize>,
    /// The one with the highest estimate: charged before the call, and after it in doubt.
    pub(crate) costliest: usize,
    pub(crate) estimate: Money,
    pub(crate) needs_body: bool,
    pub(crate) reads_status: bool,
    pub(crate) hold: Option<Hold>,
    pub(crate) remaining: Option<Money>,
    pub(crate) consumer: Option<Rc<str>>,
    pub(crate) reader: Option<Reader>,
    /// The answer is held until its cost is known.
    pub(crate) held: bool,
    pub(crate) read: usize,
    pub(crate) concluded: bool,
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
    pub(crate) reason: Reason,
}

/// How to read usage out of an answer, by its headers. `None`: it has none that could be read.
pub(crate) fn reader_for(response: &Headers) -> Option<Reader> {
    let encoded = response
        .get_all("content-encoding")
        .any(|v| !v.trim_ascii().eq_ignore_ascii_case(b"identity"));
    if encoded {
        return None;
    }
    let value = response.first("content-type")?;
    let media_type = value.split(|b| *b == b';').next()?.trim_ascii();
    let media_type = media_type.to_ascii_lowercase();
    if media_type == b"text/event-stream" {
        return Some(Reader::events());
    }
    let is_json = media_type == b"application/json" || media_type.ends_with(b"+json");
    is_json.then(Reader::json)
}
