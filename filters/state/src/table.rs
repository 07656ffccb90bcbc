//! All buckets of all limits in a fixed number of pages, whatever keys clients bring.
//!
//! A page is one value in the store, `b/<number>`: a header and records. A record is the times ([`Tat`]) of all
//! buckets of one (limit, key), so that one compare-and-set charges them all or none. Page and tag come
//! out of a seeded hash of limit, buckets and key; the key itself is kept nowhere.
//!
//! ```text
//! header  "TGB" and the layout's version (4)  number of pages (4)  floor (8)            little endian
//! record  tag (8)  shape (1): n + 16 * parts  n times (8 each)  if parts, n parts (4 each)
//! ```
//!
//! **Forgetting.** A record whose times have all passed is as good as none: its place is free. When a page holds none
//! of those, the record that has the least to forget (the smallest latest time) makes room, and the page's *floor* is
//! raised to that time. A key that a page does not know starts at the floor (at most empty), since it may be the one that
//! was forgotten. So a flood of new keys may make strangers start with less, but never gives anybody a token twice.
//!
//! A page of another layout, geometry or size, or with bytes that cannot be read, is taken for empty and replaced.

mod key;
pub(crate) mod page;

pub use key::{Key, Place};

use crate::cas::{self, Change, Contended, Updated};
use crate::gcra::{Bucket, CLOCK_SLACK, MAX_BUCKETS, Reading, Tat, Verdict};
use crate::occupancy::Occupancy;
use key::PageKey;
use page::Page;
use std::cell::{Cell, RefCell};
use tollgate_core::world::Store;

/// Bytes of a page: 29 records of one bucket. Larger ones cost more to copy and to scan for each request,
/// smaller ones waste more on what the proxy needs for each key.
pub const PAGE_BYTES: usize = 512;

/// What a proxy needs for a key in its shared data besides the value: 94 to 110 bytes were measured, the key's text included.
pub const KEY_OVERHEAD: usize = 110;

/// What happened besides the answer; for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events {
    /// Tries lost to other workers.
    pub retries: u32,
    /// A record that was still needed made room.
    pub evicted: bool,
    /// The key was unknown and started at the floor, that is, with less than a full bucket.
    pub floored: bool,
    /// The page could not be read and was taken for empty.
    pub discarded: bool,
    /// Where the tokens came from.
    pub source: Source,
}

/// Where tokens came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// The table, for this request alone.
    #[default]
    Table,
    /// The table, by way of a worker's [`crate::lease`].
    Renewed,
    /// The worker's lease: nothing shared was asked.
    Lease,
}

/// The readings of the buckets of one record, in their order.
pub type Readings = [Reading; MAX_BUCKETS];

/// What was decided, for all buckets of a record together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whether the tokens were there (and, asked by [`Table::take`], are taken now).
    pub allowed: bool,
    /// If not, nanoseconds until they will be, rounded up.
    pub wait: u64,
    /// Which bucket that is (the one with the longest wait).
    pub refused_by: usize,
    /// What the buckets hold now.
    pub readings: Readings,
    /// What else happened.
    pub events: Events,
}

/// See the module. Holds no state but a buffer: the pages are in the store.
#[derive(Debug)]
pub struct Table {
    pages: u32,
    page_bytes: usize,
    horizon: u64,
    buffer: RefCell<Vec<u8>>,
    scratch: RefCell<Vec<u8>>,
    warned: Cell<bool>,
}

impl Table {
    /// A table that takes at most `max_bytes` of the proxy's memory. `horizon` is the longest
    /// [`Bucket::drain`] of all buckets: no time can be further ahead.
    #[must_use]
    pub fn new(max_bytes: u64, horizon: u64) -> Self {
        Self::with_pages(max_bytes, PAGE_BYTES, horizon)
    }

    /// [`Table::new`] with another page size, for tests and measurements.
    #[must_use]
    pub fn with_pages(max_bytes: u64, page_bytes: usize, horizon: u64) -> Self {
        let page_bytes = page_bytes.max(page::LEAST_BYTES);
        let each = u64::try_from(page_bytes.saturating_add(KEY_OVERHEAD)).unwrap_or(u64::MAX);
        let pages = max_bytes.checked_div(each).unwrap_or(0);
        Self {
            pages: u32::try_from(pages).unwrap_or(u32::MAX).max(1),
            page_bytes,
            horizon,
            buffer: RefCell::default(),
            scratch: RefCell::default(),
            warned: Cell::new(false),
        }
    }

    /// How many pages there are at most.
    #[must_use]
    pub fn pages(&self) -> u32 {
        self.pages
    }

