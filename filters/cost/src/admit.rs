//! Before the call: whether there is money for it.

use crate::accounts::Refusal;
use crate::budgets::Budget;
use crate::call::{Call, Notice};
use crate::meters::Reason;
use crate::policy::Cost;
use crate::replies::{self, Shortfall};
use tollgate_core::exchange::state_name;
use tollgate_core::{Exchange, Flow, Money, UnixNanos, World};
use tollgate_state::budget::Charge;

impl Cost {
    /// Charges budgets for a priced call.
    ///
    /// # Errors
    /// The refusal.
    #[inline(always)] // see `begin`
    pub(crate) fn admit(
        &self,
        call: &mut Call,
        exchange: &mut Exchange,
        world: &dyn World,
    ) -> Result<(), Flow> {
        if !self.budgets.is_empty() && self.may_cost(call) {
            return self.charge(call, exchange, world);
        }
        if self.wants_consumer {
            call.has_payer = true;
            exchange.consumer(world);
        }
        Ok(())
    }

    fn may_cost(&self, call: &Call) -> bool {
        let costliest = self.prices.get(call.costliest);
        costliest.is_some_and(|p| !p.is_free())
            || self.rules(call.several()).any(|(_, p)| !p.is_free())
    }

    /// Charges the budgets of whoever sent the request.
    #[inline(always)] // see `begin`
    fn charge(
        &self,
        call: &mut Call,
        exchange: &mut Exchange,
        world: &dyn World,
    ) -> Result<(), Flow> {
        call.has_payer = true;
        if exchange.consumer(world).is_none() && self.refuse_anonymous {
            self.need_consumer(world)?;
        }
        let dear = if self.bounds_calls {
            self.judge_estimate(call.estimate, exchange, world)?
        } else {
            None
        };
        // A price that is known beforehand is spent at once: no second trip.
        let charge = if call.needs.flat {
            Charge::Spent(call.estimate)
        } else {
            Charge::Reserved(call.estimate)
        };
        let (consumer, now) = (exchange.facts.consumer(), world.now());
        if let Some((hold, left)) = self.accounts.pay(&self.budgets, consumer, charge, now) {
            call.hold = Some(hold);
            call.remaining = Some(left);
        } else {
            self.charge_accounts(call, charge, now, exchange, world)?;
        }
        if let Some(shared) = &self.shared {
            self.add_dues(shared, call, now, exchange, world);
        }
        if dear.is_some() || call.details.is_some() {
            self.warn(call, dear, exchange, world);
        }
        Ok(())
    }

    #[cold]
    fn need_consumer(&self, world: &dyn World) -> Result<(), Flow> {
        if !self.budgets.need_consumer() {
            return Ok(());
        }
        self.count(Reason::ConsumerMissing, world);
        Err(replies::consumer_missing().into())
    }

    #[inline(never)]
    fn charge_accounts(
        &self,
        call: &mut Call,
        charge: Charge,
        now: UnixNanos,
        exchange: &mut Exchange,
        world: &dyn World,
    ) -> Result<(), Flow> {
        let (budgets, meters) = (&self.budgets, &self.meters);
        let consumer = exchange.facts.consumer();
        let parts = self.accounts.parts(budgets, consumer, now);
        if parts.is_empty() {
            return Ok(());
        }
        match self.accounts.charge(&parts, charge, budgets, meters, world) {
            Ok((hold, standing)) => {
                call.hold = Some(hold);
                call.remaining = Some(standing.remaining);
                if let Some(warning) = standing.warning {
                    call.details_mut().warning = Some(Notice::Budget(warning));
                }
                Ok(())
            }
            Err(refusal) => Err(self.refuse(&refusal, call.estimate, exchange, world)),
        }
    }

    /// Tells of a call that is expensive for a budget, or that leaves little of one.
    #[inline(never)]
    fn warn(
        &self,
        call: &mut Call,
        dear: Option<usize>,
        exchange: &mut Exchange,
        world: &dyn World,
    ) {
        let Some(warning) = dear.map(Notice::PerRequest).or(call.warning()) else {
            return;
        };
        call.details_mut().warning = Some(warning);
        self.meters.warning(warning, &self.budgets, world);
        if let Some(budget) = self.warned(warning) {
            let facts = &mut exchange.facts;
            facts.publish(state_name::BUDGET, budget.name.as_bytes());
        }
    }

    /// The budget that a warning is about.
    fn warned(&self, notice: Notice) -> Option<&Budget> {
        match notice {
            Notice::PerRequest(at) => self.budgets.iter().nth(at),
            Notice::Budget(warning) => self.budgets.find(&warning.line).map(|(_, b, _)| b),
        }
    }

    /// Whether a single call may cost that much. Returns the budget that it is expensive for.
    #[inline(never)]
    fn judge_estimate(
        &self,
        estimate: Money,
        exchange: &mut Exchange,
        world: &dyn World,
    ) -> Result<Option<usize>, Flow> {
        let consumer = exchange.facts.consumer();
        let mut dear = None;
        for (at, budget) in self.budgets.iter().enumerate() {
            let Some(bounds) = budget.per_request.filter(|_| budget.applies_to(consumer)) else {
                continue;
            };
            let above = |bound: Option<Money>| bound.is_some_and(|b| estimate > b);
            if above(bounds.refuse) && !budget.soft {
                self.meters.too_expensive(at, world);
                let facts = &mut exchange.facts;
                facts.publish(state_name::BUDGET, budget.name.as_bytes());
                let most = bounds.refuse.unwrap_or_default();
                return Err(replies::too_expensive(budget, estimate, most, &self.currency).into());
            }
            if above(bounds.warn) || above(bounds.refuse) {
                dear = dear.or(Some(at));
            }
        }
        Ok(dear)
    }

    #[inline(never)]
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
        self.meters.exhausted(at, world);
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
