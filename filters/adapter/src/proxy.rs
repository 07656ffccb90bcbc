//! The outside world of the policies, in terms of hostcalls.

use crate::abi;
use crate::background::{self, Background};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::num::NonZeroU32;
use tollgate_core::metrics::{MetricId, MetricKind, Metrics};
use tollgate_core::time::UnixNanos;
use tollgate_core::world::{
    Attribute, Call, CallId, CallRefused, Conflict, Expect, Level, Meter, Store, Version, World,
};

/// Envoy hands out compare-and-set numbers from 1 upwards, so this one is never a key's current
/// number: a write with it succeeds only where there is no key yet.
const NEVER_ISSUED: u32 = u32::MAX;

/// One metric: its number in the proxy, and what has not been reported yet.
struct Metric {
    kind: MetricKind,
    id: Option<u32>,
    pending: Cell<u64>,
}

/// The proxy, as seen by one plugin in one VM.
pub(crate) struct Proxy {
    metrics: Vec<Metric>,
    prefix: String,
    key: RefCell<String>,
    now: Cell<Option<UnixNanos>>,
    call: Cell<Option<u32>>,
    pub(crate) background: Background,
    /// No exchange's own callback is running.
    pub(crate) outside: Cell<bool>,
}

impl Proxy {
    /// `state_id` separates this plugin's shared data from that of others: Istio leaves every plugin in
    /// one namespace.
    pub(crate) fn new(metrics: &Metrics, state_id: &str) -> Self {
        let metrics = metrics
            .iter()
            .map(|metric| Metric {
                kind: metric.kind,
                id: abi::define_metric(kind_number(metric.kind), metric.stat()),
                pending: Cell::new(0),
            })
            .collect();
        Self {
            metrics,
            prefix: format!("tollgate/{state_id}/"),
            key: RefCell::default(),
            now: Cell::new(None),
            call: Cell::new(None),
            background: Background::default(),
            outside: Cell::new(false),
        }
    }

    /// To be called at the start of every callback: time stands still within one.
    pub(crate) fn begin(&self) {
        self.now.set(None);
    }

    /// The token of the call sent since the last time this was asked.
    pub(crate) fn take_call(&self) -> Option<u32> {
        self.call.take()
    }

    /// Reports counters. They are gathered in the worker because a hostcall for each would cost
    /// more than the counting.
    pub(crate) fn flush(&self) {
        for metric in &self.metrics {
            let by = metric.pending.take();
            if let (Some(id), true) = (metric.id, by > 0) {
                abi::increment_metric(id, i64::try_from(by).unwrap_or(i64::MAX));
            }
        }
    }

    fn with_key<T>(&self, key: &str, f: impl FnOnce(&str) -> T) -> T {
        let mut full = self.key.borrow_mut();
        full.clear();
        full.push_str(&self.prefix);
        full.push_str(key);
        f(&full)
    }
}

/// What was counted and not yet reported outlives a replaced configuration.
impl Drop for Proxy {
    fn drop(&mut self) {
        self.flush();
    }
}

fn kind_number(kind: MetricKind) -> u32 {
    match kind {
        MetricKind::Counter => 0,
        MetricKind::Gauge => 1,
        MetricKind::Histogram => 2,
    }
}

impl Store for Proxy {
    fn load(&self, key: &str, out: &mut Vec<u8>) -> Option<Version> {
        out.clear();
        let (bytes, cas) = self.with_key(key, abi::shared_data)?;
        *out = bytes;
        NonZeroU32::new(cas).map(Version)
    }

    fn store(&self, key: &str, value: &[u8], expect: Expect) -> Result<(), Conflict> {
        let cas = match expect {
            Expect::Absent => NEVER_ISSUED,
            Expect::Unchanged(version) => version.0.get(),
            Expect::Anything => 0,
        };
        self.with_key(key, |key| abi::set_shared_data(key, value, cas))
            .map_err(|status| {
                if !abi::is_conflict(status) {
                    abi::log(
                        3,
                        &format!("tollgate: shared data refused, status {status}"),
                    );
                }
                Conflict
            })
    }
}

impl Meter for Proxy {
    fn count(&self, metric: MetricId, by: u64) {
        if let Some(metric) = self.metrics.get(metric.index()) {
            metric.pending.set(metric.pending.get().saturating_add(by));
        }
    }

    fn gauge(&self, metric: MetricId, value: u64) {
        self.observe(metric, value);
    }

    fn observe(&self, metric: MetricId, value: u64) {
        if let Some(metric) = self.metrics.get(metric.index())
            && metric.kind != MetricKind::Counter
            && let Some(id) = metric.id
        {
            abi::record_metric(id, value);
        }
    }
}

impl World for Proxy {
    fn now(&self) -> UnixNanos {
        if let Some(now) = self.now.get() {
            return now;
        }
        let now = UnixNanos(abi::now());
        self.now.set(Some(now));
        now
    }

    fn clock(&self) -> UnixNanos {
        UnixNanos(abi::now())
    }

    fn call(&self, call: &Call) -> Result<(), CallRefused> {
        // The SDK would hand the answer to the root context.
        if self.outside.get() {
            return Err(CallRefused);
        }
        let (_, token) = background::dispatch(call)?;
        self.call.set(Some(token));
        Ok(())
    }

    fn call_in_background(&self, call: Call) -> CallId {
        self.background.queue(call)
    }

    fn attribute(&self, attribute: Attribute) -> Option<Vec<u8>> {
        match attribute {
            Attribute::SourceAddress => abi::property("source\0address"),
            Attribute::RouteName => abi::property("xds\0route_name"),
            Attribute::RequestSize => number("request\0size"),
            Attribute::RequestTotalSize => number("request\0total_size"),
            Attribute::ResponseTotalSize => number("response\0total_size"),
            Attribute::ResponseCode => number("response\0code"),
            Attribute::ResponseFlags => number("response\0flags"),
            Attribute::GrpcStatus => number("response\0grpc_status"),
            Attribute::FilterState(name) => abi::property(name),
        }
    }

    fn random(&self) -> u64 {
        let mut bytes = [0; 8];
        match getrandom::fill(&mut bytes) {
            Ok(()) => u64::from_le_bytes(bytes),
            // No entropy at all: the clock is the best that is left.
            Err(_) => abi::now().wrapping_mul(0x9e37_79b9_7f4a_7c15),
        }
    }

    fn log(&self, level: Level, message: fmt::Arguments<'_>) {
        let level = match level {
            Level::Debug => 1,
            Level::Info => 2,
            Level::Warn => 3,
            Level::Error => 4,
        };
        abi::log(level, &format!("tollgate: {message}"));
    }
}

/// Numbers arrive as 8 bytes, little endian.
fn number(path: &str) -> Option<Vec<u8>> {
    read_number(path).map(|n| n.to_string().into_bytes())
}

/// A numeric attribute.
pub(crate) fn read_number(path: &str) -> Option<u64> {
    let bytes: [u8; 8] = abi::property(path)?.try_into().ok()?;
    Some(u64::from_le_bytes(bytes))
}
