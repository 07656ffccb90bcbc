//! What limits count.

use tollgate_core::metrics::{MetricId, Metrics};
use tollgate_core::world::Meter;
use tollgate_state::lease::Returned;
use tollgate_state::occupancy::Occupancy;
use tollgate_state::table::{Events, Source};

const DECISIONS: &str = "tollgate_decisions_total";
const TABLE: &str = "tollgate_limit_table_total";
const LEASES: &str = "tollgate_limit_leases_total";
const KEYS: &str = "tollgate_limit_table_keys";
const USED_BYTES: &str = "tollgate_limit_table_used_bytes";
const MAX_BYTES: &str = "tollgate_limit_table_max_bytes";
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
    pub(crate) cost_unreadable: MetricId,
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
            cost_unreadable: decision("cost_unreadable"),
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
    lease_hit: MetricId,
    lease_renewed: MetricId,
    lease_returned: MetricId,
    keys: MetricId,
    used_bytes: MetricId,
    max_bytes: MetricId,
}

impl TableCounters {
    pub(crate) fn register(metrics: &mut Metrics) -> Self {
        let mut lease = |reason| metrics.counter(LEASES, &[("reason", reason)]);
        let lease_hit = lease("hit");
        let lease_renewed = lease("renewed");
        let lease_returned = lease("returned");
        let keys = metrics.gauge(KEYS, &[]);
        let used_bytes = metrics.gauge(USED_BYTES, &[]);
        let max_bytes = metrics.gauge(MAX_BYTES, &[]);
        let mut event = |reason| metrics.counter(TABLE, &[("reason", reason)]);
        Self {
            lease_hit,
            lease_renewed,
            lease_returned,
            keys,
            used_bytes,
            max_bytes,
            retries: event("cas_retry"),
            evicted: event("evicted"),
            floored: event("floored"),
            discarded: event("discarded"),
            not_given_back: event("not_given_back"),
        }
    }

    pub(crate) fn lease_hit(&self, meter: &dyn Meter) {
        meter.count(self.lease_hit, 1);
    }

    pub(crate) fn count(&self, meter: &dyn Meter, events: Events) {
        if events == Events::default() {
            return;
        }
        match events.source {
            Source::Lease => self.lease_hit(meter),
            Source::Renewed => meter.count(self.lease_renewed, 1),
            Source::Table => {}
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

    pub(crate) fn returned(&self, meter: &dyn Meter, returned: Returned) {
        for (metric, n) in [
            (self.lease_returned, returned.leases),
            (self.retries, returned.retries),
        ] {
            if n > 0 {
                meter.count(metric, u64::from(n));
            }
        }
    }

    pub(crate) fn occupancy(&self, meter: &dyn Meter, found: Occupancy, capacity: u64) {
        meter.gauge(self.keys, found.keys);
        meter.gauge(self.used_bytes, found.bytes);
        meter.gauge(self.max_bytes, capacity);
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
    pub(crate) breaker_open: MetricId,
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
            breaker_open: outcome("breaker_open"),
        }
    }
}
