//! Before the call: which prices it may have, what it may cost at most, and whether there is money for it.

use crate::accounts::Refusal;
use crate::budgets::{Budget, Part};
use crate::call::{Call, Candidates, Needs, Notice, content_length};
use crate::check::Invalid;
use crate::meters::Reason;
use crate::policy::Cost;
use crate::price::{ONE, Price};
use crate::replies::{self, Shortfall};
use crate::request::Asked;
use std::rc::Rc;
use tollgate_core::exchange::state_name;
use tollgate_core::{Consumer, Exchange, Flow, Money, UnixNanos, World};
use tollgate_state::budget::Charge;

impl Cost {
    /// The rules that could apply to a request: all that match up to the first one that does not
    /// ask for a model.
    pub(crate) fn candidates(&self, exchange: &mut Exchange, world: &dyn World) -> Candidates {
        if self.prices_ask_for_consumer {
            exchange.consumer(world);
        }
        let now = if self.prices_change {
            world.now()
        } else {
            UnixNanos(0)
        };
        let mut found = Candidates::None;
        for (at, price) in self.prices.iter().enumerate() {
            let is_not_for_it = self.prices_change && !price.is_valid_at(now)
                || self.prices_ask_for_consumer
                    && !price.is_for_consumer(exchange.facts.consumer());
            if is_not_for_it {
                continue;
            }
            // A rule that makes requests free lets more pass than having no such rule would.
            let matches = if price.is_free() {
                price.matcher.matches_safely(exchange, world)
            } else {
                price.matcher.matches(exchange, world)
            };
            if matches {
                found.push(at);
                if price.models.is_none() {
                    break;
                }
            }
        }
        found
    }

    /// The rules of some candidates.
    pub(crate) fn rules<'p, 'c>(
        &'p self,
        candidates: &'c [usize],
    ) -> impl Iterator<Item = (usize, &'p Price)> + use<'p, 'c> {
        candidates
            .iter()
            .filter_map(|at| self.prices.get(*at).map(|price| (*at, price)))
    }

    /// A call by the price table alone; nothing is charged yet. `asked`: what its body asks for, if it was read.
    /// `None`: it has no price.
    ///
    /// # Errors
    /// The refusal.
    pub(crate) fn price(
        &self,
        candidates: Candidates,
        asked: Option<Box<Asked>>,
        exchange: &mut Exchange,
        world: &dyn World,
    ) -> Result<Option<Call>, Flow> {
        if let (Candidates::One(at), None) = (&candidates, &asked)
            && let Some(price) = self.prices.get(*at)
            && price.has_one_estimate()
            && price.second.is_none()
        {
            return Ok(Some(Call::new(*at, price.estimate, price.needs)));
        }
        self.choose(candidates, asked, exchange, world)
    }

    /// [`Cost::price`], whatever has to be looked at.
    #[inline(never)]
    pub(crate) fn choose(
        &self,
        candidates: Candidates,
        asked: Option<Box<Asked>>,
        exchange: &mut Exchange,
        world: &dyn World,
    ) -> Result<Option<Call>, Flow> {
        let all = candidates.as_slice();
        let requested = self.requested(all, asked.as_deref());
        if let Some(asked) = &asked {
            self.judge(all, requested, asked, world)?;
        }
        let needs = self.needs(all);
        let request_bytes = needs
            .request_size
            .then(|| content_length(&exchange.request))
            .flatten();
        let consumer = if self.prices_ask_for_consumer {
            exchange.consumer(world)
        } else {
            None
        };
        let estimated = |(at, price): (usize, &Price)| {
            let varies = asked.is_some() || needs.request_size || !price.multipliers.is_empty();
            let estimate = if varies {
                estimate(price, asked.as_deref(), request_bytes, consumer)
            } else {
                price.estimate
            };
            (at, estimate)
        };
        let chosen = match requested {
            Some(at) => self.prices.get(at).map(|price| estimated((at, price))),
            None => {
                let mut each = self.rules(all).map(estimated);
                let first = each.next();
                first.map(|first| {
                    each.fold(first, |most, one| if one.1 > most.1 { one } else { most })
                })
            }
        };
        let Some((costliest, estimate)) = chosen else {
            return Ok(None);
        };
        let mut call = Call::new(costliest, estimate, needs);
        let takes_time = self.rules(all).any(|(_, p)| p.second.is_some());
        let details = call.details_mut();
        details.started = takes_time.then(|| world.now());
        details.asked = asked;
        details.request_bytes = request_bytes;
        if let Candidates::Several(all) = candidates {
            details.candidates = all;
        }
        Ok(Some(call))
    }

