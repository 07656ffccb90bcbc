//! What limits count.

use tollgate_core::metrics::{MetricId, Metrics};
use tollgate_core::world::Meter;
use tollgate_state::table::Events;

const DECISIONS: &str = "tollgate_decisions_total";
const TABLE: &str = "tollgate_limit_table_total";
const SERVICE: &str = "tollgate_limit_service_total";

/// Decisions of one limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LimitCounters {
    pub(crate) allowed: MetricId,
    pub(crate) limited: MetricId,
    pub(crate) shadow_limited: MetricId,
    pub(crate) no_key: MetricId,
    pub(crate) ambiguous_key: MetricId,
    pub(crate) contended: MetricId,
    pub(crate) service_failed: MetricId,
}

impl LimitCounters {
    pub(crate) fn register(metrics: &mut Metrics, limit: &str) -> Self {
        let mut decision = |reason| {
            let labels = [
                ("policy", "rate_limit"),
                ("rule", limit),
                ("reason", reason),
            ];
            metrics.counter(DECISIONS, &labels)
        };
        Self {
            allowed: decision("allowed"),
            limited: decision("limited"),
            shadow_limited: decision("shadow_limited"),
            no_key: decision("no_key"),
            ambiguous_key: decision("ambiguous_key"),
            contended: decision("contended"),
            service_failed: decision("service_failed"),
        }
    }
}

/// What the bucket table reports.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TableCounters {
    retries: MetricId,
    evicted: MetricId,
    floored: MetricId,
    discarded: MetricId,
    not_given_back: MetricId,
}

impl TableCounters {
    pub(crate) fn register(metrics: &mut Metrics) -> Self {
        let mut event = |reason| metrics.counter(TABLE, &[("reason", reason)]);
        Self {
            retries: event("cas_retry"),
            evicted: event("evicted"),
            floored: event("floored"),
            discarded: event("discarded"),
            not_given_back: event("not_given_back"),
        }
    }

    pub(crate) fn count(&self, meter: &dyn Meter, events: Events) {
        if events == Events::default() {
            return;
        }
        if events.retries > 0 {
            meter.count(self.retries, u64::from(events.retries));
        }
        for (happened, metric) in [
            (events.evicted, self.evicted),
            (events.floored, self.floored),
            (events.discarded, self.discarded),
        ] {
            if happened {
                meter.count(metric, 1);
            }
        }
    }

    pub(crate) fn not_given_back(&self, meter: &dyn Meter) {
        meter.count(self.not_given_back, 1);
    }
}

/// What came of asking the fleet's service.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServiceCounters {
    pub(crate) ok: MetricId,
    pub(crate) over_limit: MetricId,
    /// No connection, or no answer in time: Envoy reports both as the same status.
    pub(crate) unavailable: MetricId,
    pub(crate) error: MetricId,
    pub(crate) unknown_cluster: MetricId,
    pub(crate) unknown_limit: MetricId,
}

impl ServiceCounters {
    pub(crate) fn register(metrics: &mut Metrics) -> Self {
        let mut outcome = |reason| metrics.counter(SERVICE, &[("reason", reason)]);
        Self {
            ok: outcome("ok"),
            over_limit: outcome("over_limit"),
            unavailable: outcome("unavailable"),
            error: outcome("error"),
            unknown_cluster: outcome("unknown_cluster"),
            unknown_limit: outcome("unknown_limit"),
        }
    }
}
