//! Where a worker finds its leases: a fixed number of slots, four for each hash.

use super::share::{hit, hit_whole};
use super::{REFRESH, Share};
use crate::gcra::{Bucket, Tat};
use crate::table::{Place, Readings};

pub(super) const SETS: usize = 256;
pub(super) const WAYS: usize = 4;

/// Leases grow in so many steps.
const MOST_LEVEL: u8 = 3;

/// One key.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slot {
    tag: u64,
    page: u32,
    taken: bool,
    pub(super) level: u8,
    pub(super) parts: bool,
    buckets: u8,
    /// Used since it was renewed.
    hit: bool,
    offered: bool,
    order: u64,
    pub(super) used_at: u64,
    renewed_at: u64,
}

impl Slot {
    pub(super) fn place(&self) -> Place {
        Place {
            page: self.page,
            tag: self.tag,
        }
    }

    pub(super) fn is_fresh(&self, now: u64) -> bool {
        self.renewed_at > 0 && now.saturating_sub(self.renewed_at) < REFRESH
    }

    /// Leases grow while they are used up early, and start anew where nobody used the last one.
    pub(super) fn next_level(&self, now: u64) -> u8 {
        if self.is_fresh(now) {
            self.level.saturating_add(1).min(MOST_LEVEL)
        } else if self.hit {
            self.level
        } else {
            0
        }
    }

    pub(super) fn renewed(&mut self, level: u8, buckets: &[Bucket], now: u64) {
        self.level = level;
        self.parts = buckets.iter().any(Bucket::has_parts);
        self.buckets = u8::try_from(buckets.len()).unwrap_or(0);
        self.renewed_at = now.max(1);
        self.hit = false;
    }

    fn touch(&mut self, order: u64, now: u64) {
        self.order = order;
        self.used_at = now;
        self.offered = false;
        self.hit = self.renewed_at < now || self.hit;
    }

    pub(super) fn is_offered(&self) -> bool {
        self.offered
    }

    /// Offered to the table, taken or not: not again before it is used.
    pub(super) fn offered(&mut self) {
        self.offered = true;
        self.level = 0;
    }
}

/// All slots of a worker.
#[derive(Debug)]
pub(super) struct State {
    slots: Vec<Slot>,
    shares: Vec<Share>,
    stride: usize,
    order: u64,
    latest: u64,
}

impl State {
    pub(super) fn new(stride: usize) -> Self {
        let slots = SETS.saturating_mul(WAYS);
        Self {
            slots: vec![Slot::default(); slots],
            shares: vec![Share::default(); slots.saturating_mul(stride)],
            stride,
            order: 0,
            latest: 0,
        }
    }

    /// Times that a lease was taken at must not lie ahead: then nobody knows what has passed meanwhile.
    pub(super) fn watch_clock(&mut self, now: u64) {
        if now < self.latest {
            self.forget();
        }
        self.latest = now;
    }

    #[cold]
    fn forget(&mut self) {
        self.slots.fill(Slot::default());
        self.shares.fill(Share::default());
    }

    /// Takes a request out of the lease of that place, if it is fresh and holds enough.
    pub(super) fn hit(
        &mut self,
        place: Place,
        buckets: &[Bucket],
        spans: &[Tat],
        now: u64,
        readings: &mut Readings,
    ) -> bool {
        self.watch_clock(now);
        let order = self.order.saturating_add(1);
        let found = self.find(place).and_then(|at| self.get(at));
        let Some((slot, shares)) = found else {
            return false;
        };
        if !slot.is_fresh(now) {
            return false;
        }
        let enough = if slot.parts {
            hit(shares, buckets, spans, now, readings)
        } else {
            hit_whole(shares, buckets, spans, now, readings)
        };
        if !enough {
            return false;
        }
        slot.touch(order, now);
        self.order = order;
        true
    }

    pub(super) fn find(&self, place: Place) -> Option<usize> {
        let start = first_way(place);
        let ways = self.slots.get(start..start.saturating_add(WAYS))?;
        let mut ways = (start..).zip(ways);
        let is_it = |s: &Slot| s.taken && s.tag == place.tag && s.page == place.page;
        ways.find(|(_, slot)| is_it(slot)).map(|(at, _)| at)
    }

    pub(super) fn get(&mut self, at: usize) -> Option<(&mut Slot, &mut [Share])> {
        let start = at.saturating_mul(self.stride);
        let shares = self
            .shares
            .get_mut(start..start.saturating_add(self.stride))?;
        Some((self.slots.get_mut(at)?, shares))
    }

    pub(super) fn touch(&mut self, at: Option<usize>, now: u64) {
        self.order = self.order.saturating_add(1);
        if let Some(slot) = at.and_then(|at| self.slots.get_mut(at)) {
            slot.touch(self.order, now);
        }
    }

    /// A slot for a key that has none: the one used longest ago, except that a lease in use stays.
    pub(super) fn make_room(&mut self, place: Place, now: u64) -> Option<usize> {
        let start = first_way(place);
        let busy = |at: usize, slot: &Slot| {
            let first = at.saturating_mul(self.stride);
            let shares = self.shares.get(first..first.saturating_add(self.stride));
            let live = |s: &Share| s.to > s.from.max(Tat::at(now));
            slot.taken
                && now.saturating_sub(slot.used_at) < REFRESH
                && shares.unwrap_or_default().iter().any(live)
        };
        let ways = self.slots.iter().enumerate().skip(start).take(WAYS);
        let (at, _) = ways
            .filter(|(at, slot)| !busy(*at, slot))
            .min_by_key(|(_, slot)| slot.order)?;
        let (slot, shares) = self.get(at)?;
        *slot = Slot {
            tag: place.tag,
            page: place.page,
            taken: true,
            ..Slot::default()
        };
        shares.fill(Share::default());
        Some(at)
    }

    pub(super) fn each(&mut self, mut f: impl FnMut(&mut Slot, &mut [Share])) {
        let shares = self.shares.chunks_exact_mut(self.stride.max(1));
        for (slot, shares) in self.slots.iter_mut().zip(shares) {
            if slot.taken {
                let used = shares.get_mut(..usize::from(slot.buckets));
                f(slot, used.unwrap_or_default());
            }
        }
    }
}

fn first_way(place: Place) -> usize {
    let sets = u64::try_from(SETS).unwrap_or(1);
    let set = place.tag.checked_rem(sets).unwrap_or(0);
    usize::try_from(set).unwrap_or(0).saturating_mul(WAYS)
}
