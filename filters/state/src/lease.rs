//! Tokens that a worker takes ahead, so that most requests need nothing that workers share.
//!
//! **What a lease is.** A bucket's [`Tat`] moves along a line of time, and every token is a stretch of that line (see
//! [`crate::gcra`]). A lease is a longer stretch, `from..to`, that one worker owns: it was charged in the [`Table`], and the worker
//! cuts its requests off the front. A stretch that lies behind *now* is worth nothing any more, just as a full
//! bucket gains nothing.
//!
//! **Why it never admits too much.** Stretches of all workers and requests are disjoint; a request's begins at or after the
//! moment at which it is admitted and ends at most the bucket's whole content after it. So in any T nanoseconds the
//! admitted requests' stretches fit into T plus the content: the bound of the bucket without leases.
//! Nothing has to be given back for that. A worker that dies, a configuration that is replaced, a lease that is forgotten: its
//! stretch stays charged and passes by itself.
//!
//! **What it costs.** Tokens that a worker holds and does not use are missing elsewhere until they pass: at most
//! [`Terms::basis_points`] of the bucket for each worker. A key's first request takes no lease; leases then grow
//! with use, are at most an eighth of what is left in the bucket, and what a worker has not touched for half a second
//! it hands back ([`Leases::tick`]), as long as nobody has taken tokens behind it.
//!
//! **What it knows.** What is left is shown as of the last trip to the table, less the worker's own requests: other workers'
//! of the last second ([`REFRESH`]) are missing in it.
//!
//! A clock that steps back ends all leases of the worker that notices.

mod back;
mod share;
mod slots;
mod trip;

use crate::cas::{Change, Contended};
use crate::gcra::{Bucket, MAX_BUCKETS, Tat};
use crate::table::page::Page;
use crate::table::{Answer, Events, Place, Readings, Source, Table};
use back::{Offered, offer, undo};
use share::{Share, held};
use slots::{Slot, State};
use std::cell::RefCell;
use tollgate_core::world::Store;
use trip::Trip;

/// For how many keys a worker remembers a lease.
pub const MOST_KEYS: usize = slots::SETS.saturating_mul(slots::WAYS);

/// After so many nanoseconds the table is asked again, whatever is left of a lease.
pub const REFRESH: u64 = 1_000_000_000;

/// A lease that was not used for so many nanoseconds is handed back.
const IDLE: u64 = 500_000_000;

/// How many leases are handed back in one tick at most.
const RETURNS: usize = 64;

/// How large leases are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The most that one worker may hold of a bucket, in hundredths of a percent of `max_tokens`.
    pub basis_points: u64,
}

/// What a request costs.
#[derive(Clone, Copy, Debug)]
pub struct Charge<'a> {
    /// In tokens.
    pub tokens: u64,
    /// The same as [`Bucket::span`], one for each bucket.
    pub spans: &'a [Tat],
}

/// What [`Leases::tick`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Returned {
    /// Leases handed back.
    pub leases: u32,
    /// Tries lost to other workers.
    pub retries: u32,
}

/// The leases of one worker. See the module.
#[derive(Debug)]
pub struct Leases {
    terms: Terms,
    /// Buckets of the largest record.
    stride: usize,
    state: RefCell<Option<Box<State>>>,
}

impl Leases {
    /// For records of at most so many buckets. Takes no memory before it is used.
    #[must_use]
    pub fn new(terms: Terms, most_buckets: usize) -> Self {
        Self {
            terms,
            stride: most_buckets.min(MAX_BUCKETS),
            state: RefCell::new(None),
        }
    }

