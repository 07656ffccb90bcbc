//! Reading `rollback`: when a variant is switched off by itself, and for how long.

use crate::rules::{self, Proof, Rule};
use tollgate_core::Duration;
use tollgate_core::config::Value;
use tollgate_core::headers::HeaderName;
use tollgate_state::rollback::Bound;

/// `rollback`
#[derive(Debug)]
pub(crate) struct Rollback {
    pub(crate) window: Duration,
    /// Without one it lasts until the configuration changes.
    pub(crate) cool_down: Option<Duration>,
    pub(crate) response_header: Option<HeaderName>,
    /// The worst first.
    pub(crate) rules: Vec<Rule>,
    pub(crate) proof: Proof,
}

/// Fewer would let a handful of requests decide.
const LEAST_SAMPLES: u64 = 100;

impl Rollback {
    pub(crate) fn compile(
        value: Value<'_>,
        has_conversion: bool,
        header: impl Fn(Value<'_>) -> Option<HeaderName>,
    ) -> Option<Self> {
        let section = value.section()?;
        let window = section
            .optional("window")
            .map_or(Some(Duration::from_secs(3600)), |v| {
                let window = v.duration()?;
                let bounds = Duration::from_secs(10)..=Duration::from_secs(7 * 24 * 3600);
                v.accept(
                    bounds.contains(&window).then_some(window),
                    "must be from 10s to 7d",
                )
            });
        let least = section
            .optional("min_samples")
            .map_or(Some(1_000), |v| v.integer(LEAST_SAMPLES..=10_000_000));
        // The usual 5 %, in millionths: basis points times 100.
        let alpha = section
            .optional("false_alarm")
            .map_or(Some(500), |v| rules::percent(&v, 1_000))
            .and_then(|p| u32::try_from(p.saturating_mul(100)).ok());
        let cool_down = section.optional("cool_down").map(|v| {
            let cool_down = v.duration()?;
            let enough = cool_down >= Duration::from_secs(1);
            v.accept(enough.then_some(cool_down), "must be a second or more")
        });
        let response_header = section.optional("response_header").map(header);
        let rules = rules::compile(&section, has_conversion);
        if rules.is_empty() {
            section.error(
                "needs a rule: error_rate, latency_p50, latency_p90, latency_p95, latency_p99 or conversion_rate",
            );
        }
        section.finish();
        let least = least?;
        Some(Self {
            window: window?,
            cool_down: match cool_down {
                Some(cool_down) => Some(cool_down?),
                None => None,
            },
            response_header: match response_header {
                Some(header) => Some(header?),
                None => None,
            },
            rules,
            proof: Proof {
                least,
                bound: Bound::new(alpha?, least),
            },
        })
    }
}
