//! What clients are told when money stands in the way.

use crate::budgets::Budget;
use tollgate_core::flow::GrpcStatus;
use tollgate_core::problem::Problem;
use tollgate_core::{LocalReply, Money, UnixNanos};
use tollgate_state::budget::Exhausted;
use tollgate_state::window::Period;

/// What a request was refused over.
#[derive(Debug)]
pub struct Shortfall<'a> {
    /// The budget.
    pub budget: &'a Budget,
    /// Its day or its month.
    pub period: Period,
    /// What is left and when it resets.
    pub exhausted: Exhausted,
    /// What the call was estimated at.
    pub estimate: Money,
    /// Of all amounts.
    pub currency: &'a str,
}

/// A budget is used up.
#[must_use]
pub fn exhausted(short: &Shortfall<'_>, now: UnixNanos) -> LocalReply {
    let Exhausted {
        resets_at,
        remaining,
        ..
    } = short.exhausted;
    let name = &*short.budget.name;
    let period = short.period.name();
    let detail = format!(
        "This call is estimated at {} {currency}; {remaining} {currency} are left of the {period} budget, \
         which starts anew at {resets_at}.",
        short.estimate,
        currency = short.currency,
    );
    Problem::new(
        short.budget.status,
        "budget-exhausted",
        "Budget used up",
        GrpcStatus::RESOURCE_EXHAUSTED,
    )
    .detail(&detail)
    .string("budget", name)
    .string("period", period)
    .string("currency", short.currency)
    .string("remaining", &remaining.to_string())
    .string("estimate", &short.estimate.to_string())
    .string("resets_at", &resets_at.to_string())
    .reply("tollgate_budget_exhausted")
    .header(
        "retry-after",
        resets_at.since(now).secs_ceil().max(1).to_string(),
    )
}

/// Nobody to charge.
#[must_use]
pub fn consumer_missing() -> LocalReply {
    Problem::new(
        403,
        "consumer-required",
        "This costs money, and nobody is known to pay",
        GrpcStatus::PERMISSION_DENIED,
    )
    .detail("Send a valid API key.")
    .reply("tollgate_cost_consumer_missing")
}

/// The account is too busy to be charged. Rare, so an early retry is right.
#[must_use]
pub fn contended() -> LocalReply {
    Problem::new(
        503,
        "budget-busy",
        "The budget cannot be charged right now",
        GrpcStatus::UNAVAILABLE,
    )
    .detail("Try again.")
    .reply("tollgate_budget_contended")
    .header("retry-after", "1")
}
