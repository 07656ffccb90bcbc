//! Workers with a table and leases, and a store that counts trips.

mod back;
mod properties;
mod races;
mod take;

use super::*;
use crate::seed::Seed;
use crate::table::Key;
use std::cell::Cell;
use tollgate_core::testing::TestWorld;
use tollgate_core::world::{Conflict, Expect, Version};

const SECOND: u64 = 1_000_000_000;
const MS: u64 = 1_000_000;
const NOW: u64 = 1_795_000_000 * SECOND;
const ONE_PERCENT: Terms = Terms { basis_points: 100 };

fn bucket(max: u64, fill: u64, interval: u64) -> Bucket {
    Bucket::new(max, fill, interval).unwrap()
}

/// Counts trips to the shared data.
#[derive(Default)]
struct Trips {
    world: TestWorld,
    count: Cell<u32>,
}

impl Store for Trips {
    fn load(&self, key: &str, out: &mut Vec<u8>) -> Option<Version> {
        self.count.set(self.count.get() + 1);
        self.world.load(key, out)
    }
    fn store(&self, key: &str, value: &[u8], expect: Expect) -> Result<(), Conflict> {
        self.world.store(key, value, expect)
    }
}

struct Worker {
    table: Table,
    leases: Leases,
}

impl Worker {
    fn new(bytes: u64) -> Self {
        Self {
            table: Table::new(bytes, 3600 * SECOND),
            leases: Leases::new(ONE_PERCENT, 2),
        }
    }

    fn place(&self, key: u64) -> Place {
        let mut parts = Key::new(Seed([3; 16]));
        parts.number(key);
        self.table.place(&parts)
    }

    fn take(&self, store: &dyn Store, key: u64, buckets: &[Bucket], n: u64, now: u64) -> Answer {
        let spans: Vec<Tat> = buckets.iter().map(|b| b.span(n)).collect();
        let charge = Charge {
            tokens: n,
            spans: &spans,
        };
        let place = self.place(key);
        self.leases
            .take(&self.table, store, place, buckets, charge, now)
            .unwrap()
    }

    #[allow(clippy::too_many_arguments)]
    fn give_back(
        &self,
        store: &dyn Store,
        key: u64,
        buckets: &[Bucket],
        n: u64,
        elapsed: u64,
        now: u64,
    ) -> bool {
        let spans: Vec<Tat> = buckets.iter().map(|b| b.span(n)).collect();
        let place = self.place(key);
        self.leases
            .give_back(&self.table, store, place, buckets, &spans, elapsed, now)
    }
}
