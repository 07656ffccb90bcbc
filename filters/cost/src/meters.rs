//! What cost accounting counts. Amounts are in picounits (10^-12) of the currency.

use crate::accounts::Warning;
use crate::budgets::Budgets;
use crate::call::{Notice, Outcome};
use crate::price::Price;
use std::rc::Rc;
use tollgate_core::World;
use tollgate_core::metrics::{MetricId, Metrics};

/// How a request came out. The names are the metric's `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No price rule is about it.
    Unpriced,
    /// A price that was known beforehand.
    Flat,
    /// By what was measured here, or by a header.
    Measured,
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
    /// The fleet's service did not answer.
    FleetUnavailable,
    /// The request is not as the price's checks ask for.
    RequestInvalid,
    /// A consumer has looked at what it spent.
    UsagePage,
    /// It has tried to do something else there.
    UsageMethod,
}

/// In the order of [`Reason::place`].
const REASONS: [&str; 15] = [
    "unpriced",
    "flat",
    "measured",
    "usage",
    "usage_missing",
    "unknown_model",
    "no_answer",
    "free_status",
    "replied",
    "consumer_missing",
    "budget_contended",
    "budget_unavailable",
    "request_invalid",
    "usage_page",
    "usage_method",
];

impl Reason {
    /// As metrics and the ledger call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        REASONS.get(self.place()).copied().unwrap_or_default()
    }

    const fn place(self) -> usize {
        match self {
            Self::Unpriced => 0,
            Self::Flat => 1,
            Self::Measured => 2,
            Self::Usage => 3,
            Self::UsageMissing => 4,
            Self::UnknownModel => 5,
            Self::NoAnswer => 6,
            Self::FreeStatus => 7,
            Self::Replied => 8,
            Self::ConsumerMissing => 9,
            Self::Contended => 10,
            Self::FleetUnavailable => 11,
            Self::RequestInvalid => 12,
            Self::UsagePage => 13,
            Self::UsageMethod => 14,
        }
    }
}

/// The consumer label of everybody whom the configuration does not name.
const OTHERS: &str = "other";

/// All metrics of this policy.
#[derive(Debug)]
pub struct Meters {
    reasons: [MetricId; REASONS.len()],
    prices: Vec<Money>,
    consumers: Vec<(Rc<str>, Money)>,
    others: Option<Money>,
    models: Vec<(Rc<str>, Money)>,
    budgets: Vec<BudgetMeters>,
    /// Records of another version or size.
    pub record_discarded: MetricId,
    /// Settlements put off to a later tick.
    pub settle_deferred: MetricId,
    /// Settlements that were given up: the estimate stays charged.
    pub settle_lost: MetricId,
    /// Events of the ledger that were entered, delivered, written to the log.
    pub events: [MetricId; 3],
    /// Batches of them that were taken by the receiver, and that were not.
    pub batches: [MetricId; 2],
}

/// Requests, what they cost, and their tokens, by some label.
#[derive(Clone, Copy, Debug)]
struct Money {
    requests: MetricId,
    cost: MetricId,
    /// Input, output, `cached_read`, `cached_write`, reasoning.
    tokens: Option<[MetricId; 5]>,
}

/// Of one budget.
#[derive(Clone, Copy, Debug)]
struct BudgetMeters {
    exhausted: MetricId,
    too_expensive: MetricId,
    warned: MetricId,
    low: MetricId,
    dear: MetricId,
}

impl Meters {
    /// Registers everything. `consumers` are those that get counters of their own, besides those that budgets name.
    #[must_use]
    pub fn register(
        metrics: &mut Metrics,
        prices: &[Price],
        budgets: &Budgets,
        consumers: &[Rc<str>],
    ) -> Self {
        let fault = |metrics: &mut Metrics, reason: &str| {
            metrics.counter("tollgate_budget_faults_total", &[("reason", reason)])
        };
        let event = |metrics: &mut Metrics, outcome: &str| {
            metrics.counter("tollgate_ledger_events_total", &[("outcome", outcome)])
        };
        let batch = |metrics: &mut Metrics, outcome: &str| {
            metrics.counter("tollgate_ledger_batches_total", &[("outcome", outcome)])
        };
        let has_tokens = prices.iter().any(|p| p.tokens.is_some());
        let mut consumers: Vec<Rc<str>> = budgets
            .iter()
            .flat_map(|b| b.consumers.iter())
            .chain(consumers)
            .cloned()
            .collect();
        consumers.sort_unstable();
        consumers.dedup();
        let mut models: Vec<Rc<str>> = prices
            .iter()
            .filter_map(|p| p.models.as_ref())
            .flat_map(|m| m.labels().cloned())
            .collect();
        models.sort_unstable();
        models.dedup();
        let by_consumer = |metrics: &mut Metrics, id: &str| {
            money(metrics, &CONSUMER_NAMES, "consumer", id, has_tokens)
        };
        Self {
            reasons: REASONS.map(|reason| {
                let labels = [("policy", "cost"), ("reason", reason)];
                metrics.counter("tollgate_decisions_total", &labels)
            }),
            prices: prices
                .iter()
                .map(|p| {
                    let tokens = p.tokens.is_some();
                    money(metrics, &PRICE_NAMES, "price", &p.name, tokens)
                })
                .collect(),
            others: (!consumers.is_empty()).then(|| by_consumer(metrics, OTHERS)),
            consumers: consumers
                .into_iter()
                .map(|id| {
                    let meters = by_consumer(metrics, &id);
                    (id, meters)
                })
                .collect(),
            models: models
                .into_iter()
                .map(|label| {
                    let meters = money(metrics, &MODEL_NAMES, "model", &label, has_tokens);
                    (label, meters)
                })
                .collect(),
            budgets: budgets.iter().map(|b| budget(metrics, &b.name)).collect(),
            record_discarded: fault(metrics, "record_discarded"),
            settle_deferred: fault(metrics, "settle_deferred"),
            settle_lost: fault(metrics, "settle_lost"),
            events: ["entered", "delivered", "logged"].map(|o| event(metrics, o)),
            batches: ["delivered", "failed"].map(|o| batch(metrics, o)),
        }
    }

