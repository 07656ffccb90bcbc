//! After the call: what it really cost, to the budgets, the metrics and the access log.

use crate::call::{Call, Ending, Outcome};
use crate::meters::Reason;
use crate::policy::Cost;
use crate::usage::Reader;
use tollgate_core::exchange::state_name;
use tollgate_core::{Exchange, Money, World};

impl Cost {
    /// What the call cost. In doubt the costliest rule decides, so that neither breaking off nor an
    /// unknown model makes a call cheaper.
    fn outcome(&self, call: &Call, ending: Ending) -> Option<Outcome> {
        let free = |reason| {
            Some(Outcome {
                cost: Money::ZERO,
                price: call.costliest,
                usage: None,
                reason,
            })
        };
        match ending {
            Ending::Free => return free(Reason::FreeStatus),
            Ending::Replied => return free(Reason::Replied),
            Ending::Answered | Ending::Broken => {}
        }
        let findings = call.reader.as_ref().and_then(Reader::findings);
        let model = findings.and_then(|f| f.model.as_deref());
        let usage = findings.and_then(|f| f.usage());
        let is_for = |at: &&usize| {
            let price = self.prices.get(**at);
            model.is_some_and(|m| price.is_some_and(|p| p.is_for(m)))
        };
        let named = match call.candidates.as_slice() {
            [only] if self.prices.get(*only)?.model.is_none() => Some(*only),
            several => several.iter().find(is_for).copied(),
        };
        let at = named.unwrap_or(call.costliest);
        let price = self.prices.get(at)?;
        let (cost, reason) = match price.cost(usage.as_ref()) {
            Some(cost) if named.is_none() && ending == Ending::Answered => {
                (cost, Reason::UnknownModel)
            }
            Some(cost) if named.is_none() => (cost, Reason::NoAnswer),
            Some(cost) if price.tokens.is_none() => (cost, Reason::Flat),
            Some(cost) => (cost, Reason::Usage),
            None if ending == Ending::Broken => (price.missing, Reason::NoAnswer),
            None => (price.missing, Reason::UsageMissing),
        };
        Some(Outcome {
            cost,
            price: at,
            usage,
            reason,
        })
    }

    /// The cost is known: settles, counts, publishes. Returns it the first time.
    pub(crate) fn conclude(
        &self,
        call: &mut Call,
        ending: Ending,
        exchange: &mut Exchange,
        world: &dyn World,
    ) -> Option<Money> {
        if std::mem::replace(&mut call.concluded, true) {
            return None;
        }
        let outcome = self.outcome(call, ending)?;
        if let Some(hold) = call.hold.take()
            && !hold.is_settled_by(outcome.cost)
            && let Some(left) = self.ledger.settle(hold, outcome.cost, &self.meters, world)
        {
            call.remaining = Some(left);
        }
        self.meter(call, &outcome, world);
        self.publish(&outcome, exchange);
        Some(outcome.cost)
    }

    fn meter(&self, call: &Call, outcome: &Outcome, world: &dyn World) {
        self.count(outcome.reason, world);
        let cost = outcome.cost.pico();
        let add = |metric, by: u64| {
            if by > 0 {
                world.count(metric, by);
            }
        };
        if let Some(price) = self.meters.price(outcome.price) {
            world.count(price.requests, 1);
            add(price.cost, cost);
            if let (Some(tokens), Some(usage)) = (price.tokens, &outcome.usage) {
                add(tokens.input, usage.input);
                add(tokens.output, usage.output);
                add(tokens.cached_read, usage.cached_read);
                add(tokens.reasoning, usage.reasoning);
            }
        }
        let consumer = call.consumer.as_ref();
        if let Some(metric) = consumer.and_then(|id| self.meters.consumer(id)) {
            add(metric, cost);
        }
    }

    fn publish(&self, outcome: &Outcome, exchange: &mut Exchange) {
        let facts = &mut exchange.facts;
        let mut cost = String::with_capacity(32);
        outcome.cost.push_to(&mut cost);
        facts.publish(state_name::COST, cost);
        if let Some(price) = self.prices.get(outcome.price) {
            facts.publish(state_name::PRICE, price.name.as_bytes());
        }
        if let Some(usage) = &outcome.usage {
            let tokens = format!("{},{}", usage.input, usage.output);
            facts.publish(state_name::TOKENS, tokens);
        }
    }

    pub(crate) fn count(&self, reason: Reason, world: &dyn World) {
        if let Some(metric) = self.meters.reason(reason) {
            world.count(metric, 1);
        }
    }
}
