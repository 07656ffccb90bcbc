//! Requests take hits, wait in line for them, and leave it.

use super::desk::{Desk, Verdict};
use super::{ANSWER_TRIES, Dispenser, Failure, Outcome, Place, Quota, Subject, Ticket, shown};
use crate::cas;
use crate::fleet::lease::Take;
use tollgate_core::World;

impl Dispenser {
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
        if let Some(admitted) = self.hands.take(place, quota, now) {
            world.count(self.service.counters.leased, 1);
            return admitted;
        }
        let clock = *self.service.clock.borrow();
        let terms = quota.terms(&clock, now);
        let ask_ahead = self.ask_ahead(&terms, now, &clock);
        let dropped = self.hands.drop(place);
        let wants_more = self.hands.wants(quota);
        let done = self.change(world, place, cas::TRIES, |lease| {
            if let Some(hand) = &dropped {
                hand.put_back(lease, &terms, now);
            }
            let take = lease.take(&terms, now, &clock);
            let due = matches!(take, Take::Admitted { prefetch: true, .. });
            let ask = ask_ahead(lease, due);
            let ahead = match take {
                Take::Admitted { .. } if wants_more => lease.take_ahead(&terms, now),
                _ => 0,
            };
            let shown = shown(lease, &terms, now, &clock);
            (take, ask, ahead, lease.good_until(), shown)
        });
        let Some((take, ask, ahead, until, mut shown)) = done else {
            return self.fail(world, Failure::Contended);
        };
        self.send_ahead(world, subject, place, parts, terms, ask);
        let counters = &self.service.counters;
        match take {
            Take::Admitted { end, .. } => {
                world.count(counters.leased, 1);
                if ahead > 0 {
                    let window = (end, until);
                    self.hands.hold(place, ahead, window, now, quota, shown);
                    shown.remaining = shown.remaining.saturating_add(ahead);
                    if let Some(own) = &mut shown.own {
                        own.remaining = own.remaining.saturating_add(ahead);
                    }
                }
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
    pub(super) fn queue(
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
        let (now, _, terms) = self.terms(world, quota);
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
        let (now, clock, terms) = self.terms(world, quota);
        let expected = self.service.expected_proxies;
        self.change(world, place, ANSWER_TRIES, |lease| {
            lease.take_alone(&terms, expected, now, &clock)
        })
        .unwrap_or(Err(0))
    }

    /// A request passes although nobody knows: the next question asks for its hits, too.
    pub fn pass_unasked(&self, world: &dyn World, place: Place, quota: &Quota) {
        let (now, _, terms) = self.terms(world, quota);
        self.change(world, place, cas::TRIES, |lease| {
            lease.pass_unasked(&terms, now);
        });
    }
}
