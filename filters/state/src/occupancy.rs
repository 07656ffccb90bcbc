//! How full the [`Table`] is, found out a few pages at a time by whichever worker's tick comes first.
//!
//! ```text
//! o   "TGO" and the layout's version (4)  number of pages (4)  next page (4)  keys so far (8)  bytes so far (8)
//! ```

use crate::table::Table;
use tollgate_core::world::{Expect, Store};

const KEY: &str = "o";
const MAGIC: [u8; 4] = [b'T', b'G', b'O', 1];

/// How many pages one tick looks at. Requests wait meanwhile: a page takes 1 to 5 us.
pub const CHUNK: u32 = 32;

/// What was found in all pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Occupancy {
    /// Keys whose buckets are not full.
    pub keys: u64,
    /// Bytes of their records.
    pub bytes: u64,
}

struct Progress {
    next: u32,
    found: Occupancy,
}

/// Looks at the next pages. After the last one: what all of them hold.
pub fn step<S: Store + ?Sized>(table: &Table, store: &S, now: u64) -> Option<Occupancy> {
    let mut bytes = Vec::new();
    let version = store.load(KEY, &mut bytes);
    let mut progress = read(&bytes, table.pages()).unwrap_or(Progress {
        next: 0,
        found: Occupancy::default(),
    });
    let end = progress.next.saturating_add(CHUNK).min(table.pages());
    for page in progress.next..end {
        let here = table.live(store, page, now);
        progress.found.keys = progress.found.keys.saturating_add(here.keys);
        progress.found.bytes = progress.found.bytes.saturating_add(here.bytes);
    }
    let done = (end >= table.pages()).then_some(progress.found);
    progress.next = end;
    if done.is_some() {
        progress = Progress {
            next: 0,
            found: Occupancy::default(),
        };
    }
    let expect = match version {
        Some(version) => Expect::Unchanged(version),
        None => Expect::Absent,
    };
    // Somebody else has looked at the same pages meanwhile: that counts.
    store
        .store(KEY, &write(&progress, table.pages()), expect)
        .ok()?;
    done
}

fn read(bytes: &[u8], pages: u32) -> Option<Progress> {
    let rest = bytes.strip_prefix(&MAGIC)?;
    let (same, rest) = rest.split_first_chunk()?;
    let (next, rest) = rest.split_first_chunk()?;
    let (keys, rest) = rest.split_first_chunk()?;
    let found = Occupancy {
        keys: u64::from_le_bytes(*keys),
        bytes: u64::from_le_bytes(rest.try_into().ok()?),
    };
    let next = u32::from_le_bytes(*next);
    (u32::from_le_bytes(*same) == pages && next < pages).then_some(Progress { next, found })
}

fn write(progress: &Progress, pages: u32) -> Vec<u8> {
    [
        &MAGIC[..],
        &pages.to_le_bytes(),
        &progress.next.to_le_bytes(),
        &progress.found.keys.to_le_bytes(),
        &progress.found.bytes.to_le_bytes(),
    ]
    .concat()
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use crate::gcra::Bucket;
    use crate::seed::Seed;
    use crate::table::Key;
    use tollgate_core::testing::TestWorld;

    const SECOND: u64 = 1_000_000_000;
    const NOW: u64 = 1_795_000_000 * SECOND;

    /// Pages of the tests' tables, and ticks for all of them.
    const PAGES: u32 = 1685;
    const TICKS: usize = PAGES.div_ceil(CHUNK) as usize;

    fn pass(table: &Table, world: &TestWorld, now: u64) -> (usize, Occupancy) {
        let mut ticks = 0;
        loop {
            ticks += 1;
            if let Some(found) = step(table, world, now) {
                return (ticks, found);
            }
            assert!(ticks < 1000);
        }
    }

    #[test]
    fn keys_that_are_not_full_are_counted() {
        let world = TestWorld::default();
        let table = Table::new(1 << 20, 60 * SECOND);
        assert_eq!(table.pages(), PAGES);
        assert_eq!(pass(&table, &world, NOW), (TICKS, Occupancy::default()));
        let bucket = [Bucket::new(2, 1, SECOND).unwrap()];
        for key in 0..1_000 {
            let mut parts = Key::new(Seed([3; 16]));
            parts.number(key);
            let spans = [bucket[0].span(1 + key % 2)];
            let place = table.place(&parts);
            assert!(
                table
                    .take(&world, place, &bucket, &spans, NOW)
                    .unwrap()
                    .allowed
            );
        }
        let all = Occupancy {
            keys: 1_000,
            bytes: 17_000,
        };
        assert_eq!(pass(&table, &world, NOW), (TICKS, all));
        // One token is there again after a second, two are after two.
        let half = Occupancy {
            keys: 500,
            bytes: 8_500,
        };
        assert_eq!(pass(&table, &world, NOW + SECOND), (TICKS, half));
        assert_eq!(
            pass(&table, &world, NOW + 2 * SECOND).1,
            Occupancy::default()
        );
        assert!(all.bytes < table.capacity());
    }

    #[test]
    fn workers_share_the_work() {
        let world = TestWorld::default();
        let one = Table::new(1 << 20, SECOND);
        let two = Table::new(1 << 20, SECOND);
        let ticks = (0..TICKS).filter(|i| step([&one, &two][i % 2], &world, NOW).is_some());
        assert_eq!(ticks.count(), 1);
    }

    #[test]
    fn bytes_of_another_version_start_anew() {
        let world = TestWorld::default();
        let table = Table::new(1 << 20, SECOND);
        for bytes in [
            &b""[..],
            b"TGO\x01",
            b"what is this, and how did it get here?",
        ] {
            world.store(KEY, bytes, Expect::Anything).unwrap();
            assert_eq!(pass(&table, &world, NOW).0, TICKS);
        }
        let other = Progress {
            next: 3,
            found: Occupancy { keys: 9, bytes: 9 },
        };
        world
            .store(KEY, &write(&other, 7), Expect::Anything)
            .unwrap();
        assert_eq!(pass(&table, &world, NOW), (TICKS, Occupancy::default()));
    }
}
