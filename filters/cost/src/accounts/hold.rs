//! What a call has taken from budgets, until its true cost is known.

use crate::advances::Generation;
use crate::budgets::Part;
use std::rc::Rc;
use tollgate_core::Money;
use tollgate_state::budget::Charge;

/// What a call has taken from budgets.
#[derive(Debug)]
pub struct Hold {
    charge: Charge,
    parts: Parts,
}

/// Most calls are paid out of one record, and need no list.
#[derive(Debug)]
enum Parts {
    One(Taken),
    Several(Vec<Taken>),
}

/// What was taken from one record.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) part: Rc<Part>,
    /// Paid out of the worker's advance, as it stood then.
    pub(super) from_advance: Option<Generation>,
}

impl Hold {
    pub(super) const fn of(charge: Charge, taken: Taken) -> Self {
        Self {
            charge,
            parts: Parts::One(taken),
        }
    }

    pub(super) const fn several(charge: Charge, all: Vec<Taken>) -> Self {
        Self {
            charge,
            parts: Parts::Several(all),
        }
    }

    pub(super) fn charge(&self) -> Charge {
        self.charge
    }

    pub(super) fn into_parts(self) -> Vec<Taken> {
        match self.parts {
            Parts::One(taken) => vec![taken],
            Parts::Several(all) => all,
        }
    }

    /// Whether the true cost changes nothing: it was spent already.
    #[must_use]
    pub fn is_settled_by(&self, cost: Money) -> bool {
        self.charge == Charge::Spent(cost)
    }
}
