//! The lease of one key: which hits this proxy may still spend, and how many to ask for next.
//!
//! **The dispenser.** The service counts, the proxies decide. Its limit is [`POSITIONS`] for every name, so an answer
//! tells the counter's exact value after the ask: an ask of n hits owns the positions `after - n + 1 ..= after`, and
//! nobody else does. Those up to the limit may be spent. Whatever sizes are asked for, whatever clocks or latencies are, the sum
//! of all proxies is at most the limit in a window of the service.
//!
//! **The guard.** [`Lease::top`] is the highest position seen in the window. An answer below the top that was known when
//! it was asked for means that the counter was lost (restart, failover, eviction). Positions up to that top were spent
//! already: they are not spent again, and the next ask *skips*, that is, lifts the counter over them.
//!
//! Everything here is arithmetic: time, answers and the store's bytes are passed in.

mod alone;
mod answer;
mod codec;
pub mod purse;
mod size;
mod smooth;
mod take;

pub use codec::BYTES;

use super::clock::Clock;
use super::rate::Rates;
use super::unit::Frame;
use crate::gcra::{Bucket, Tat};

/// `requests_per_unit` of every descriptor in the service's configuration: the largest it can hold.
pub const POSITIONS: u64 = 4_294_967_295;
/// The largest limit: a request may cost as much, and still not take the counter beyond [`POSITIONS`].
pub const MAX_LIMIT: u64 = 2_000_000_000;

/// What a request is up against.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Hits that the fleet may spend in a window.
    pub limit: u64,
    /// Hits of this request.
    pub cost: u64,
    /// The window, in the service's time.
    pub frame: Frame,
    /// Paced over the window: so many hits at once, the others evenly.
    pub smooth: Option<u64>,
    /// This proxy's own bucket and what the request costs in it.
    pub bucket: Option<(Bucket, Tat)>,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// It passes; its hits belong to the window that ends at `end` (service's time).
    Admitted {
        /// See [`Lease::give_back`].
        end: u64,
        /// A new lease is due: ask in the background.
        prefetch: bool,
    },
    /// This proxy's own bucket does not hold enough.
    Bucket {
        /// Nanoseconds until it will.
        wait: u64,
    },
    /// The fleet has spent the limit (or, smoothed, is ahead of time).
    Refused {
        /// Nanoseconds until there is more.
        wait: u64,
    },
    /// Nobody knows: ask the service. The own bucket is charged.
    Unknown,
}

/// A question under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// How many hits.
    pub hits: u64,
    /// When it was sent, our time.
    pub sent: u64,
    /// What it is about: the window that was known then.
    pub frame: Frame,
    /// Hits among them that were spent before.
    owed: u64,
    /// Hits among them that are wanted: neither owed nor skipped.
    wanted: u64,
    /// The window that was known then, by its end.
    end: u64,
    /// The highest position known then.
    top: u64,
}

/// What a valid answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The counter's value after the ask; `None` if it is beyond [`POSITIONS`].
    pub after: Option<u64>,
    /// End of the unit's window, from [`Clock::learn`].
    pub end: u64,
    /// The whole second in which the service counted, by its own clock; nanoseconds.
    pub at: u64,
}

/// What an answer means for those who wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Granted {
    /// So many of the waiting, from the front, pass.
    pub served: usize,
    /// The window their hits belong to, by its end.
    pub end: u64,
    /// The others are refused, for so many nanoseconds. `None`: ask again for them.
    pub refused: Option<u64>,
}

/// What happened besides, for metrics; collected until it is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events {
    /// Hits that this proxy may spend since.
    pub granted: u64,
    /// Hits whose window ended before somebody wanted them.
    pub expired: u64,
    /// Hits that came too late for their window.
    pub late: u64,
    /// Positions passed over because they were spent before the counter was lost.
    pub skipped: u64,
    /// The counter was lower than it had been.
    pub regressed: bool,
}

