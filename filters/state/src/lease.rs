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

mod slots;

use crate::cas::{Change, Contended};
use crate::gcra::{Bucket, MAX_BUCKETS, Tat, Verdict};
use crate::table::page::Page;
use crate::table::{Answer, Events, Place, Readings, Source, Table};
use slots::{Slot, State};
use std::cell::RefCell;
use tollgate_core::world::Store;

/// For how many keys a worker remembers a lease.
pub const MOST_KEYS: usize = slots::SETS.saturating_mul(slots::WAYS);

/// After so many nanoseconds the table is asked again, whatever is left of a lease.
pub const REFRESH: u64 = 1_000_000_000;

/// A lease that was not used for so many nanoseconds is handed back.
const IDLE: u64 = 500_000_000;

/// How many leases are handed back in one tick at most.
const RETURNS: usize = 64;

/// Of what is left in a bucket a lease takes at most one part in this many.
const CAUTION: u64 = 8;

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

/// A worker's share of one bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Share {
    /// Before it the line belongs to somebody else: tokens that are given back reach no further.
    base: Tat,
    /// The rest of the lease before this one, which went into the request that began this one.
    rest: (Tat, Tat),
    from: Tat,
    to: Tat,
    /// The bucket's time in the table when it was last seen.
    shared: Tat,
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
        let mut state = self.open(now);
        let found = state.find(place);
        let mut readings = Readings::default();
        let hit = found.is_some_and(|at| {
            let Some((slot, shares)) = state.get(at) else {
                return false;
            };
            slot.is_fresh(now) && hit(shares, buckets, charge.spans, now, &mut readings)
        });
        let result = if hit {
            state.touch(found, now);
            Ok(Answer {
                allowed: true,
                wait: 0,
                refused_by: 0,
                readings,
                events: Events {
                    source: Source::Lease,
                    ..Events::default()
                },
            })
        } else {
            let at = found.or_else(|| state.make_room(place, now));
            self.renew(&mut state, at, table, store, place, buckets, charge, now)
        };
        self.state.replace(Some(state));
        result
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

/// A copy of a slot's shares.
fn held(slot: Option<(&mut Slot, &mut [Share])>) -> [Share; MAX_BUCKETS] {
    let mut held = [Share::default(); MAX_BUCKETS];
    if let Some((_, shares)) = slot {
        for (held, share) in held.iter_mut().zip(shares.iter()) {
            *held = *share;
        }
    }
    held
}

/// Charges a lease, if it holds enough for all buckets: then all readings.
fn hit(
    shares: &mut [Share],
    buckets: &[Bucket],
    spans: &[Tat],
    now: u64,
    readings: &mut Readings,
) -> bool {
    let at_now = Tat::at(now);
    let each = || buckets.iter().zip(spans);
    let enough = shares.iter().zip(each()).all(|(share, (bucket, span))| {
        *span == Tat::default() || bucket.sum(share.from.max(at_now), *span) <= share.to
    });
    if !enough {
        return false;
    }
    let shares = shares.iter_mut().zip(each()).zip(readings);
    for ((share, (bucket, span)), reading) in shares {
        if *span != Tat::default() {
            share.from = bucket.sum(share.from.max(at_now), *span);
        }
        *reading = bucket.read(share.free(bucket, now), now);
    }
    true
}

impl Share {
    /// What is left of it.
    fn own(&self, bucket: &Bucket, now: u64) -> Tat {
        bucket.difference(self.to, self.from.max(Tat::at(now)))
    }

    /// The bucket's time as it would be if this worker had taken nothing ahead.
    fn free(&self, bucket: &Bucket, now: u64) -> Tat {
        bucket.difference(self.shared.max(Tat::at(now)), self.own(bucket, now))
    }

    fn forget(&mut self) {
        self.from = Tat::default();
        self.to = Tat::default();
        self.rest = Default::default();
    }

