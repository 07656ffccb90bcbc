//! What a rule counts.

use crate::scheme::Scheme;
use crate::secret::Secret;
use crate::timestamp::Skew;
use tollgate_core::World;
use tollgate_core::metrics::{MetricId, Metrics};

/// Clocks that are off by more than a day are counted as a day.
const MAX_SKEW: u64 = 86_400;

/// The closed set of reasons in `tollgate_decisions_total`.
pub(crate) const REASONS: [&str; 14] = [
    "verified",
    "unverified",
    "handshake",
    "missing",
    "malformed",
    "duplicate",
    "stale",
    "empty_body",
    "too_large",
    "mismatch",
    "delivered",
    "in_flight",
    "replay_full",
    "fleet_unavailable",
];

/// The closed set of outcomes in `tollgate_webhook_replay_total`.
pub(crate) const OUTCOMES: [&str; 7] = [
    "first",
    "delivered",
    "in_flight",
    "full",
    "settled",
    "released",
    "lost",
];

/// The metrics of one rule.
#[derive(Debug)]
pub(crate) struct Meters {
    reasons: Vec<MetricId>,
    secrets: Vec<MetricId>,
    replay: Vec<MetricId>,
    behind: Option<MetricId>,
    ahead: Option<MetricId>,
}

impl Meters {
    /// Registers everything that this rule can count.
    pub(crate) fn register(
        metrics: &mut Metrics,
        rule: &str,
        scheme: &Scheme,
        secrets: &[Secret],
        replay: bool,
    ) -> Self {
        let reasons = REASONS
            .iter()
            .map(|reason| {
                metrics.counter(
                    "tollgate_decisions_total",
                    &[
                        ("policy", "webhook_signature"),
                        ("rule", rule),
                        ("reason", reason),
                    ],
                )
            })
            .collect();
        let secrets = secrets
            .iter()
            .map(|secret| {
                metrics.counter(
                    "tollgate_webhook_secret_used_total",
                    &[("rule", rule), ("secret", &secret.id)],
                )
            })
            .collect();
        let outcomes = if replay { &OUTCOMES[..] } else { &[] };
        let replay = outcomes
            .iter()
            .map(|outcome| {
                metrics.counter(
                    "tollgate_webhook_replay_total",
                    &[("rule", rule), ("outcome", outcome)],
                )
            })
            .collect();
        let mut clock = |name| {
            scheme
                .timestamp
                .is_some()
                .then(|| metrics.histogram(name, &[("rule", rule)]))
        };
        Self {
            reasons,
            secrets,
            replay,
            behind: clock("tollgate_webhook_clock_behind_seconds"),
            ahead: clock("tollgate_webhook_clock_ahead_seconds"),
        }
    }

    /// Counts a decision, by one of the reasons above.
    pub(crate) fn decision(&self, world: &dyn World, reason: &str) {
        let known = REASONS.iter().zip(&self.reasons);
        if let Some((_, metric)) = known.into_iter().find(|(r, _)| **r == reason) {
            world.count(*metric, 1);
        }
    }

    /// Counts what the replay guard did, by one of the outcomes above.
    pub(crate) fn replay(&self, world: &dyn World, outcome: &str) {
        let known = OUTCOMES.iter().zip(&self.replay);
        if let Some((_, metric)) = known.into_iter().find(|(o, _)| **o == outcome) {
            world.count(*metric, 1);
        }
    }

    /// Counts which secret was used, so that an old one can be retired.
    pub(crate) fn secret_used(&self, world: &dyn World, position: usize) {
        if let Some(metric) = self.secrets.get(position) {
            world.count(*metric, 1);
        }
    }

    /// How far the sender's clock is off. Bounded, since anybody may send any timestamp.
    pub(crate) fn skew(&self, world: &dyn World, skew: Skew) {
        let (metric, by) = if skew.ahead.0 > 0 {
            (self.ahead, skew.ahead)
        } else {
            (self.behind, skew.behind)
        };
        if let Some(metric) = metric {
            world.observe(metric, by.secs_ceil().min(MAX_SKEW));
        }
    }
}
