//! Deliveries that were seen: a bounded table in shared data that never forgets one early.
//!
//! A delivery is *claimed* when it is let through, and then either *settled* (the upstream has it: remembered for a
//! window) or *released* (it does not: as if it had never come). A claim that nobody ends, because the worker died,
//! lapses by itself. Nothing is evicted: a table without room says so, and the caller decides.
//!
//! The table is a fixed number of pages, each one value in the store:
//!
//! ```text
//! header  "TGR" and the layout's version (4)  number of pages (4)                        little endian
//! entry   tag (16)  until (8): milliseconds since 1970 when it lapses; the top bit is set once it is delivered
//! ```
//!
//! Page and tag are taken out of the caller's digest of the delivery. One that fits a single page holds exactly as
//! many entries as asked for; larger ones have twice the room, so that a page runs full long after the table
//! holds what was asked for (with 64 entries to a page of 128 once in 10^12).
//!
//! What one proxy knows is not what a fleet knows: a caller that needs more asks its fleet between
//! [`ReplayTable::claim`] and letting the request go, with the same digest.

use crate::cas::{self, Change};
use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use tollgate_core::UnixNanos;
use tollgate_core::time::Duration;
use tollgate_core::world::Store;

const MAGIC: [u8; 4] = [b'T', b'G', b'R', 1];
const HEADER: usize = 8;
const ENTRY: usize = 24;
const TAG: usize = 16;
const DELIVERED: u64 = 1 << 63;
/// Entries of a page: 3 KiB are copied for a claim, and again to settle it.
const PAGE_ENTRIES: usize = 128;
/// What a page of a large table holds on average when the table holds what was asked for.
const PAGE_LOAD: u64 = 64;

/// What identifies a delivery: a digest that nobody can choose freely, such as SHA-256 of the rule and the signed id.
pub type Delivery = [u8; 32];

/// What became of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is the first: let it through, then [`ReplayTable::settle`] or [`ReplayTable::release`] this ticket.
    First(Ticket),
    /// The same delivery is under way.
    InFlight,
    /// It was delivered before.
    Delivered,
    /// There is no room for it.
    Full,
    /// Other workers were faster each time: nobody knows.
    Contended,
}

/// A claim under way. Only its own end ends it: a late one cannot end the claim that came after it lapsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    delivery: Delivery,
    until: u64,
}

/// What happened besides; for metrics and the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events {
    /// The page could not be read (another version or geometry) and was taken for empty.
    pub discarded: bool,
}

/// See the module. Holds no state but buffers: the entries are in the store.
#[derive(Debug)]
pub struct ReplayTable {
    name: String,
    pages: u32,
    capacity: usize,
    window: u64,
    lease: u64,
    buffer: RefCell<Vec<u8>>,
    key: RefCell<String>,
    discarded: Cell<bool>,
}

impl ReplayTable {
    /// A table called `name` (its keys are `r/<name>/<page>`) with room for `max_entries` deliveries. A delivered one
    /// is remembered for `window`; a claim lapses after `lease`.
    #[must_use]
    pub fn new(name: &str, max_entries: u32, window: Duration, lease: Duration) -> Self {
        let wanted = u64::from(max_entries.max(1));
        let one_page = usize::try_from(wanted)
            .ok()
            .filter(|wanted| *wanted <= PAGE_ENTRIES);
        Self {
            name: name.to_owned(),
            pages: match one_page {
                Some(_) => 1,
                None => u32::try_from(wanted.div_ceil(PAGE_LOAD)).unwrap_or(u32::MAX),
            },
            capacity: one_page.unwrap_or(PAGE_ENTRIES),
            window: millis(window),
            lease: millis(lease),
            buffer: RefCell::default(),
            key: RefCell::default(),
            discarded: Cell::new(false),
        }
    }

