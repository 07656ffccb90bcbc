//! The price table: which rule a call falls under, and what it costs, to the picounit.

use crate::usage::Usage;
use std::rc::Rc;
use tollgate_core::Money;
use tollgate_core::config::{Section, Value};
use tollgate_core::matcher::{Matcher, TextPattern};

/// Tokens assumed before a call when the rule does not say.
const DEFAULT_ESTIMATE: Usage = Usage {
    input: 1_000,
    output: 1_000,
    cached_read: 0,
    cached_write: 0,
    reasoning: 0,
};

/// One rule of the table.
#[derive(Debug)]
pub struct Price {
    /// Its name in metrics and the access log.
    pub name: Rc<str>,
    /// Which requests it is about.
    pub matcher: Matcher,
    /// Which model it is about; any, if there is none. Known only once the answer names it.
    pub model: Option<TextPattern>,
    /// What a request costs, whatever it does.
    pub base: Money,
    /// What tokens cost.
    pub tokens: Option<TokenPrices>,
    /// Answers with these status codes cost nothing.
    pub free_status: Vec<(u16, u16)>,
    /// What is set aside before the call.
    pub estimate: Money,
    /// What an answer without usable usage costs.
    pub missing: Money,
}

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
    /// Spent on reasoning; `None`: like any other generated token.
    pub reasoning: Option<Money>,
}

impl TokenPrices {
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
        let (written, input) = part(self.cached_write, usage.cached_write, input)?;
        let (reasoning, output) = part(self.reasoning, usage.reasoning, usage.output)?;
        [
            written,
            reasoning,
            self.input.checked_mul(input)?,
            self.output.checked_mul(output)?,
        ]
        .into_iter()
        .try_fold(read, Money::checked_add)
    }
}

impl Price {
    /// Reads one item of `prices`; `number` is its position, counted from one.
    #[must_use]
    pub fn compile(value: Value<'_>, number: usize) -> Option<Self> {
        let rule = value.section()?;
        let name = match rule.optional("name") {
            Some(name) => name.identifier(),
            None => Some(Rc::from(format!("price-{number}"))),
        };
        let matcher = Matcher::of_rule(&rule);
        let model = rule.optional("model").map(model);
        let base = rule.optional("base").map(|v| v.money());
        let tokens = rule.optional("per_token").map(token_prices);
        if base.is_none() && tokens.is_none() {
            rule.error("needs base, per_token or both");
        }
        let free_status = match rule.optional("free_status") {
            Some(list) => list
                .list()
                .map(|items| items.iter().filter_map(status_range).collect()),
            // An error costs nothing unless the table says so.
            None => Some(vec![(400, 599)]),
        };
        let estimate = rule.optional("estimate");
        let most = rule.optional("max_usage");
        let on_missing = rule.optional("on_missing_usage");
        if tokens.is_none() {
            for value in [&estimate, &most, &on_missing].into_iter().flatten() {
                value.error("is only for rules with per_token");
            }
        }
        let base = match base {
            Some(base) => base?,
            None => Money::ZERO,
        };
        let tokens = match tokens {
            Some(tokens) => Some(tokens?),
            None => None,
        };
        let assumed = match &estimate {
            Some(value) => usage(value)?,
            None => DEFAULT_ESTIMATE,
        };
        let estimated = amount(&rule, base, tokens.as_ref(), &assumed)?;
        let missing = missing(&rule, base, tokens.as_ref(), estimated, on_missing, most);
        rule.finish();
        Some(Self {
            name: name?,
            matcher: matcher?,
            model: match model {
                Some(model) => Some(model?),
                None => None,
            },
            base,
            tokens,
            free_status: free_status?,
            estimate: estimated,
            missing: missing?,
        })
    }

    /// Whether the true cost can be known only from the answer's body.
    #[must_use]
    pub fn needs_body(&self) -> bool {
        self.tokens.is_some() || self.model.is_some()
    }

    /// Whether it never costs anything.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.base == Money::ZERO && self.tokens.is_none_or(|t| t == TokenPrices::default())
    }

    /// Whether answers with that status cost nothing.
    #[must_use]
    pub fn is_free_status(&self, status: u16) -> bool {
        self.free_status
            .iter()
            .any(|(from, to)| (*from..=*to).contains(&status))
    }

    /// Whether the rule is about that model.
    #[must_use]
    pub fn is_for(&self, model: &[u8]) -> bool {
        self.model.as_ref().is_none_or(|m| m.matches(model))
    }

    /// What a call with that usage costs. `None`: usage is needed and missing, or the sum fits no number.
    #[must_use]
    pub fn cost(&self, usage: Option<&Usage>) -> Option<Money> {
        match &self.tokens {
            None => Some(self.base),
            Some(tokens) => self.base.checked_add(tokens.cost(usage?)?),
        }
    }
}

fn amount(
    rule: &Section<'_>,
    base: Money,
    tokens: Option<&TokenPrices>,
    usage: &Usage,
) -> Option<Money> {
    let sum = match tokens {
        Some(tokens) => tokens.cost(usage).and_then(|t| base.checked_add(t)),
        None => Some(base),
    };
    if sum.is_none() {
        rule.error("a call would cost more than 18 million, which fits no number here");
    }
    sum
}

