//! What clients are told when money stands in the way.

use crate::budgets::Budget;
use crate::check::Invalid;
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
    /// Its minute, day or month.
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
#[cold]
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
#[cold]
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
#[cold]
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

/// The fleet's service did not answer, and the budget says `failure_mode: deny`.
#[must_use]
#[cold]
pub fn fleet_unavailable() -> LocalReply {
    Problem::new(
        503,
        "budget-service-unavailable",
        "The budget cannot be charged right now",
        GrpcStatus::UNAVAILABLE,
    )
    .detail("Try again.")
    .reply("tollgate_budget_service_unavailable")
    .header("retry-after", "1")
}

/// A single call would cost more than one call may.
#[must_use]
#[cold]
pub fn too_expensive(budget: &Budget, estimate: Money, most: Money, currency: &str) -> LocalReply {
    let detail = format!(
        "This call is estimated at {estimate} {currency}; a single one may cost {most} {currency}. \
         Ask for fewer tokens.",
    );
    Problem::new(
        budget.status,
        "request-too-expensive",
        "Too expensive for one request",
        GrpcStatus::RESOURCE_EXHAUSTED,
    )
    .detail(&detail)
    .string("budget", &budget.name)
    .string("period", "per_request")
    .string("currency", currency)
    .string("limit", &most.to_string())
    .string("estimate", &estimate.to_string())
    .reply("tollgate_request_too_expensive")
}

/// The request is not as it must be; nothing was charged.
#[must_use]
#[cold]
pub fn invalid(invalid: &Invalid) -> LocalReply {
    Problem::new(
        400,
        "request-invalid",
        "The request cannot be priced",
        GrpcStatus::INVALID_ARGUMENT,
    )
    .detail(&format!("{} {}.", invalid.field, invalid.problem))
    .string("field", &invalid.field)
    .reply("tollgate_cost_request_invalid")
}

/// The usage page can only be read.
#[must_use]
#[cold]
pub fn method_not_allowed() -> LocalReply {
    Problem::new(
        405,
        "method-not-allowed",
        "Only GET is possible here",
        GrpcStatus::INVALID_ARGUMENT,
    )
    .reply("tollgate_cost_usage_method")
    .header("allow", "GET, HEAD")
}
