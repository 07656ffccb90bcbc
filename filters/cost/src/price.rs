//! The price table: which rule a call falls under, and what it costs, to the picounit.
//!
//! | module | its one job |
//! |---|---|
//! | [`amount`] | exact sums, rounded once |
//! | [`tokens`] | prices of tokens of each kind |
//! | [`model`] | which models a rule is about; aliases |
//! | `compile` | reading a rule |
//! | `parts` | reading its smaller parts |

pub mod amount;
mod compile;
pub mod model;
mod parts;
pub mod tokens;

pub(crate) use parts::{MAX_UNITS, ids_of, multipliers};

use crate::call::Needs;
use crate::check::Checks;
use crate::request::Asked;
use crate::usage::{Format, MAX_TOKENS, Usage};
use amount::Sum;
use model::Models;
use std::rc::Rc;
use tokens::TokenPrices;
use tollgate_core::matcher::Matcher;
use tollgate_core::{Consumer, Exchange, HeaderName, Money, UnixNanos, World};

/// One rule of the table.
#[derive(Debug)]
pub struct Price {
    /// Its name in metrics and the access log.
    pub name: Rc<str>,
    /// Which requests it is about.
    pub matcher: Matcher,
    /// Whose requests; everybody's, if both lists are empty.
    pub consumers: Vec<Rc<str>>,
    /// See `consumers`.
    pub groups: Vec<Rc<str>>,
    /// From this instant on.
    pub from: UnixNanos,
    /// Up to this instant, exclusively.
    pub until: UnixNanos,
    /// Which models it is about; any, if there is none. Known only once the answer names it.
    pub models: Option<Models>,
    /// What a request costs, whatever it does.
    pub base: Money,
    /// What tokens cost.
    pub tokens: Option<TokenPrices>,
    /// What 1024 bytes of the request body cost.
    pub request_kib: Option<Money>,
    /// What 1024 bytes of the response body cost.
    pub response_kib: Option<Money>,
    /// What a second from the request's first byte to the answer's last one costs.
    pub second: Option<Money>,
    /// What units cost that the answer counts in a header.
    pub units: Vec<UnitPrice>,
    /// What the sum is multiplied with, by group.
    pub multipliers: Rc<[Multiplier]>,
    /// Answers with these status codes cost nothing.
    pub free_status: Vec<(u16, u16)>,
    /// How answers report tokens.
    pub format: Format,
    /// What is assumed before the call.
    pub assumed: Assumed,
    /// What is assumed after it, where the answer says nothing.
    pub on_missing: OnMissing,
    /// What is set aside before the call when nothing is known of it.
    pub estimate: Money,
    /// What is read out of the request, and what it must be like.
    pub checks: Option<Rc<Checks>>,
    /// What follows from all that.
    pub(crate) needs: Needs,
    /// [`Price::is_known_at_once`].
    pub(crate) at_once: bool,
    /// [`Price::base`] as it is told.
    pub(crate) base_text: Box<str>,
}

/// The price of something that the answer counts in a header.
#[derive(Debug)]
pub struct UnitPrice {
    /// The header.
    pub header: HeaderName,
    /// Of one unit.
    pub price: Money,
}

/// What members of a group pay of a price.
#[derive(Debug)]
pub struct Multiplier {
    /// The groups.
    pub groups: Vec<Rc<str>>,
    /// In millionths.
    pub factor: u64,
}

/// [`Multiplier::factor`] of 1.
pub const ONE: u64 = 1_000_000;

/// What a call takes, as far as it is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Assumed {
    /// Tokens.
    pub usage: Usage,
    /// Of the response body.
    pub response_bytes: u64,
    /// Nanoseconds.
    pub nanos: u64,
    /// Of each header, in millionths.
    pub units: u64,
}

/// What to do when the answer does not say what it used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnMissing {
    /// Take what was assumed before the call.
    Estimate,
    /// Take nothing: the base remains, and what was measured here.
    Base,
    /// Take this.
    Max(Assumed),
}

