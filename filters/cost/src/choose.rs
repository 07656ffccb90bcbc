//! Which prices a request may have, and what it may cost at most.

use crate::call::{Call, Candidates, Needs, content_length};
use crate::check::Invalid;
use crate::meters::Reason;
use crate::policy::Cost;
use crate::price::{ONE, Price};
use crate::replies;
use crate::request::Asked;
use tollgate_core::{Consumer, Exchange, Flow, Money, UnixNanos, World};

impl Cost {
    /// The rules that could apply to a request: all that match up to the first one that does not
    /// ask for a model.
    #[inline(always)] // see `begin`
    pub(crate) fn candidates(&self, exchange: &mut Exchange, world: &dyn World) -> Candidates {
        if self.prices_vary {
            return self.candidates_now(None, exchange, world);
        }
        for (at, price) in self.prices.iter().enumerate() {
            if !price.matches(exchange, world) {
                continue;
            }
            if price.models.is_some() {
                return self.candidates_now(Some(at), exchange, world);
            }
            return Candidates::One(at);
        }
        Candidates::None
    }

    /// [`Cost::candidates`], also where it matters who asks, and when, and for several. `first`: it is known to be the first.
    #[inline(never)]
    pub(crate) fn candidates_now(
        &self,
        first: Option<usize>,
        exchange: &mut Exchange,
        world: &dyn World,
    ) -> Candidates {
        if self.prices_ask_for_consumer {
            exchange.consumer(world);
        }
        let now = if self.prices_change {
            world.now()
        } else {
            UnixNanos(0)
        };
        let consumer = exchange.facts.consumer();
        let mut all = Vec::new();
        let places = self.prices.iter().enumerate().skip(first.unwrap_or(0));
        for (at, price) in places {
            let could_apply = first == Some(at)
                || price.is_valid_at(now)
                    && price.is_for_consumer(consumer)
                    && price.matches(exchange, world);
            if !could_apply {
                continue;
            }
            if price.models.is_some() {
                all.push(at);
            } else if all.is_empty() {
                return Candidates::One(at);
            } else {
                all.push(at);
                break;
            }
        }
        Candidates::Several(all)
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
