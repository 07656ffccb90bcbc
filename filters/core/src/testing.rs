//! A [`World`] of plain data, for tests and benchmarks and for engines without a proxy.
//!
//! It counts conflicts and calls like a proxy would, and time moves when the test says so.

use crate::metrics::{MetricId, Metrics};
use crate::time::{Duration, UnixNanos};
use crate::world::{
    Attribute, Call, CallId, CallRefused, CallReply, Conflict, Expect, Level, Meter, Outcome,
    Store, Version, World,
};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;

/// See the module.
#[derive(Debug, Default)]
pub struct TestWorld {
    now: Cell<UnixNanos>,
    values: RefCell<BTreeMap<String, (Vec<u8>, u32)>>,
    versions: Cell<u32>,
    numbers: RefCell<BTreeMap<usize, u64>>,
    attributes: RefCell<Vec<(Attribute, Vec<u8>)>>,
    calls: RefCell<Vec<Call>>,
    background: RefCell<Vec<(CallId, Call)>>,
    sent: Cell<u64>,
    logs: RefCell<Vec<(Level, String)>>,
    seed: Cell<u64>,
    /// The next this many writes fail as if another worker had been faster.
    pub conflicts: Cell<u32>,
    /// Whether calls are refused, as for an unknown cluster.
    pub refuse_calls: Cell<bool>,
}

impl TestWorld {
    /// A world at that moment.
    #[must_use]
    pub fn at(now: UnixNanos) -> Self {
        let world = Self::default();
        world.now.set(now);
        world
    }

    /// Moves the clock, in either direction.
    pub fn set_now(&self, now: UnixNanos) {
        self.now.set(now);
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.now.set(self.now.get().plus(by));
    }

    /// Sets what [`World::attribute`] answers.
    pub fn set_attribute(&self, attribute: Attribute, value: impl Into<Vec<u8>>) {
        let mut all = self.attributes.borrow_mut();
        all.retain(|(a, _)| *a != attribute);
        all.push((attribute, value.into()));
    }

    /// Sets all metrics back: a new configuration counts anew.
    pub fn clear_numbers(&self) {
        self.numbers.borrow_mut().clear();
    }

    /// Forgets all attributes: a new exchange begins.
    pub fn clear_attributes(&self) {
        self.attributes.borrow_mut().clear();
    }

    /// The current number of a metric, by its name with labels (see [`crate::metrics::stat_name`]).
    #[must_use]
    pub fn metric(&self, metrics: &Metrics, stat: &str) -> u64 {
        let at = metrics.iter().position(|m| m.stat() == stat);
        at.and_then(|at| self.numbers.borrow().get(&at).copied())
            .unwrap_or(0)
    }

    /// All metrics that are not zero, by position.
    #[must_use]
    pub fn numbers(&self) -> BTreeMap<usize, u64> {
        self.numbers.borrow().clone()
    }

    /// The calls sent since the last call of this method.
    pub fn take_calls(&self) -> Vec<Call> {
        self.calls.take()
    }

    /// The background calls sent since the last call of this method.
    pub fn take_background(&self) -> Vec<(CallId, Call)> {
        self.background.take()
    }

    /// The log lines since the last call of this method.
    pub fn take_logs(&self) -> Vec<(Level, String)> {
        self.logs.take()
    }

    /// How many keys the store holds.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.values.borrow().len()
    }

    /// Bytes of all keys and values in the store.
    #[must_use]
    pub fn stored_bytes(&self) -> usize {
        self.values.borrow().iter().fold(0, |n, (k, (v, _))| {
            n.saturating_add(k.len()).saturating_add(v.len())
        })
    }
}

impl Store for TestWorld {
    fn load(&self, key: &str, out: &mut Vec<u8>) -> Option<Version> {
        out.clear();
        let values = self.values.borrow();
        let (bytes, version) = values.get(key)?;
        out.extend_from_slice(bytes);
        NonZeroU32::new(*version).map(Version)
    }

    fn store(&self, key: &str, value: &[u8], expect: Expect) -> Result<(), Conflict> {
        if self.conflicts.get() > 0 {
            self.conflicts.set(self.conflicts.get().saturating_sub(1));
            return Err(Conflict);
        }
        let mut values = self.values.borrow_mut();
        let current = values.get(key).map(|(_, version)| *version);
        let holds = match expect {
            Expect::Absent => current.is_none(),
            Expect::Unchanged(version) => current == Some(version.0.get()),
            Expect::Anything => true,
        };
        if !holds {
            return Err(Conflict);
        }
        self.versions.set(self.versions.get().saturating_add(1));
        values.insert(key.to_owned(), (value.to_vec(), self.versions.get()));
        Ok(())
    }
}

impl Meter for TestWorld {
    fn count(&self, metric: MetricId, by: u64) {
        let mut numbers = self.numbers.borrow_mut();
        let number = numbers.entry(metric.index()).or_default();
        *number = number.saturating_add(by);
    }

    fn gauge(&self, metric: MetricId, value: u64) {
        self.numbers.borrow_mut().insert(metric.index(), value);
    }

    fn observe(&self, metric: MetricId, _value: u64) {
        self.count(metric, 1);
    }
}

impl World for TestWorld {
    fn now(&self) -> UnixNanos {
        self.now.get()
    }

    fn call(&self, call: &Call) -> Result<(), CallRefused> {
        if self.refuse_calls.get() {
            return Err(CallRefused);
        }
        self.calls.borrow_mut().push(call.clone());
        Ok(())
    }

    fn call_in_background(&self, call: Call) -> CallId {
        self.sent.set(self.sent.get().saturating_add(1));
        let id = CallId(self.sent.get());
        self.background.borrow_mut().push((id, call));
        id
    }

    fn attribute(&self, attribute: Attribute) -> Option<Vec<u8>> {
        let all = self.attributes.borrow();
        all.iter()
            .find(|(a, _)| *a == attribute)
            .map(|(_, v)| v.clone())
    }

    /// SplitMix64 from a fixed seed: the same run gives the same numbers.
    fn random(&self) -> u64 {
        let seed = self.seed.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.seed.set(seed);
        let mut z = seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn log(&self, level: Level, message: fmt::Arguments<'_>) {
        self.logs.borrow_mut().push((level, message.to_string()));
    }
}

/// A reply to a background call, from plain data.
#[derive(Clone, Debug)]
pub struct TestReply {
    /// How the call ended.
    pub outcome: Outcome,
    /// Headers, names lower-case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Body or gRPC message.
    pub body: Vec<u8>,
}

impl TestReply {
    /// One without headers.
    #[must_use]
    pub fn new(outcome: Outcome, body: impl Into<Vec<u8>>) -> Self {
        Self {
            outcome,
            headers: Vec::new(),
            body: body.into(),
        }
    }
}

impl CallReply for TestReply {
    fn outcome(&self) -> Outcome {
        self.outcome
    }

    fn header(&self, name: &str) -> Option<Vec<u8>> {
        let found = self.headers.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.clone())
    }

    fn size(&self) -> usize {
        self.body.len()
    }

    fn read(&self, offset: usize, len: usize) -> Vec<u8> {
        crate::drive::Body::read(self.body.as_slice(), offset, len)
    }
}
