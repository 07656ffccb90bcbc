//! After the call: what it really cost, to the budgets, the metrics, the access log and the ledger.

use crate::accounts::Hold;
use crate::call::{Call, Ending, Outcome, Told};
use crate::ledger::Entry;
use crate::meters::Reason;
use crate::policy::Cost;
use crate::price::{MAX_UNITS, Measured, Price, UnitPrice};
use crate::request::{Asked, millionths};
use crate::usage::{Findings, Reader};
use tollgate_core::exchange::{Facts, state_name};
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
                reason,
                told: call.asked().and_then(model_of).map(Box::new),
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
        let details = call.details.as_deref();
        let in_body = call.reader().and_then(Reader::findings);
        let in_headers = details.and_then(|d| d.in_headers.as_deref());
        let findings = in_headers.or(in_body);
        let told = |f: &Findings| f.model.clone();
        let model = findings
            .and_then(told)
            .or_else(|| in_body.and_then(told))
            .or_else(|| call.asked()?.model.clone());
        let usage = findings.and_then(Findings::usage);
        let named = self.named(call, model.as_deref());
        let at = named.unwrap_or(call.costliest);
        let price = self.prices.get(at)?;
        let measured = Measured {
            usage,
            ..self.measured(call, price, exchange, world)
        };
        let expected = price.expected(call.asked());
        let factor = self.factor(call, price, exchange);
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
            reason,
            told: Some(Box::new(Told { usage, model })),
        })
    }

    /// The rule that the model chooses.
    fn named(&self, call: &Call, model: Option<&[u8]>) -> Option<usize> {
        if let [only] = call.candidates()
            && self.prices.get(*only)?.models.is_none()
        {
            return Some(*only);
        }
        let model = self.aliases.resolve(model?);
        self.rules(call.candidates())
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
        let details = call.details.as_deref();
        if price.request_kib.is_some() {
            measured.request_bytes = details.and_then(|d| d.request_bytes).unwrap_or_else(|| {
                let counted = world.attribute(Attribute::RequestSize);
                counted
                    .and_then(|n| std::str::from_utf8(&n).ok()?.parse().ok())
                    .unwrap_or(0)
            });
        }
        if price.response_kib.is_some() {
            measured.response_bytes =
                u64::try_from(details.map_or(0, |d| d.read)).unwrap_or(u64::MAX);
        }
        if price.second.is_some() {
            let now = world.now();
            measured.nanos = now.since(details.and_then(|d| d.started).unwrap_or(now)).0;
        }
        let units = price.units.iter();
        measured.units = units.map(|u| units_in(&exchange.response, u)).collect();
        measured
    }

    /// The cost is known: settles, counts, publishes, and tells the client, if that is still possible. Only the first
    /// time.
    pub(crate) fn conclude(
        &self,
        call: &mut Call,
        ending: Ending,
        show: bool,
        exchange: &mut Exchange,
        world: &dyn World,
    ) {
        if call.cost.is_some() {
            return;
        }
        let Some(outcome) = self.outcome(call, ending, exchange, world) else {
            return;
        };
        call.cost = Some(outcome.cost);
        let is_settled = |h: &Hold| h.is_settled_by(outcome.cost);
        if !call.hold.as_ref().is_none_or(is_settled) {
            self.settle(call, outcome.cost, world);
        }
        self.settle_shared(call, outcome.cost, world);
        self.meter(call, &outcome, exchange, world);
        let price = self.prices.get(outcome.price);
        let reckoned;
        let text = match price {
            Some(price) if price.base == outcome.cost => price.base_text.as_bytes(),
            _ => {
                reckoned = outcome.cost.text();
                reckoned.as_bytes()
            }
        };
        let facts = &mut exchange.facts;
        facts.publish(state_name::COST, text);
        if let Some(price) = price {
            facts.publish(state_name::PRICE, price.name.as_bytes());
        }
        if let Some(told) = &outcome.told {
            publish_told(told, facts);
        }
        let tells_left =
            self.shown.remaining.is_some() || facts.wants(state_name::BUDGET_REMAINING);
        let remaining;
        let left = match call.remaining {
            Some(left) if tells_left => {
                remaining = left.text();
                facts.publish(state_name::BUDGET_REMAINING, remaining.as_bytes());
                Some(remaining.as_bytes())
            }
            _ => None,
        };
        if let Some(ledger) = &self.ledger {
            let entry = Entry {
                outcome: &outcome,
                call,
                consumer: call.consumer(exchange),
                price: price.map(|p| &*p.name),
                currency: &self.currency,
            };
            ledger.enter(&entry, exchange, &self.meters, world);
        }
        if show {
            self.show(call, text, left, true, exchange);
        }
    }

    /// The true cost is another one than what was charged.
    #[inline(never)]
    fn settle(&self, call: &mut Call, cost: Money, world: &dyn World) {
        let (budgets, meters) = (&self.budgets, &self.meters);
        if let Some(hold) = call.hold.take()
            && let Some(standing) = self.accounts.settle(hold, cost, budgets, meters, world)
        {
            call.remaining = Some(standing.remaining);
        }
    }

    fn meter(&self, call: &Call, outcome: &Outcome, exchange: &Exchange, world: &dyn World) {
        self.count(outcome.reason, world);
        self.meters.price(outcome.price, outcome, world);
        if self.meters.tells_consumers_apart()
            && let Some(consumer) = call.consumer(exchange)
        {
            self.meters.consumer(&consumer.id, outcome, world);
        }
        if let Some(model) = outcome.model() {
            self.meter_model(model, outcome, world);
        }
    }

    #[inline(never)]
    fn meter_model(&self, model: &[u8], outcome: &Outcome, world: &dyn World) {
        if let Some(price) = self.prices.get(outcome.price)
            && let Some(models) = &price.models
            && let Some(label) = models.label(self.aliases.resolve(model))
        {
            self.meters.model(label, outcome, world);
        }
    }

    pub(crate) fn count(&self, reason: Reason, world: &dyn World) {
        if let Some(metric) = self.meters.reason(reason) {
            world.count(metric, 1);
        }
    }
}

/// The model that a request asks for.
#[inline(never)]
fn model_of(asked: &Asked) -> Option<Told> {
    let model = Some(asked.model.clone()?);
    Some(Told { usage: None, model })
}

#[inline(never)]
fn publish_told(told: &Told, facts: &mut Facts) {
    if let Some(usage) = &told.usage {
        let tokens = format!("{},{}", usage.input, usage.output);
        facts.publish(state_name::TOKENS, tokens);
    }
    if let Some(model) = &told.model {
        facts.publish(state_name::MODEL, model);
    }
}

/// What a header counts, in millionths. Several values, or one that is no number, say nothing.
fn units_in(response: &Headers, unit: &UnitPrice) -> Option<u64> {
    let value = response.sole(unit.header.as_str()).ok()??;
    millionths(value.trim_ascii()).filter(|n| *n <= MAX_UNITS)
}