    /// Puts tokens back in front; what of the amount did not come out of this lease but out of the one before.
    fn put_back(&mut self, bucket: &Bucket, amount: Tat) -> Tat {
        let most = bucket.difference(self.from, self.base);
        self.from = bucket.difference(self.from, amount.min(most));
        let (start, end) = self.rest;
        bucket
            .difference(amount, most)
            .min(bucket.difference(end, start))
    }
}

/// One try to charge the table.
struct Trip {
    shares: [Share; MAX_BUCKETS],
    tats: [Tat; MAX_BUCKETS],
    readings: Readings,
    changed: bool,
}

impl Trip {
    /// Charges all buckets or none. A refusal: the longest wait and whose it is.
    fn charge(
        &mut self,
        buckets: &[Bucket],
        charge: Charge<'_>,
        terms: Terms,
        level: u8,
        now: u64,
    ) -> Option<(u64, usize)> {
        let mut refused: Option<(u64, usize)> = None;
        let mut shares = self.shares;
        let mut tats = self.tats;
        let mut changed = false;
        let each = buckets.iter().zip(charge.spans);
        let state = shares
            .iter_mut()
            .zip(tats.iter_mut().zip(self.tats.iter_mut()));
        for (i, ((bucket, span), (share, (new, old)))) in each.zip(state).enumerate() {
            if *old < share.to {
                // The table has never heard of this lease: it was discarded, or a clock has stepped.
                share.forget();
            }
            match share.extend(bucket, *span, charge.tokens, *old, terms, level, now) {
                Ok(tat) => {
                    changed |= tat != *old;
                    *new = tat;
                }
                Err((wait, healed)) => {
                    if refused.is_none_or(|(longest, _)| wait > longest) {
                        refused = Some((wait, i));
                    }
                    if let Some(healed) = healed {
                        *old = healed;
                        self.changed = true;
                    }
                }
            }
        }
        if refused.is_none() {
            self.shares = shares;
            self.tats = tats;
            self.changed = changed;
        } else {
            for (share, tat) in self.shares.iter_mut().zip(&self.tats) {
                if *tat < share.to {
                    share.forget();
                }
                share.shared = *tat;
            }
        }
        for ((reading, bucket), share) in self.readings.iter_mut().zip(buckets).zip(&self.shares) {
            *reading = bucket.read(share.free(bucket, now), now);
        }
        refused
    }
}

impl Share {
    /// Charges one bucket whose time in the table is `tat`: first the lease, then the table. The table's new time, or
    /// how long to wait.
    #[allow(clippy::too_many_arguments)]
    fn extend(
        &mut self,
        bucket: &Bucket,
        span: Tat,
        tokens: u64,
        tat: Tat,
        terms: Terms,
        level: u8,
        now: u64,
    ) -> Result<Tat, (u64, Option<Tat>)> {
        let own = self.own(bucket, now);
        let at_now = Tat::at(now);
        if tokens == 0 {
            self.shared = tat;
            return Ok(tat);
        }
        let last = own > Tat::default() && tat == self.to;
        let charged = if own < span {
            // The rest of the lease goes into this request, whatever lies between it and what is taken now.
            match bucket.take(tat, now, bucket.difference(span, own)) {
                Verdict::Taken { tat: charged } => {
                    if !last {
                        self.rest = (self.from.max(at_now).min(self.to), self.to);
                        self.base = tat.max(at_now);
                    }
                    self.from = charged;
                    self.to = charged;
                    charged
                }
                Verdict::Refused { .. } => {
                    // Said to somebody whom another worker may serve: as if the lease were not there.
                    let Verdict::Refused { wait, healed } = bucket.take(tat, now, span) else {
                        return Err((bucket.drain(), None));
                    };
                    return Err((wait, healed));
                }
            }
        } else {
            self.from = bucket.sum(self.from.max(at_now), span);
            tat
        };
        if own < span || last {
            let room = bucket.difference(bucket.sum(at_now, Tat::at(bucket.drain())), charged);
            let most = bucket
                .max_tokens()
                .saturating_mul(terms.basis_points)
                .checked_div(10_000)
                .unwrap_or(0)
                .checked_div(tokens)
                .unwrap_or(0)
                .checked_shr(shift(level))
                .unwrap_or(0);
            // Whole requests, so that nothing is left over.
            let each = span.ceil().max(1);
            let have = self.own(bucket, now).ns.checked_div(each).unwrap_or(0);
            let fits = room.ns.checked_div(each.saturating_mul(CAUTION));
            let n = most.saturating_sub(have).min(fits.unwrap_or(0));
            self.to = bucket.sum(self.to, bucket.span(n.saturating_mul(tokens)));
            self.shared = self.to;
        } else {
            self.shared = tat;
        }
        Ok(self.shared)
    }
}