    /// The counter of a reason.
    #[must_use]
    pub fn reason(&self, reason: Reason) -> Option<MetricId> {
        self.reasons.get(reason.place()).copied()
    }

    /// Counts a call by its price rule.
    pub(crate) fn price(&self, at: usize, outcome: &Outcome, world: &dyn World) {
        if let Some(meters) = self.prices.get(at) {
            meters.count(outcome, world);
        }
    }

    /// Whether calls are counted by consumer.
    #[must_use]
    pub fn tells_consumers_apart(&self) -> bool {
        self.others.is_some()
    }

    /// Counts a call by its consumer: those that the configuration names, and all others together.
    #[inline(never)]
    pub(crate) fn consumer(&self, id: &str, outcome: &Outcome, world: &dyn World) {
        let found = self.consumers.binary_search_by(|(c, _)| (**c).cmp(id));
        let known = found.ok().and_then(|at| self.consumers.get(at));
        if let Some(meters) = known.map(|(_, m)| m).or(self.others.as_ref()) {
            meters.count(outcome, world);
        }
    }

    /// Counts a call by its model, as the price table writes it.
    pub(crate) fn model(&self, label: &Rc<str>, outcome: &Outcome, world: &dyn World) {
        if let Some((_, meters)) = self.models.iter().find(|(l, _)| l == label) {
            meters.count(outcome, world);
        }
    }

    /// Counts a refusal by a budget.
    pub(crate) fn exhausted(&self, at: usize, world: &dyn World) {
        if let Some(meters) = self.budgets.get(at) {
            world.count(meters.exhausted, 1);
        }
    }

    /// Counts a refusal of a call that is too expensive by itself.
    pub(crate) fn too_expensive(&self, at: usize, world: &dyn World) {
        if let Some(meters) = self.budgets.get(at) {
            world.count(meters.too_expensive, 1);
        }
    }

    /// Counts a warning.
    pub(crate) fn warning(&self, notice: Notice, budgets: &Budgets, world: &dyn World) {
        let metric = match notice {
            Notice::PerRequest(at) => self.budgets.get(at).map(|m| m.dear),
            Notice::Budget(Warning { line, low, .. }) => budgets
                .find(&line)
                .and_then(|(at, ..)| self.budgets.get(at))
                .map(|m| if low { m.low } else { m.warned }),
        };
        if let Some(metric) = metric {
            world.count(metric, 1);
        }
    }
}

impl Money {
    fn count(&self, outcome: &Outcome, world: &dyn World) {
        let add = |metric, by: u64| {
            if by > 0 {
                world.count(metric, by);
            }
        };
        world.count(self.requests, 1);
        add(self.cost, outcome.cost.pico());
        if let (Some(metrics), Some(usage)) = (self.tokens, outcome.usage()) {
            let counts = [
                usage.input,
                usage.output,
                usage.cached_read,
                usage.cached_write,
                usage.reasoning,
            ];
            for (metric, count) in metrics.into_iter().zip(counts) {
                add(metric, count);
            }
        }
    }
}

/// Names of counters: requests, cost, tokens.
type Names = [&'static str; 3];

const PRICE_NAMES: Names = [
    "tollgate_priced_requests_total",
    "tollgate_cost_pico_total",
    "tollgate_tokens_total",
];
const CONSUMER_NAMES: Names = [
    "tollgate_consumer_requests_total",
    "tollgate_consumer_cost_pico_total",
    "tollgate_consumer_tokens_total",
];
const MODEL_NAMES: Names = [
    "tollgate_model_requests_total",
    "tollgate_model_cost_pico_total",
    "tollgate_model_tokens_total",
];

fn money(
    metrics: &mut Metrics,
    [requests, cost, tokens]: &Names,
    label: &str,
    value: &str,
    has_tokens: bool,
) -> Money {
    let name = [(label, value)];
    let kinds = [
        "input",
        "output",
        "cached_read",
        "cached_write",
        "reasoning",
    ];
    Money {
        requests: metrics.counter(requests, &name),
        cost: metrics.counter(cost, &name),
        tokens: has_tokens
            .then(|| kinds.map(|kind| metrics.counter(tokens, &[(label, value), ("kind", kind)]))),
    }
}

fn budget(metrics: &mut Metrics, name: &str) -> BudgetMeters {
    let mut refused = |reason: &str| {
        let labels = [("policy", "cost"), ("reason", reason), ("budget", name)];
        metrics.counter("tollgate_decisions_total", &labels)
    };
    let (exhausted, too_expensive) = (refused("budget_exhausted"), refused("too_expensive"));
    let mut warned = |reason: &str| {
        let labels = [("budget", name), ("reason", reason)];
        metrics.counter("tollgate_budget_warnings_total", &labels)
    };
    BudgetMeters {
        exhausted,
        too_expensive,
        warned: warned("used"),
        low: warned("low_balance"),
        dear: warned("per_request"),
    }
}
