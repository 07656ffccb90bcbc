//! Charging and settling budgets in the state that all workers share: at most one trip for each record, none while a
//! worker's [advance](crate::advances) pays. Whoever charges gets a [`Hold`] and settles it, and need not know where the
//! money is kept.

mod hold;
mod standing;

pub use hold::Hold;
pub use standing::{Standing, Warning};

use crate::advances::Advances;
use crate::budgets::{Budgets, Part, Remembered};
use crate::meters::Meters;
use hold::Taken;
use standing::is_quiet;
use std::cell::RefCell;
use std::rc::Rc;
use tollgate_core::world::{Level, World};
use tollgate_core::{Consumer, Money, UnixNanos};
use tollgate_state::budget::{Account, Charge, Exhausted, Line};
use tollgate_state::cas::{Change, Contended, update_in};

/// How often a change is tried. Each lost race is somebody else's success at the same
/// account, so more workers than this would have to write it within microseconds, again and again.
const TRIES: u32 = 32;

/// Settlements that may wait for a quieter moment; only contention beyond [`TRIES`] puts one here.
const MAX_DEFERRED: usize = 1_024;

/// Why nothing was taken.
#[derive(Debug)]
pub enum Refusal {
    /// A budget is used up.
    Exhausted {
        /// Which, and until when.
        exhausted: Exhausted,
        /// The line that refused.
        line: Line,
    },
    /// Other workers were faster every time.
    Contended,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Accounts {
    /// Kept, so that a trip does not allocate.
    buffer: RefCell<Vec<u8>>,
    deferred: RefCell<Vec<(Taken, Charge, Money)>>,
    own: RefCell<Own>,
}

/// What this worker knows by itself.
#[derive(Debug, Default)]
struct Own {
    advances: Advances,
    remembered: Remembered,
}

impl Accounts {
    /// What applies to the consumer now, see [`Budgets::parts`].
    pub fn parts(
        &self,
        budgets: &Budgets,
        consumer: Option<&Consumer>,
        now: UnixNanos,
    ) -> Vec<Rc<Part>> {
        let own = &mut *self.own.borrow_mut();
        own.remembered.parts(budgets, consumer, now).to_vec()
    }

    /// Takes the charge from this worker's advance, if it has to come from one record only. `None`: nothing was taken, and
    /// [`Accounts::charge`] has to. Else what is left, and nothing is to be warned of.
    #[inline(always)] // nearly every request goes through here, and nothing else does
    pub fn pay(
        &self,
        budgets: &Budgets,
        consumer: Option<&Consumer>,
        charge: Charge,
        now: UnixNanos,
    ) -> Option<(Hold, Money)> {
        let own = &mut *self.own.borrow_mut();
        let [part] = own.remembered.parts(budgets, consumer, now) else {
            return None;
        };
        let (taken, left) = pay_ahead(&mut own.advances, part, charge)?;
        Some((Hold::of(charge, taken), left))
    }

    /// Takes the charge from all lines, or from none. Records are charged one after the other; what was taken is given
    /// back if a later one refuses, so an early refusal of somebody else may happen, too much never.
    ///
    /// # Errors
    /// [`Refusal`]: nothing was taken.
    pub fn charge(
        &self,
        parts: &[Rc<Part>],
        charge: Charge,
        budgets: &Budgets,
        meters: &Meters,
        world: &dyn World,
    ) -> Result<(Hold, Standing), Refusal> {
        let mut standing = Standing::EVERYTHING;
        let mut all = Vec::with_capacity(parts.len());
        for part in parts {
            match self.charge_one(part, charge, budgets, meters, world) {
                Ok((taken, one)) => {
                    standing = standing.and(one);
                    all.push(taken);
                }
                Err(refusal) => {
                    let taken = Hold::several(charge, all);
                    let _ = self.settle(taken, Money::ZERO, budgets, meters, world);
                    return Err(refusal);
                }
            }
        }
        Ok((Hold::several(charge, all), standing))
    }