/// See the module. All times are ours unless said otherwise, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    /// The limit that the rest is about.
    limit: u64,
    /// The window, in the service's time; 0 before the first.
    start: u64,
    end: u64,
    tokens: u64,
    tokens_end: u64,
    /// Position of the last token held.
    last_position: u64,
    /// The highest position seen in the window.
    top: u64,
    /// Until then the limit is known to be spent.
    exhausted: u64,
    /// Until then somebody's question is under way.
    asking: u64,
    skip: u64,
    /// Hits that passed although nobody knew: the next question asks for them, too.
    owed: u64,
    last_after: u64,
    last_at: u64,
    last_hits: u64,
    /// Hits of this proxy and of all, the last ones more than those before: its share.
    own_hits: u64,
    all_hits: u64,
    batch: u64,
    /// Thousandths of a hit per second.
    fleet_rate: u64,
    rates: Rates,
    /// This proxy's own bucket.
    tat: Tat,
    /// While the service is away: what is left of this proxy's share in the window, plus one; zero while it is not.
    alone: u64,
    /// Money leased and not spent, and owed, in picounits: see [`purse`].
    purse: u64,
    debt: u64,
    events: Events,
}

impl Lease {
    /// Tokens of the own bucket.
    #[must_use]
    pub fn local(&self, terms: &Terms, now: u64) -> Option<crate::gcra::Reading> {
        terms.bucket.map(|(bucket, _)| bucket.read(self.tat, now))
    }

    /// What the fleet has left, this proxy's lease included, as far as is known.
    #[must_use]
    pub fn remaining(&self, terms: &Terms) -> u64 {
        let unspent = self.limit.saturating_sub(self.top);
        unspent.saturating_add(self.tokens).min(terms.limit)
    }

    /// Nanoseconds until the window is over, as far as is known.
    #[must_use]
    pub fn resets_in(&self, now: u64, clock: &Clock) -> u64 {
        clock.latest(self.end).saturating_sub(now)
    }

    /// Whether there is anything in it that a new lease would not have: the key was not idle for long.
    #[must_use]
    pub fn matters(&self, now: u64) -> bool {
        now < self.tokens_end.max(self.exhausted).max(self.asking)
            || self.tat.ceil() > now
            || (self.alone | self.purse | self.debt) > 0 && now < self.end
    }

    /// When it was last used.
    #[must_use]
    pub fn used_at(&self) -> u64 {
        self.rates.at
    }

    /// What happened since this was last asked.
    pub fn take_events(&mut self) -> Events {
        std::mem::take(&mut self.events)
    }

    /// Hits held that may be spent.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// The highest position seen in this window.
    #[must_use]
    pub fn top(&self) -> u64 {
        self.top
    }

    /// Drops what the present moment has made worthless. Returns the terms for the window that counts.
    ///
    /// A window that has begun does not end because the clock was learnt better, or because another worker's is a little
    /// behind.
    pub(super) fn roll(&mut self, terms: &Terms, now: u64) -> Terms {
        let mut terms = *terms;
        if self.limit != terms.limit {
            // Positions held may be beyond a lowered limit; a raised one is not spent yet.
            self.limit = terms.limit;
            self.exhausted = 0;
            self.expire();
        }
        match terms.frame.named {
            Some((_, end)) if end == self.end => {}
            Some((_, end)) if end == self.start => {
                terms.frame = terms.frame.moved(self.start, self.end);
            }
            Some((start, end)) => self.begin(start, end, now),
            None => {}
        }
        if self.tokens > 0 && now >= self.tokens_end {
            self.expire();
        }
        terms
    }

    pub(super) fn expire(&mut self) {
        self.events.expired = self.events.expired.saturating_add(self.tokens);
        self.tokens = 0;
    }

    /// A lease dies with its window.
    pub(super) fn begin(&mut self, start: u64, end: u64, now: u64) {
        self.expire();
        self.start = start;
        self.end = end;
        self.top = 0;
        self.exhausted = 0;
        self.skip = 0;
        self.last_position = 0;
        self.last_after = 0;
        self.last_hits = 0;
        self.last_at = now;
        self.purse = 0;
        self.debt = 0;
        self.owed = 0;
        self.alone = 0;
    }

    pub(super) fn first_position(&self) -> u64 {
        self.last_position
            .saturating_sub(self.tokens)
            .saturating_add(1)
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
mod tests;