    /// [`Table::take`] by way of the worker's lease. All users of the same record must take this way.
    ///
    /// # Errors
    /// [`Contended`]: other workers were faster each time; nothing is taken.
    pub fn take<S: Store + ?Sized>(
        &self,
        table: &Table,
        store: &S,
        place: Place,
        buckets: &[Bucket],
        charge: Charge<'_>,
        now: u64,
    ) -> Result<Answer, Contended> {
        let mut readings = Readings::default();
        if self.hit(place, buckets, charge.spans, now, &mut readings) {
            return Ok(Answer {
                allowed: true,
                wait: 0,
                refused_by: 0,
                readings,
                events: Events {
                    source: Source::Lease,
                    ..Events::default()
                },
            });
        }
        let mut state = self.open(now);
        let at = state.find(place).or_else(|| state.make_room(place, now));
        let result = self.renew(&mut state, at, table, store, place, buckets, charge, now);
        self.state.replace(Some(state));
        result
    }

    /// [`Leases::take`], if that is possible without the table: then `true` and the readings. Else nothing is taken, and
    /// the readings mean nothing.
    #[inline(never)]
    pub fn hit(
        &self,
        place: Place,
        buckets: &[Bucket],
        spans: &[Tat],
        now: u64,
        readings: &mut Readings,
    ) -> bool {
        let Ok(mut state) = self.state.try_borrow_mut() else {
            return false;
        };
        let state = state.as_deref_mut();
        state.is_some_and(|state| state.hit(place, buckets, spans, now, readings))
    }

    /// What [`Leases::take`] would say; takes nothing.
    #[must_use]
    pub fn look<S: Store + ?Sized>(
        &self,
        table: &Table,
        store: &S,
        place: Place,
        buckets: &[Bucket],
        charge: Charge<'_>,
        now: u64,
    ) -> Option<Answer> {
        let mut state = self.open(now);
        let found = state.find(place);
        let held = held(found.and_then(|at| state.get(at)));
        self.state.replace(Some(state));
        let looked = table.change(store, place.page, now, |page| {
            let (_, answer, _) = self.trip(page, held, place, buckets, charge, 0, now);
            Change::Keep(answer)
        });
        looked.ok().map(|updated| updated.value)
    }

    /// Gives back what [`Leases::take`] took `elapsed` nanoseconds ago, because the request was refused by something
    /// else. `false`: some of it stays taken, since the lease is not known any more, or others were faster.
    #[allow(clippy::too_many_arguments)]
    pub fn give_back<S: Store + ?Sized>(
        &self,
        table: &Table,
        store: &S,
        place: Place,
        buckets: &[Bucket],
        spans: &[Tat],
        elapsed: u64,
        now: u64,
    ) -> bool {
        let mut state = self.open(now);
        let found = state.find(place);
        let complete = match found.and_then(|at| state.get(at)) {
            Some((slot, shares)) => {
                let mut missing = [Tat::default(); MAX_BUCKETS];
                let each = buckets.iter().zip(spans).zip(&mut missing);
                for (share, ((bucket, span), missing)) in shares.iter_mut().zip(each) {
                    let amount = bucket.difference(*span, Tat::at(elapsed));
                    *missing = share.put_back(bucket, amount);
                }
                let partly = missing.iter().any(|m| *m > Tat::default());
                !partly || undo(table, store, slot, shares, buckets, &missing, now)
            }
            None => false,
        };
        self.state.replace(Some(state));
        complete
    }

    /// Hands back what is not used. To be called a few times a second.
    pub fn tick<S: Store + ?Sized>(&self, table: &Table, store: &S, now: u64) -> Returned {
        self.hand_back(table, store, now, RETURNS, |slot| {
            now.saturating_sub(slot.used_at) >= IDLE
        })
    }

    /// Hands back everything: the configuration was replaced.
    pub fn stop<S: Store + ?Sized>(&self, table: &Table, store: &S, now: u64) -> Returned {
        self.hand_back(table, store, now, usize::MAX, |_| true)
    }

