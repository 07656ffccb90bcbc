//! The headers that tell a client what it cost.

use crate::call::{Call, Notice};
use crate::policy::Cost;
use tollgate_core::config::{Node, Section};
use tollgate_core::money::MoneyText;
use tollgate_core::{Exchange, HeaderName, Money};

/// Their names; `None`: not told.
#[derive(Debug)]
pub struct Shown {
    /// The cost, once it is known.
    pub cost: Option<HeaderName>,
    /// What was set aside, where the cost is not known in time.
    pub estimate: Option<HeaderName>,
    /// What is left of the budget closest to its end.
    pub remaining: Option<HeaderName>,
    /// Which budget is nearly used up.
    pub warning: Option<HeaderName>,
    /// The cost, after an answer that was not held.
    pub trailer: Option<HeaderName>,
}

impl Default for Shown {
    fn default() -> Self {
        Self {
            cost: Some(HeaderName::from_static("x-request-cost")),
            estimate: Some(HeaderName::from_static("x-request-cost-estimate")),
            remaining: Some(HeaderName::from_static("x-budget-remaining")),
            warning: Some(HeaderName::from_static("x-budget-warning")),
            trailer: None,
        }
    }
}

impl Shown {
    /// Reads `headers`.
    #[must_use]
    pub fn compile(section: &Section<'_>) -> Option<Self> {
        let Some(value) = section.optional("headers") else {
            return Some(Self::default());
        };
        let headers = value.section()?;
        let name = |field: &'static str, default: Option<HeaderName>| match headers.optional(field)
        {
            Some(v) if *v.node() == Node::Bool(false) => Some(None),
            Some(v) => v.header_name().map(Some),
            None => Some(default),
        };
        let default = Self::default();
        let cost = name("cost", default.cost);
        let estimate = name("estimate", default.estimate);
        let remaining = name("remaining", default.remaining);
        let warning = name("warning", default.warning);
        let trailer = name("trailer", default.trailer);
        headers.finish();
        Some(Self {
            cost: cost?,
            estimate: estimate?,
            remaining: remaining?,
            warning: warning?,
            trailer: trailer?,
        })
    }
}

impl Cost {
    /// Shows `amount`, in units, as the cost or as an estimate, and what is left. A header of that kind that the
    /// upstream sent is not about this call.
    #[inline(always)] // in `conclude`; the other way is for answers that could not wait
    pub(crate) fn show(
        &self,
        call: &Call,
        amount: &[u8],
        left: Option<&[u8]>,
        exact: bool,
        exchange: &mut Exchange,
    ) {
        let response = &mut exchange.response;
        let (name, other) = if exact {
            (&self.shown.cost, &self.shown.estimate)
        } else {
            (&self.shown.estimate, &self.shown.cost)
        };
        if let Some(other) = other {
            response.remove(other);
        }
        if let Some(name) = name {
            response.set(name, amount);
        }
        if let (Some(name), Some(left)) = (&self.shown.remaining, left) {
            response.set(name, left);
        }
        if let Some(notice) = call.warning() {
            self.show_warning(notice, call, exchange);
        }
    }

    #[inline(never)]
    fn show_warning(&self, notice: Notice, call: &Call, exchange: &mut Exchange) {
        if let Some(name) = &self.shown.warning
            && let Some(text) = self.warning_text(notice, call)
        {
            exchange.response.set(name, text);
        }
    }

    #[inline(never)]
    pub(crate) fn show_estimate(&self, call: &Call, exchange: &mut Exchange) {
        let left = call.remaining.map(Money::text);
        let left = left.as_ref().map(MoneyText::as_bytes);
        let estimate = call.estimate.text();
        self.show(call, estimate.as_bytes(), left, false, exchange);
    }

    /// After an answer that could not wait for its cost.
    pub(crate) fn show_in_trailer(&self, call: &Call, exchange: &mut Exchange) {
        if let (Some(name), Some(cost)) = (&self.shown.trailer, call.cost) {
            exchange.response_trailers.set(name, cost.text());
        }
    }

    /// `dev; period=daily; used=85`: parameters as in RFC 9110, 5.6.6.
    fn warning_text(&self, notice: Notice, call: &Call) -> Option<String> {
        Some(match notice {
            Notice::PerRequest(at) => {
                let budget = self.budgets.iter().nth(at)?;
                format!(
                    "{}; period=per_request; estimate={}",
                    budget.name, call.estimate
                )
            }
            Notice::Budget(warning) => {
                let (_, budget, period) = self.budgets.find(&warning.line)?;
                let percent = u128::from(warning.taken.pico())
                    .saturating_mul(100)
                    .checked_div(u128::from(warning.line.limit.pico()))
                    .unwrap_or(100);
                let left = warning.line.limit.saturating_sub(warning.taken);
                format!(
                    "{}; period={}; used={percent}; remaining={left}",
                    budget.name,
                    period.name()
                )
            }
        })
    }
}
