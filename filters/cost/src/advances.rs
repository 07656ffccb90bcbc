//! Money that a worker takes ahead from an account, so that most calls of a known price need nothing that workers share.
//!
//! An advance is a reservation in the account that one worker owns. Calls are paid out of it; what was paid is booked in the
//! account by the next tick, and an advance that was not used since the last tick goes back. Spent and reserved never exceed
//! a budget with it, because it is reserved like any call.
//!
//! **What it costs.** What one worker holds is missing to the others, until the next tick or the one after it: at most one
//! part in [`SHARE`] of the budget, and one part in [`CAUTION`] of what is left. What is left is shown as of the last trip to
//! the account, less the worker's own calls. A worker that dies leaves its advance reserved until the budget's window ends.
//!
//! None is taken for an account that is charged now and then only, where it would hold less than a few calls, nor
//! where a warning is near: a budget that is small or nearly used up is kept by every single call, as if there were no
//! advances.

use crate::budgets::{Part, hash_of};
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use std::num::NonZeroU64;
use std::rc::Rc;
use tollgate_core::Money;
use tollgate_state::budget::{Account, Charge, Line};

/// The most of a budget that one worker may hold: one part in so many.
const SHARE: u64 = 10_000;
/// The most of what is left: one part in so many.
const CAUTION: u64 = 64;
/// Charges between two ticks from which on an account counts as busy.
const BUSY: u32 = 4;
/// An advance that pays for fewer calls is not worth its trips.
const LEAST_CALLS: u64 = 8;
/// An advance is at most so many times what was spent since the last tick.
const GROWTH: u64 = 4;
/// Accounts that are looked after; others are charged call by call.
const MOST: usize = 1_024;

/// Which state of an advance a call was paid from: it ends when something is booked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation(NonZeroU64);

/// A worker's dealings with one account.
#[derive(Debug)]
struct Advance {
    /// The account, and the windows that it belongs to.
    part: Rc<Part>,
    /// Reserved in the account.
    amount: Money,
    /// Of it, paid and not booked.
    paid: Money,
    /// What was left in the account when it was last seen, the advance included.
    left: Money,
    generation: Generation,
    charges: u32,
    spent: Money,
}

/// All advances of a worker. See the module.
#[derive(Debug, Default)]
pub struct Advances {
    /// By the account's key.
    all: HashTable<Advance>,
    last: u64,
}

/// A worker's advance as a trip to the account leaves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Booked {
    amount: Money,
    left: Money,
}

impl Advances {
    /// Pays a call of a known price. `None`: the account must be asked. Else what is left then.
    #[inline(always)] // see `Accounts::pay`
    pub fn pay(&mut self, part: &Rc<Part>, cost: Money) -> Option<(Generation, Money)> {
        // Nearly always it was taken for this very part.
        let is_its = |a: &Advance| Rc::ptr_eq(&a.part, part);
        match self.all.find_mut(part.hash(), is_its) {
            Some(advance) => advance.pay(cost),
            None => self.pay_alike(part, cost),
        }
    }

    /// [`Advances::pay`] out of one that was taken for a part like this one.
    #[inline(never)]
    fn pay_alike(&mut self, part: &Part, cost: Money) -> Option<(Generation, Money)> {
        let advance = self.get_mut(part.key())?;
        if advance.part.lines != part.lines {
            return None;
        }
        advance.pay(cost)
    }

    /// The call turned out to cost something else. What is left then, or `None`: what it paid is booked already, or the
    /// advance does not suffice.
    pub fn correct(
        &mut self,
        key: &str,
        paid_from: Generation,
        was: Money,
        is: Money,
    ) -> Option<Money> {
        let advance = self.get_mut(key)?;
        let paid = advance.paid.saturating_sub(was).checked_add(is)?;
        if advance.generation != paid_from || paid > advance.amount {
            return None;
        }
        advance.paid = paid;
        Some(advance.left.saturating_sub(paid))
    }

    /// Writes into the account what was paid, and gives back the rest of the advance. The account is the only place that
    /// knows of it then: if it was stored [`Advances::done`] or [`Advances::ended`] has to follow. Whether there was anything to write is returned.
    pub fn book(&self, key: &str, account: &mut Account) -> bool {
        match self.get(key) {
            Some(advance) if advance.amount > Money::ZERO => {
                account.settle(
                    &advance.part.lines,
                    Charge::Reserved(advance.amount),
                    advance.paid,
                );
                true
            }
            _ => false,
        }
    }

    /// Reserves the next advance in an account that was just charged for a call of that price.
    /// `is_quiet` says whether no warning is due in the account.
    pub fn take(
        &self,
        key: &str,
        lines: &mut [Line],
        cost: Money,
        account: &mut Account,
        is_quiet: impl Fn(&Account, &[Line]) -> bool,
    ) -> Booked {
        let left = account.remaining(lines);
        let amount = self.wanted(key, lines, cost, account);
        reserve(lines, amount, left, account, is_quiet)
    }

    fn wanted(&self, key: &str, lines: &[Line], cost: Money, account: &Account) -> Money {
        let Some(advance) = self.get(key) else {
            return Money::ZERO;
        };
        if advance.charges < BUSY {
            return Money::ZERO;
        }
        let mut amount = advance.spent.pico().saturating_mul(GROWTH);
        for line in lines {
            let left = line.limit.saturating_sub(account.taken(line)).pico();
            let share = line.limit.pico().checked_div(SHARE).unwrap_or(0);
            let cautious = left.checked_div(CAUTION).unwrap_or(0);
            amount = amount.min(share).min(cautious);
        }
        if amount < cost.pico().saturating_mul(LEAST_CALLS) {
            return Money::ZERO;
        }
        Money::from_pico(amount)
    }

