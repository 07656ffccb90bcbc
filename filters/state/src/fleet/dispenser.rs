//! Leases at work: requests take hits, wait for them, or are refused; questions are asked in the background.
//!
//! A lease is shared by the workers (see [`super::table`]); who waits for an answer, and the questions under way, are a
//! worker's own, as are a few hits in hand. At most one question is under way for each key that somebody waits for, and one prefetch a proxy and key.

mod desk;
mod hand;
pub mod money;
mod question;
mod request;

use super::clock::Clock;
use super::counters::Failure;
use super::lease::{Events, Lease, Terms};
use super::name::Namer;
use super::service::Service;
use super::table::{Place, Placer, Table};
use super::unit::Period;
use crate::gcra::{Bucket, Reading, Tat};
use crate::seed::Seed;
use desk::Desk;
use hand::Hands;
use question::Asked;
use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use tollgate_core::World;
use tollgate_core::world::CallId;

/// Questions under way in one worker at most.
const MOST_ASKS: usize = 4_096;
/// An answer is worth more tries than a request.
const ANSWER_TRIES: u32 = 64;

/// What a request wants: see [`Terms`].
#[derive(Clone, Copy, Debug)]
pub struct Quota {
    /// Hits that the fleet may spend in a window; at most [`super::lease::MAX_LIMIT`].
    pub limit: u64,
    /// Hits of this request, at least 1.
    pub cost: u64,
    /// What is counted over.
    pub period: Period,
    /// Paced over the window: so many hits at once.
    pub smooth: Option<u64>,
    /// This proxy's own bucket, and what the request costs in it.
    pub bucket: Option<(Bucket, Tat)>,
}

impl Quota {
    fn terms(&self, clock: &Clock, now: u64) -> Terms {
        Terms {
            limit: self.limit,
            cost: self.cost,
            frame: self.period.frame(clock.surely(now)),
            smooth: self.smooth,
            bucket: self.bucket,
        }
    }
}

/// One limit, budget or guard: where its keys' leases and names come from.
#[derive(Debug)]
pub struct Subject {
    what: &'static str,
    limit: Rc<str>,
    numbers: Vec<u64>,
    namer: Namer,
    placer: OnceCell<Placer>,
}

impl Subject {
    /// `what` tells the uses apart (`limit`, `budget`), `numbers` say what it counts in.
    #[must_use]
    pub fn new(service: &Service, what: &'static str, limit: &Rc<str>, numbers: Vec<u64>) -> Self {
        Self {
            what,
            limit: Rc::clone(limit),
            namer: service.namer.of(what, limit, &numbers),
            numbers,
            placer: OnceCell::new(),
        }
    }

    fn place(&self, table: &Table, seed: Seed, parts: &[u8]) -> Place {
        let new = || Placer::new(seed, self.what, &self.limit, &self.numbers);
        table.place(self.placer.get_or_init(new), parts)
    }
}

/// What a client is told about a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// This proxy's own bucket.
    pub own: Option<Reading>,
    /// What the fleet has left, as far as is known.
    pub remaining: u64,
    /// Nanoseconds until the window is over.
    pub reset: u64,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It passes.
    Admitted {
        /// For [`Dispenser::give_back`].
        end: u64,
        /// For its headers.
        shown: Shown,
    },
    /// It is refused for so many nanoseconds; nothing is charged.
    Refused {
        /// How long.
        wait: u64,
        /// For its headers.
        shown: Shown,
        /// By this proxy's own bucket, not by the fleet.
        own: bool,
    },
    /// It waits: [`Dispenser::poll`] after each wake-up.
    Waiting(Ticket),
    /// Nobody knows; the own bucket is charged.
    Failed(Failure),
}

/// A place in the line of those who wait for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    place: Place,
    id: u64,
    since: u64,
    deadline: u64,
}

/// See the module. One policy's in one worker.
#[derive(Debug)]
pub struct Dispenser {
    /// The service.
    pub service: Service,
    table: Table,
    asks: RefCell<BTreeMap<CallId, Asked>>,
    desks: RefCell<BTreeMap<Place, Desk>>,
    hands: Hands,
    tickets: std::cell::Cell<u64>,
}

impl Dispenser {
    /// Dispenses what the service counts.
    #[must_use]
    pub fn new(service: Service) -> Self {
        Self {
            table: Table::new(service.max_bytes),
            service,
            asks: RefCell::default(),
            desks: RefCell::default(),
            hands: Hands::default(),
            tickets: std::cell::Cell::default(),
        }
    }

    /// Where a key's lease is.
    #[must_use]
    pub fn place(&self, subject: &Subject, seed: Seed, parts: &[u8]) -> Place {
        subject.place(&self.table, seed, parts)
    }

    /// How many wait, over all keys.
    #[must_use]
    pub fn held(&self) -> usize {
        self.desks.borrow().values().map(Desk::waiting).sum()
    }

    /// The present moment, the service's clock, and what a request is up against now.
    fn terms(&self, world: &dyn World, quota: &Quota) -> (u64, Clock, Terms) {
        let now = world.now().0;
        let clock = *self.service.clock.borrow();
        (now, clock, quota.terms(&clock, now))
    }

    fn fail(&self, world: &dyn World, failure: Failure) -> Outcome {
        self.service.counters.request_failed(world, failure);
        Outcome::Failed(failure)
    }

    fn has_room(&self) -> bool {
        self.asks.borrow().len() < MOST_ASKS
    }

    /// Does something at a key's desk, and removes it when nobody needs it any more.
    fn with_desk<T>(&self, place: Place, f: impl FnOnce(&mut Desk) -> T) -> Option<T> {
        let mut desks = self.desks.borrow_mut();
        let desk = desks.get_mut(&place)?;
        let value = f(desk);
        if desk.is_idle() {
            desks.remove(&place);
        }
        Some(value)
    }

    fn change<T>(
        &self,
        world: &dyn World,
        place: Place,
        tries: u32,
        mut change: impl FnMut(&mut Lease) -> T,
    ) -> Option<T> {
        let now = world.now().0;
        let done = self.table.change(world, place, now, tries, |lease| {
            let value = change(lease);
            (value, lease.take_events())
        });
        let done = done.ok()?;
        let (value, events) = done.value;
        if events != Events::default() || done.evicted {
            self.service.counters.events(world, events, done.evicted);
        }
        Some(value)
    }
}

fn shown(lease: &Lease, terms: &Terms, now: u64, clock: &Clock) -> Shown {
    Shown {
        own: lease.local(terms, now),
        remaining: lease.remaining(terms),
        reset: lease.resets_in(now, clock),
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests;