/// What a call took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// Tokens; `None`: the answer did not say.
    pub usage: Option<Usage>,
    /// Of the request body.
    pub request_bytes: u64,
    /// Of the response body.
    pub response_bytes: u64,
    /// Nanoseconds from the request to the end of its answer.
    pub nanos: u64,
    /// Units of each header, in millionths; `None`: the answer did not say.
    pub units: Vec<Option<u64>>,
}

impl Price {
    /// Whether the rule is about requests like this one, whoever sends it.
    #[must_use]
    #[inline(always)] // little code, mostly two calls
    pub fn matches(&self, exchange: &Exchange, world: &dyn World) -> bool {
        // A rule that makes requests free lets more pass than having no such rule would.
        if self.is_free() {
            self.matcher.matches_safely(exchange, world)
        } else {
            self.matcher.matches(exchange, world)
        }
    }

    /// Whether the rule is about requests of everybody.
    #[must_use]
    pub fn is_for_all(&self) -> bool {
        self.consumers.is_empty() && self.groups.is_empty()
    }

    /// Whether the rule is about requests of this consumer.
    #[must_use]
    pub fn is_for_consumer(&self, consumer: Option<&Consumer>) -> bool {
        if self.is_for_all() {
            return true;
        }
        consumer.is_some_and(|c| {
            self.consumers.contains(&c.id) || self.groups.iter().any(|g| c.in_group(g))
        })
    }

    /// Whether the rule or its price depends on who asks.
    #[must_use]
    pub fn asks_for_consumer(&self) -> bool {
        !self.is_for_all() || !self.multipliers.is_empty()
    }

    /// What this consumer pays of the price, in millionths. The first multiplier that fits counts.
    #[must_use]
    pub fn factor(&self, consumer: Option<&Consumer>) -> u64 {
        let fits =
            |m: &&Multiplier| consumer.is_some_and(|c| m.groups.iter().any(|g| c.in_group(g)));
        self.multipliers.iter().find(fits).map_or(ONE, |m| m.factor)
    }

    /// Whether the price is valid at that instant.
    #[must_use]
    pub fn is_valid_at(&self, now: UnixNanos) -> bool {
        self.from <= now && now < self.until
    }

    /// Whether the cost can be known only when the answer has ended.
    #[must_use]
    pub fn needs_end(&self) -> bool {
        let reads = self.tokens.is_some() || self.models.is_some();
        (reads && self.format.table.is_some())
            || self.response_kib.is_some()
            || self.second.is_some()
    }

    /// Whether it can be known only from the answer's headers.
    #[must_use]
    pub fn needs_headers(&self) -> bool {
        self.tokens.is_some() || self.models.is_some() || !self.units.is_empty()
    }

    /// Whether it is known beforehand.
    #[must_use]
    pub fn is_flat(&self) -> bool {
        self.is_base_only() && self.models.is_none()
    }

    /// Whether there is nothing but a base price.
    #[must_use]
    pub fn is_base_only(&self) -> bool {
        self.tokens.is_none() && self.is_measured_nowhere()
    }

    fn is_measured_nowhere(&self) -> bool {
        self.request_kib.is_none()
            && self.response_kib.is_none()
            && self.second.is_none()
            && self.units.is_empty()
    }

    fn own_needs(&self) -> Needs {
        let reads = self.tokens.is_some() || self.models.is_some();
        let end = self.needs_end();
        Needs {
            status: !self.free_status.is_empty(),
            headers: self.needs_headers() || end,
            usage: reads && self.format.table.is_some(),
            end,
            request_size: self.request_kib.is_some(),
            flat: self.is_flat(),
        }
    }

    /// Whether nothing has to be looked at before the call: neither its request, nor who sends it, nor the clock.
    #[must_use]
    pub fn is_known_at_once(&self) -> bool {
        self.checks.is_none()
            && self.request_kib.is_none()
            && self.multipliers.is_empty()
            && self.second.is_none()
    }

