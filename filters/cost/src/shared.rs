//! Budgets with `scope: global`: the money is the fleet's, leased from a service that counts for all proxies
//! ([`tollgate_state::fleet`]).
//!
//! This proxy's own account is charged first, as for any budget; then the fleet is asked for each period. The request
//! waits only when no lease is at hand.

use crate::budgets::Budgets;
use crate::call::{Call, Details};
use crate::meters::Reason;
use crate::policy::Cost;
use crate::replies::{self, Shortfall};
use std::cell::Cell;
use std::rc::Rc;
use tollgate_core::config::{Compile, Value};
use tollgate_core::exchange::state_name;
use tollgate_core::time::SECOND;
use tollgate_core::world::{CallId, CallReply};
use tollgate_core::{Exchange, Flow, Money, UnixNanos, World};
use tollgate_state::budget::{Exhausted, Line, Tag};
use tollgate_state::fleet::dispenser::money::{Payment, Slip};
use tollgate_state::fleet::dispenser::{Dispenser, Quota, Subject};
use tollgate_state::fleet::lease::purse::{Price, hit_value};
use tollgate_state::fleet::service::{FailureMode, Mode, Service};
use tollgate_state::fleet::table::Place;
use tollgate_state::fleet::unit::{self, Windows};
use tollgate_state::seed::Seed;
use tollgate_state::window::Period;

const MINUTE: u64 = 60 * SECOND;

/// The fleet's service and what is leased from it.
#[derive(Debug)]
pub struct Shared {
    dispenser: Dispenser,
    subjects: Vec<(Tag, Subject)>,
    seed: Cell<Option<Seed>>,
}

/// One budget's period that a call has to pay.
#[derive(Debug)]
struct Due {
    subject: usize,
    place: Place,
    parts: Vec<u8>,
    quota: Quota,
    price: Price,
    line: Line,
    mode: FailureMode,
}

/// Money set aside.
#[derive(Clone, Copy, Debug)]
struct Paid {
    place: Place,
    end: u64,
    set_aside: u64,
}

/// What a call owes the fleet, and what of it is paid.
#[derive(Debug, Default)]
pub(crate) struct Payments {
    dues: Vec<Due>,
    paid: Vec<Paid>,
    slip: Option<Slip>,
}

impl Shared {
    /// Reads the section `fleet` for these budgets.
    pub fn compile(value: Value<'_>, budgets: &Budgets, cx: &mut Compile<'_>) -> Option<Self> {
        let place = value.clone();
        let service = Service::compile(value, cx, "cost")?;
        if service.mode == Mode::Classic {
            place.error("mode: classic cannot lease money; leave mode out");
        }
        let mut subjects = Vec::new();
        for budget in budgets.iter().filter(|b| b.global.is_some()) {
            for line in budget.lines(UnixNanos(0)) {
                let Some((_, _, period)) = budgets.find(&line) else {
                    continue;
                };
                let numbers = vec![hit_value(line.limit.pico()), number(period)];
                let subject = Subject::new(&service, "budget", &budget.name, numbers);
                subjects.push((line.tag, subject));
            }
        }
        if subjects.is_empty() {
            place.warn("no budget has scope: global, so the service is never asked");
        }
        Some(Self {
            dispenser: Dispenser::new(service),
            subjects,
            seed: Cell::new(None),
        })
    }

    /// Looks after what the service's gauges say.
    pub fn tick(&self, world: &dyn World) {
        self.dispenser.service.tick(world);
    }

    fn due(
        &self,
        key: &str,
        line: &Line,
        amount: Money,
        cost: &Cost,
        world: &dyn World,
    ) -> Option<Due> {
        let (_, budget, period) = cost.budgets.find(line)?;
        let mode = budget.global?;
        let subject = self.subjects.iter().position(|(tag, _)| *tag == line.tag)?;
        let seed = self.seed.get().unwrap_or_else(|| {
            let seed = Seed::load(world);
            self.seed.set(Some(seed));
            seed
        });
        let parts = key.as_bytes().to_vec();
        let limit = line.limit.pico();
        let value = hit_value(limit);
        let window = (line.window.start.0, line.window.end.0);
        let period = match (period, Windows::of(MINUTE)) {
            (Period::Minute, Some(minute)) => unit::Period::Windows(minute),
            _ => unit::Period::Calendar(window.0, window.1),
        };
        Some(Due {
            place: self
                .dispenser
                .place(&self.subjects.get(subject)?.1, seed, &parts),
            subject,
            parts,
            quota: Quota {
                limit: limit.checked_div(value)?,
                cost: amount.pico().div_ceil(value).max(1),
                period,
                smooth: None,
                bucket: None,
            },
            price: Price {
                amount: amount.pico(),
                value,
            },
            line: *line,
            mode,
        })
    }

    /// The reply to a background call.
    pub fn on_reply(&self, world: &dyn World, id: CallId, reply: &dyn CallReply) {
        self.dispenser.on_reply(world, id, reply);
    }
}

fn number(period: Period) -> u64 {
    match period {
        Period::Minute => 0,
        Period::Day => 1,
        Period::Month => 2,
    }
}

impl Cost {
    /// What a call that these accounts were charged for owes the fleet.
    #[inline(never)]
    pub(crate) fn add_dues(
        &self,
        shared: &Shared,
        call: &mut Call,
        now: UnixNanos,
        exchange: &Exchange,
        world: &dyn World,
    ) {
        let amount = call.estimate;
        if amount == Money::ZERO {
            return;
        }
        let consumer = exchange.facts.consumer();
        let parts = self.accounts.parts(&self.budgets, consumer, now);
        let dues = &mut call.details_mut().payments.dues;
        for part in parts {
            let lines = part.lines.iter();
            dues.extend(lines.filter_map(|line| shared.due(part.key(), line, amount, self, world)));
        }
    }

