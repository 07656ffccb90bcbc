//! What the limits remember of one exchange, over both of their stages.

use crate::key::Address;
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

/// Takes the ledger out of the exchange, or opens one.
pub(crate) fn open(exchange: &mut Exchange) -> Box<Ledger> {
    exchange
        .limits
        .take()
        .and_then(|any| any.downcast::<Ledger>().ok())
        .unwrap_or_default()
}

/// Puts the ledger back.
pub(crate) fn close(exchange: &mut Exchange, ledger: Box<Ledger>) {
    exchange.limits = Some(ledger);
}
