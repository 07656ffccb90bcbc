//! Counters and gauges of the remote key set.

use super::load::Fault;
use tollgate_core::world::Outcome;
use tollgate_core::{MetricId, Metrics, World};

/// How a fetch ended. A closed set: the words are metric labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fetch {
    /// A new set is in force.
    Loaded,
    /// The source has none newer.
    Unchanged,
    /// The proxy does not know the cluster.
    UnknownCluster,
    Timeout,
    /// No connection, or 503.
    Unavailable,
    /// Any other status.
    HttpError,
    TooLarge,
    /// It is no key set.
    BadFormat,
    /// Two lines have the same key.
    DuplicateKey,
    /// Not what `sha256` asks for.
    WrongDigest,
    /// The reply came when another worker had taken over.
    Late,
}

impl Fetch {
    const ALL: [Self; 11] = [
        Self::Loaded,
        Self::Unchanged,
        Self::UnknownCluster,
        Self::Timeout,
        Self::Unavailable,
        Self::HttpError,
        Self::TooLarge,
        Self::BadFormat,
        Self::DuplicateKey,
        Self::WrongDigest,
        Self::Late,
    ];

    /// The metric label.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Loaded => "loaded",
            Self::Unchanged => "unchanged",
            Self::UnknownCluster => "unknown_cluster",
            Self::Timeout => "timeout",
            Self::Unavailable => "unavailable",
            Self::HttpError => "http_error",
            Self::TooLarge => "too_large",
            Self::BadFormat => "bad_format",
            Self::DuplicateKey => "duplicate_key",
            Self::WrongDigest => "wrong_digest",
            Self::Late => "late",
        }
    }

    /// Of a reply that brought nothing.
    pub(crate) const fn failed(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Refused => Self::UnknownCluster,
            Outcome::Http(504) => Self::Timeout,
            Outcome::Http(0 | 503) => Self::Unavailable,
            Outcome::Http(_) | Outcome::Grpc(_) => Self::HttpError,
        }
    }

    /// Of a set that is none.
    pub(crate) const fn wrong(fault: &Fault) -> Self {
        match fault {
            Fault::Line(..) | Fault::Count { .. } => Self::BadFormat,
            Fault::SameKey(..) | Fault::SameDigest(..) => Self::DuplicateKey,
            Fault::Pin => Self::WrongDigest,
            Fault::TooMuch => Self::TooLarge,
            Fault::Gone => Self::Late,
        }
    }
}

/// See the module.
pub(crate) struct RemoteMeters {
    fetches: Vec<(Fetch, MetricId)>,
    keys: MetricId,
    bytes: MetricId,
    age: MetricId,
}

impl RemoteMeters {
    pub(crate) fn new(metrics: &mut Metrics) -> Self {
        let mut fetch = |fetch: &Fetch| {
            let labels = [("outcome", fetch.label())];
            (
                *fetch,
                metrics.counter("tollgate_key_set_fetches_total", &labels),
            )
        };
        Self {
            fetches: Fetch::ALL.iter().map(&mut fetch).collect(),
            keys: metrics.gauge("tollgate_key_set_keys", &[]),
            bytes: metrics.gauge("tollgate_key_set_bytes", &[]),
            age: metrics.gauge("tollgate_key_set_age_seconds", &[]),
        }
    }

    pub(crate) fn count(&self, fetch: Fetch, world: &dyn World) {
        if let Some((_, id)) = self.fetches.iter().find(|(f, _)| *f == fetch) {
            world.count(*id, 1);
        }
    }

    /// `age`: seconds since the source last said that this is the set.
    pub(crate) fn show(&self, keys: u64, bytes: u64, age: u64, world: &dyn World) {
        world.gauge(self.keys, keys);
        world.gauge(self.bytes, bytes);
        world.gauge(self.age, age);
    }
}
