//! The metrics of a watched experiment.

use crate::outcome::Outcome;
use crate::rollback::Rollback;
use crate::variants::VariantId;
use std::rc::Rc;
use tollgate_core::config::Compile;
use tollgate_core::metrics::MetricId;
use tollgate_core::world::World;
use tollgate_state::rollback::{Latency, Slot};

/// Why a request counts as an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    Status,
    Grpc,
    Reset,
    ClientAbort,
}

const KINDS: [(&str, ErrorKind); 4] = [
    ("status", ErrorKind::Status),
    ("grpc", ErrorKind::Grpc),
    ("reset", ErrorKind::Reset),
    ("client_abort", ErrorKind::ClientAbort),
];

/// Shown in basis points' names.
const QUANTILES: [(&str, u64); 3] = [("0.5", 5_000), ("0.95", 9_500), ("0.99", 9_900)];

/// By variant, and what belongs to the experiment as a whole.
#[derive(Debug)]
pub(crate) struct WatchMetrics {
    variants: Vec<OfVariant>,
    pub(crate) contended: MetricId,
}

#[derive(Debug)]
struct OfVariant {
    requests: MetricId,
    /// In the order of [`KINDS`]; those that can happen.
    errors: [Option<MetricId>; 4],
    conversions: Option<MetricId>,
    micros: MetricId,
    quantiles: [MetricId; 3],
    histogram: Option<MetricId>,
    /// By rule.
    rollbacks: Vec<MetricId>,
    rolled_back: Option<MetricId>,
}

impl WatchMetrics {
    pub(crate) fn register(
        flag: &str,
        names: &[Rc<str>],
        default: VariantId,
        outcome: &Outcome,
        rollback: Option<&Rollback>,
        cx: &mut Compile<'_>,
    ) -> Self {
        let rules = rollback.map_or(&[][..], |r| r.rules.as_slice());
        let of_variant = |(at, name): (usize, &Rc<str>)| {
            let labels = [("flag", flag), ("variant", &**name)];
            let with = |more: &[(&'static str, &'static str)]| {
                let mut all = labels.to_vec();
                all.extend_from_slice(more);
                all
            };
            let metrics = &mut *cx.metrics;
            let canary = at != default.0 && rollback.is_some();
            OfVariant {
                requests: metrics.counter("tollgate_variant_requests_total", &labels),
                errors: KINDS.map(|(kind, which)| {
                    let happens = match which {
                        ErrorKind::Status => true,
                        ErrorKind::Grpc => outcome.has_grpc(),
                        ErrorKind::Reset => outcome.resets,
                        ErrorKind::ClientAbort => outcome.client_aborts,
                    };
                    let all = with(&[("kind", kind)]);
                    happens.then(|| metrics.counter("tollgate_variant_errors_total", &all))
                }),
                conversions: outcome
                    .conversion
                    .is_some()
                    .then(|| metrics.counter("tollgate_variant_conversions_total", &labels)),
                micros: metrics.counter("tollgate_variant_latency_us_total", &labels),
                quantiles: QUANTILES.map(|(quantile, _)| {
                    let all = with(&[("quantile", quantile)]);
                    metrics.gauge("tollgate_variant_latency_us", &all)
                }),
                histogram: outcome
                    .histogram
                    .then(|| metrics.histogram("tollgate_variant_latency_ms", &labels)),
                rollbacks: if canary {
                    let counter = |rule: &crate::rules::Rule| {
                        let mut all = labels.to_vec();
                        all.extend([("rule", &*rule.name), ("severity", rule.severity.name())]);
                        metrics.counter("tollgate_rollbacks_total", &all)
                    };
                    rules.iter().map(counter).collect()
                } else {
                    Vec::new()
                },
                rolled_back: canary.then(|| cx.metrics.gauge("tollgate_rolled_back", &labels)),
            }
        };
        let variants = names.iter().enumerate().map(of_variant).collect();
        Self {
            variants,
            contended: cx
                .metrics
                .counter("tollgate_variant_counts_delayed_total", &[("flag", flag)]),
        }
    }

    fn of(&self, variant: VariantId) -> Option<&OfVariant> {
        self.variants.get(variant.0)
    }

    pub(crate) fn request(
        &self,
        variant: VariantId,
        micros: u64,
        converted: bool,
        world: &dyn World,
    ) {
        let Some(of) = self.of(variant) else {
            return;
        };
        world.count(of.requests, 1);
        world.count(of.micros, micros);
        if let (Some(metric), true) = (of.conversions, converted) {
            world.count(metric, 1);
        }
        if let Some(metric) = of.histogram {
            world.observe(metric, micros / 1_000);
        }
    }

    pub(crate) fn error(&self, variant: VariantId, kind: ErrorKind, world: &dyn World) {
        let at = KINDS.iter().position(|(_, k)| *k == kind);
        let errors = self.of(variant).map(|of| &of.errors);
        if let Some(Some(metric)) = errors.zip(at).and_then(|(errors, at)| errors.get(at)) {
            world.count(*metric, 1);
        }
    }

    /// The quantiles of the whole window.
    pub(crate) fn show_latency(&self, slots: &[Slot], world: &dyn World) {
        for (at, of) in self.variants.iter().enumerate() {
            let mut latency = Latency::default();
            for tally in slots.iter().filter_map(|slot| slot.tallies.get(at)) {
                latency.merge(&tally.latency);
            }
            for (metric, (_, basis_points)) in of.quantiles.iter().zip(QUANTILES) {
                if let Some(quantile) = latency.quantile(basis_points) {
                    world.gauge(*metric, quantile.about);
                }
            }
        }
    }

    pub(crate) fn tripped(&self, variant: VariantId, rule: usize, world: &dyn World) {
        if let Some(metric) = self.of(variant).and_then(|of| of.rollbacks.get(rule)) {
            world.count(*metric, 1);
        }
    }

    pub(crate) fn rolled_back(&self, variant: VariantId, is: bool, world: &dyn World) {
        if let Some(metric) = self.of(variant).and_then(|of| of.rolled_back) {
            world.gauge(metric, u64::from(is));
        }
    }
}