/// What an answer without usage costs, by `on_missing_usage`.
fn missing(
    rule: &Section<'_>,
    base: Money,
    tokens: Option<&TokenPrices>,
    estimate: Money,
    on_missing: Option<Value<'_>>,
    most: Option<Value<'_>>,
) -> Option<Money> {
    #[derive(Clone, Copy, PartialEq)]
    enum OnMissing {
        Estimate,
        Base,
        Max,
    }
    let words = [
        ("estimate", OnMissing::Estimate),
        ("base", OnMissing::Base),
        ("max", OnMissing::Max),
    ];
    let on_missing = match &on_missing {
        Some(value) => value.one_of(&words)?,
        None => OnMissing::Estimate,
    };
    let at_most = match &most {
        Some(value) => Some(amount(rule, base, tokens, &usage(value)?)?),
        None => None,
    };
    match (on_missing, at_most) {
        (OnMissing::Estimate, None) => Some(estimate),
        (OnMissing::Base, None) => Some(base),
        (OnMissing::Max, Some(most)) => Some(most),
        (OnMissing::Max, None) => {
            rule.error("on_missing_usage: max needs max_usage");
            None
        }
        (_, Some(_)) => {
            rule.error("max_usage is only for on_missing_usage: max");
            None
        }
    }
}

/// `gpt-4`, or `{prefix: gpt-4}` and the like.
fn model(value: Value<'_>) -> Option<TextPattern> {
    if matches!(value.node(), tollgate_core::config::Node::Object(_)) {
        let section = value.section()?;
        let pattern = TextPattern::compile(&section);
        section.finish();
        return pattern;
    }
    value
        .nonempty()
        .map(|name| TextPattern::Exact(name.as_bytes().to_vec()))
}

fn token_prices(value: Value<'_>) -> Option<TokenPrices> {
    let section = value.section()?;
    let input = section.optional("input").map(|v| v.money());
    let output = section.optional("output").map(|v| v.money());
    let cached_read = section.optional("cached_read").map(|v| v.money());
    let reasoning = section.optional("reasoning").map(|v| v.money());
    if input.is_none() && output.is_none() {
        section.error("needs input, output or both");
    }
    section.finish();
    let money = |field: Option<Option<Money>>| match field {
        Some(None) => None,
        Some(Some(money)) => Some(Some(money)),
        None => Some(None),
    };
    Some(TokenPrices {
        input: money(input)?.unwrap_or_default(),
        output: money(output)?.unwrap_or_default(),
        cached_read: money(cached_read)?,
        cached_write: None,
        reasoning: money(reasoning)?,
    })
}

fn usage(value: &Value<'_>) -> Option<Usage> {
    let section = value.clone().section()?;
    let tokens = |field| match section.optional(field) {
        Some(value) => value.integer(0..=crate::usage::MAX_TOKENS),
        None => Some(0),
    };
    let (input, output) = (tokens("input"), tokens("output"));
    section.finish();
    Some(Usage {
        input: input?,
        output: output?,
        ..Usage::default()
    })
}

/// `5xx`, `404` or 404.
fn status_range(value: &Value<'_>) -> Option<(u16, u16)> {
    use tollgate_core::config::Node;
    let single = |n: u64| u16::try_from(n).ok().filter(|n| (100..600).contains(n));
    let range = match value.node() {
        Node::Integer(n) => single(*n).map(|n| (n, n)),
        Node::Text(text) => match text.strip_suffix("xx") {
            Some(class) => class
                .parse::<u16>()
                .ok()
                .filter(|n| class.len() == 1 && (1..=5).contains(n))
                .and_then(|n| Some((n.checked_mul(100)?, n.checked_mul(100)?.checked_add(99)?))),
            None => text
                .parse::<u64>()
                .ok()
                .filter(|_| text.len() == 3)
                .and_then(single)
                .map(|n| (n, n)),
        },
        _ => None,
    };
    value.accept(
        range,
        "must be a status such as 404, or a class such as 5xx",
    )
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)] // in a test an overflow is a finding
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn money(text: &str) -> Money {
        Money::parse(text).unwrap()
    }

    #[test]
    fn the_sum_is_exact() {
        let prices = TokenPrices {
            input: money("0.00001"),
            output: money("0.000005"),
            ..TokenPrices::default()
        };
        let usage = Usage {
            input: 123,
            output: 457,
            ..Usage::default()
        };
        assert_eq!(prices.cost(&usage), Some(money("0.003515")));
    }

    #[test]
    fn a_part_with_its_own_price_leaves_the_whole() {
        let prices = TokenPrices {
            input: money("0.00001"),
            output: money("0.00004"),
            cached_read: Some(money("0.000001")),
            cached_write: None,
            reasoning: Some(money("0.00005")),
        };
        let usage = Usage {
            input: 1000,
            output: 100,
            cached_read: 900,
            cached_write: 50,
            reasoning: 60,
        };
        // 100 x 10 + 900 x 1 + 40 x 40 + 60 x 50 millionths
        assert_eq!(prices.cost(&usage), Some(money("0.0065")));
    }

    #[test]
    fn a_sum_that_fits_no_number_is_none() {
        let prices = TokenPrices {
            input: money("1"),
            ..TokenPrices::default()
        };
        let usage = Usage {
            input: 1_000_000_000,
            ..Usage::default()
        };
        assert_eq!(prices.cost(&usage), None);
    }

    proptest! {
        #[test]
        fn parts_at_the_price_of_the_whole_change_nothing(
            input in 0_u64..1_000_000, output in 0_u64..1_000_000, cached: u64, reasoning: u64,
            rate in 0_u64..1_000_000_000,
        ) {
            let usage = Usage { input, output, cached_read: cached.min(input), cached_write: 0, reasoning: reasoning.min(output) };
            let rate = Money::from_pico(rate);
            let whole = TokenPrices { input: rate, output: rate, ..TokenPrices::default() };
            let parts = TokenPrices { cached_read: Some(rate), reasoning: Some(rate), ..whole };
            prop_assert_eq!(whole.cost(&usage), parts.cost(&usage));
            prop_assert_eq!(whole.cost(&usage).map(Money::pico), Some(rate.pico() * (input + output)));
        }
    }
}
