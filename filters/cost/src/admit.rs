//! Before the call: which prices it may have, what it may cost at most, and whether there is money for it.

use crate::call::Call;
use crate::ledger::Refusal;
use crate::meters::Reason;
use crate::policy::Cost;
use crate::replies::{self, Shortfall};
use tollgate_core::exchange::state_name;
use tollgate_core::{Exchange, Flow, Money, World};
use tollgate_state::budget::Charge;

impl Cost {
    /// Prices a request and charges its consumer's budgets. `Ok(None)`: it has no price.
    ///
    /// # Errors
    /// The refusal.
    pub(crate) fn admit(
        &self,
        exchange: &mut Exchange,
        world: &dyn World,
    ) -> Result<Option<Call>, Flow> {
        let candidates = self.candidates(exchange, world);
        let Some(mut call) = self.price(candidates) else {
            self.count(Reason::Unpriced, world);
            return Ok(None);
        };
        let costs = call
            .candidates
            .iter()
            .any(|at| self.prices.get(*at).is_some_and(|p| !p.is_free()));
        if costs && !self.budgets.is_empty() {
            self.charge(&mut call, exchange, world)?;
        }
        Ok(Some(call))
    }

    /// The rules that could apply to a request: all that match up to the first one that does not
    /// ask for a model.
    fn candidates(&self, exchange: &Exchange, world: &dyn World) -> Vec<usize> {
        let mut found = Vec::new();
        for (at, price) in self.prices.iter().enumerate() {
            // A rule that makes requests free lets more pass than having no such rule would.
            let matches = if price.is_free() {
                price.matcher.matches_safely(exchange, world)
            } else {
                price.matcher.matches(exchange, world)
            };
            if matches {
                found.push(at);
                if price.model.is_none() {
                    break;
                }
            }
        }
        found
    }

    /// A call by the price table alone; nothing is charged yet.
    fn price(&self, candidates: Vec<usize>) -> Option<Call> {
        let rules = || {
            candidates
                .iter()
                .filter_map(|at| self.prices.get(*at).map(|price| (*at, price)))
        };
        let mut costliest = rules().next()?;
        for rule in rules() {
            if rule.1.estimate > costliest.1.estimate {
                costliest = rule;
            }
        }
        let (at, price) = costliest;
        let needs_body = rules().any(|(_, p)| p.needs_body());
        Some(Call {
            needs_body,
            reads_status: needs_body || !price.free_status.is_empty(),
            costliest: at,
            estimate: price.estimate,
            candidates,
            hold: None,
            remaining: None,
            consumer: None,
            reader: None,
            held: false,
            read: 0,
            concluded: false,
        })
    }

    /// Charges the budgets of whoever sent the request.
    fn charge(
        &self,
        call: &mut Call,
        exchange: &mut Exchange,
        world: &dyn World,
    ) -> Result<(), Flow> {
        let Some(consumer) = exchange.consumer(world) else {
            if !self.refuse_anonymous {
                return Ok(());
            }
            self.count(Reason::ConsumerMissing, world);
            return Err(replies::consumer_missing().into());
        };
        call.consumer = Some(consumer.id.clone());
        let lines = self.budgets.lines(consumer, world.now());
        if lines.is_empty() {
            return Ok(());
        }
        // A price that is known beforehand is spent at once: no second trip.
        let charge = if call.needs_body {
            Charge::Reserved(call.estimate)
        } else {
            Charge::Spent(call.estimate)
        };
        match self
            .ledger
            .charge(consumer, lines, charge, &self.meters, world)
        {
            Ok((hold, left)) => {
                call.hold = Some(hold);
                call.remaining = Some(left);
                Ok(())
            }
            Err(refusal) => Err(self.refuse(&refusal, call.estimate, exchange, world)),
        }
    }

    fn refuse(
        &self,
        refusal: &Refusal,
        estimate: Money,
        exchange: &mut Exchange,
        world: &dyn World,
    ) -> Flow {
        let found = match refusal {
            Refusal::Exhausted { exhausted, line } => {
                self.budgets.find(line).map(|found| (*exhausted, found))
            }
            Refusal::Contended => None,
        };
        let Some((exhausted, (at, budget, period))) = found else {
            // Letting it pass would be a call that nobody pays for.
            self.count(Reason::Contended, world);
            return replies::contended().into();
        };
        if let Some(metric) = self.meters.budget(at) {
            world.count(metric, 1);
        }
        exchange
            .facts
            .publish(state_name::BUDGET, budget.name.as_bytes());
        let short = Shortfall {
            budget,
            period,
            exhausted,
            estimate,
            currency: &self.currency,
        };
        let mut reply = replies::exhausted(&short, world.now());
        if let Some(name) = &self.shown.remaining {
            reply = reply.header(name.as_str().to_owned(), exhausted.remaining.to_string());
        }
        reply.into()
    }
}
