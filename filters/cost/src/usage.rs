//! Token usage out of an answer, as OpenAI and those who speak its dialect report it.

use crate::json::{Member, Node, ROOT, Scalar, Scanner};
use crate::sse::Events;

/// A count above this is taken for an error, not for a bill.
pub const MAX_TOKENS: u64 = 1_000_000_000;

/// How many tokens a call took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// All tokens of the prompt, those read from a cache included.
    pub input: u64,
    /// All generated tokens, reasoning included.
    pub output: u64,
    /// Part of `input` that came from a cache.
    pub cached_read: u64,
    /// Part of `input` that was written to a cache. OpenAI reports none.
    pub cached_write: u64,
    /// Part of `output` that was spent on reasoning.
    pub reasoning: u64,
}

const USAGE: Node = 1;
const MODEL: Node = 2;
const RESPONSE: Node = 3;
const INPUT_DETAILS: Node = 4;
const OUTPUT_DETAILS: Node = 5;
const INPUT: Node = 6;
const OUTPUT: Node = 7;
const TOTAL: Node = 8;
const CACHED: Node = 9;
const REASONING: Node = 10;

const fn member(of: Node, name: &'static str, node: Node) -> Member {
    Member { of, name, node }
}

/// Chat completions, completions and embeddings say `prompt_tokens`, Responses `input_tokens`; the
/// last event of a streamed Responses answer wraps the whole answer in `response`.
/// <https://platform.openai.com/docs/api-reference>
const OPENAI: &[Member] = &[
    member(ROOT, "usage", USAGE),
    member(ROOT, "model", MODEL),
    member(ROOT, "response", RESPONSE),
    member(RESPONSE, "usage", USAGE),
    member(RESPONSE, "model", MODEL),
    member(USAGE, "prompt_tokens", INPUT),
    member(USAGE, "input_tokens", INPUT),
    member(USAGE, "completion_tokens", OUTPUT),
    member(USAGE, "output_tokens", OUTPUT),
    member(USAGE, "total_tokens", TOTAL),
    member(USAGE, "prompt_tokens_details", INPUT_DETAILS),
    member(USAGE, "input_tokens_details", INPUT_DETAILS),
    member(USAGE, "completion_tokens_details", OUTPUT_DETAILS),
    member(USAGE, "output_tokens_details", OUTPUT_DETAILS),
    member(INPUT_DETAILS, "cached_tokens", CACHED),
    member(OUTPUT_DETAILS, "reasoning_tokens", REASONING),
];

/// What an answer said about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// The model that answered.
    pub model: Option<Vec<u8>>,
    input: Count,
    output: Count,
    total: Count,
    cached: Count,
    reasoning: Count,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Count {
    #[default]
    Absent,
    Tokens(u64),
    /// Negative, a fraction, not a number, absurdly large.
    Invalid,
}

impl Findings {
    /// The usage, if it was there and made sense. An answer without output tokens is an embedding;
    /// some report its prompt in `total_tokens` alone.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        let input = match (self.input, self.output, self.total) {
            (Count::Tokens(n), ..) | (Count::Absent, Count::Absent, Count::Tokens(n)) => n,
            _ => return None,
        };
        let part = |count| match count {
            Count::Absent => Some(0),
            Count::Tokens(n) => Some(n),
            Count::Invalid => None,
        };
        let output = part(self.output)?;
        Some(Usage {
            input,
            output,
            cached_read: part(self.cached)?.min(input),
            cached_write: 0,
            reasoning: part(self.reasoning)?.min(output),
        })
    }

    fn note(&mut self, node: Node, scalar: Scalar<'_>) {
        let count = match node {
            MODEL => {
                if let Scalar::Text(model) = scalar {
                    self.model = Some(model.to_vec());
                }
                return;
            }
            INPUT => &mut self.input,
            OUTPUT => &mut self.output,
            TOTAL => &mut self.total,
            CACHED => &mut self.cached,
            REASONING => &mut self.reasoning,
            _ => return,
        };
        *count = match scalar {
            // Streams say null in every event but the last; no report takes an earlier one back.
            Scalar::Null => return,
            Scalar::Number(digits) => tokens(digits).map_or(Count::Invalid, Count::Tokens),
            _ => Count::Invalid,
        };
    }

    /// A later event of a stream: what it reports replaces what was reported before, for it counts
    /// the whole answer so far. Adding would bill twice.
    fn merge(&mut self, later: Self) {
        if later.model.is_some() {
            self.model = later.model;
        }
        let pairs = [
            (&mut self.input, later.input),
            (&mut self.output, later.output),
            (&mut self.total, later.total),
            (&mut self.cached, later.cached),
            (&mut self.reasoning, later.reasoning),
        ];
        for (count, later) in pairs {
            if later != Count::Absent {
                *count = later;
            }
        }
    }
}

