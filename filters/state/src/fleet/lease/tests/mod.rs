//! Proxies and a service as it was seen, whose questions take no time.

mod alone;
mod answer;
mod codec;
mod purse;
mod roll;
mod size;
mod smooth;
mod take;

use super::*;
use crate::fleet::unit::{Unit, Windows};
use std::collections::BTreeMap;
use tollgate_core::time::SECOND;

const START: u64 = 1_795_237_200 * SECOND;
const MS: u64 = 1_000_000;

/// The service as it was seen: a counter per name and window of its own clock, INCRBY, answers with whole seconds.
#[derive(Default)]
struct Service {
    counters: BTreeMap<(Option<u64>, u64), u64>,
    /// Its clock minus the tests'.
    offset: i64,
}

impl Service {
    fn ask(&mut self, frame: Frame, hits: u64, time: u64) -> (Option<u64>, u64) {
        let time = time.saturating_add_signed(self.offset);
        let unit = frame.unit.nanos();
        let counter = self
            .counters
            .entry((frame.label(), time / unit))
            .or_default();
        *counter += hits;
        let left = frame.unit.seconds() - (time / SECOND) % frame.unit.seconds();
        ((*counter <= POSITIONS).then_some(*counter), left)
    }

    fn lose(&mut self) {
        self.counters.clear();
    }
}

/// One proxy with one key, whose questions take no time.
struct Proxy {
    lease: Lease,
    clock: Clock,
    /// Admitted hits by the end of the window they belong to.
    admitted: BTreeMap<u64, u64>,
    asks: u64,
    /// This proxy's clock minus the tests'.
    offset: i64,
}

impl Proxy {
    fn new(offset: i64) -> Self {
        Self {
            lease: Lease::default(),
            clock: Clock::default(),
            admitted: BTreeMap::new(),
            asks: 0,
            offset,
        }
    }

    fn terms(limit: u64, cost: u64, frame: Frame) -> Terms {
        Terms {
            limit,
            cost,
            frame,
            smooth: None,
            bucket: None,
        }
    }

    fn ask(&mut self, service: &mut Service, terms: &Terms, time: u64, waiting: &[u64]) -> Granted {
        let now = time.saturating_add_signed(self.offset);
        let held = waiting.iter().sum();
        let ask = self.lease.ask(terms, held, now, &self.clock, SECOND);
        let (after, left) = service.ask(ask.frame, ask.hits, time);
        self.asks += 1;
        self.answer(terms, &ask, after, left, time, waiting)
    }

    fn answer(
        &mut self,
        terms: &Terms,
        ask: &Ask,
        after: Option<u64>,
        left: u64,
        time: u64,
        waiting: &[u64],
    ) -> Granted {
        let now = time.saturating_add_signed(self.offset);
        let end = self.clock.learn(ask.frame.unit, ask.sent, now, left);
        let at = end - left * SECOND;
        let seen = Seen { after, end, at };
        let granted = self
            .lease
            .answer(terms, ask, seen, now, &self.clock, waiting);
        let sum: u64 = waiting.iter().take(granted.served).sum();
        *self.admitted.entry(granted.end).or_default() += sum;
        granted
    }

    /// One request, which waits if it must. Whether it passed.
    fn request(&mut self, service: &mut Service, terms: &Terms, time: u64) -> bool {
        let now = time.saturating_add_signed(self.offset);
        match self.lease.take(terms, now, &self.clock) {
            Take::Admitted { end, prefetch } => {
                *self.admitted.entry(end).or_default() += terms.cost;
                if prefetch {
                    self.ask(service, terms, time, &[]);
                }
                true
            }
            Take::Bucket { .. } | Take::Refused { .. } => false,
            Take::Unknown => {
                for _ in 0..4 {
                    let granted = self.ask(service, terms, time, &[terms.cost]);
                    if granted.served == 1 {
                        return true;
                    }
                    if granted.refused.is_some() {
                        return false;
                    }
                }
                false
            }
        }
    }
}

fn unit(unit: Unit) -> Frame {
    Frame {
        unit,
        named: None,
        calendar: false,
    }
}

fn total(proxies: &[Proxy]) -> BTreeMap<u64, u64> {
    let mut sums = BTreeMap::new();
    for proxy in proxies {
        for (end, hits) in &proxy.admitted {
            *sums.entry(*end).or_default() += hits;
        }
    }
    sums
}
