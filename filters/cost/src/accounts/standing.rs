//! How budgets stand, and whether that is worth a warning.

use crate::budgets::Budgets;
use tollgate_core::Money;
use tollgate_state::budget::{Account, Line};

/// How budgets stand after a charge or a settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The least that is left.
    pub remaining: Money,
    /// The first budget of which so much is used or so little left that it is a warning.
    pub warning: Option<Warning>,
}

/// A budget that is nearly used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Which.
    pub line: Line,
    /// Spent and reserved.
    pub taken: Money,
    /// By `low_balance`, not by `warn_percent`.
    pub low: bool,
}

impl Standing {
    pub(super) const EVERYTHING: Self = Self::quiet(Money::MAX);

    /// So much is left, and nothing to warn of.
    pub(super) const fn quiet(remaining: Money) -> Self {
        Self {
            remaining,
            warning: None,
        }
    }

    pub(super) fn of(account: &Account, lines: &[Line], budgets: &Budgets) -> Self {
        let mut standing = Self::EVERYTHING;
        for line in lines {
            let taken = account.taken(line);
            let left = line.limit.saturating_sub(taken);
            standing.remaining = standing.remaining.min(left);
            if standing.warning.is_none()
                && let Some((_, budget, _)) = budgets.find(line)
            {
                let low = budget.is_low(left, line.limit);
                if low || budget.warns_at(taken, line.limit) {
                    standing.warning = Some(Warning {
                        line: *line,
                        taken,
                        low,
                    });
                }
            }
        }
        standing
    }

    pub(super) fn and(self, other: Self) -> Self {
        Self {
            remaining: self.remaining.min(other.remaining),
            warning: self.warning.or(other.warning),
        }
    }
}

/// Whether no warning is due.
pub(super) fn is_quiet(budgets: &Budgets) -> impl Fn(&Account, &[Line]) -> bool {
    |account, lines| Standing::of(account, lines, budgets).warning.is_none()
}
