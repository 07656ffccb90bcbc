//! The leases of all keys, shared by the workers of a proxy: a fixed number of pages in shared data, whatever keys
//! clients bring.
//!
//! ```text
//! key `f/<number>`:  "TGF" and the layout's version (4)  number of pages (4)  records: tag (8), lease       little endian
//! ```
//! A page holds six leases. A new one takes the place of one that no longer matters, else of the one that was not used
//! for longest. What is forgotten is a lease's rest and what it knew: the service still counts, so nobody gets more for
//! it; the next request of that key asks.

use super::lease::{self, Lease};
use crate::cas::{self, Change, Contended};
use crate::seed::Seed;
use siphasher::sip128::{Hasher128, SipHasher24};
use std::cell::RefCell;
use std::hash::Hasher;
use tollgate_core::money::push_number;
use tollgate_core::world::Store;

const MAGIC: [u8; 4] = [b'T', b'G', b'F', 2];
const HEADER: usize = 8;
const RECORD: usize = lease::BYTES + 8;
/// Leases of a page.
pub const WAYS: usize = 6;
/// Bytes of a full page.
pub const PAGE_BYTES: usize = HEADER + RECORD * WAYS;

/// Where a key's lease is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    page: u32,
    tag: u64,
}

/// Makes places of one limit's keys.
#[derive(Clone, Debug)]
pub struct Placer(SipHasher24);

impl Placer {
    /// Of the limit, budget or guard of that name which counts in that.
    #[must_use]
    pub fn new(seed: Seed, what: &str, limit: &str, numbers: &[u64]) -> Self {
        let mut hasher = SipHasher24::new_with_key(&seed.0);
        for text in [what, limit] {
            hasher.write_usize(text.len());
            hasher.write(text.as_bytes());
        }
        for number in numbers {
            hasher.write(&number.to_le_bytes());
        }
        Self(hasher)
    }
}

/// What a change of a lease found out besides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed<T> {
    /// What the change said.
    pub value: T,
    /// A lease that still mattered made room.
    pub evicted: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Table {
    pages: u32,
    buffer: RefCell<Vec<u8>>,
}

impl Table {
    /// A table that takes at most `max_bytes` of the proxy's memory.
    #[must_use]
    pub fn new(max_bytes: u64) -> Self {
        let each = u64::try_from(PAGE_BYTES.saturating_add(crate::table::KEY_OVERHEAD));
        let pages = max_bytes.checked_div(each.unwrap_or(u64::MAX)).unwrap_or(0);
        Self {
            pages: u32::try_from(pages).unwrap_or(u32::MAX).max(1),
            buffer: RefCell::default(),
        }
    }

    /// Where the key of these parts has its lease.
    #[must_use]
    pub fn place(&self, placer: &Placer, parts: &[u8]) -> Place {
        let mut hasher = placer.0;
        hasher.write(parts);
        let hash = hasher.finish128();
        let page = u128::from(hash.h1).wrapping_mul(u128::from(self.pages)) >> 64;
        Place {
            page: u32::try_from(page).unwrap_or(0),
            tag: hash.h2,
        }
    }

    /// Changes a lease. `change` may run several times, each time on fresh bytes; a key without a lease gets an
    /// empty one.
    ///
    /// # Errors
    /// [`Contended`] after `tries` lost races; nothing has changed.
    pub fn change<T, S: Store + ?Sized>(
        &self,
        store: &S,
        place: Place,
        now: u64,
        tries: u32,
        mut change: impl FnMut(&mut Lease) -> T,
    ) -> Result<Changed<T>, Contended> {
        let mut key = String::with_capacity(12);
        key.push_str("f/");
        push_number(&mut key, u64::from(place.page));
        let done = cas::update_in(&self.buffer, store, &key, tries, |bytes| {
            if !self.is_good(bytes) {
                bytes.clear();
                bytes.extend_from_slice(&MAGIC);
                bytes.extend_from_slice(&self.pages.to_le_bytes());
            }
            let known = find(bytes, place.tag);
            let mut lease = known
                .and_then(|at| Lease::decode(bytes.get(at.checked_add(8)?..)?))
                .unwrap_or_default();
            let value = change(&mut lease);
            let mut record = Vec::with_capacity(RECORD);
            record.extend_from_slice(&place.tag.to_le_bytes());
            lease.encode(&mut record);
            let (at, evicted) = match known {
                Some(at) => (at, false),
                None => room(bytes, now),
            };
            bytes.resize(bytes.len().max(at.saturating_add(RECORD)), 0);
            if let Some(slot) = bytes.get_mut(at..at.saturating_add(RECORD)) {
                slot.copy_from_slice(&record);
            }
            Change::Write(Changed { value, evicted })
        })?;
        Ok(done.value)
    }

    fn is_good(&self, bytes: &[u8]) -> bool {
        let records = bytes.len().saturating_sub(HEADER);
        bytes.starts_with(&MAGIC)
            && bytes.get(4..HEADER) == Some(&self.pages.to_le_bytes())
            && records.is_multiple_of(RECORD)
            && bytes.len() <= PAGE_BYTES
    }
}

