//! After the call: what it really cost, to the budgets, the metrics, the access log and the ledger.

use crate::call::{Call, Ending, Outcome};
use crate::ledger::Entry;
use crate::meters::Reason;
use crate::policy::Cost;
use crate::price::{MAX_UNITS, Measured, Price, UnitPrice};
use crate::request::millionths;
use crate::usage::{Findings, Reader};
use tollgate_core::exchange::state_name;
use tollgate_core::world::Attribute;
use tollgate_core::{Exchange, Headers, Money, World};

impl Cost {
    /// What the call cost. In doubt the costliest rule decides, so that neither breaking off nor an
    /// unknown model makes a call cheaper.
    fn outcome(
        &self,
        call: &Call,
        ending: Ending,
        exchange: &Exchange,
        world: &dyn World,
    ) -> Option<Outcome> {
        let known = |cost, reason| {
            Some(Outcome {
                cost,
                price: call.costliest,
                usage: None,
                model: self.asked_model(call),
                reason,
            })
        };
        match ending {
            Ending::Free => return known(Money::ZERO, Reason::FreeStatus),
            Ending::Replied => return known(Money::ZERO, Reason::Replied),
            Ending::Answered | Ending::Broken => {}
        }
        let price = self.prices.get(call.costliest)?;
        if call.needs.flat && price.multipliers.is_empty() {
            // Whatever became of it, the price was known before.
            return known(price.base, Reason::Flat);
        }
        self.measured_outcome(call, ending, exchange, world)
    }

    /// What the call cost by what is known of it after it.
    #[inline(never)]
    fn measured_outcome(
        &self,
        call: &Call,
        ending: Ending,
        exchange: &Exchange,
        world: &dyn World,
    ) -> Option<Outcome> {
        let in_body = call.reader.as_deref().and_then(Reader::findings);
        let findings = call.in_headers.as_deref().or(in_body);
        let told = |f: &Findings| f.model.clone();
        let model = findings
            .and_then(told)
            .or_else(|| in_body.and_then(told))
            .or_else(|| self.asked_model(call));
        let usage = findings.and_then(Findings::usage);
        let named = self.named(call, model.as_deref());
        let at = named.unwrap_or(call.costliest);
        let price = self.prices.get(at)?;
        let measured = Measured {
            usage,
            ..self.measured(call, price, exchange, world)
        };
        let expected = price.expected(call.asked.as_deref());
        let factor = self.factor(call, price);
        let (cost, complete) = price
            .cost_or_missing(&measured, &expected, factor)
            .unwrap_or((call.estimate, false));
        let reason = match (complete, named, ending) {
            (true, None, Ending::Answered) => Reason::UnknownModel,
            (true, None, _) | (false, _, Ending::Broken) => Reason::NoAnswer,
            (false, ..) => Reason::UsageMissing,
            (true, ..) if price.is_base_only() => Reason::Flat,
            (true, ..) if price.tokens.is_some() => Reason::Usage,
            (true, ..) => Reason::Measured,
        };
        Some(Outcome {
            cost,
            price: at,
            usage,
            model,
            reason,
        })
    }

    fn asked_model(&self, call: &Call) -> Option<Vec<u8>> {
        call.asked.as_ref().and_then(|a| a.model.clone())
    }

    /// The rule that the model chooses.
    fn named(&self, call: &Call, model: Option<&[u8]>) -> Option<usize> {
        if let [only] = call.candidates.as_slice()
            && self.prices.get(*only)?.models.is_none()
        {
            return Some(*only);
        }
        let model = self.aliases.resolve(model?);
        self.rules(&call.candidates)
            .find(|(_, p)| p.models.as_ref().is_none_or(|m| m.contain(model)))
            .map(|(at, _)| at)
    }

