//! Why a request is not verified, and what its sender is told.

use crate::rule::Rule;
use tollgate_core::LocalReply;
use tollgate_core::flow::GrpcStatus;
use tollgate_core::problem::Problem;

/// Why a request is not verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No signature header.
    Missing,
    /// Something about the headers cannot be right; the text says what.
    Malformed(&'static str),
    /// A header that decides was sent more than once.
    Duplicate,
    /// The timestamp is too far from our clock.
    Stale,
    /// There is no body where the scheme demands one.
    EmptyBody,
    /// The body is longer than the rule allows.
    TooLarge,
    /// No signature fits.
    Mismatch,
    /// Verified, but the upstream has it already.
    Delivered,
    /// Verified, but the same delivery is under way.
    InFlight,
    /// Verified, but nobody can tell whether it came before.
    ReplayFull,
    /// Verified, but the fleet's service did not say whether another proxy had it.
    FleetUnavailable,
}

impl Fault {
    /// The metric's reason, also the value of the filter state.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed(_) => "malformed",
            Self::Duplicate => "duplicate",
            Self::Stale => "stale",
            Self::EmptyBody => "empty_body",
            Self::TooLarge => "too_large",
            Self::Mismatch => "mismatch",
            Self::Delivered => "delivered",
            Self::InFlight => "in_flight",
            Self::ReplayFull => "replay_full",
            Self::FleetUnavailable => "fleet_unavailable",
        }
    }

    /// The answer to a request that does not reach the upstream.
    pub(crate) fn reply(self, rule: &Rule) -> LocalReply {
        let problem = |status, name, title, detail: &str| {
            let grpc = match status {
                400 | 413 => GrpcStatus::INVALID_ARGUMENT,
                401 => GrpcStatus::UNAUTHENTICATED,
                503 => GrpcStatus::UNAVAILABLE,
                _ => GrpcStatus::ABORTED,
            };
            Problem::new(status, name, title, grpc).detail(detail)
        };
        let reply = match self {
            Self::Missing => problem(
                401,
                "webhook-signature-missing",
                "No webhook signature",
                "The request has no signature header.",
            )
            .reply("tollgate_webhook_missing"),
            Self::Malformed(what) => problem(
                401,
                "webhook-signature-malformed",
                "The webhook signature cannot be read",
                what,
            )
            .reply("tollgate_webhook_malformed"),
            Self::Duplicate => problem(
                400,
                "webhook-header-duplicate",
                "A header was sent more than once",
                "A header that the signature depends on was sent more than once.",
            )
            .reply("tollgate_webhook_duplicate"),
            Self::Stale => problem(
                401,
                "webhook-timestamp-out-of-window",
                "The webhook timestamp is too far from now",
                "Sign each attempt anew, and compare the clocks.",
            )
            .reply("tollgate_webhook_stale"),
            Self::EmptyBody => problem(
                401,
                "webhook-body-empty",
                "The webhook has no body",
                "There is no body that the signature could vouch for.",
            )
            .reply("tollgate_webhook_empty_body"),
            Self::TooLarge => problem(
                413,
                "webhook-body-too-large",
                "The webhook's body is too large",
                "The body is longer than this route accepts.",
            )
            .number("max_body_bytes", rule.max_body_bytes)
            .reply("tollgate_webhook_too_large"),
            Self::Mismatch => problem(
                401,
                "webhook-signature-mismatch",
                "The webhook signature is wrong",
                "No signature fits. It covers the exact bytes of the body and depends on the secret.",
            )
            .reply("tollgate_webhook_mismatch"),
            Self::Delivered => {
                let status = rule.replay.as_ref().map_or(200, |r| r.delivered_status);
                let details = "tollgate_webhook_delivered";
                if status < 300 {
                    // The sender shall take it as done; there is nothing to say beyond that.
                    return LocalReply::empty(status, details, GrpcStatus::ABORTED);
                }
                problem(
                    status,
                    "webhook-delivered",
                    "The webhook was delivered before",
                    "The same delivery has been received, and the service has accepted it.",
                )
                .reply(details)
            }
            Self::InFlight => problem(
                rule.replay.as_ref().map_or(409, |r| r.in_flight_status),
                "webhook-in-flight",
                "The webhook is being delivered",
                "The same delivery is under way. Send it again later.",
            )
            .reply("tollgate_webhook_in_flight"),
            Self::ReplayFull => problem(
                503,
                "webhook-replay-full",
                "The gateway cannot tell whether it has seen this webhook",
                "There is no room to remember this delivery. Send it again later.",
            )
            .reply("tollgate_webhook_replay_full")
            .header("retry-after", "30"),
            Self::FleetUnavailable => problem(
                503,
                "webhook-replay-unavailable",
                "The gateway cannot tell whether this webhook was delivered before",
                "The service that the gateways of the fleet ask did not answer. Send it again later.",
            )
            .reply("tollgate_webhook_replay_unavailable")
            .header("retry-after", "1"),
        };
        if reply.status == 401 {
            // RFC 9110, 15.5.2: a 401 names a challenge. No registered one exists for webhooks.
            reply.header("www-authenticate", "Webhook-Signature")
        } else {
            reply
        }
    }
}