    fn charge_one(
        &self,
        part: &Rc<Part>,
        charge: Charge,
        budgets: &Budgets,
        meters: &Meters,
        world: &dyn World,
    ) -> Result<(Taken, Standing), Refusal> {
        let advances = &mut self.own.borrow_mut().advances;
        if let Some((taken, left)) = pay_ahead(advances, part, charge) {
            return Ok((taken, Standing::quiet(left)));
        }
        self.charge_record(part, charge, advances, budgets, meters, world)
    }

    #[inline(never)]
    fn charge_record(
        &self,
        part: &Rc<Part>,
        charge: Charge,
        advances: &mut Advances,
        budgets: &Budgets,
        meters: &Meters,
        world: &dyn World,
    ) -> Result<(Taken, Standing), Refusal> {
        let known = match charge {
            Charge::Spent(cost) => Some(cost),
            Charge::Reserved(_) => None,
        };
        let key = part.key();
        let mut lines = part.lines.clone();
        let done = self.trip(key, meters, world, |account| {
            if known.is_some() {
                advances.book(key, account);
            }
            match account.charge(&mut lines, charge) {
                Ok(_) => {
                    let standing = Standing::of(account, &lines, budgets);
                    let next = known.map(|cost| {
                        let booked =
                            advances.take(key, &mut lines, cost, account, is_quiet(budgets));
                        (booked, cost)
                    });
                    Change::Write(Ok((standing, next)))
                }
                // What was booked for the attempt only is booked by the next tick.
                Err(exhausted) => Change::Keep(Err(exhausted)),
            }
        });
        match done {
            Ok(Ok((standing, next))) => {
                // Elsewhere it is another window already, and this call belongs to that one.
                let part = if lines == part.lines {
                    Rc::clone(part)
                } else {
                    Rc::new(Part::new(key.to_owned(), lines))
                };
                if let Some((booked, cost)) = next {
                    advances.done(&part, booked, cost);
                }
                let from_advance = None;
                Ok((Taken { part, from_advance }, standing))
            }
            Ok(Err(exhausted)) => match lines.get(exhausted.line) {
                Some(line) => Err(Refusal::Exhausted {
                    exhausted,
                    line: *line,
                }),
                None => Err(Refusal::Contended),
            },
            Err(Contended { .. }) => Err(Refusal::Contended),
        }
    }

    /// Replaces what was taken by the true cost. Returns how budgets stand, `None` if some of it had to
    /// be put off to a later tick.
    #[inline(never)]
    pub fn settle(
        &self,
        hold: Hold,
        cost: Money,
        budgets: &Budgets,
        meters: &Meters,
        world: &dyn World,
    ) -> Option<Standing> {
        let charge = hold.charge();
        let mut standing = Some(Standing::EVERYTHING);
        for part in hold.into_parts() {
            match self.try_settle(&part, charge, cost, budgets, meters, world) {
                Ok(one) => standing = standing.map(|s| s.and(one)),
                Err(Contended { .. }) => {
                    standing = None;
                    self.defer(part, charge, cost, meters, world);
                }
            }
        }
        standing
    }

    #[cold]
    fn defer(&self, part: Taken, charge: Charge, cost: Money, meters: &Meters, world: &dyn World) {
        let mut deferred = self.deferred.borrow_mut();
        if deferred.len() < MAX_DEFERRED {
            world.count(meters.settle_deferred, 1);
            deferred.push((part, charge, cost));
        } else {
            // The estimate stays charged: wrong by the difference, but not free.
            world.count(meters.settle_lost, 1);
        }
    }

    /// Tries again what was put off, and books what advances paid.
    pub fn tick(&self, budgets: &Budgets, meters: &Meters, world: &dyn World) {
        self.retry(budgets, meters, world);
        let holding = self.own.borrow_mut().advances.holding();
        for part in holding {
            let key = part.key();
            let advances = &mut self.own.borrow_mut().advances;
            let done = self.trip(key, meters, world, |account| {
                match advances.tick(key, account, is_quiet(budgets)) {
                    Some(booked) => Change::Write(Some(booked)),
                    None => Change::Keep(None),
                }
            });
            // Who loses every race books with the next tick.
            if let Ok(Some(booked)) = done {
                advances.ticked(key, booked);
            }
        }
    }