    /// Bytes of records that all pages can hold.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        let each = self.page_bytes.saturating_sub(page::HEADER);
        u64::try_from(each)
            .unwrap_or(u64::MAX)
            .saturating_mul(u64::from(self.pages))
    }

    /// What a page holds that is not over.
    pub(crate) fn live<S: Store + ?Sized>(&self, store: &S, page: u32, now: u64) -> Occupancy {
        let mut bytes = self.buffer.take();
        let known = store
            .load(PageKey::new(page).as_str(), &mut bytes)
            .is_some();
        let found = match known {
            true => self.page(&mut bytes, now).live(now),
            false => Occupancy::default(),
        };
        self.buffer.replace(bytes);
        found
    }

    /// Where a key's buckets are.
    #[must_use]
    pub fn place(&self, key: &Key) -> Place {
        key.place(self.pages)
    }

    /// Takes tokens out of all buckets or out of none. `spans` are [`Bucket::span`]s, one for each bucket.
    /// With spans of zero nothing is stored: a look.
    ///
    /// # Errors
    /// [`Contended`]: other workers were faster each time; nothing is taken.
    #[inline(never)]
    pub fn take<S: Store + ?Sized>(
        &self,
        store: &S,
        place: Place,
        buckets: &[Bucket],
        spans: &[Tat],
        now: u64,
    ) -> Result<Answer, Contended> {
        let updated = self.change(store, place.page, now, |page| {
            let (mut answer, tats, store) = decide(page, place.tag, buckets, spans, now);
            if !store {
                return Change::Keep(answer);
            }
            let tats = tats.get(..buckets.len()).unwrap_or_default();
            let parts = buckets.iter().any(Bucket::has_parts);
            answer.events.evicted = page.put(place.tag, tats, parts, now);
            Change::Write(answer)
        })?;
        let mut answer = updated.value;
        answer.events.retries = updated.retries;
        Ok(answer)
    }

    /// What [`Table::take`] would say; takes nothing.
    #[must_use]
    pub fn look<S: Store + ?Sized>(
        &self,
        store: &S,
        place: Place,
        buckets: &[Bucket],
        spans: &[Tat],
        now: u64,
    ) -> Answer {
        let mut bytes = self.buffer.take();
        bytes.clear();
        if store
            .load(PageKey::new(place.page).as_str(), &mut bytes)
            .is_none()
        {
            bytes.clear();
        }
        let (answer, _, _) = decide(&self.page(&mut bytes, now), place.tag, buckets, spans, now);
        self.buffer.replace(bytes);
        answer
    }

    /// Gives back what [`Table::take`] took `elapsed` nanoseconds ago, because the request was refused by something else.
    /// What of it would be there again by now in any case is not: it may have been taken.
    ///
    /// # Errors
    /// [`Contended`]: the tokens stay taken.
    pub fn give_back<S: Store + ?Sized>(
        &self,
        store: &S,
        place: Place,
        buckets: &[Bucket],
        spans: &[Tat],
        elapsed: u64,
        now: u64,
    ) -> Result<Events, Contended> {
        let updated = self.change(store, place.page, now, |page| {
            let parts = buckets.iter().any(Bucket::has_parts);
            // Forgotten meanwhile: then the tokens are in the floor, or there again.
            let Some(mut tats) = page.find(place.tag, buckets.len(), parts) else {
                return Change::Keep(());
            };
            for ((tat, bucket), span) in tats.iter_mut().zip(buckets).zip(spans) {
                *tat = bucket.give_back(*tat, *span, elapsed);
            }
            let tats = tats.get(..buckets.len()).unwrap_or_default();
            page.put(place.tag, tats, parts, now);
            Change::Write(())
        })?;
        Ok(Events {
            retries: updated.retries,
            ..Events::default()
        })
    }

    /// Changes one page.
    pub(crate) fn change<T, S: Store + ?Sized>(
        &self,
        store: &S,
        page: u32,
        now: u64,
        mut change: impl FnMut(&mut Page<'_>) -> Change<T>,
    ) -> Result<Updated<T>, Contended> {
        let key = PageKey::new(page);
        cas::update_in(&self.buffer, store, key.as_str(), cas::TRIES, |bytes| {
            change(&mut self.page(bytes, now))
        })
    }

    /// Whether a warning about discarded pages is due; `true` once.
    #[must_use]
    pub fn warn_once(&self) -> bool {
        !self.warned.replace(true)
    }

    fn page<'a>(&'a self, bytes: &'a mut Vec<u8>, now: u64) -> Page<'a> {
        let latest = now.saturating_add(self.horizon).saturating_add(CLOCK_SLACK);
        Page::open(bytes, &self.scratch, self.pages, self.page_bytes, latest)
    }
}

/// What to answer, the new times, and whether to store them.
fn decide(
    page: &Page<'_>,
    tag: u64,
    buckets: &[Bucket],
    spans: &[Tat],
    now: u64,
) -> (Answer, [Tat; MAX_BUCKETS], bool) {
    let parts = buckets.iter().any(Bucket::has_parts);
    let known = page.find(tag, buckets.len(), parts);
    let floor = page.floor();
    let floored = known.is_none() && floor > now;
    let mut tats = known.unwrap_or_default();
    let mut taken = tats;
    let (mut wait, mut refused_by, mut healed) = (None, 0, false);
    for (i, ((bucket, span), (tat, new))) in buckets
        .iter()
        .zip(spans)
        .zip(tats.iter_mut().zip(taken.iter_mut()))
        .enumerate()
    {
        if floored {
            *tat = Tat::at(floor.min(now.saturating_add(bucket.drain())));
        }
        match bucket.take(*tat, now, *span) {
            Verdict::Taken { tat } => *new = tat,
            Verdict::Refused { wait: w, healed: h } => {
                if wait.is_none_or(|longest| w > longest) {
                    wait = Some(w);
                    refused_by = i;
                }
                if let Some(h) = h {
                    *tat = h;
                    healed = true;
                }
            }
        }
    }
    // A look is never refused, not even by a bucket that a clock step has made emptier than empty.
    let free = spans.iter().all(|s| *s == Tat::default());
    let allowed = free || wait.is_none();
    let shown = if allowed && !free { &taken } else { &tats };
    let mut readings = Readings::default();
    for ((reading, bucket), tat) in readings.iter_mut().zip(buckets).zip(shown) {
        *reading = bucket.read(*tat, now);
    }
    let answer = Answer {
        allowed,
        wait: if allowed { 0 } else { wait.unwrap_or(0) },
        refused_by,
        readings,
        events: Events {
            floored,
            discarded: page.discarded(),
            ..Events::default()
        },
    };
    if allowed {
        (answer, taken, !free)
    } else {
        // A stranger refused by the floor must be remembered: else a floor that keeps rising refuses it for ever.
        (answer, tats, healed || (floored && !free))
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
mod tests;
