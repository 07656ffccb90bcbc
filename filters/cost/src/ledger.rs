//! Charging and settling budgets in the state that all workers share: one trip each.

use crate::meters::Meters;
use std::cell::RefCell;
use tollgate_core::world::{Level, World};
use tollgate_core::{Consumer, Money};
use tollgate_state::budget::{Account, Charge, Exhausted, Line};
use tollgate_state::cas::{Change, Contended, update_in};

/// How often a change is tried. Each lost race is somebody else's success at the same consumer's
/// account, so more workers than this would have to write it within microseconds, again and again.
const TRIES: u32 = 32;

/// Settlements that may wait for a quieter moment; only contention beyond [`TRIES`] puts one here.
const MAX_DEFERRED: usize = 1_024;

/// What a call has taken from its consumer's budgets.
#[derive(Debug)]
pub struct Hold {
    key: String,
    lines: Vec<Line>,
    charge: Charge,
}

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
pub struct Ledger {
    /// Kept, so that a trip does not allocate.
    buffer: RefCell<Vec<u8>>,
    deferred: RefCell<Vec<(Hold, Money)>>,
}

impl Ledger {
    /// Takes the charge from all lines of the consumer, or from none. Returns what was taken and the
    /// least that is left.
    ///
    /// # Errors
    /// [`Refusal`]: nothing was taken.
    pub fn charge(
        &self,
        consumer: &Consumer,
        mut lines: Vec<Line>,
        charge: Charge,
        meters: &Meters,
        world: &dyn World,
    ) -> Result<(Hold, Money), Refusal> {
        let key = format!("budget/{}", consumer.id);
        let done = update_in(&self.buffer, world, &key, TRIES, |bytes| {
            let mut account = open(bytes, meters, world);
            match account.charge(&mut lines, charge) {
                Ok(left) => {
                    account.encode(bytes);
                    Change::Write(Ok(left))
                }
                Err(exhausted) => Change::Keep(Err(exhausted)),
            }
        });
        match done.map(|updated| updated.value) {
            Ok(Ok(left)) => Ok((Hold { key, lines, charge }, left)),
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

    /// Replaces what was taken by the true cost. Returns the least that is left, `None` if it had to
    /// be put off to a later tick.
    pub fn settle(
        &self,
        hold: Hold,
        cost: Money,
        meters: &Meters,
        world: &dyn World,
    ) -> Option<Money> {
        match self.try_settle(&hold, cost, meters, world) {
            Ok(left) => Some(left),
            Err(Contended { .. }) => {
                let mut deferred = self.deferred.borrow_mut();
                if deferred.len() < MAX_DEFERRED {
                    world.count(meters.settle_deferred, 1);
                    deferred.push((hold, cost));
                } else {
                    // The estimate stays charged: wrong by the difference, but not free.
                    world.count(meters.settle_lost, 1);
                }
                None
            }
        }
    }

    /// Tries again what was put off.
    pub fn retry(&self, meters: &Meters, world: &dyn World) {
        let waiting = self.deferred.take();
        let mut again: Vec<(Hold, Money)> = waiting
            .into_iter()
            .filter(|(hold, cost)| self.try_settle(hold, *cost, meters, world).is_err())
            .collect();
        self.deferred.borrow_mut().append(&mut again);
    }

    fn try_settle(
        &self,
        hold: &Hold,
        cost: Money,
        meters: &Meters,
        world: &dyn World,
    ) -> Result<Money, Contended> {
        update_in(&self.buffer, world, &hold.key, TRIES, |bytes| {
            let mut account = open(bytes, meters, world);
            let left = account.settle(&hold.lines, hold.charge, cost);
            account.encode(bytes);
            Change::Write(left)
        })
        .map(|updated| updated.value)
    }
}

impl Hold {
    /// Whether the true cost changes nothing: it was spent already.
    #[must_use]
    pub fn is_settled_by(&self, cost: Money) -> bool {
        self.charge == Charge::Spent(cost)
    }
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
