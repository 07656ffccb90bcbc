//! Budgets: money out of a lease's purse, see [`crate::fleet::lease::purse`].

use super::{Dispenser, Failure, Outcome, Place, Quota, Subject, Ticket};
use crate::cas;
use crate::fleet::lease::purse::{Pending, Price, Spend};
use tollgate_core::World;

/// What became of a charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payment {
    /// It is set aside.
    Paid {
        /// The period, for [`Dispenser::settle`].
        end: u64,
        /// What the fleet has left, as far as is known, in picounits.
        left: u64,
    },
    /// The fleet has spent the budget, for so many nanoseconds more.
    Refused {
        /// How long.
        wait: u64,
        /// As above.
        left: u64,
    },
    /// It waits: [`Dispenser::poll_payment`] after each wake-up.
    Waiting(Slip),
    /// Nobody knows; nothing is charged.
    Failed(Failure),
}

/// A payment that waits for hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slip {
    ticket: Ticket,
    pending: Pending,
    price: Price,
}

/// A lease is worth more tries than a request.
const TRIES: u32 = super::ANSWER_TRIES;

impl Dispenser {
    /// Sets money aside. `quota.limit` is the budget in hits of `price.value`.
    pub fn spend(
        &self,
        world: &dyn World,
        subject: &Subject,
        place: Place,
        parts: &[u8],
        quota: &Quota,
        price: Price,
    ) -> Payment {
        let (now, clock, terms) = self.terms(world, quota);
        let ask_ahead = self.ask_ahead(&terms, now, &clock);
        let done = self.change(world, place, TRIES, |lease| {
            let spend = lease.spend(&terms, price, now, &clock);
            let due = matches!(spend, Spend::Paid { prefetch: true, .. });
            let ask = ask_ahead(lease, due);
            (spend, ask, lease.money_left(&terms, price.value))
        });
        let Some((spend, ask, left)) = done else {
            self.fail(world, Failure::Contended);
            return Payment::Failed(Failure::Contended);
        };
        self.send_ahead(world, subject, place, parts, terms, ask);
        let counters = &self.service.counters;
        match spend {
            Spend::Paid { end, .. } => {
                world.count(counters.leased, 1);
                Payment::Paid { end, left }
            }
            Spend::Refused { wait } => {
                world.count(counters.spent, 1);
                Payment::Refused { wait, left }
            }
            Spend::Unknown(pending) => {
                let quota = Quota {
                    cost: pending.hits,
                    ..*quota
                };
                match self.queue(world, subject, place, parts, &quota) {
                    Outcome::Waiting(ticket) => Payment::Waiting(Slip {
                        ticket,
                        pending,
                        price,
                    }),
                    other => self.paid(world, place, &quota, price, &pending, other),
                }
            }
        }
    }

    /// Looks whether the hits for a payment are there.
    pub fn poll_payment(&self, world: &dyn World, quota: &Quota, slip: Slip) -> Payment {
        match self.poll(world, slip.ticket) {
            Outcome::Waiting(_) => Payment::Waiting(slip),
            other => {
                let place = slip.ticket.place;
                self.paid(world, place, quota, slip.price, &slip.pending, other)
            }
        }
    }

    /// Somebody whose payment waits goes away.
    pub fn leave_payment(&self, world: &dyn World, quota: &Quota, slip: Slip) {
        let quota = Quota {
            cost: slip.pending.hits,
            bucket: None,
            ..*quota
        };
        self.leave(world, slip.ticket, &quota);
        self.change(world, slip.ticket.place, TRIES, |lease| {
            lease.put_back(&slip.pending);
        });
    }

    fn paid(
        &self,
        world: &dyn World,
        place: Place,
        quota: &Quota,
        price: Price,
        pending: &Pending,
        outcome: Outcome,
    ) -> Payment {
        let (_, _, terms) = self.terms(world, quota);
        let left = self.change(world, place, TRIES, |lease| {
            match outcome {
                Outcome::Admitted { end, .. } => lease.pay(price, pending, end),
                _ => lease.put_back(pending),
            }
            lease.money_left(&terms, price.value)
        });
        let left = left.unwrap_or(0);
        match outcome {
            Outcome::Admitted { end, .. } => Payment::Paid { end, left },
            Outcome::Refused { wait, .. } => Payment::Refused { wait, left },
            Outcome::Failed(failure) => Payment::Failed(failure),
            // Not handed to this.
            Outcome::Waiting(_) => Payment::Failed(Failure::Error),
        }
    }

    /// A call for which `set_aside` picounits were set aside in the period that ends at `end` has cost `cost`.
    /// Returns whether that was noted; if not, try again.
    pub fn settle(
        &self,
        world: &dyn World,
        place: Place,
        end: u64,
        set_aside: u64,
        cost: u64,
    ) -> bool {
        let settle = |lease: &mut crate::fleet::lease::Lease| lease.settle(end, set_aside, cost);
        self.change(world, place, TRIES, settle).is_some()
    }

    /// Nobody knew whether a call might pass, and it was let through: what it costs is owed.
    pub fn owe(&self, world: &dyn World, place: Place, quota: &Quota, cost: u64) -> u64 {
        let (now, _, terms) = self.terms(world, quota);
        self.change(world, place, cas::TRIES, |lease| {
            lease.owe(&terms, now, cost)
        })
        .unwrap_or(0)
    }
}