    /// Pays the fleet, as far as it goes: `false`, the call waits.
    ///
    /// # Errors
    /// The refusal; nothing is charged.
    pub(crate) fn pay(
        &self,
        shared: &Shared,
        call: &mut Call,
        exchange: &mut Exchange,
        world: &dyn World,
    ) -> Result<bool, Flow> {
        let payments = &mut call.details.get_or_insert_default().payments;
        while let Some(due) = payments.dues.get(payments.paid.len()) {
            let Some((_, subject)) = shared.subjects.get(due.subject) else {
                return Ok(true);
            };
            let dispenser = &shared.dispenser;
            let payment = match payments.slip.take() {
                Some(slip) => dispenser.poll_payment(world, &due.quota, slip),
                None => {
                    dispenser.spend(world, subject, due.place, &due.parts, &due.quota, due.price)
                }
            };
            let owe = |shared: &Shared| Paid {
                place: due.place,
                end: shared
                    .dispenser
                    .owe(world, due.place, &due.quota, due.price.amount),
                set_aside: due.price.amount,
            };
            let paid = match payment {
                Payment::Waiting(slip) => {
                    payments.slip = Some(slip);
                    return Ok(false);
                }
                Payment::Paid { end, left } => {
                    let left = Money::from_pico(left);
                    call.remaining = Some(call.remaining.map_or(left, |r| r.min(left)));
                    Paid {
                        place: due.place,
                        end,
                        set_aside: due.price.amount,
                    }
                }
                Payment::Refused { .. } if due.line.soft => owe(shared),
                Payment::Refused { left, .. } => {
                    let line = due.line;
                    return Err(self.fleet_spent(call, line, left, exchange, world));
                }
                Payment::Failed(_) => match due.mode {
                    FailureMode::Allow => owe(shared),
                    _ if due.line.soft => owe(shared),
                    FailureMode::Local => {
                        if dispenser.take_alone(world, due.place, &due.quota).is_err() {
                            let line = due.line;
                            return Err(self.fleet_spent(call, line, 0, exchange, world));
                        }
                        // The share has told the lease what was taken.
                        Paid {
                            place: due.place,
                            end: 0,
                            set_aside: due.price.amount,
                        }
                    }
                    FailureMode::Deny => {
                        self.unpay(call, world);
                        self.count(Reason::FleetUnavailable, world);
                        return Err(replies::fleet_unavailable().into());
                    }
                },
            };
            payments.paid.push(paid);
        }
        Ok(true)
    }

    fn fleet_spent(
        &self,
        call: &mut Call,
        line: Line,
        left: u64,
        exchange: &mut Exchange,
        world: &dyn World,
    ) -> Flow {
        self.unpay(call, world);
        let Some((at, budget, period)) = self.budgets.find(&line) else {
            return replies::contended().into();
        };
        self.meters.exhausted(at, world);
        let facts = &mut exchange.facts;
        facts.publish(state_name::BUDGET, budget.name.as_bytes());
        let exhausted = Exhausted {
            line: 0,
            resets_at: line.window.end,
            remaining: Money::from_pico(left),
        };
        let short = Shortfall {
            budget,
            period,
            exhausted,
            estimate: call.estimate,
            currency: &self.currency,
        };
        replies::exhausted(&short, world.now()).into()
    }

    /// The call does not take place: everything is given back.
    pub(crate) fn unpay(&self, call: &mut Call, world: &dyn World) {
        if let Some(shared) = &self.shared
            && let Some(Details { payments, .. }) = call.details.as_deref_mut()
            && let Some(slip) = payments.slip.take()
            && let Some(due) = payments.dues.get(payments.paid.len())
        {
            shared.dispenser.leave_payment(world, &due.quota, slip);
        }
        self.settle_shared(call, Money::ZERO, world);
        if let Some(hold) = call.hold.take() {
            let (budgets, meters) = (&self.budgets, &self.meters);
            self.accounts
                .settle(hold, Money::ZERO, budgets, meters, world);
        }
    }

    /// The call has cost that much.
    pub(crate) fn settle_shared(&self, call: &mut Call, cost: Money, world: &dyn World) {
        if let Some(shared) = &self.shared {
            self.settle_with(shared, call, cost, world);
        }
    }

    #[inline(never)]
    fn settle_with(&self, shared: &Shared, call: &mut Call, cost: Money, world: &dyn World) {
        let payments = &mut call.details_mut().payments;
        for paid in payments.paid.drain(..) {
            let Paid {
                place,
                end,
                set_aside,
            } = paid;
            if set_aside != cost.pico()
                && !shared
                    .dispenser
                    .settle(world, place, end, set_aside, cost.pico())
            {
                world.count(self.meters.settle_lost, 1);
            }
        }
    }
}

/// `scope` and `failure_mode` of a budget. The inner `None` is a local one.
#[must_use]
pub fn scope(section: &tollgate_core::config::Section<'_>) -> Option<Option<FailureMode>> {
    let scope = section.optional("scope");
    let mode = section.optional("failure_mode");
    let global = match &scope {
        Some(v) => v.one_of(&[("local", false), ("global", true)])?,
        None => false,
    };
    match (global, mode) {
        (true, Some(v)) => FailureMode::compile(&v).map(Some),
        (true, None) => Some(Some(FailureMode::Deny)),
        (false, Some(v)) => {
            v.error("has a meaning only with scope: global");
            None
        }
        (false, None) => Some(None),
    }
}

/// For tests: the budgets' names that the fleet shares.
#[must_use]
pub fn names(budgets: &Budgets) -> Vec<Rc<str>> {
    let global = budgets.iter().filter(|b| b.global.is_some());
    global.map(|b| Rc::clone(&b.name)).collect()
}
