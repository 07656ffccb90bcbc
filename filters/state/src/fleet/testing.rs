//! The service as it was seen, for tests and simulations: counters per descriptor and window of its own clock.

use super::lease::POSITIONS;
use super::proto::{self, Asked};
use super::unit::Unit;
use std::collections::BTreeMap;
use tollgate_core::time::SECOND;

/// See the module.
#[derive(Debug, Default)]
pub struct FakeService {
    counters: BTreeMap<(String, String, u64), u64>,
    /// Its clock minus everybody else's, in nanoseconds.
    pub offset: i64,
    /// Questions answered.
    pub asks: u64,
    /// Hits asked for.
    pub hits: u64,
}

impl FakeService {
    /// Answers a `RateLimitRequest`; one that it cannot read, or of an unknown unit, as unknown descriptors are: OK, and
    /// no more.
    pub fn answer(&mut self, message: &[u8], now: u64) -> Vec<u8> {
        let unknown = || vec![8, 1];
        let Some(Asked { key, value, hits }) = proto::read_request(message) else {
            return unknown();
        };
        let Some(unit) = Unit::ALL.into_iter().find(|u| u.word() == key) else {
            return unknown();
        };
        let (after, left) = self.count(unit, &value, hits, now);
        proto::answer(
            after <= POSITIONS,
            unit,
            POSITIONS.saturating_sub(after),
            left,
        )
    }

    /// Counts: the counter's value, and the seconds left of the window.
    pub fn count(&mut self, unit: Unit, value: &str, hits: u64, now: u64) -> (u64, u64) {
        self.asks = self.asks.saturating_add(1);
        self.hits = self.hits.saturating_add(hits);
        let seconds = now.saturating_add_signed(self.offset) / SECOND;
        let into = seconds.checked_rem(unit.seconds()).unwrap_or(0);
        let window = seconds.saturating_sub(into);
        let key = (unit.word().to_owned(), value.to_owned(), window);
        let counter = self.counters.entry(key).or_default();
        *counter = counter.saturating_add(hits);
        (*counter, unit.seconds().saturating_sub(into))
    }

    /// All counters are gone.
    pub fn lose(&mut self) {
        self.counters.clear();
    }

    /// The largest counter.
    #[must_use]
    pub fn highest(&self) -> u64 {
        self.counters.values().copied().max().unwrap_or(0)
    }
}
