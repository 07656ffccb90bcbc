//! Limits with `scope: global` in mode `classic`: after this proxy's own bucket the fleet's service is asked.

use crate::RateLimit;
use crate::answer;
use crate::decide::{Choice, Next, Turn};
use crate::fleet::Outcome;
use tollgate_core::Flow;
use tollgate_core::world::CallAnswer;
use tollgate_state::fleet::service::FailureMode;

impl RateLimit {
    /// Asks the service for the limit that was applied last.
    #[inline(never)]
    pub(crate) fn ask(
        &self,
        choice: &Choice<'_>,
        mode: FailureMode,
        parts: &[u8],
        turn: &mut Turn<'_>,
    ) -> Next {
        let Some(fleet) = &self.fleet else {
            return Next::Limit;
        };
        turn.ledger.fallback = choice.buckets.fallback.and_then(|set| {
            let buckets = self.sets.get(set)?;
            Some((set, self.place(buckets, parts, turn.world)))
        });
        if fleet.ask(turn.world, choice.limit, parts, choice.tokens) {
            turn.ledger.asking = true;
            return Next::Hold;
        }
        self.without_service(choice, mode, turn)
    }

    /// The service has answered, or not.
    pub(crate) fn answered(&self, turn: &mut Turn<'_>, answer: &CallAnswer) -> Flow {
        if !std::mem::take(&mut turn.ledger.asking) {
            return Flow::Continue;
        }
        let last = turn.ledger.applied.last();
        let asked = last.and_then(|a| self.choice_of(a));
        let (Some(choice), Some(fleet)) = (asked, &self.fleet) else {
            return Flow::Continue;
        };
        let outcome = fleet.read(turn.world, choice.limit, answer);
        match self.after_service(&choice, outcome, turn) {
            Next::Refuse(reply) => self.reply(turn, reply),
            _ => self.run(turn),
        }
    }

    fn after_service(&self, choice: &Choice<'_>, outcome: Outcome, turn: &mut Turn<'_>) -> Next {
        match outcome {
            Outcome::Ok { remaining, reset } => {
                turn.world.count(choice.limit.counters.allowed, 1);
                if let Some(applied) = turn.ledger.applied.last_mut() {
                    applied.lower(remaining, reset);
                }
                Next::Limit
            }
            Outcome::Over { reset } => {
                // Nothing said about the end of the window: when the bucket would be full again it is over.
                let drain = || choice.buckets.buckets.first().map_or(0, |b| b.drain());
                let wait = reset.unwrap_or_else(drain);
                if let Some(applied) = turn.ledger.applied.last_mut() {
                    applied.lower(0, wait);
                }
                self.refuse(choice, choice.buckets.names.clone(), wait, turn)
            }
            Outcome::Failed => match choice.limit.global {
                Some(mode) => self.without_service(choice, mode, turn),
                None => Next::Limit,
            },
        }
    }

    /// The service cannot be asked or did not answer.
    fn without_service(&self, choice: &Choice<'_>, mode: FailureMode, turn: &mut Turn<'_>) -> Next {
        let counters = &choice.limit.counters;
        match mode {
            FailureMode::Deny if !choice.limit.shadow => {
                turn.world.count(counters.service_failed, 1);
                Next::Refuse(Box::new(answer::service_failed()))
            }
            FailureMode::Local => {
                let share = turn.ledger.fallback.take();
                let share = share.and_then(|(set, at)| Some((set, at, self.sets.get(set)?)));
                let Some((set, place, buckets)) = share else {
                    return Next::Limit;
                };
                // The share is what counts now, so it is what is shown.
                if let Some(applied) = turn.ledger.applied.last_mut() {
                    applied.shown = false;
                }
                let share = Choice {
                    set,
                    buckets,
                    ..*choice
                };
                let next = self.take_at(&share, place, turn);
                if turn.ledger.applied.last().is_some_and(|a| a.taken) {
                    turn.world.count(counters.allowed, 1);
                }
                next
            }
            FailureMode::Allow | FailureMode::Deny => {
                turn.world.count(counters.allowed, 1);
                Next::Limit
            }
        }
    }
}