fn records(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let records = bytes.get(HEADER..).unwrap_or_default();
    let at = (HEADER..).step_by(RECORD);
    at.zip(records.chunks_exact(RECORD))
}

fn find(bytes: &[u8], tag: u64) -> Option<usize> {
    let tag = tag.to_le_bytes();
    records(bytes).find_map(|(at, record)| record.starts_with(&tag).then_some(at))
}

/// Where a new record goes, and whether one that still mattered goes for it.
fn room(bytes: &[u8], now: u64) -> (usize, bool) {
    let end = bytes.len();
    let worth = |record: &[u8]| {
        let lease = record.get(8..).and_then(Lease::decode).unwrap_or_default();
        (lease.matters(now), lease.used_at())
    };
    let least = records(bytes).map(|(at, record)| (worth(record), at)).min();
    match least {
        Some(((matters, _), at)) if end >= PAGE_BYTES => (at, matters),
        Some(((false, _), at)) => (at, false),
        _ => (end, false),
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use crate::fleet::clock::Clock;
    use crate::fleet::lease::{Seen, Terms};
    use crate::fleet::unit::{Frame, Unit};
    use proptest::prelude::*;
    use tollgate_core::UnixNanos;
    use tollgate_core::testing::TestWorld;
    use tollgate_core::world::Expect;

    const NOW: u64 = 1_795_237_200_000_000_000;

    fn terms() -> Terms {
        Terms {
            limit: 1_000,
            cost: 1,
            frame: Frame {
                unit: Unit::Minute,
                named: None,
                calendar: false,
            },
            smooth: None,
            bucket: None,
        }
    }

    fn grant(lease: &mut Lease, now: u64) {
        let clock = Clock::default();
        let ask = lease.ask(&terms(), 0, now, &clock, 1);
        let seen = Seen {
            after: Some(ask.hits),
            end: NOW + Unit::Minute.nanos(),
            at: NOW,
        };
        lease.answer(&terms(), &ask, seen, now, &clock, &[]);
    }

    fn placer() -> Placer {
        Placer::new(Seed([7; 16]), "limit", "api", &[60])
    }

    #[test]
    fn a_lease_is_found_again_by_every_worker() {
        let world = TestWorld::at(UnixNanos(NOW));
        let (one, other) = (Table::new(1 << 20), Table::new(1 << 20));
        let place = one.place(&placer(), b"acme");
        one.change(&world, place, NOW, 8, |l| grant(l, NOW))
            .unwrap();
        let held = other.change(&world, other.place(&placer(), b"acme"), NOW, 8, |l| {
            l.tokens()
        });
        assert_eq!(held.unwrap().value, 1);
        let none = other.change(&world, other.place(&placer(), b"other"), NOW, 8, |l| {
            l.tokens()
        });
        assert_eq!(none.unwrap().value, 0);
    }

    #[test]
    fn a_flood_of_keys_takes_no_more_memory_and_evicts_the_oldest() {
        let world = TestWorld::at(UnixNanos(NOW));
        let table = Table::new(1);
        let mut evicted = 0;
        for i in 0..100_u64 {
            let place = table.place(&placer(), &i.to_le_bytes());
            let now = NOW + i;
            let done = table
                .change(&world, place, now, 8, |l| grant(l, now))
                .unwrap();
            evicted += u32::from(done.evicted);
        }
        assert_eq!((world.keys(), evicted), (1, 94));
        assert!(world.stored_bytes() <= PAGE_BYTES + 3);
        // A minute later none of them matters.
        let place = table.place(&placer(), b"late");
        let later = NOW + 61_000_000_000;
        assert!(
            !table
                .change(&world, place, later, 8, |l| grant(l, later))
                .unwrap()
                .evicted
        );
    }

    #[test]
    fn pages_of_another_size_or_version_are_replaced() {
        let world = TestWorld::at(UnixNanos(NOW));
        let table = Table::new(1);
        for bytes in [
            &b"TGF\x02\x02\0\0\0"[..],
            b"TGF\x01\x01\0\0\0",
            b"TGF\x02\x01\0\0\0x",
            b"junk",
        ] {
            world.store("f/0", bytes, Expect::Anything).unwrap();
            let place = table.place(&placer(), b"acme");
            assert_eq!(
                table
                    .change(&world, place, NOW, 8, |l| l.tokens())
                    .unwrap()
                    .value,
                0
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_page_or_replaced(bytes in prop::collection::vec(any::<u8>(), 0..1_200)) {
            let world = TestWorld::at(UnixNanos(NOW));
            let table = Table::new(1);
            let mut page = [&MAGIC[..], &1_u32.to_le_bytes(), &bytes].concat();
            page.truncate(HEADER + bytes.len() / RECORD * RECORD);
            world.store("f/0", &page, Expect::Anything).unwrap();
            let place = table.place(&placer(), b"acme");
            table.change(&world, place, NOW, 8, |l| grant(l, NOW)).unwrap();
            prop_assert!(world.stored_bytes() <= PAGE_BYTES + 3);
        }
    }
}
