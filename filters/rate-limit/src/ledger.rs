//! What the limits remember of one exchange, over both of their stages.

use crate::key::Address;
use std::cell::Cell;
use std::fmt;
use tollgate_core::Exchange;
use tollgate_state::fleet::dispenser;
use tollgate_state::fleet::table as leases;
use tollgate_state::gcra::Reading;
use tollgate_state::table::{Place, Readings};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Limits that apply to the request, in the order in which they were decided.
    pub(crate) applied: Vec<Applied>,
    /// The next limit to decide.
    pub(crate) next: usize,
    /// A service was asked for the limit applied last.
    pub(crate) asking: bool,
    /// A limit waits for a lease.
    pub(crate) waiting: Option<Waiting>,
    /// The buckets that decide (set and place) if that service does not answer.
    pub(crate) fallback: Option<(usize, Place)>,
    /// The limits answered the request themselves; their headers are in the reply.
    pub(crate) refused: bool,
    /// The client's address, once somebody has asked for it.
    pub(crate) address: Address,
    /// Limits in shadow mode that would have refused, as the upstream is told.
    pub(crate) shadowed: Vec<u8>,
    /// Where keys are put together, and digits of numbers.
    pub(crate) parts: Vec<u8>,
    /// Where values of headers are put together.
    pub(crate) text: Vec<u8>,
    /// Of a ledger that is spare, another one.
    spare: Option<Box<Ledger>>,
}

impl Ledger {
    /// As it was opened, but for the room that it has.
    fn clear(&mut self) {
        let Self {
            applied,
            next,
            asking,
            waiting,
            fallback,
            refused,
            address,
            shadowed,
            parts,
            text,
            spare: _,
        } = self;
        applied.clear();
        *next = 0;
        *asking = false;
        *waiting = None;
        *fallback = None;
        *refused = false;
        *address = Address::default();
        shadowed.clear();
        parts.clear();
        text.clear();
    }
}

/// Ledgers of exchanges that are over, for those to come: allocating their parts anew would cost more than deciding.
#[derive(Default)]
pub(crate) struct Spare {
    /// The others hang on it.
    first: Cell<Option<Box<Ledger>>>,
    count: Cell<usize>,
}

/// So many are kept: more than are open at once in most workers.
const MOST_SPARE: usize = 64;

/// A key longer than this has made a ledger too large to be kept.
const MOST_BYTES: usize = 4_096;

impl Spare {
    /// Takes the ledger out of the exchange, or opens one.
    pub(crate) fn open(&self, exchange: &mut Exchange) -> Box<Ledger> {
        if let Some(ledger) = take(exchange) {
            return ledger;
        }
        let Some(mut ledger) = self.first.take() else {
            return new();
        };
        self.first.set(ledger.spare.take());
        self.count.set(self.count.get().saturating_sub(1));
        ledger
    }

    /// The exchange is over.
    #[inline(never)]
    pub(crate) fn keep(&self, exchange: &mut Exchange) {
        let count = self.count.get();
        if let Some(mut ledger) = take(exchange)
            && ledger.parts.capacity() <= MOST_BYTES
            && count < MOST_SPARE
        {
            self.count.set(count.saturating_add(1));
            ledger.clear();
            ledger.spare = self.first.take();
            self.first.set(Some(ledger));
        }
    }
}

impl fmt::Debug for Spare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spare").finish_non_exhaustive()
    }
}

/// One limit that applies.
#[derive(Debug)]
pub(crate) struct Applied {
    /// Index of the limit.
    pub(crate) limit: usize,
    /// Index of its bucket set.
    pub(crate) set: usize,
    pub(crate) held: Held,
    /// What the request costs, in tokens.
    pub(crate) tokens: u64,
    /// When that was taken.
    pub(crate) taken_at: u64,
    /// Tokens were taken and could be given back.
    pub(crate) taken: bool,
    /// Shown to the client: not in shadow mode.
    pub(crate) shown: bool,
    pub(crate) readings: Readings,
    /// The readings are the fleet's, which gets nothing back.
    pub(crate) of_fleet: bool,
}

/// A limit that waits for a lease.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    /// Index of the limit.
    pub(crate) limit: usize,
    /// Index of its bucket set.
    pub(crate) set: usize,
    /// What the request costs.
    pub(crate) tokens: u64,
    pub(crate) place: leases::Place,
    pub(crate) ticket: dispenser::Ticket,
}

/// Where what was taken can be given back.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Held {
    /// To the bucket table.
    Table(Place),
    /// To a lease, if it is still of the window that ends then; to the own bucket in any case.
    Lease(leases::Place, Option<u64>),
}

impl Applied {
    /// The fleet may have less left than this proxy's own bucket.
    pub(crate) fn lower(&mut self, remaining: u64, reset: u64) {
        if let Some(reading) = self.readings.first_mut()
            && remaining < reading.remaining
        {
            self.of_fleet = true;
            *reading = Reading {
                remaining,
                next: reset,
            };
        }
    }
}

#[cold]
fn new() -> Box<Ledger> {
    Box::default()
}

/// Takes the ledger out of the exchange, if there is one.
pub(crate) fn take(exchange: &mut Exchange) -> Option<Box<Ledger>> {
    exchange.limits.take()?.downcast::<Ledger>().ok()
}

/// Puts the ledger back.
pub(crate) fn close(exchange: &mut Exchange, ledger: Box<Ledger>) {
    exchange.limits = Some(ledger);
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate_core::Headers;
    use tollgate_state::seed::Seed;
    use tollgate_state::table::{Key, Table};

    #[test]
    fn nothing_of_an_exchange_that_is_over_is_in_the_next() {
        let mut exchange = Exchange::new(Headers::default(), true);
        let spare = Spare::default();
        let place = Table::new(1 << 20, 0).place(&Key::new(Seed([0; 16])));
        let mut ledger = spare.open(&mut exchange);
        ledger.applied.push(Applied {
            limit: 1,
            set: 1,
            held: Held::Table(place),
            tokens: 1,
            taken_at: 1,
            taken: true,
            shown: true,
            readings: Readings::default(),
            of_fleet: true,
        });
        ledger.next = 1;
        ledger.asking = true;
        ledger.fallback = Some((1, place));
        ledger.refused = true;
        for text in [&mut ledger.shadowed, &mut ledger.parts, &mut ledger.text] {
            text.push(1);
        }
        close(&mut exchange, ledger);
        spare.keep(&mut exchange);
        let again = spare.open(&mut exchange);
        assert!(again.applied.capacity() > 0, "it is another one");
        let fresh = Box::<Ledger>::default();
        assert_eq!(format!("{again:?}"), format!("{fresh:?}"));
    }

    #[test]
    fn as_many_are_kept_as_there_is_room_for() {
        let spare = Spare::default();
        let exchange = || Exchange::new(Headers::default(), true);
        let mut open: Vec<Exchange> = (0..100).map(|_| exchange()).collect();
        for _ in 0..2 {
            for exchange in &mut open {
                let ledger = spare.open(exchange);
                close(exchange, ledger);
            }
            assert_eq!(spare.count.get(), 0);
            open.iter_mut().for_each(|exchange| spare.keep(exchange));
            assert_eq!(spare.count.get(), MOST_SPARE);
        }
    }
}
