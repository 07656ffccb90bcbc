//! What is counted about the fleet's service. `policy` is the filter that uses it.

use super::lease::Events;
use tollgate_core::metrics::{MetricId, Metrics};
use tollgate_core::world::Meter;

const ASKS: &str = "tollgate_fleet_asks_total";
const HITS: &str = "tollgate_fleet_hits_total";
const REQUESTS: &str = "tollgate_fleet_requests_total";
const REGRESSIONS: &str = "tollgate_fleet_counter_regressions_total";
const BREAKER: &str = "tollgate_fleet_breaker_open";

/// Why nobody knows whether a request may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No connection, or no answer in time: Envoy reports both as the same status.
    Unavailable,
    /// Another gRPC status, or an answer that is none.
    Error,
    /// The proxy has no such cluster.
    UnknownCluster,
    /// The service has no such limit, or not the one that is needed: its configuration is wrong.
    UnknownLimit,
    /// It failed several times in a row and is not asked for a while.
    BreakerOpen,
    /// So many requests wait already.
    TooManyHeld,
    /// The request has waited as long as it may.
    Timeout,
    /// Other workers were faster each time.
    Contended,
}

impl Failure {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Unavailable,
        Self::Error,
        Self::UnknownCluster,
        Self::UnknownLimit,
        Self::BreakerOpen,
        Self::TooManyHeld,
        Self::Timeout,
        Self::Contended,
    ];

    /// The label.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Error => "error",
            Self::UnknownCluster => "unknown_cluster",
            Self::UnknownLimit => "unknown_limit",
            Self::BreakerOpen => "breaker_open",
            Self::TooManyHeld => "too_many_held",
            Self::Timeout => "timeout",
            Self::Contended => "contended",
        }
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Counters {
    /// Answers that granted hits.
    pub granted: MetricId,
    /// Answers that said that the limit is spent.
    pub exhausted: MetricId,
    ask_failures: [MetricId; 8],
    hits_granted: MetricId,
    expired: MetricId,
    late: MetricId,
    skipped: MetricId,
    evicted: MetricId,
    /// Served from a lease.
    pub leased: MetricId,
    /// Held, and then let go.
    pub waited: MetricId,
    /// Refused because the fleet has spent the limit.
    pub spent: MetricId,
    request_failures: [MetricId; 8],
    regressions: MetricId,
    /// 1 while the service is not asked.
    pub breaker_open: MetricId,
}

impl Counters {
    /// Registers them all.
    pub fn register(metrics: &mut Metrics, policy: &str) -> Self {
        let mut counter =
            |name, reason| metrics.counter(name, &[("policy", policy), ("reason", reason)]);
        Self {
            granted: counter(ASKS, "granted"),
            exhausted: counter(ASKS, "exhausted"),
            ask_failures: Failure::ALL.map(|f| counter(ASKS, f.reason())),
            hits_granted: counter(HITS, "granted"),
            expired: counter(HITS, "expired"),
            late: counter(HITS, "late"),
            skipped: counter(HITS, "skipped"),
            evicted: counter(HITS, "evicted_leases"),
            leased: counter(REQUESTS, "leased"),
            waited: counter(REQUESTS, "waited"),
            spent: counter(REQUESTS, "spent"),
            request_failures: Failure::ALL.map(|f| counter(REQUESTS, f.reason())),
            regressions: metrics.counter(REGRESSIONS, &[("policy", policy)]),
            breaker_open: metrics.gauge(BREAKER, &[("policy", policy)]),
        }
    }

    /// A question failed.
    pub fn ask_failed(&self, meter: &dyn Meter, failure: Failure) {
        count(meter, &self.ask_failures, failure);
    }

    /// A request gets no verdict from the fleet.
    pub fn request_failed(&self, meter: &dyn Meter, failure: Failure) {
        count(meter, &self.request_failures, failure);
    }

    /// What happened to a lease.
    pub fn events(&self, meter: &dyn Meter, events: Events, evicted: bool) {
        for (metric, by) in [
            (self.hits_granted, events.granted),
            (self.expired, events.expired),
            (self.late, events.late),
            (self.skipped, events.skipped),
            (self.regressions, u64::from(events.regressed)),
            (self.evicted, u64::from(evicted)),
        ] {
            if by > 0 {
                meter.count(metric, by);
            }
        }
    }
}

fn count(meter: &dyn Meter, metrics: &[MetricId; 8], failure: Failure) {
    let all = Failure::ALL.iter().zip(metrics);
    for (_, metric) in all.filter(|(f, _)| **f == failure) {
        meter.count(*metric, 1);
    }
}