fn tokens(digits: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok()?;
    // Some JSON writers know only doubles: 12.0.
    let text = text.strip_suffix(".0").unwrap_or(text);
    text.parse().ok().filter(|n| *n <= MAX_TOKENS)
}

/// Reads an answer's body as it passes by.
#[derive(Debug)]
pub enum Reader {
    /// One JSON document.
    Json(Box<Document>),
    /// Server-sent events with a JSON document each.
    Events(Box<Stream>),
}

/// See [`Reader::Json`].
#[derive(Debug)]
pub struct Document {
    scanner: Scanner,
    findings: Findings,
    complete: bool,
}

/// See [`Reader::Events`].
#[derive(Debug)]
pub struct Stream {
    events: Events,
    scanner: Scanner,
    event: Findings,
    findings: Findings,
}

impl Reader {
    /// For `application/json`.
    #[must_use]
    pub fn json() -> Self {
        Self::Json(Box::new(Document {
            scanner: Scanner::new(OPENAI),
            findings: Findings::default(),
            complete: false,
        }))
    }

    /// For `text/event-stream`.
    #[must_use]
    pub fn events() -> Self {
        Self::Events(Box::new(Stream {
            events: Events::default(),
            scanner: Scanner::new(OPENAI),
            event: Findings::default(),
            findings: Findings::default(),
        }))
    }

    /// Reads the next piece; `end` with the last one.
    pub fn feed(&mut self, piece: &[u8], end: bool) {
        match self {
            Self::Json(document) => {
                let Document {
                    scanner,
                    findings,
                    complete,
                } = &mut **document;
                let mut note = |node, scalar: Scalar<'_>| findings.note(node, scalar);
                scanner.feed(piece, &mut note);
                if end {
                    *complete = scanner.finish(&mut note);
                }
            }
            Self::Events(stream) => {
                let Stream {
                    events,
                    scanner,
                    event,
                    findings,
                } = &mut **stream;
                events.feed(piece, end, &mut |data| match data {
                    Some(data) => scanner.feed(data, &mut |node, scalar| event.note(node, scalar)),
                    None => {
                        let whole = scanner.finish(&mut |node, scalar| event.note(node, scalar));
                        let event = std::mem::take(event);
                        // `[DONE]` and other events that are not JSON report nothing.
                        if whole {
                            findings.merge(event);
                        }
                        scanner.reset();
                    }
                });
            }
        }
    }

    /// Whether nothing that may still come can bring any usage.
    #[must_use]
    pub fn is_hopeless(&self) -> bool {
        matches!(self, Self::Json(document) if document.scanner.has_failed())
    }

    /// What the answer said, as far as it arrived. Half a document says nothing: what looks like its usage could still be
    /// contradicted. Of a stream every whole event counts.
    #[must_use]
    pub fn findings(&self) -> Option<&Findings> {
        match self {
            Self::Json(document) => document.complete.then_some(&document.findings),
            Self::Events(stream) => Some(&stream.findings),
        }
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)] // in a test an overflow is a finding
mod tests;
