//! How many tokens a call took, as answers report it.
//!
//! | module | its one job |
//! |---|---|
//! | [`format`] | where the providers say it: members of a document, pointers, headers |
//! | [`reader`] | finds it in an answer that arrives in pieces |

pub mod format;
pub mod reader;

use crate::json::{Node, Scalar};
use format::node;

pub use format::Format;
pub use reader::Reader;

/// A count above this is taken for an error, not for a bill.
pub const MAX_TOKENS: u64 = 1_000_000_000;

/// How many tokens a call took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// All tokens of the prompt, those read from and written to a cache included.
    pub input: u64,
    /// All generated tokens, reasoning included.
    pub output: u64,
    /// Part of `input` that came from a cache.
    pub cached_read: u64,
    /// Part of `input` that was written to a cache.
    pub cached_write: u64,
    /// Part of `cached_write` that the cache keeps for an hour (Anthropic).
    pub cached_write_1h: u64,
    /// Part of `output` that was spent on reasoning.
    pub reasoning: u64,
}

/// What an answer said about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// The model that answered.
    pub model: Option<Vec<u8>>,
    counts: [Count; COUNTS],
}

const COUNTS: usize = 11;

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
    /// some report its prompt in the total alone.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        let count = |node: Node| {
            let at = usize::from(node.checked_sub(node::FIRST_COUNT)?);
            self.counts.get(at).copied()
        };
        let part = |node| match count(node)? {
            Count::Absent => Some(0),
            Count::Tokens(n) => Some(n),
            Count::Invalid => None,
        };
        let prompt = match (
            count(node::INPUT)?,
            count(node::OUTPUT)?,
            count(node::TOTAL)?,
        ) {
            (Count::Tokens(n), ..) | (Count::Absent, Count::Absent, Count::Tokens(n)) => n,
            _ => return None,
        };
        // Some count the whole prompt and say how much of it was cached; others count what was cached apart.
        let read_apart = part(node::READ_APART)?;
        let written_apart = part(node::WRITTEN_APART)?;
        let thought_apart = part(node::THOUGHT_APART)?;
        let input = [read_apart, written_apart, part(node::INPUT_APART)?]
            .into_iter()
            .fold(prompt, u64::saturating_add);
        let output = part(node::OUTPUT)?.saturating_add(thought_apart);
        let cached_write = part(node::CACHED_WRITE)?
            .min(prompt)
            .saturating_add(written_apart);
        Some(Usage {
            input,
            output,
            cached_read: part(node::CACHED_READ)?
                .min(prompt)
                .saturating_add(read_apart),
            cached_write,
            cached_write_1h: part(node::WRITTEN_HOUR)?.min(cached_write),
            reasoning: part(node::REASONING)?
                .saturating_add(thought_apart)
                .min(output),
        })
    }

    pub(crate) fn note(&mut self, node: Node, scalar: Scalar<'_>) {
        if node == node::MODEL {
            if let Scalar::Text(model) = scalar
                && model.whole
            {
                self.model = Some(model.bytes.to_vec());
            }
            return;
        }
        let at = node.checked_sub(node::FIRST_COUNT).map(usize::from);
        let Some(count) = at.and_then(|at| self.counts.get_mut(at)) else {
            return;
        };
        *count = match scalar {
            // Streams say null in every event but the last; no report takes an earlier one back.
            Scalar::Null => return,
            Scalar::Number(digits) => tokens(digits).map_or(Count::Invalid, Count::Tokens),
            _ => Count::Invalid,
        };
    }

    /// A count as a header says it.
    pub(crate) fn note_text(&mut self, node: Node, text: &[u8]) {
        self.note(node, Scalar::Number(text.trim_ascii()));
    }

    /// A later event of a stream: what it reports replaces what was reported before, for it counts
    /// the whole answer so far. Adding would bill twice. What it is silent about stays: Anthropic reports the
    /// prompt in the first event and the rest in the last one.
    fn merge(&mut self, later: &Self) {
        if later.model.is_some() {
            self.model.clone_from(&later.model);
        }
        for (count, later) in self.counts.iter_mut().zip(later.counts) {
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
    let plain = text.bytes().all(|b| b.is_ascii_digit());
    plain
        .then(|| text.parse().ok().filter(|n| *n <= MAX_TOKENS))
        .flatten()
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)] // in a test an overflow is a finding
mod tests;