/// How much smaller than the largest a lease of that level is.
fn shift(level: u8) -> u32 {
    match level {
        0 => 63,
        1 => 6,
        2 => 3,
        _ => 0,
    }
}

/// A request was given back that had used up one lease and begun another: that one goes back to the table, if it is
/// still the last stretch, and what is missing of the one before is the lease again.
fn undo<S: Store + ?Sized>(
    table: &Table,
    store: &S,
    slot: &Slot,
    shares: &mut [Share],
    buckets: &[Bucket],
    missing: &[Tat; MAX_BUCKETS],
    now: u64,
) -> bool {
    let place = slot.place();
    let kept: &[Share] = shares;
    let wanted = |missing: &Tat| *missing > Tat::default();
    let updated = table.change(store, place.page, now, |page| {
        let Some(mut tats) = page.find(place.tag, buckets.len(), slot.parts) else {
            return Change::Keep(false);
        };
        for ((tat, share), _) in tats
            .iter_mut()
            .zip(kept)
            .zip(missing)
            .filter(|(_, m)| wanted(m))
        {
            if *tat != share.to {
                return Change::Keep(false);
            }
            *tat = share.base;
        }
        let tats = tats.get(..buckets.len()).unwrap_or_default();
        page.put(place.tag, tats, slot.parts, now);
        Change::Write(true)
    });
    if !updated.is_ok_and(|u| u.value) {
        return false;
    }
    for ((share, bucket), missing) in shares.iter_mut().zip(buckets).zip(missing) {
        if wanted(missing) {
            let (_, end) = share.rest;
            let from = bucket.difference(end, *missing);
            *share = Share {
                base: from,
                rest: Default::default(),
                from,
                to: end,
                shared: share.base,
            };
        }
    }
    true
}

struct Offered {
    taken: bool,
    retries: u32,
}

/// Moves the buckets' times back to where the lease begins, if it is the last stretch.
fn offer<S: Store + ?Sized>(
    table: &Table,
    store: &S,
    slot: &Slot,
    shares: &mut [Share],
    now: u64,
) -> Result<Offered, Contended> {
    let place = slot.place();
    let kept: &[Share] = shares;
    let updated = table.change(store, place.page, now, |page| {
        let Some(mut tats) = page.find(place.tag, kept.len(), slot.parts) else {
            return Change::Keep(None);
        };
        let mut taken = [false; MAX_BUCKETS];
        for ((tat, share), taken) in tats.iter_mut().zip(kept).zip(&mut taken) {
            let from = share.from.max(Tat::at(now));
            if *tat == share.to && from < share.to {
                *tat = from;
                *taken = true;
            }
        }
        if !taken.contains(&true) {
            return Change::Keep(None);
        }
        let tats = tats.get(..kept.len()).unwrap_or_default();
        page.put(place.tag, tats, slot.parts, now);
        Change::Write(Some(taken))
    })?;
    if let Some(taken) = updated.value {
        for (share, taken) in shares.iter_mut().zip(taken) {
            if taken {
                share.shared = share.from.max(Tat::at(now));
                share.forget();
            }
        }
    }
    Ok(Offered {
        taken: updated.value.is_some(),
        retries: updated.retries,
    })
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
mod tests;
