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

mod codec;
pub mod purse;
mod size;

pub use codec::BYTES;

use super::clock::Clock;
use super::rate::Rates;
use super::unit::Frame;
use crate::gcra::{Bucket, Tat, Verdict};

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
    /// This proxy's part of the fleet's hits, in 1/65536; 0 if unknown.
    share: u64,
    batch: u64,
    /// Thousandths of a hit per second.
    fleet_rate: u64,
    rates: Rates,
    /// This proxy's own bucket.
    tat: Tat,
    /// The bucket of its share while the service is away; zero while it is not.
    alone: Tat,
    /// Money leased and not spent, and owed, in picounits: see [`purse`].
    purse: u64,
    debt: u64,
    events: Events,
}

impl Lease {
    /// Decides about a request.
    pub fn take(&mut self, terms: &Terms, now: u64, clock: &Clock) -> Take {
        let terms = &self.roll(terms, now);
        self.rates.add(now, terms.cost);
        let tat = match terms.bucket {
            Some((bucket, span)) => match bucket.take(self.tat, now, span) {
                Verdict::Taken { tat } => tat,
                Verdict::Refused { wait, healed } => {
                    self.tat = healed.unwrap_or(self.tat);
                    return Take::Bucket { wait };
                }
            },
            None => self.tat,
        };
        if self.tokens >= terms.cost {
            let wait = self.usable_in(terms, self.first_position(), now, clock);
            if wait > 0 {
                return Take::Refused { wait };
            }
            self.tokens = self.tokens.saturating_sub(terms.cost);
            self.tat = tat;
            return Take::Admitted {
                end: self.end,
                prefetch: self.wants_prefetch(terms, now, clock),
            };
        }
        if now < self.exhausted {
            return Take::Refused {
                wait: self.exhausted.saturating_sub(now),
            };
        }
        self.tat = tat;
        Take::Unknown
    }

    /// Makes a question, for requests that wait for `held` hits (0: a prefetch). It counts as under way for `patience`
    /// nanoseconds.
    pub fn ask(&mut self, terms: &Terms, held: u64, now: u64, clock: &Clock, patience: u64) -> Ask {
        let terms = &self.roll(terms, now);
        let hits = self.size(terms, held, now, clock);
        self.events.skipped = self.events.skipped.saturating_add(self.skip);
        // Beyond its last position the counter tells nothing, and what was asked for is lost.
        let most = POSITIONS.saturating_sub(terms.limit).max(1);
        let owed = std::mem::take(&mut self.owed);
        let hits = hits
            .saturating_add(self.skip)
            .saturating_add(owed)
            .min(most);
        self.skip = 0;
        self.asking = now.saturating_add(patience);
        Ask {
            hits,
            sent: now,
            frame: terms.frame,
            owed,
            end: self.end,
            top: self.top,
        }
    }