    /// The most that the table can take of a proxy's memory, in bytes.
    #[must_use]
    pub fn max_bytes(&self) -> u64 {
        let page = self
            .capacity
            .saturating_mul(ENTRY)
            .saturating_add(HEADER)
            .saturating_add(crate::table::KEY_OVERHEAD);
        u64::try_from(page)
            .unwrap_or(u64::MAX)
            .saturating_mul(u64::from(self.pages))
    }

    /// Claims a delivery.
    pub fn claim<S: Store + ?Sized>(
        &self,
        store: &S,
        delivery: &Delivery,
        now: UnixNanos,
    ) -> Claim {
        let now = now.0 / 1_000_000;
        let until = now.saturating_add(self.lease) & !DELIVERED;
        let horizon = now.saturating_add(self.window.max(self.lease)) & !DELIVERED;
        self.change(store, delivery, |page, tag| {
            // A clock that was ahead when an entry was written must not keep it for ever.
            let clamped = page.clamp(horizon);
            let found = page.find(tag).filter(|entry| entry.until > now);
            let keep = |claim| {
                if clamped {
                    Change::Write(claim)
                } else {
                    Change::Keep(claim)
                }
            };
            match found {
                Some(Entry {
                    delivered: true, ..
                }) => return keep(Claim::Delivered),
                Some(_) => return keep(Claim::InFlight),
                None => {}
            }
            page.drop_lapsed(now);
            page.remove(tag);
            if page.entries() >= self.capacity {
                return keep(Claim::Full);
            }
            page.push(tag, until);
            Change::Write(Claim::First(Ticket {
                delivery: *delivery,
                until,
            }))
        })
        .unwrap_or(Claim::Contended)
    }

    /// The upstream has it: remembered for the window. `false` if it could not be noted; the claim then lapses.
    pub fn settle<S: Store + ?Sized>(&self, store: &S, ticket: Ticket, now: UnixNanos) -> bool {
        let now = now.0 / 1_000_000;
        let until = now.saturating_add(self.window) & !DELIVERED;
        self.change(store, &ticket.delivery, |page, tag| {
            if page.set(tag, until | DELIVERED) {
                return Change::Write(true);
            }
            // It lapsed while the upstream was at work, and its place was taken or the page lost.
            page.drop_lapsed(now);
            if page.entries() >= self.capacity {
                return Change::Keep(false);
            }
            page.push(tag, until | DELIVERED);
            Change::Write(true)
        })
        .unwrap_or(false)
    }

    /// The upstream does not have it: as if it had never come. `false` if that could not be noted; it then lapses.
    pub fn release<S: Store + ?Sized>(&self, store: &S, ticket: Ticket) -> bool {
        self.change(store, &ticket.delivery, |page, tag| match page.find(tag) {
            Some(entry) if !entry.delivered && entry.until == ticket.until => {
                page.remove(tag);
                Change::Write(true)
            }
            _ => Change::Keep(true),
        })
        .unwrap_or(false)
    }

    /// What happened since the last call of this.
    pub fn take_events(&self) -> Events {
        Events {
            discarded: self.discarded.take(),
        }
    }

    fn change<T, S: Store + ?Sized>(
        &self,
        store: &S,
        delivery: &Delivery,
        mut change: impl FnMut(&mut Page<'_>, &[u8]) -> Change<T>,
    ) -> Option<T> {
        let (page, tag) = self.place(delivery);
        let mut key = self.key.take();
        key.clear();
        let _ = write!(key, "r/{}/{page}", self.name);
        let done = cas::update_in(&self.buffer, store, &key, cas::TRIES, |bytes| {
            let mut page = Page::open(bytes, self.pages);
            if page.discarded {
                self.discarded.set(true);
            }
            change(&mut page, tag)
        });
        self.key.replace(key);
        done.ok().map(|updated| updated.value)
    }

    fn place<'d>(&self, delivery: &'d Delivery) -> (u32, &'d [u8]) {
        let (head, tail) = delivery.split_at(TAG);
        let number = tail
            .first_chunk::<8>()
            .map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let page = u128::from(number).wrapping_mul(u128::from(self.pages)) >> 64;
        (u32::try_from(page).unwrap_or(0), head)
    }
}