    #[inline(never)]
    fn measured(
        &self,
        call: &Call,
        price: &Price,
        exchange: &Exchange,
        world: &dyn World,
    ) -> Measured {
        let mut measured = Measured::default();
        if price.request_kib.is_some() {
            measured.request_bytes = call.request_bytes.unwrap_or_else(|| {
                let counted = world.attribute(Attribute::RequestSize);
                counted
                    .and_then(|n| std::str::from_utf8(&n).ok()?.parse().ok())
                    .unwrap_or(0)
            });
        }
        if price.response_kib.is_some() {
            measured.response_bytes = u64::try_from(call.read).unwrap_or(u64::MAX);
        }
        if price.second.is_some() {
            measured.nanos = world.now().since(call.started).0;
        }
        let units = price.units.iter();
        measured.units = units.map(|u| units_in(&exchange.response, u)).collect();
        measured
    }

    /// The cost is known: settles, counts, publishes. Returns it as text the first time.
    pub(crate) fn conclude(
        &self,
        call: &mut Call,
        ending: Ending,
        exchange: &mut Exchange,
        world: &dyn World,
    ) -> Option<String> {
        if call.cost.is_some() {
            return None;
        }
        let outcome = self.outcome(call, ending, exchange, world)?;
        call.cost = Some(outcome.cost);
        if let Some(hold) = call.hold.take()
            && !hold.is_settled_by(outcome.cost)
            && let Some(standing) =
                self.accounts
                    .settle(hold, outcome.cost, &self.budgets, &self.meters, world)
        {
            call.remaining = Some(standing.remaining);
        }
        self.settle_shared(call, outcome.cost, world);
        self.meter(call, &outcome, world);
        let text = self.publish(call, &outcome, exchange);
        if let Some(ledger) = &self.ledger {
            let entry = Entry {
                outcome: &outcome,
                call,
                price: self.prices.get(outcome.price).map(|p| &*p.name),
                currency: &self.currency,
            };
            ledger.enter(&entry, exchange, &self.meters, world);
        }
        Some(text)
    }

    fn meter(&self, call: &Call, outcome: &Outcome, world: &dyn World) {
        self.count(outcome.reason, world);
        self.meters.price(outcome.price, outcome, world);
        if let Some(consumer) = &call.consumer {
            self.meters.consumer(&consumer.id, outcome, world);
        }
        let models = self
            .prices
            .get(outcome.price)
            .and_then(|p| p.models.as_ref());
        if let (Some(models), Some(model)) = (models, &outcome.model)
            && let Some(label) = models.label(self.aliases.resolve(model))
        {
            self.meters.model(label, outcome, world);
        }
    }

    /// Returns the cost as text.
    fn publish(&self, call: &Call, outcome: &Outcome, exchange: &mut Exchange) -> String {
        let facts = &mut exchange.facts;
        let mut text = String::with_capacity(32);
        outcome.cost.push_to(&mut text);
        facts.publish(state_name::COST, &text);
        if let Some(price) = self.prices.get(outcome.price) {
            facts.publish(state_name::PRICE, price.name.as_bytes());
        }
        if let Some(usage) = &outcome.usage {
            let tokens = format!("{},{}", usage.input, usage.output);
            facts.publish(state_name::TOKENS, tokens);
        }
        if let Some(model) = &outcome.model {
            facts.publish(state_name::MODEL, model);
        }
        if let Some(left) = call.remaining
            && facts.wants(state_name::BUDGET_REMAINING)
        {
            facts.publish(state_name::BUDGET_REMAINING, left.to_string());
        }
        text
    }

    pub(crate) fn count(&self, reason: Reason, world: &dyn World) {
        if let Some(metric) = self.meters.reason(reason) {
            world.count(metric, 1);
        }
    }
}

/// What a header counts, in millionths. Several values, or one that is no number, say nothing.
fn units_in(response: &Headers, unit: &UnitPrice) -> Option<u64> {
    let value = response.sole(unit.header.as_str()).ok()??;
    millionths(value.trim_ascii()).filter(|n| *n <= MAX_UNITS)
}