    fn hand_back<S: Store + ?Sized>(
        &self,
        table: &Table,
        store: &S,
        now: u64,
        most: usize,
        wanted: impl Fn(&Slot) -> bool,
    ) -> Returned {
        let mut returned = Returned::default();
        let Some(mut state) = self.state.take() else {
            return returned;
        };
        state.watch_clock(now);
        let mut left = most;
        state.each(|slot, shares| {
            let live = shares.iter().any(|s| s.to > s.from.max(Tat::at(now)));
            if left == 0 || !live || slot.is_offered() || !wanted(slot) {
                return;
            }
            left = left.saturating_sub(1);
            let offered = offer(table, store, slot, shares, now);
            slot.offered();
            if let Ok(Offered { taken, retries }) = offered {
                returned.leases = returned.leases.saturating_add(u32::from(taken));
                returned.retries = returned.retries.saturating_add(retries);
            }
        });
        self.state.replace(Some(state));
        returned
    }

    fn open(&self, now: u64) -> Box<State> {
        let mut state = match self.state.take() {
            Some(state) => state,
            None => Box::new(State::new(self.stride)),
        };
        state.watch_clock(now);
        state
    }

    /// A trip to the table: takes what the request lacks, and more for those that follow.
    #[allow(clippy::too_many_arguments)]
    #[inline(never)]
    fn renew<S: Store + ?Sized>(
        &self,
        state: &mut State,
        at: Option<usize>,
        table: &Table,
        store: &S,
        place: Place,
        buckets: &[Bucket],
        charge: Charge<'_>,
        now: u64,
    ) -> Result<Answer, Contended> {
        let held = held(at.and_then(|at| state.get(at)));
        let level = match at.and_then(|at| state.get(at)) {
            Some((slot, _)) if charge.tokens == 0 => slot.level,
            Some((slot, _)) => slot.next_level(now),
            None => 0,
        };
        // A lease that nobody will find again would be lost.
        let level = if at.is_some() { level } else { 0 };
        let updated = table.change(store, place.page, now, |page| {
            let (trip, mut answer, write) =
                self.trip(page, held, place, buckets, charge, level, now);
            if !write {
                return Change::Keep((answer, trip.shares));
            }
            let parts = buckets.iter().any(Bucket::has_parts);
            let tats = trip.tats.get(..buckets.len()).unwrap_or_default();
            answer.events.evicted = page.put(place.tag, tats, parts, now);
            Change::Write((answer, trip.shares))
        })?;
        let (mut answer, shares) = updated.value;
        answer.events.retries = updated.retries;
        if let Some((slot, kept)) = at.and_then(|at| state.get(at)) {
            for (kept, share) in kept.iter_mut().zip(shares) {
                *kept = share;
            }
            slot.renewed(level, buckets, now);
            state.touch(at, now);
        }
        Ok(answer)
    }

    /// Charges a lease and a page in one go, if there is enough; the third value says whether the page is to be stored.
    #[allow(clippy::too_many_arguments)]
    fn trip(
        &self,
        page: &Page<'_>,
        shares: [Share; MAX_BUCKETS],
        place: Place,
        buckets: &[Bucket],
        charge: Charge<'_>,
        level: u8,
        now: u64,
    ) -> (Trip, Answer, bool) {
        let parts = buckets.iter().any(Bucket::has_parts);
        let known = page.find(place.tag, buckets.len(), parts);
        let floor = page.floor();
        let floored = known.is_none() && floor > now;
        let mut trip = Trip {
            shares,
            tats: known.unwrap_or_default(),
            readings: Readings::default(),
            changed: false,
        };
        if floored {
            for (tat, bucket) in trip.tats.iter_mut().zip(buckets) {
                *tat = Tat::at(floor.min(now.saturating_add(bucket.drain())));
            }
        }
        let refused = trip.charge(buckets, charge, self.terms, level, now);
        let answer = Answer {
            allowed: refused.is_none(),
            wait: refused.map_or(0, |(wait, _)| wait),
            refused_by: refused.map_or(0, |(_, by)| by),
            readings: trip.readings,
            events: Events {
                floored,
                discarded: page.discarded(),
                source: Source::Renewed,
                ..Events::default()
            },
        };
        // A stranger refused by the floor must be remembered: else a floor that keeps rising refuses it for ever.
        let write = trip.changed || (floored && refused.is_some());
        (trip, answer, write)
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
mod tests;