fn millis(span: Duration) -> u64 {
    span.millis_ceil().max(1)
}

#[derive(Clone, Copy)]
struct Entry {
    until: u64,
    delivered: bool,
}

/// A page being read or changed in the buffer that is then stored.
struct Page<'a> {
    bytes: &'a mut Vec<u8>,
    discarded: bool,
}

impl<'a> Page<'a> {
    fn open(bytes: &'a mut Vec<u8>, pages: u32) -> Self {
        let good = bytes.starts_with(&MAGIC)
            && bytes.get(4..HEADER) == Some(&pages.to_le_bytes())
            && bytes.len().saturating_sub(HEADER).is_multiple_of(ENTRY)
            && bytes.len() <= PAGE_ENTRIES.saturating_mul(ENTRY).saturating_add(HEADER);
        let discarded = !good && !bytes.is_empty();
        if !good {
            bytes.clear();
            bytes.extend_from_slice(&MAGIC);
            bytes.extend_from_slice(&pages.to_le_bytes());
        }
        Self { bytes, discarded }
    }

    fn entries(&self) -> usize {
        self.bytes.len().saturating_sub(HEADER).div_ceil(ENTRY)
    }

    fn position(&self, tag: &[u8]) -> Option<usize> {
        self.bytes
            .get(HEADER..)?
            .chunks_exact(ENTRY)
            .position(|entry| entry.starts_with(tag))
            .map(|i| i.saturating_mul(ENTRY).saturating_add(HEADER))
    }

    fn find(&self, tag: &[u8]) -> Option<Entry> {
        let at = self.position(tag)?.saturating_add(TAG);
        let word = u64_at(self.bytes.get(at..)?)?;
        Some(Entry {
            until: word & !DELIVERED,
            delivered: word & DELIVERED != 0,
        })
    }

    fn set(&mut self, tag: &[u8], word: u64) -> bool {
        let place = self.position(tag).map(|at| at.saturating_add(TAG));
        match place.and_then(|at| self.bytes.get_mut(at..at.saturating_add(8))) {
            Some(place) => {
                place.copy_from_slice(&word.to_le_bytes());
                true
            }
            None => false,
        }
    }

    fn push(&mut self, tag: &[u8], word: u64) {
        self.bytes.extend_from_slice(tag);
        self.bytes.extend_from_slice(&word.to_le_bytes());
    }

    fn remove(&mut self, tag: &[u8]) {
        if let Some(at) = self.position(tag) {
            self.bytes.drain(at..at.saturating_add(ENTRY));
        }
    }

    fn drop_lapsed(&mut self, now: u64) {
        let mut at = HEADER;
        while let Some(word) = self.bytes.get(at.saturating_add(TAG)..).and_then(u64_at) {
            if word & !DELIVERED <= now {
                self.bytes.drain(at..at.saturating_add(ENTRY));
            } else {
                at = at.saturating_add(ENTRY);
            }
        }
    }

    /// Nothing lapses later than `horizon`. Whether something would have is returned.
    fn clamp(&mut self, horizon: u64) -> bool {
        let mut clamped = false;
        for entry in self
            .bytes
            .get_mut(HEADER..)
            .unwrap_or_default()
            .chunks_exact_mut(ENTRY)
        {
            let Some(place) = entry.get_mut(TAG..) else {
                continue;
            };
            let word = u64_at(place).unwrap_or(0);
            if word & !DELIVERED > horizon {
                place.copy_from_slice(&(horizon | (word & DELIVERED)).to_le_bytes());
                clamped = true;
            }
        }
        clamped
    }
}

fn u64_at(bytes: &[u8]) -> Option<u64> {
    bytes.first_chunk::<8>().map(|b| u64::from_le_bytes(*b))
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests;