    /// The configuration was replaced: books everything and gives back all advances.
    pub fn stop(&self, budgets: &Budgets, meters: &Meters, world: &dyn World) {
        self.retry(budgets, meters, world);
        let mut advances = std::mem::take(&mut self.own.borrow_mut().advances);
        for part in advances.holding() {
            let key = part.key();
            let done = self.trip(key, meters, world, |account| {
                advances.book(key, account);
                Change::Write(())
            });
            if done.is_err() {
                // It stays reserved until its window ends.
                world.count(meters.settle_lost, 1);
            }
        }
    }

    fn retry(&self, budgets: &Budgets, meters: &Meters, world: &dyn World) {
        if self.deferred.borrow().is_empty() {
            return;
        }
        let mut waiting = self.deferred.take();
        waiting.retain(|(part, charge, cost)| {
            self.try_settle(part, *charge, *cost, budgets, meters, world)
                .is_err()
        });
        self.deferred.borrow_mut().append(&mut waiting);
    }

    #[inline(never)]
    fn try_settle(
        &self,
        taken: &Taken,
        charge: Charge,
        cost: Money,
        budgets: &Budgets,
        meters: &Meters,
        world: &dyn World,
    ) -> Result<Standing, Contended> {
        let Taken { part, from_advance } = taken;
        let advances = &mut self.own.borrow_mut().advances;
        if let Some(generation) = *from_advance
            && let Some(remaining) = advances.correct(part.key(), generation, charge.amount(), cost)
        {
            return Ok(Standing::quiet(remaining));
        }
        let (standing, ended) = self.trip(part.key(), meters, world, |account| {
            // Before it is corrected what was paid must have been booked.
            let ended = from_advance.is_some() && advances.book(part.key(), account);
            account.settle(&part.lines, charge, cost);
            let standing = Standing::of(account, &part.lines, budgets);
            Change::Write((standing, ended))
        })?;
        if ended {
            advances.ended(part.key(), standing.remaining);
        }
        Ok(standing)
    }

    /// Changes one record.
    fn trip<T>(
        &self,
        key: &str,
        meters: &Meters,
        world: &dyn World,
        mut change: impl FnMut(&mut Account) -> Change<T>,
    ) -> Result<T, Contended> {
        update_in(&self.buffer, world, key, TRIES, |bytes| {
            let mut account = open(bytes, meters, world);
            let changed = change(&mut account);
            if let Change::Write(_) = changed {
                account.encode(bytes);
            }
            changed
        })
        .map(|updated| updated.value)
    }

    /// What a record says now, with what this worker has not booked yet; empty, if there is none.
    #[must_use]
    pub fn read(&self, key: &str, meters: &Meters, world: &dyn World) -> Account {
        let mut bytes = self.buffer.take();
        let account = match world.load(key, &mut bytes) {
            Some(_) => {
                let mut account = open(&bytes, meters, world);
                self.own.borrow().advances.book(key, &mut account);
                account
            }
            None => Account::default(),
        };
        self.buffer.replace(bytes);
        account
    }
}

/// Pays out of the worker's advance. What is left then, or `None`: the record must be charged.
#[inline(always)] // see `Accounts::pay`
fn pay_ahead(advances: &mut Advances, part: &Rc<Part>, charge: Charge) -> Option<(Taken, Money)> {
    let Charge::Spent(cost) = charge else {
        return None;
    };
    let (generation, left) = advances.pay(part, cost)?;
    let taken = Taken {
        part: Rc::clone(part),
        from_advance: Some(generation),
    };
    Some((taken, left))
}

fn open(bytes: &[u8], meters: &Meters, world: &dyn World) -> Account {
    if bytes.is_empty() {
        return Account::default();
    }
    Account::decode(bytes).unwrap_or_else(|_| {
        world.count(meters.record_discarded, 1);
        world.log(
            Level::Warn,
            format_args!(
                "cost: a budget record of another version or size ({} bytes) was discarded; \
                 what it said was spent is forgotten",
                bytes.len()
            ),
        );
        Account::default()
    })
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)] // in a test an overflow is a finding
mod tests;
