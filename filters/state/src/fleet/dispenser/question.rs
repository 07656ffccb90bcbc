//! Questions for those who wait, and ahead of time; what their answers mean.

use super::desk::{self, Verdict};
use super::{ANSWER_TRIES, Dispenser, Failure, Place, Subject, shown};
use crate::fleet::clock::Clock;
use crate::fleet::lease::{Ask, Granted, Lease, Seen, Terms};
use tollgate_core::World;
use tollgate_core::time::SECOND;
use tollgate_core::world::{CallId, CallReply};

/// A question under way.
#[derive(Debug)]
pub(super) struct Asked {
    place: Place,
    terms: Terms,
    ask: Ask,
    /// Somebody waits for it; else a prefetch.
    awaited: bool,
}

impl Dispenser {
    /// Asks for those who wait. The breaker has admitted it.
    pub(super) fn ask_for_waiting(&self, world: &dyn World, place: Place) {
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

    /// Notes a question ahead of time in a lease if a new one is due: nobody waits for its hits. To be sent once the
    /// lease is stored.
    ///
    /// Only while the service answers: a probe is for somebody who waits.
    pub(super) fn ask_ahead(
        &self,
        terms: &Terms,
        now: u64,
        clock: &Clock,
    ) -> impl Fn(&mut Lease, bool) -> Option<Ask> {
        let may_ask = self.has_room() && !self.service.is_away();
        let patience = self.service.patience(false);
        move |lease, due| (due && may_ask).then(|| lease.ask(terms, 0, now, clock, patience))
    }

    /// Sends what was noted ahead of time, if anything was.
    pub(super) fn send_ahead(
        &self,
        world: &dyn World,
        subject: &Subject,
        place: Place,
        parts: &[u8],
        terms: Terms,
        ask: Option<Ask>,
    ) {
        if let Some(ask) = ask {
            let name = subject.namer.name(ask.frame.label(), parts);
            self.send(world, place, terms, ask, &name, false);
        }
    }

    pub(super) fn send(
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
}

fn with_cost(terms: Terms, waiter: desk::Cost) -> Terms {
    Terms {
        cost: waiter.hits,
        bucket: waiter.bucket,
        ..terms
    }
}
