//! Leases at work: requests take hits, wait for them, or are refused; questions are asked in the background.
//!
//! A lease is shared by the workers (see [`super::table`]); who waits for an answer, and the questions under way, are a
//! worker's own. At most one question is under way for each key that somebody waits for, and one prefetch a proxy and key.

mod desk;
pub mod money;

use super::clock::Clock;
use super::counters::Failure;
use super::lease::{Ask, Events, Granted, Lease, Seen, Take, Terms};
use super::name::Namer;
use super::service::Service;
use super::table::{Place, Placer, Table};
use super::unit::Period;
use crate::cas;
use crate::gcra::{Bucket, Reading, Tat};
use crate::seed::Seed;
use desk::{Desk, Verdict};
use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use tollgate_core::World;
use tollgate_core::time::SECOND;
use tollgate_core::world::{CallId, CallReply};

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

#[derive(Debug)]
struct Asked {
    place: Place,
    terms: Terms,
    ask: Ask,
    /// Somebody waits for it; else a prefetch.
    awaited: bool,
}

/// See the module. One policy's in one worker.
#[derive(Debug)]
pub struct Dispenser {
    /// The service.
    pub service: Service,
    table: Table,
    asks: RefCell<BTreeMap<CallId, Asked>>,
    desks: RefCell<BTreeMap<Place, Desk>>,
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
            tickets: std::cell::Cell::default(),
        }
    }

    /// Where a key's lease is.
    #[must_use]
    pub fn place(&self, subject: &Subject, seed: Seed, parts: &[u8]) -> Place {
        subject.place(&self.table, seed, parts)
    }

    /// A request takes hits.
    pub fn take(
        &self,
        world: &dyn World,
        subject: &Subject,
        place: Place,
        parts: &[u8],
        quota: &Quota,
    ) -> Outcome {
        let now = world.now().0;
        let clock = *self.service.clock.borrow();
        let terms = quota.terms(&clock, now);
        let may_prefetch = self.may_prefetch();
        let patience = self.service.patience(false);
        let done = self.change(world, place, cas::TRIES, |lease| {
            let take = lease.take(&terms, now, &clock);
            let ask = match take {
                Take::Admitted { prefetch: true, .. } if may_prefetch => {
                    Some(lease.ask(&terms, 0, now, &clock, patience))
                }
                _ => None,
            };
            (take, ask, shown(lease, &terms, now, &clock))
        });
        let Some((take, ask, shown)) = done else {
            return self.fail(world, Failure::Contended);
        };
        if let Some(ask) = ask {
            let name = subject.namer.name(ask.frame.label(), parts);
            self.send(world, place, terms, ask, &name, false);
        }
        let counters = &self.service.counters;
        match take {
            Take::Admitted { end, .. } => {
                world.count(counters.leased, 1);
                Outcome::Admitted { end, shown }
            }
            Take::Bucket { wait } => Outcome::Refused {
                wait,
                shown,
                own: true,
            },
            Take::Refused { wait } => {
                world.count(counters.spent, 1);
                Outcome::Refused {
                    wait,
                    shown,
                    own: false,
                }
            }
            Take::Unknown => self.queue(world, subject, place, parts, quota),
        }
    }

    /// Joins the line of the key, asks if nobody does.
    fn queue(
        &self,
        world: &dyn World,
        subject: &Subject,
        place: Place,
        parts: &[u8],
        quota: &Quota,
    ) -> Outcome {
        let now = world.now().0;
        let mut desks = self.desks.borrow_mut();
        let under_way = desks.get(&place).is_some_and(|d| d.under_way);
        let may_ask = || self.has_room() && self.service.admits(now);
        if !under_way && !may_ask() {
            drop(desks);
            return self.fail(world, Failure::BreakerOpen);
        }
        let desk = desks
            .entry(place)
            .or_insert_with(|| Desk::new(subject.namer.clone(), parts, quota));
        if desk.waiting() >= self.service.max_held {
            drop(desks);
            return self.fail(world, Failure::TooManyHeld);
        }
        let ticket = Ticket {
            place,
            id: self.tickets.get(),
            since: now,
            deadline: now.saturating_add(self.service.patience(true)),
        };
        self.tickets.set(ticket.id.wrapping_add(1));
        desk.join(ticket.id, quota);
        drop(desks);
        if !under_way {
            self.ask_for_waiting(world, place);
        }
        Outcome::Waiting(ticket)
    }

    /// Asks for those who wait. The breaker has admitted it.
    fn ask_for_waiting(&self, world: &dyn World, place: Place) {
        let now = world.now().0;
        let clock = *self.service.clock.borrow();
        let Some((quota, held)) = self.with_desk(place, |desk| {
            desk.under_way = true;
            (desk.quota, desk.held())
        }) else {
            return;
        };
        let terms = quota.terms(&clock, now);
        let patience = self.service.patience(true);
        let asked = self.change(world, place, ANSWER_TRIES, |lease| {
            lease.ask(&terms, held, now, &clock, patience)
        });
        // Whatever the table says, whoever waits is asked for: without a lease for just them.
        let ask = asked.unwrap_or_else(|| Lease::default().ask(&terms, held, now, &clock, 0));
        if let Some(name) = self.with_desk(place, |desk| desk.name(ask.frame.label())) {
            self.send(world, place, terms, ask, &name, true);
        }
    }

    fn send(
        &self,
        world: &dyn World,
        place: Place,
        terms: Terms,
        ask: Ask,
        name: &str,
        awaited: bool,
    ) {
        let call = self
            .service
            .call(ask.frame.unit.word(), name, ask.hits, awaited);
        let id = world.call_in_background(call);
        let asked = Asked {
            place,
            terms,
            ask,
            awaited,
        };
        self.asks.borrow_mut().insert(id, asked);
    }

    /// The reply to a background call; `false` if it is none of ours.
    pub fn on_reply(&self, world: &dyn World, id: CallId, reply: &dyn CallReply) -> bool {
        let Some(asked) = self.asks.borrow_mut().remove(&id) else {
            return false;
        };
        let unit = asked.ask.frame.unit;
        match self.service.read(world, unit, reply) {
            Ok(count) => {
                let now = world.now().0;
                let mut clock = self.service.clock.borrow_mut();
                let end = clock.learn(unit, asked.ask.sent, now, count.left);
                let seen = Seen {
                    after: count.after,
                    end,
                    at: end.saturating_sub(count.left.saturating_mul(SECOND)),
                };
                drop(clock);
                self.answered(world, &asked, seen);
            }
            Err(failure) => {
                self.change(world, asked.place, ANSWER_TRIES, |lease| {
                    lease.failed(&asked.ask)
                });
                if asked.awaited {
                    self.with_desk(asked.place, |desk| {
                        desk.under_way = false;
                        desk.settle_all(Verdict::Failed(failure));
                    });
                }
            }
        }
        true
    }

    fn answered(&self, world: &dyn World, asked: &Asked, seen: Seen) {
        let now = world.now().0;
        let clock = *self.service.clock.borrow();
        let terms = asked.terms;
        let waiting = self
            .with_desk(asked.place, |desk| {
                desk.under_way &= !asked.awaited;
                desk.costs()
            })
            .unwrap_or_default();
        let hits: Vec<u64> = waiting.iter().map(|cost| cost.hits).collect();
        // Another answer for the key is to come, which may have room: then nobody is refused yet.
        let other = self.await_other(asked.place);
        let done = self.change(world, asked.place, ANSWER_TRIES, |lease| {
            let mut granted = lease.answer(&terms, &asked.ask, seen, now, &clock, &hits);
            if other {
                granted.refused = None;
            }
            if granted.refused.is_some() {
                for cost in waiting.iter().skip(granted.served) {
                    lease.give_back_local(
                        &with_cost(terms, *cost),
                        now.saturating_sub(asked.ask.sent),
                    );
                }
            }
            (granted, shown(lease, &terms, now, &clock))
        });
        let Some((granted, shown)) = done else {
            // The lease is lost: nobody knows whether there was room.
            self.with_desk(asked.place, |desk| {
                desk.settle_all(Verdict::Failed(Failure::Contended));
            });
            return;
        };
        self.service
            .answered(world, granted.served > 0 || granted.refused.is_none());
        let Granted {
            served,
            end,
            refused,
        } = granted;
        let left = self
            .with_desk(asked.place, |desk| {
                desk.settle(served, Verdict::Admitted { end, shown });
                if let Some(wait) = refused {
                    desk.settle_all(Verdict::Refused { wait, shown });
                }
                desk.waiting() > 0 && !desk.under_way
            })
            .unwrap_or(false);
        if left {
            if self.has_room() && self.service.admits(now) {
                self.ask_for_waiting(world, asked.place);
            } else {
                self.with_desk(asked.place, |desk| {
                    desk.settle_all(Verdict::Failed(Failure::BreakerOpen));
                });
            }
        }
    }

    /// Whether another question for the key is under way; those who wait then wait for that one.
    fn await_other(&self, place: Place) -> bool {
        let mut asks = self.asks.borrow_mut();
        let Some(other) = asks.values_mut().find(|a| a.place == place) else {
            return false;
        };
        self.with_desk(place, |desk| desk.under_way = true)
            .inspect(|()| other.awaited = true)
            .is_some()
    }

    /// Looks whether a verdict is there for somebody who waits.
    pub fn poll(&self, world: &dyn World, ticket: Ticket) -> Outcome {
        let now = world.now().0;
        let verdict = self.with_desk(ticket.place, |desk| {
            let verdict = desk.verdict(ticket.id);
            if verdict.is_none() && now >= ticket.deadline {
                desk.leave(ticket.id);
                return Some(Verdict::Failed(Failure::Timeout));
            }
            verdict
        });
        let counters = &self.service.counters;
        match verdict {
            Some(None) => Outcome::Waiting(ticket),
            Some(Some(Verdict::Admitted { end, shown })) => {
                world.count(counters.waited, 1);
                Outcome::Admitted { end, shown }
            }
            Some(Some(Verdict::Refused { wait, shown })) => {
                world.count(counters.spent, 1);
                Outcome::Refused {
                    wait,
                    shown,
                    own: false,
                }
            }
            Some(Some(Verdict::Failed(failure))) => self.fail(world, failure),
            // Not in any line: cannot be, and must not wait for ever.
            None => self.fail(world, Failure::Timeout),
        }
    }

    /// Somebody who waits goes away.
    pub fn leave(&self, world: &dyn World, ticket: Ticket, quota: &Quota) {
        let verdict = self.with_desk(ticket.place, |desk| {
            let verdict = desk.verdict(ticket.id);
            desk.leave(ticket.id);
            verdict
        });
        let elapsed = world.now().0.saturating_sub(ticket.since);
        let end = match verdict.flatten() {
            Some(Verdict::Refused { .. }) => return,
            Some(Verdict::Admitted { end, .. }) => Some(end),
            _ => None,
        };
        self.give_back(world, ticket.place, quota, end, elapsed);
    }

    /// Gives back what a request was charged `elapsed` nanoseconds ago that something else refused: of the own bucket,
    /// and of the lease if `end` is that of its admission.
    pub fn give_back(
        &self,
        world: &dyn World,
        place: Place,
        quota: &Quota,
        end: Option<u64>,
        elapsed: u64,
    ) {
        let now = world.now().0;
        let clock = *self.service.clock.borrow();
        let terms = quota.terms(&clock, now);
        self.change(world, place, cas::TRIES, |lease| match end {
            Some(end) => lease.give_back(&terms, end, elapsed, now),
            None => lease.give_back_local(&terms, elapsed),
        });
    }

    /// Decides by this proxy's share. Refused with nanoseconds to wait.
    ///
    /// # Errors
    /// Nanoseconds until the share holds enough.
    pub fn take_alone(&self, world: &dyn World, place: Place, quota: &Quota) -> Result<(), u64> {
        let now = world.now().0;
        let clock = *self.service.clock.borrow();
        let terms = quota.terms(&clock, now);
        let expected = self.service.expected_proxies;
        self.change(world, place, ANSWER_TRIES, |lease| {
            lease.take_alone(&terms, expected, now, &clock)
        })
        .unwrap_or(Err(0))
    }

    /// A request passes although nobody knows: the next question asks for its hits, too.
    pub fn pass_unasked(&self, world: &dyn World, place: Place, quota: &Quota) {
        let now = world.now().0;
        let clock = *self.service.clock.borrow();
        let terms = quota.terms(&clock, now);
        self.change(world, place, cas::TRIES, |lease| {
            lease.pass_unasked(&terms, now);
        });
    }

    /// How many wait, over all keys.
    #[must_use]
    pub fn held(&self) -> usize {
        self.desks.borrow().values().map(Desk::waiting).sum()
    }

    fn fail(&self, world: &dyn World, failure: Failure) -> Outcome {
        self.service.counters.request_failed(world, failure);
        Outcome::Failed(failure)
    }

    fn has_room(&self) -> bool {
        self.asks.borrow().len() < MOST_ASKS
    }

    /// Only while the service answers: a probe is for somebody who waits.
    fn may_prefetch(&self) -> bool {
        self.has_room() && !self.service.is_away()
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

fn with_cost(terms: Terms, waiter: desk::Cost) -> Terms {
    Terms {
        cost: waiter.hits,
        bucket: waiter.bucket,
        ..terms
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
