//! Money inside a lease: hits are leased, picounits of money are spent.
//!
//! A budget's hit is worth a power of ten, see [`hit_value`]. What is leased is rounded up to whole hits once for each
//! lease; what is left of a hit stays in the purse, so nothing is rounded per request. A call that cost more than was set
//! aside takes the difference out of the purse; what the purse does not hold is a debt, paid before anything else.

use super::{Lease, MAX_LIMIT, Take, Terms};
use crate::fleet::clock::Clock;

/// Picounits in the smallest hit: a billionth of the currency.
const LEAST_VALUE: u64 = 1_000;

/// What a hit of a budget is worth, in picounits: the smallest power of ten, at least a billionth of the currency, of
/// which the budget holds at most [`MAX_LIMIT`]: a billionth up to 2 units, a hundred-millionth up to 20, and so on. A
/// budget that grows over such a border starts its period anew, because the value is part of the counter's name.
#[must_use]
pub fn hit_value(budget: u64) -> u64 {
    let mut value = LEAST_VALUE;
    while budget.div_ceil(value) > MAX_LIMIT {
        value = value.saturating_mul(10);
    }
    value
}

/// What a call takes of a budget. [`Terms::cost`] is of no account here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    /// In picounits.
    pub amount: u64,
    /// What a hit is worth: [`hit_value`].
    pub value: u64,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spend {
    /// It is set aside, in the period that ends at `end`.
    Paid {
        /// See [`Lease::settle`].
        end: u64,
        /// A new lease is due: ask in the background.
        prefetch: bool,
    },
    /// The fleet has spent the budget, for so many nanoseconds more.
    Refused {
        /// How long.
        wait: u64,
    },
    /// Nobody knows. The purse was taken out, to be put back by [`Lease::pay`] or [`Lease::put_back`].
    Unknown(Pending),
}

/// A payment that waits for hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// How many hits it needs.
    pub hits: u64,
    /// What was in the purse, in picounits.
    pub purse: u64,
    /// What is owed besides.
    pub debt: u64,
    /// The period, by its end.
    pub end: u64,
}

impl Lease {
    /// Sets money aside for a call.
    pub fn spend(&mut self, terms: &Terms, price: Price, now: u64, clock: &Clock) -> Spend {
        let terms = &self.roll(terms, now);
        let wanted = price.amount.saturating_add(self.debt);
        if let Some(rest) = self.purse.checked_sub(wanted) {
            self.purse = rest;
            self.debt = 0;
            return Spend::Paid {
                end: self.end,
                prefetch: false,
            };
        }
        let missing = wanted.saturating_sub(self.purse);
        let hits = missing.div_ceil(price.value.max(1)).max(1);
        let terms = Terms {
            cost: hits,
            bucket: None,
            ..*terms
        };
        match self.take(&terms, now, clock) {
            Take::Admitted { end, prefetch } => {
                let leased = hits.saturating_mul(price.value);
                self.purse = self.purse.saturating_add(leased).saturating_sub(wanted);
                self.debt = 0;
                Spend::Paid { end, prefetch }
            }
            Take::Bucket { wait } | Take::Refused { wait } => Spend::Refused { wait },
            Take::Unknown => Spend::Unknown(Pending {
                hits,
                purse: std::mem::take(&mut self.purse),
                debt: std::mem::take(&mut self.debt),
                end: self.end,
            }),
        }
    }

    /// The hits that a payment waited for have come, of the period that ends at `end`.
    pub fn pay(&mut self, price: Price, pending: &Pending, end: u64) {
        let same = pending.end == end || pending.end == 0;
        // Of another period nothing is carried over, neither what was left nor what was owed.
        let (purse, debt) = if same {
            (pending.purse, pending.debt)
        } else {
            (0, 0)
        };
        let leased = pending.hits.saturating_mul(price.value);
        let rest = leased
            .saturating_add(purse)
            .saturating_sub(price.amount.saturating_add(debt));
        if end == self.end {
            self.purse = self.purse.saturating_add(rest);
        }
    }

    /// They have not: the purse goes back, and so does the debt.
    pub fn put_back(&mut self, pending: &Pending) {
        if pending.end == self.end {
            self.purse = self.purse.saturating_add(pending.purse);
            self.debt = self.debt.saturating_add(pending.debt);
        }
    }

    /// A call that had set `set_aside` picounits aside in the period that ends at `end` has cost `cost`.
    pub fn settle(&mut self, end: u64, set_aside: u64, cost: u64) {
        if end != self.end {
            return;
        }
        self.purse = self.purse.saturating_add(set_aside.saturating_sub(cost));
        let more = cost.saturating_sub(set_aside);
        let owed = more.saturating_sub(self.purse);
        self.purse = self.purse.saturating_sub(more);
        self.debt = self.debt.saturating_add(owed);
    }

    /// A call was let through although nobody knew whether there was money. Returns the period's end, for
    /// [`Lease::settle`].
    pub fn owe(&mut self, terms: &Terms, now: u64, cost: u64) -> u64 {
        self.roll(terms, now);
        self.settle(self.end, 0, cost);
        self.end
    }

    /// Money that this proxy holds, in picounits: leased, and not set aside.
    #[must_use]
    pub fn purse(&self) -> u64 {
        self.purse
    }

    /// What calls cost beyond what was held for them, in picounits; paid with the next lease.
    #[must_use]
    pub fn debt(&self) -> u64 {
        self.debt
    }

    /// What the fleet has left, as far as is known, in picounits.
    #[must_use]
    pub fn money_left(&self, terms: &Terms, value: u64) -> u64 {
        self.remaining(terms)
            .saturating_mul(value)
            .saturating_add(self.purse)
            .saturating_sub(self.debt)
    }
}
