//! What a request must be like before an expensive call is made.

use crate::request::Asked;
use tollgate_core::config::{Section, Value};

/// A million: numbers of requests are compared in millionths.
const MILLION: u64 = 1_000_000;
/// The highest bound that can be configured.
const MAX_BOUND: u64 = 1_000_000_000 * MILLION;

/// Why the body of requests under a rule is read, and what it must be like.
#[derive(Debug)]
pub struct Checks {
    /// The estimate comes from the request.
    pub estimate: bool,
    /// Streams are made to report their usage.
    pub force_usage: bool,
    rules: Option<Rules>,
}

#[derive(Debug)]
struct Rules {
    max_messages: Option<u64>,
    refuse_empty: bool,
    refuse_unknown_model: bool,
    max_tokens: Option<Range>,
    temperature: Option<Range>,
    required: Vec<Required>,
}

/// In millionths, both ends included.
#[derive(Clone, Copy, Debug)]
struct Range {
    min: u64,
    max: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Required {
    Model,
    Messages,
    MaxTokens,
    Temperature,
}

/// What is wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// Where: `max_tokens`, `messages[3]`; `body` for all of it.
    pub field: String,
    /// What, for a person.
    pub problem: String,
}

impl Invalid {
    pub(crate) fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            problem: problem.into(),
        }
    }
}

impl Checks {
    /// Reads `checks` and `force_stream_usage` of a price. The inner `None`: its requests need not be read.
    #[must_use]
    pub fn compile(rule: &Section<'_>, estimate: bool) -> Option<Option<Self>> {
        let force_usage = match rule.optional("force_stream_usage") {
            Some(v) => v.boolean(),
            None => Some(false),
        };
        let rules = rule.optional("checks").map(Rules::compile);
        let (force_usage, rules) = (force_usage?, crate::price::tokens::all_or_none(rules)?);
        let needed = estimate || force_usage || rules.is_some();
        Some(needed.then_some(Self {
            estimate,
            force_usage,
            rules,
        }))
    }

    /// Whether a model without a price is refused.
    #[must_use]
    pub fn refuses_unknown_model(&self) -> bool {
        self.rules.as_ref().is_some_and(|r| r.refuse_unknown_model)
    }

    /// Whether the request is as it must be.
    ///
    /// # Errors
    /// The first thing that is not.
    pub fn judge(&self, asked: &Asked) -> Result<(), Invalid> {
        match &self.rules {
            Some(rules) => rules.judge(asked),
            None => Ok(()),
        }
    }
}

impl Rules {
    fn compile(value: Value<'_>) -> Option<Self> {
        let section = value.section()?;
        let word = |field| match section.optional(field) {
            Some(v) => v.one_of(&[("refuse", true), ("allow", false)]),
            None => Some(true),
        };
        let max_messages = section
            .optional("max_messages")
            .map(|v| v.integer(1..=1_000_000));
        let refuse_empty = word("empty_messages");
        let refuse_unknown_model = word("unknown_model");
        let max_tokens = section.optional("max_tokens").map(|v| range(v, 0));
        let temperature = section.optional("temperature").map(|v| range(v, 6));
        let required = section
            .items("required")
            .iter()
            .map(|v| {
                v.one_of(&[
                    ("model", Required::Model),
                    ("messages", Required::Messages),
                    ("max_tokens", Required::MaxTokens),
                    ("temperature", Required::Temperature),
                ])
            })
            .collect::<Option<Vec<_>>>();
        section.finish();
        use crate::price::tokens::all_or_none;
        Some(Self {
            max_messages: all_or_none(max_messages)?,
            refuse_empty: refuse_empty?,
            refuse_unknown_model: refuse_unknown_model?,
            max_tokens: all_or_none(max_tokens)?,
            temperature: all_or_none(temperature)?,
            required: required?,
        })
    }

    fn judge(&self, asked: &Asked) -> Result<(), Invalid> {
        for field in &self.required {
            let (there, name) = match field {
                Required::Model => (asked.model.is_some(), "model"),
                Required::Messages => (asked.messages > 0, "messages"),
                Required::MaxTokens => (asked.max_tokens().is_some(), "max_tokens"),
                Required::Temperature => (asked.temperatures().next().is_some(), "temperature"),
            };
            if !there {
                return Err(Invalid::new(name, "is required"));
            }
        }
        if let Some(most) = self.max_messages
            && asked.messages > most
        {
            let problem = format!("must have at most {most} items, not {}", asked.messages);
            return Err(Invalid::new(asked.messages_field(), problem));
        }
        if let Some(field) = asked.empty_message()
            && self.refuse_empty
        {
            return Err(Invalid::new(field, "must not be empty"));
        }
        for (name, number) in asked.token_bounds() {
            let whole = number.filter(|n| n.is_multiple_of(MILLION));
            in_range(name, whole, self.max_tokens, "a whole number")?;
        }
        for (name, number) in asked.temperatures() {
            in_range(name, number, self.temperature, "a number")?;
        }
        Ok(())
    }
}

fn in_range(
    name: &str,
    number: Option<u64>,
    range: Option<Range>,
    kind: &str,
) -> Result<(), Invalid> {
    let Some(range) = range else {
        return Ok(());
    };
    if number.is_some_and(|n| range.min <= n && n <= range.max) {
        return Ok(());
    }
    let shown = |n: u64| tollgate_core::Money::from_pico(n.saturating_mul(MILLION)).to_string();
    let problem = format!(
        "must be {kind} from {} to {}",
        shown(range.min),
        shown(range.max)
    );
    Err(Invalid::new(name, problem))
}

/// `{min, max}`, each with that many decimals.
fn range(value: Value<'_>, decimals: u32) -> Option<Range> {
    let section = value.section()?;
    let scale = 10_u64.checked_pow(6_u32.checked_sub(decimals)?)?;
    let bound = |field| {
        let most = MAX_BOUND.checked_div(scale)?;
        section
            .required(field)
            .and_then(|v| v.decimal(decimals, most))
            .and_then(|n| n.checked_mul(scale))
    };
    let (min, max) = (bound("min"), bound("max"));
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        section.error("min must not be above max");
        return None;
    }
    section.finish();
    Some(Range {
        min: min?,
        max: max?,
    })
}
