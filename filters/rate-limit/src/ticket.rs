//! Limits with `scope: global` in mode `ticket`: requests take hits out of a lease, and wait only where there is none.

use crate::RateLimit;
use crate::answer;
use crate::decide::{Choice, Next, Turn};
use crate::fleet::Fleet;
use crate::ledger::{self, Applied, Held, Waiting};
use crate::limit::BucketSet;
use tollgate_core::{Exchange, Flow, World};
use tollgate_state::fleet::dispenser::{Outcome, Shown};
use tollgate_state::fleet::service::FailureMode;
use tollgate_state::fleet::table::Place;
use tollgate_state::gcra::Reading;
use tollgate_state::table::Readings;

impl RateLimit {
    /// Takes hits for a request.
    #[inline(never)]
    pub(crate) fn take_ticket(
        &self,
        choice: &Choice<'_>,
        parts: &[u8],
        turn: &mut Turn<'_>,
    ) -> Next {
        let dispensed = choice.buckets.dispensed(choice.tokens);
        let (Some(fleet), Some((subject, quota))) = (&self.fleet, dispensed) else {
            return Next::Limit;
        };
        let world = turn.world;
        if choice.tokens == 0 {
            world.count(choice.limit.counters.allowed, 1);
            return Next::Limit;
        }
        let place = fleet.dispenser.place(subject, self.seed(world), parts);
        let outcome = fleet.dispenser.take(world, subject, place, parts, &quota);
        self.ticket_outcome(choice, place, outcome, turn)
    }

    /// Something has come for those who wait, or time has passed.
    pub(crate) fn woken(&self, turn: &mut Turn<'_>) -> Flow {
        let Some(waiting) = turn.ledger.waiting.take() else {
            return Flow::Continue;
        };
        let found = self.limits.get(waiting.limit);
        let found = found.zip(self.sets.get(waiting.set));
        let (Some((limit, buckets)), Some(fleet)) = (found, &self.fleet) else {
            return Flow::Continue;
        };
        let choice = Choice {
            limit,
            index: waiting.limit,
            set: waiting.set,
            buckets,
            tokens: waiting.tokens,
        };
        let place = waiting.place;
        let outcome = fleet.dispenser.poll(turn.world, waiting.ticket);
        match self.ticket_outcome(&choice, place, outcome, turn) {
            Next::Wait => Flow::HoldForWake,
            Next::Refuse(reply) => self.reply(turn, reply),
            _ => self.run(turn),
        }
    }

    /// The exchange is over: if it still waits, its client has gone.
    pub(crate) fn gone(&self, exchange: &mut Exchange, world: &dyn World) {
        if let Some(fleet) = self.fleet.as_ref().filter(|f| f.is_ticket()) {
            self.leave(fleet, exchange, world);
        }
        self.spare.keep(exchange);
    }

    #[inline(never)]
    fn leave(&self, fleet: &Fleet, exchange: &mut Exchange, world: &dyn World) {
        let Some(mut ledger) = ledger::take(exchange) else {
            return;
        };
        if let Some(waiting) = ledger.waiting.take()
            && let Some(set) = self.sets.get(waiting.set)
            && let Some((_, quota)) = set.dispensed(waiting.tokens)
        {
            fleet.dispenser.leave(world, waiting.ticket, &quota);
            for applied in &mut ledger.applied {
                self.give_back(applied, world);
            }
        }
        ledger::close(exchange, ledger);
    }

    fn ticket_outcome(
        &self,
        choice: &Choice<'_>,
        place: Place,
        outcome: Outcome,
        turn: &mut Turn<'_>,
    ) -> Next {
        let counters = &choice.limit.counters;
        let apply = |shown: Shown, taken: bool, end: Option<u64>, turn: &mut Turn<'_>| {
            let mut readings = Readings::default();
            if let Some(first) = readings.first_mut() {
                *first = shown.own.unwrap_or_default();
            }
            let mut applied = Applied {
                limit: choice.index,
                set: choice.set,
                tokens: choice.tokens,
                taken_at: turn.world.now().0,
                held: Held::Lease(place, end),
                taken,
                shown: !choice.limit.shadow,
                readings,
                of_fleet: false,
            };
            applied.lower(shown.remaining, shown.reset);
            turn.ledger.applied.push(applied);
        };
        match outcome {
            Outcome::Admitted { end, shown } => {
                apply(shown, true, Some(end), turn);
                turn.world.count(counters.allowed, 1);
                Next::Limit
            }
            Outcome::Refused { wait, shown, own } => {
                let mut shown = shown;
                if !own {
                    shown.remaining = 0;
                    shown.reset = wait;
                }
                apply(shown, false, None, turn);
                self.refuse(choice, choice.buckets.names.clone(), wait, turn)
            }
            Outcome::Waiting(ticket) => {
                turn.ledger.waiting = Some(Waiting {
                    limit: choice.index,
                    set: choice.set,
                    tokens: choice.tokens,
                    place,
                    ticket,
                });
                Next::Wait
            }
            Outcome::Failed(_) => {
                let mode = choice.limit.global.unwrap_or(FailureMode::Deny);
                let share = match (&self.fleet, choice.buckets.dispensed(choice.tokens)) {
                    (Some(fleet), Some((_, quota))) if mode == FailureMode::Local => {
                        fleet.dispenser.take_alone(turn.world, place, &quota)
                    }
                    (Some(fleet), Some((_, quota))) if mode == FailureMode::Allow => {
                        fleet.dispenser.pass_unasked(turn.world, place, &quota);
                        Ok(())
                    }
                    _ => Ok(()),
                };
                let shown = Shown {
                    own: Some(Reading::default()),
                    ..Shown::default()
                };
                apply(shown, true, None, turn);
                if let Some(applied) = turn.ledger.applied.last_mut() {
                    // Nothing is known that could be shown.
                    applied.shown = false;
                }
                match share {
                    Err(wait) => {
                        self.give_back_last(turn);
                        self.refuse(choice, choice.buckets.names.clone(), wait.max(1), turn)
                    }
                    Ok(()) if mode == FailureMode::Deny && !choice.limit.shadow => {
                        turn.world.count(counters.service_failed, 1);
                        Next::Refuse(Box::new(answer::service_failed()))
                    }
                    Ok(()) => {
                        turn.world.count(counters.allowed, 1);
                        Next::Limit
                    }
                }
            }
        }
    }

    fn give_back_last(&self, turn: &mut Turn<'_>) {
        if let Some(applied) = turn.ledger.applied.last_mut() {
            self.give_back(applied, turn.world);
        }
    }

    pub(crate) fn give_back_lease(
        &self,
        set: &BucketSet,
        applied: &Applied,
        place: Place,
        end: Option<u64>,
        world: &dyn World,
    ) {
        let dispensed = set.dispensed(applied.tokens);
        if let (Some(fleet), Some((_, quota))) = (&self.fleet, dispensed) {
            let elapsed = world.now().0.saturating_sub(applied.taken_at);
            fleet
                .dispenser
                .give_back(world, place, &quota, end, elapsed);
        }
    }
}
