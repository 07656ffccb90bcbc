//! What cost accounting counts. Amounts are in picounits (10^-12) of the currency.

use crate::budgets::Budgets;
use crate::price::Price;
use std::rc::Rc;
use tollgate_core::metrics::{MetricId, Metrics};

/// How a request came out. The names are the metric's `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No price rule is about it.
    Unpriced,
    /// A price without tokens.
    Flat,
    /// By the tokens that the answer reported.
    Usage,
    /// The answer reported none that could be used.
    UsageMissing,
    /// The answer named no model, or one without a price: the costliest rule counted.
    UnknownModel,
    /// The exchange ended before an answer came.
    NoAnswer,
    /// The answer's status costs nothing.
    FreeStatus,
    /// Another policy answered it.
    Replied,
    /// Budgets need a consumer.
    ConsumerMissing,
    /// The budget's account was too busy.
    Contended,
}

const REASONS: [(Reason, &str); 10] = [
    (Reason::Unpriced, "unpriced"),
    (Reason::Flat, "flat"),
    (Reason::Usage, "usage"),
    (Reason::UsageMissing, "usage_missing"),
    (Reason::UnknownModel, "unknown_model"),
    (Reason::NoAnswer, "no_answer"),
    (Reason::FreeStatus, "free_status"),
    (Reason::Replied, "replied"),
    (Reason::ConsumerMissing, "consumer_missing"),
    (Reason::Contended, "budget_contended"),
];

/// All metrics of this policy.
#[derive(Debug)]
pub struct Meters {
    reasons: Vec<(Reason, MetricId)>,
    prices: Vec<PriceMeters>,
    budgets: Vec<MetricId>,
    consumers: Vec<(Rc<str>, MetricId)>,
    /// Records of another version or size.
    pub record_discarded: MetricId,
    /// Settlements put off to a later tick.
    pub settle_deferred: MetricId,
    /// Settlements that were given up: the estimate stays charged.
    pub settle_lost: MetricId,
}

/// Metrics of one price rule.
#[derive(Clone, Copy, Debug)]
pub struct PriceMeters {
    /// Requests that it priced.
    pub requests: MetricId,
    /// What they cost, in picounits.
    pub cost: MetricId,
    /// Tokens, by kind, for rules that price them.
    pub tokens: Option<TokenMeters>,
}

/// Tokens by kind, as providers count: `cached_read` is part of `input`, `reasoning` of `output`.
#[derive(Clone, Copy, Debug)]
pub struct TokenMeters {
    /// All of the prompt.
    pub input: MetricId,
    /// All generated.
    pub output: MetricId,
    /// From a cache.
    pub cached_read: MetricId,
    /// For reasoning.
    pub reasoning: MetricId,
}

impl Meters {
    /// Registers everything.
    #[must_use]
    pub fn register(metrics: &mut Metrics, prices: &[Price], budgets: &Budgets) -> Self {
        let decision = |metrics: &mut Metrics, labels: &[(&str, &str)]| {
            let labels = [&[("policy", "cost")], labels].concat();
            metrics.counter("tollgate_decisions_total", &labels)
        };
        let fault = |metrics: &mut Metrics, reason: &str| {
            metrics.counter("tollgate_budget_faults_total", &[("reason", reason)])
        };
        let mut consumers: Vec<Rc<str>> = budgets
            .iter()
            .flat_map(|b| b.consumers.iter().cloned())
            .collect();
        consumers.sort_unstable();
        consumers.dedup();
        Self {
            reasons: REASONS
                .iter()
                .map(|(reason, name)| (*reason, decision(metrics, &[("reason", name)])))
                .collect(),
            prices: prices.iter().map(|p| price(metrics, p)).collect(),
            budgets: budgets
                .iter()
                .map(|b| {
                    decision(
                        metrics,
                        &[("reason", "budget_exhausted"), ("budget", &b.name)],
                    )
                })
                .collect(),
            consumers: consumers
                .into_iter()
                .map(|id| {
                    let labels = [("consumer", &*id)];
                    let metric = metrics.counter("tollgate_consumer_cost_pico_total", &labels);
                    (id, metric)
                })
                .collect(),
            record_discarded: fault(metrics, "record_discarded"),
            settle_deferred: fault(metrics, "settle_deferred"),
            settle_lost: fault(metrics, "settle_lost"),
        }
    }

    /// The counter of a reason.
    #[must_use]
    pub fn reason(&self, reason: Reason) -> Option<MetricId> {
        self.reasons
            .iter()
            .find(|(r, _)| *r == reason)
            .map(|(_, metric)| *metric)
    }

    /// The counters of a price rule.
    #[must_use]
    pub fn price(&self, at: usize) -> Option<PriceMeters> {
        self.prices.get(at).copied()
    }

    /// The counter of refusals by a budget.
    #[must_use]
    pub fn budget(&self, at: usize) -> Option<MetricId> {
        self.budgets.get(at).copied()
    }

    /// The cost counter of a consumer that the configuration names.
    #[must_use]
    pub fn consumer(&self, id: &str) -> Option<MetricId> {
        let at = self
            .consumers
            .binary_search_by(|(c, _)| (**c).cmp(id))
            .ok()?;
        self.consumers.get(at).map(|(_, metric)| *metric)
    }
}

fn price(metrics: &mut Metrics, price: &Price) -> PriceMeters {
    let name = [("price", &*price.name)];
    let mut tokens = |kind: &str| {
        let labels = [("price", &*price.name), ("kind", kind)];
        metrics.counter("tollgate_tokens_total", &labels)
    };
    let tokens = price.tokens.map(|_| TokenMeters {
        input: tokens("input"),
        output: tokens("output"),
        cached_read: tokens("cached_read"),
        reasoning: tokens("reasoning"),
    });
    PriceMeters {
        requests: metrics.counter("tollgate_priced_requests_total", &name),
        cost: metrics.counter("tollgate_cost_pico_total", &name),
        tokens,
    }
}
