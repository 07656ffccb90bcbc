//! What tokens of each kind cost.

use crate::usage::Usage;
use tollgate_core::Money;
use tollgate_core::config::Value;

/// Prices of one token of a kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenPrices {
    /// Of the prompt.
    pub input: Money,
    /// Generated.
    pub output: Money,
    /// Of the prompt, from a cache; `None`: like any other token of the prompt.
    pub cached_read: Option<Money>,
    /// Of the prompt, written to a cache; `None`: likewise.
    pub cached_write: Option<Money>,
    /// Of the prompt, written to a cache that keeps it for an hour; `None`: like what is written for shorter.
    pub cached_write_1h: Option<Money>,
    /// Spent on reasoning; `None`: like any other generated token.
    pub reasoning: Option<Money>,
}

impl TokenPrices {
    /// Reads `per_token`.
    #[must_use]
    pub fn compile(value: Value<'_>) -> Option<Self> {
        let section = value.section()?;
        let money = |field| section.optional(field).map(|v| v.money());
        let input = money("input");
        let output = money("output");
        let cached_read = money("cached_read");
        let cached_write = money("cached_write");
        let cached_write_1h = money("cached_write_1h");
        let reasoning = money("reasoning");
        if input.is_none() && output.is_none() {
            section.error("needs input, output or both");
        }
        section.finish();
        Some(Self {
            input: input.unwrap_or(Some(Money::ZERO))?,
            output: output.unwrap_or(Some(Money::ZERO))?,
            cached_read: all_or_none(cached_read)?,
            cached_write: all_or_none(cached_write)?,
            cached_write_1h: all_or_none(cached_write_1h)?,
            reasoning: all_or_none(reasoning)?,
        })
    }

    /// What the tokens cost; `None` if that fits no number.
    #[must_use]
    pub fn cost(&self, usage: &Usage) -> Option<Money> {
        // A part with a price of its own leaves the whole that it is part of.
        let part = |price: Option<Money>, part: u64, whole: u64| match price {
            Some(price) => {
                let part = part.min(whole);
                Some((price.checked_mul(part)?, whole.saturating_sub(part)))
            }
            None => Some((Money::ZERO, whole)),
        };
        let (read, input) = part(self.cached_read, usage.cached_read, usage.input)?;
        // What is kept for an hour is a part of what was written.
        let all_writes = usage.cached_write.min(input);
        let (for_an_hour, writes) = part(self.cached_write_1h, usage.cached_write_1h, all_writes)?;
        let input = input.saturating_sub(all_writes.saturating_sub(writes));
        let (written, input) = part(self.cached_write, writes, input)?;
        let (reasoning, output) = part(self.reasoning, usage.reasoning, usage.output)?;
        [
            for_an_hour,
            written,
            reasoning,
            self.input.checked_mul(input)?,
            self.output.checked_mul(output)?,
        ]
        .into_iter()
        .try_fold(read, Money::checked_add)
    }
}

/// A field that is absent, wrong (the outer `None`), or there.
pub(crate) fn all_or_none<T>(field: Option<Option<T>>) -> Option<Option<T>> {
    match field {
        Some(None) => None,
        Some(Some(value)) => Some(Some(value)),
        None => Some(None),
    }
}