    /// Whether it never costs anything.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.base == Money::ZERO && self.has_only_a_base()
    }

    /// Whether nothing but the base costs anything.
    #[inline(never)]
    fn has_only_a_base(&self) -> bool {
        self.tokens.is_none_or(|t| t == TokenPrices::default()) && self.is_measured_nowhere()
    }

    /// Whether answers with that status cost nothing.
    #[must_use]
    pub fn is_free_status(&self, status: u16) -> bool {
        self.free_status
            .iter()
            .any(|(from, to)| (*from..=*to).contains(&status))
    }

    /// The tokens that a call is expected to take: by what its request asks for, if that is read for it.
    #[must_use]
    pub fn expected(&self, asked: Option<&Asked>) -> Usage {
        let Some(asked) = asked.filter(|_| self.checks.as_ref().is_some_and(|c| c.estimate)) else {
            return self.assumed.usage;
        };
        let output = asked.max_tokens().unwrap_or(self.assumed.usage.output);
        Usage {
            input: asked.input_tokens().min(MAX_TOKENS),
            output: output.saturating_mul(asked.answers()).min(MAX_TOKENS),
            ..Usage::default()
        }
    }

    /// What a call with the assumptions costs. `None`: more than fits a number.
    #[must_use]
    pub fn estimate(&self, usage: &Usage, request_bytes: u64, factor: u64) -> Option<Money> {
        let Assumed {
            response_bytes,
            nanos,
            units,
            ..
        } = self.assumed;
        let measured = Measured {
            usage: Some(*usage),
            request_bytes,
            response_bytes,
            nanos,
            units: self.units.iter().map(|_| Some(units)).collect(),
        };
        self.cost(&measured, factor).map(|(cost, _)| cost)
    }

    /// What a call costs that took that much, and whether all of it was reported. `assumed` stands in for what
    /// was not. `None`: more than fits a number.
    #[must_use]
    pub fn cost_or_missing(
        &self,
        measured: &Measured,
        assumed: &Usage,
        factor: u64,
    ) -> Option<(Money, bool)> {
        match self.cost(measured, factor) {
            Some((cost, true)) => Some((cost, true)),
            // What does not fit a number cannot be what the answer meant.
            _ => {
                let filled = self.filled(measured, assumed);
                self.cost(&filled, factor).map(|(cost, _)| (cost, false))
            }
        }
    }

    fn filled(&self, measured: &Measured, estimated: &Usage) -> Measured {
        let (usage, units) = match self.on_missing {
            OnMissing::Estimate => (*estimated, self.assumed.units),
            OnMissing::Base => (Usage::default(), 0),
            OnMissing::Max(most) => (most.usage, most.units),
        };
        let usage_fits = measured
            .usage
            .filter(|u| self.tokens.is_none_or(|t| t.cost(u).is_some()));
        Measured {
            usage: Some(usage_fits.unwrap_or(usage)),
            units: measured
                .units
                .iter()
                .map(|n| Some(n.unwrap_or(units)))
                .collect(),
            ..measured.clone()
        }
    }

    /// The sum, and whether nothing was missing.
    fn cost(&self, measured: &Measured, factor: u64) -> Option<(Money, bool)> {
        let mut sum = Sum::default();
        let mut complete = true;
        sum.add(self.base)?;
        if let Some(tokens) = &self.tokens {
            match &measured.usage {
                Some(usage) => sum.add(tokens.cost(usage)?)?,
                None => complete = false,
            }
        }
        if let Some(price) = self.request_kib {
            sum.add_part(price, measured.request_bytes, amount::Per::Kib)?;
        }
        if let Some(price) = self.response_kib {
            sum.add_part(price, measured.response_bytes, amount::Per::Kib)?;
        }
        if let Some(price) = self.second {
            sum.add_part(price, measured.nanos, amount::Per::Second)?;
        }
        for (unit, count) in self.units.iter().zip(&measured.units) {
            match count {
                Some(count) => sum.add_part(unit.price, *count, amount::Per::Million)?,
                None => complete = false,
            }
        }
        Some((sum.times(factor)?, complete))
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)] // in a test an overflow is a finding
mod tests;