    /// Charges budgets for a priced call.
    ///
    /// # Errors
    /// The refusal.
    pub(crate) fn admit(
        &self,
        call: &mut Call,
        exchange: &mut Exchange,
        world: &dyn World,
    ) -> Result<(), Flow> {
        if !self.budgets.is_empty() && self.rules(call.candidates()).any(|(_, p)| !p.is_free()) {
            return self.charge(call, exchange, world);
        }
        if self.wants_consumer {
            call.has_payer = true;
            exchange.consumer(world);
        }
        Ok(())
    }

    /// The rule for the model that the request asks for.
    #[inline(never)]
    fn requested(&self, candidates: &[usize], asked: Option<&Asked>) -> Option<usize> {
        let model = self.aliases.resolve(asked?.model.as_deref()?);
        let fits = |p: &Price| p.models.as_ref().is_none_or(|m| m.contain(model));
        self.rules(candidates)
            .find(|(_, price)| fits(price))
            .map(|(at, _)| at)
    }

    /// A request that is not as it must be is refused before it costs anything.
    #[inline(never)]
    fn judge(
        &self,
        candidates: &[usize],
        requested: Option<usize>,
        asked: &Asked,
        world: &dyn World,
    ) -> Result<(), Flow> {
        let judged = self
            .rules(candidates)
            .filter(|(at, _)| requested.is_none_or(|r| r == *at))
            .filter_map(|(_, price)| price.checks.as_deref())
            .try_for_each(|checks| {
                checks.judge(asked)?;
                if requested.is_none() && asked.model.is_some() && checks.refuses_unknown_model() {
                    return Err(Invalid::new("model", "has no price"));
                }
                Ok(())
            });
        judged.map_err(|invalid| self.invalid(&invalid, world))
    }

    #[cold]
    pub(crate) fn invalid(&self, invalid: &Invalid, world: &dyn World) -> Flow {
        self.count(Reason::RequestInvalid, world);
        replies::invalid(invalid).into()
    }

    fn needs(&self, candidates: &[usize]) -> Needs {
        let each = self.rules(candidates).map(|(_, price)| price.needs);
        each.reduce(Needs::and).unwrap_or_default()
    }

    /// Charges the budgets of whoever sent the request.
    fn charge(
        &self,
        call: &mut Call,
        exchange: &mut Exchange,
        world: &dyn World,
    ) -> Result<(), Flow> {
        call.has_payer = true;
        let is_anonymous = exchange.consumer(world).is_none();
        if is_anonymous && self.refuse_anonymous && self.budgets.need_consumer() {
            self.count(Reason::ConsumerMissing, world);
            return Err(replies::consumer_missing().into());
        }
        let dear = if self.bounds_calls {
            self.judge_estimate(call.estimate, exchange, world)?
        } else {
            None
        };
        let mut remembered = self.remembered.borrow_mut();
        let parts = remembered.parts(&self.budgets, exchange.facts.consumer(), world.now());
        // A price that is known beforehand is spent at once: no second trip.
        let charge = if call.needs.flat {
            Charge::Spent(call.estimate)
        } else {
            Charge::Reserved(call.estimate)
        };
        if let Some((hold, left)) = self.accounts.pay(parts, charge) {
            call.hold = Some(hold);
            call.remaining = Some(left);
        } else if !parts.is_empty() {
            self.charge_accounts(call, parts, charge, exchange, world)?;
        }
        if let Some(shared) = &self.shared {
            self.add_dues(shared, call, parts, world);
        }
        if dear.is_some() || call.details.is_some() {
            self.warn(call, dear, exchange, world);
        }
        Ok(())
    }

    #[inline(never)]
    fn charge_accounts(
        &self,
        call: &mut Call,
        parts: &[Rc<Part>],
        charge: Charge,
        exchange: &mut Exchange,
        world: &dyn World,
    ) -> Result<(), Flow> {
        let (budgets, meters) = (&self.budgets, &self.meters);
        match self.accounts.charge(parts, charge, budgets, meters, world) {
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

    /// What the call's consumer pays of a price.
    pub(crate) fn factor(&self, call: &Call, price: &Price, exchange: &Exchange) -> u64 {
        if price.multipliers.is_empty() {
            return ONE;
        }
        price.factor(call.consumer(exchange))
    }
}

/// What a call may cost at most, where that depends on the request.
#[inline(never)]
fn estimate(
    price: &Price,
    asked: Option<&Asked>,
    request_bytes: Option<u64>,
    consumer: Option<&Consumer>,
) -> Money {
    let usage = price.expected(asked);
    price
        .estimate(&usage, request_bytes.unwrap_or(0), price.factor(consumer))
        .unwrap_or(Money::MAX)
}