    /// The trip to the account was stored: what it left is in force. `cost`: of the call that it was charged for.
    pub fn done(&mut self, part: &Rc<Part>, booked: Booked, cost: Money) {
        let generation = self.next_generation();
        let is_full = self.all.len() >= MOST;
        let is_its = |a: &Advance| has_key(a, part.key());
        let entry = self.all.entry(part.hash(), is_its, |a| a.part.hash());
        let mut entry = match entry {
            Entry::Vacant(_) if is_full => return,
            Entry::Vacant(place) => place.insert(Advance::new(part, generation)),
            Entry::Occupied(entry) => entry,
        };
        let advance = entry.get_mut();
        advance.part = Rc::clone(part);
        advance.now_holds(booked, generation);
        advance.charged(cost);
    }

    /// Tick, first: forgets who was not charged since the last one and holds nothing. Returned are those that hold something.
    pub fn holding(&mut self) -> Vec<Rc<Part>> {
        let mut holding = Vec::new();
        self.all.retain(|advance| {
            if advance.amount > Money::ZERO {
                holding.push(Rc::clone(&advance.part));
                return true;
            }
            let busy = advance.charges > 0;
            advance.next_tick();
            busy
        });
        holding
    }

    /// Tick, in the account: books what was paid. An advance that was used since the last tick is kept, with the rest of
    /// it, unless a warning is near. `None`: there is nothing to write.
    pub fn tick(
        &self,
        key: &str,
        account: &mut Account,
        is_quiet: impl Fn(&Account, &[Line]) -> bool,
    ) -> Option<Booked> {
        let advance = self.get(key)?;
        if !self.book(key, account) {
            return None;
        }
        let its = &advance.part.lines;
        let left = account.remaining(its);
        let rest = if advance.charges > 0 {
            advance.amount.saturating_sub(advance.paid)
        } else {
            Money::ZERO
        };
        let mut lines = its.clone();
        let booked = reserve(&mut lines, rest, left, account, is_quiet);
        if lines == *its {
            return Some(booked);
        }
        // The account is in another window by now, in which nothing is paid out of this advance.
        account.settle(&lines, Charge::Reserved(booked.amount), Money::ZERO);
        Some(Booked::nothing(left))
    }

    /// Tick, after the account was stored.
    pub fn ticked(&mut self, key: &str, booked: Booked) {
        let generation = self.next_generation();
        if let Some(advance) = self.get_mut(key) {
            advance.now_holds(booked, generation);
            advance.next_tick();
        }
    }

    /// The advance has ended: it was given back with what was paid. `left` is in the account then.
    pub fn ended(&mut self, key: &str, left: Money) {
        let generation = self.next_generation();
        if let Some(advance) = self.get_mut(key) {
            advance.now_holds(Booked::nothing(left), generation);
        }
    }

    fn get(&self, key: &str) -> Option<&Advance> {
        self.all.find(hash_of(key), |a| has_key(a, key))
    }

    fn get_mut(&mut self, key: &str) -> Option<&mut Advance> {
        self.all.find_mut(hash_of(key), |a| has_key(a, key))
    }

    fn next_generation(&mut self) -> Generation {
        self.last = self.last.saturating_add(1);
        Generation(NonZeroU64::MIN.saturating_add(self.last))
    }
}

#[inline(never)]
fn has_key(advance: &Advance, key: &str) -> bool {
    advance.part.key() == key
}

/// Sets `amount` aside in the account, unless that would be too much or bring a warning.
fn reserve(
    lines: &mut [Line],
    amount: Money,
    left: Money,
    account: &mut Account,
    is_quiet: impl Fn(&Account, &[Line]) -> bool,
) -> Booked {
    if amount == Money::ZERO || account.charge(lines, Charge::Reserved(amount)).is_err() {
        return Booked::nothing(left);
    }
    if is_quiet(account, lines) {
        return Booked { amount, left };
    }
    account.settle(lines, Charge::Reserved(amount), Money::ZERO);
    Booked::nothing(left)
}

impl Booked {
    const fn nothing(left: Money) -> Self {
        Self {
            amount: Money::ZERO,
            left,
        }
    }
}

impl Advance {
    fn new(part: &Rc<Part>, generation: Generation) -> Self {
        Self {
            part: Rc::clone(part),
            amount: Money::ZERO,
            paid: Money::ZERO,
            left: Money::ZERO,
            generation,
            charges: 0,
            spent: Money::ZERO,
        }
    }

    fn pay(&mut self, cost: Money) -> Option<(Generation, Money)> {
        let paid = self.paid.checked_add(cost)?;
        if paid > self.amount {
            return None;
        }
        self.paid = paid;
        self.charged(cost);
        Some((self.generation, self.left.saturating_sub(paid)))
    }

    fn now_holds(&mut self, booked: Booked, generation: Generation) {
        self.amount = booked.amount;
        self.paid = Money::ZERO;
        self.left = booked.left;
        self.generation = generation;
    }

    fn next_tick(&mut self) {
        self.charges = 0;
        self.spent = Money::ZERO;
    }

    fn charged(&mut self, cost: Money) {
        self.charges = self.charges.saturating_add(1);
        self.spent = self.spent.saturating_add(cost);
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)] // in a test an overflow is a finding
mod tests;