    /// The answer to a question; `waiting` are the hits of those who wait for it, in their order.
    pub fn answer(
        &mut self,
        terms: &Terms,
        ask: &Ask,
        seen: Seen,
        now: u64,
        clock: &Clock,
        waiting: &[u64],
    ) -> Granted {
        self.asking = 0;
        self.alone = Tat::default();
        let terms = &Terms {
            frame: ask.frame,
            ..*terms
        };
        if !terms.frame.counted_until(ask.end, seen.end) {
            // Our clock was wrong: the hits were counted in another of the unit's windows, where nobody looks for
            // them. The clock has learnt by now.
            self.events.late = self.events.late.saturating_add(ask.hits);
            return Granted::default();
        }
        // A named window is the one that was asked about, whatever has begun since.
        let end = match terms.frame.named {
            Some(_) => ask.end,
            None => seen.end,
        };
        if end > self.end {
            self.begin(end.saturating_sub(terms.frame.length()), end, now);
        }
        let current = end == self.end;
        let known_top = if ask.end == end { ask.top } else { 0 };
        let after = seen.after.unwrap_or(POSITIONS);
        let before = after.saturating_sub(ask.hits);
        let from = before.max(known_top);
        let to = after.min(self.limit);
        let room = match seen.after {
            Some(_) => to.saturating_sub(from),
            None => 0,
        };
        // What passed unasked is paid first; what a lost counter leaves of it, with the next question.
        let grant = room.saturating_sub(ask.owed);
        if current {
            let unpaid = ask.owed.saturating_sub(room);
            self.owed = self.owed.saturating_add(unpaid);
        }
        self.events.granted = self.events.granted.saturating_add(grant);
        if before < known_top {
            self.events.regressed = true;
            if current {
                // Others have gone on since this proxy looked last, as fast as they did before.
                let lost = self.guess_lost(now).min(self.limit).max(known_top);
                self.skip = lost.saturating_sub(after);
                self.top = self.top.max(lost);
            }
        }
        if !current {
            let (served, used) = serve(waiting, grant);
            let late = grant.saturating_sub(used);
            self.events.late = self.events.late.saturating_add(late);
            return Granted {
                served,
                end,
                refused: None,
            };
        }
        self.top = self.top.max(after);
        self.measure(before, after, ask.hits, now);
        if now >= self.tokens_end {
            self.expire();
        }
        if grant > 0 {
            self.last_position = self.last_position.max(to);
        }
        let border = clock.earliest(end);
        let available = self.tokens.saturating_add(grant);
        let first = self
            .last_position
            .saturating_sub(available)
            .saturating_add(1);
        let usable = self.usable(terms, first, now, clock).min(available);
        let (served, used) = serve(waiting, usable);
        self.tokens = available.saturating_sub(used);
        self.tokens_end = border;
        if now >= border {
            self.events.late = self.events.late.saturating_add(self.tokens);
            self.tokens = 0;
        }
        if after >= self.limit || self.top >= self.limit {
            self.exhausted = clock.latest(end);
        }
        let spent = now < self.exhausted && served < waiting.len();
        let ahead = usable < available && served < waiting.len();
        Granted {
            served,
            end,
            refused: if ahead {
                let first = first.saturating_add(used);
                Some(self.usable_in(terms, first, now, clock).max(1))
            } else {
                spent.then(|| self.exhausted.saturating_sub(now))
            },
        }
    }

    /// A question failed: nothing is under way any more.
    pub fn failed(&mut self, ask: &Ask) {
        self.asking = 0;
        if ask.end == self.end {
            self.owed = self.owed.saturating_add(ask.owed);
        }
    }

    /// A request passes although nobody knows whether it may: the fleet is told with the next question.
    pub fn pass_unasked(&mut self, terms: &Terms, now: u64) {
        self.roll(terms, now);
        self.owed = self.owed.saturating_add(terms.cost).min(terms.limit);
    }

    /// Decides by this proxy's share of the limit, while the service is away: its last known one, else
    /// one in `expected`. Refused with nanoseconds to wait.
    ///
    /// The share's bucket starts with the share of what the fleet had left, as far as that was known.
    ///
    /// # Errors
    /// Nanoseconds until the share holds enough.
    pub fn take_alone(
        &mut self,
        terms: &Terms,
        expected: u64,
        now: u64,
        clock: &Clock,
    ) -> Result<(), u64> {
        let share = match self.share {
            0 => terms.limit.checked_div(expected).unwrap_or(0),
            share => terms.limit.saturating_mul(share.min(65_536)) >> 16,
        };
        let most = share.clamp(terms.cost.max(1), crate::gcra::MAX_TOKENS);
        let Ok(bucket) = Bucket::new(most, most, terms.frame.length()) else {
            return Err(terms.frame.length());
        };
        if self.alone == Tat::default() {
            let left = self.left(terms, now, clock);
            let spent = terms.limit.saturating_sub(left);
            let spent = u128::from(spent)
                .saturating_mul(u128::from(bucket.drain()))
                .checked_div(u128::from(terms.limit))
                .unwrap_or(0);
            let spent = u64::try_from(spent).unwrap_or(u64::MAX);
            self.alone = Tat::at(now.saturating_add(spent.min(bucket.drain())));
        }
        match bucket.take(self.alone, now, bucket.span(terms.cost)) {
            Verdict::Taken { tat } => {
                self.alone = tat;
                self.pass_unasked(terms, now);
                Ok(())
            }
            Verdict::Refused { wait, healed } => {
                self.alone = healed.unwrap_or(self.alone);
                Err(wait)
            }
        }
    }

    /// Gives hits back that were taken `elapsed` nanoseconds ago, because something else refused the request: to the
    /// lease, if it is still of that window, and to the own bucket.
    pub fn give_back(&mut self, terms: &Terms, end: u64, elapsed: u64, now: u64) {
        if end == self.end && now < self.tokens_end && terms.limit == self.limit {
            self.tokens = self.tokens.saturating_add(terms.cost);
        }
        self.give_back_local(terms, elapsed);
    }

    /// Gives back what only the own bucket was charged.
    pub fn give_back_local(&mut self, terms: &Terms, elapsed: u64) {
        if let Some((bucket, span)) = terms.bucket {
            self.tat = bucket.give_back(self.tat, span, elapsed);
        }
    }

    /// Tokens of the own bucket.
    #[must_use]
    pub fn local(&self, terms: &Terms, now: u64) -> Option<crate::gcra::Reading> {
        terms.bucket.map(|(bucket, _)| bucket.read(self.tat, now))
    }

    /// Tokens of the share's bucket while the service is away: the limit's share, and what it holds.
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
            || self.alone.ceil() > now
            || (self.purse | self.debt) > 0 && now < self.end
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
    fn roll(&mut self, terms: &Terms, now: u64) -> Terms {
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

    fn expire(&mut self) {
        self.events.expired = self.events.expired.saturating_add(self.tokens);
        self.tokens = 0;
    }

    /// A lease dies with its window.
    fn begin(&mut self, start: u64, end: u64, now: u64) {
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
    }

    fn first_position(&self) -> u64 {
        self.last_position
            .saturating_sub(self.tokens)
            .saturating_add(1)
    }

    /// How many positions from `first` on may be spent now.
    fn usable(&self, terms: &Terms, first: u64, now: u64, clock: &Clock) -> u64 {
        let Some(at_once) = terms.smooth else {
            return u64::MAX;
        };
        let passed = self.passed(terms, now, clock);
        let paced = u128::from(passed)
            .saturating_mul(u128::from(terms.limit))
            .checked_div(u128::from(terms.frame.length()))
            .unwrap_or(0);
        let until = u64::try_from(paced)
            .unwrap_or(u64::MAX)
            .saturating_add(at_once);
        until.saturating_add(1).saturating_sub(first)
    }

    /// Nanoseconds until the request's positions, from `first` on, may be spent.
    fn usable_in(&self, terms: &Terms, first: u64, now: u64, clock: &Clock) -> u64 {
        let Some(at_once) = terms.smooth else {
            return 0;
        };
        let last = first.saturating_add(terms.cost).saturating_sub(1);
        let due = u128::from(last.saturating_sub(at_once))
            .saturating_mul(u128::from(terms.frame.length()))
            .div_ceil(u128::from(terms.limit.max(1)));
        let due = u64::try_from(due).unwrap_or(u64::MAX);
        due.saturating_sub(self.passed(terms, now, clock))
    }

    /// Nanoseconds since the window began.
    fn passed(&self, terms: &Terms, now: u64, clock: &Clock) -> u64 {
        let start = self.end.saturating_sub(terms.frame.length());
        clock.service(now).saturating_sub(start)
    }
}

/// How many from the front fit into `available`, and what they take.
fn serve(waiting: &[u64], available: u64) -> (usize, u64) {
    let mut used = 0_u64;
    let fits = |cost: &&u64| {
        let sum = used.saturating_add(**cost);
        let fits = sum <= available;
        if fits {
            used = sum;
        }
        fits
    };
    let served = waiting.iter().take_while(fits).count();
    (served, used)
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
mod tests;
