//! What a worker takes ahead for its own next requests: some milliseconds' worth of hits, which then need nothing that
//! workers share.
//!
//! Hits in hand are out of the lease, and paid for in this proxy's own bucket. They are good as long as the lease's window,
//! and for [`FRESH`]: what is left of them after that goes back with the next trip, or with a tick. A worker that
//! dies takes them along; the fleet has them back with the next window.

use super::{Dispenser, Outcome, Place, Quota, Shown};
use crate::cas;
use crate::fleet::lease::{Lease, Terms};
use std::cell::RefCell;
use std::collections::BTreeMap;
use tollgate_core::World;

/// After so many nanoseconds hits in hand are no longer given out.
const FRESH: u64 = 40_000_000;
/// Keys in hand at most.
const MOST: usize = 64;

/// Hits of one key in hand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hand {
    left: u64,
    /// The window, by its end, and until when its hits may be spent.
    end: u64,
    until: u64,
    /// When they were taken.
    at: u64,
    quota: Quota,
    shown: Shown,
}

impl Hand {
    /// Gives what is left back to the lease.
    pub(super) fn put_back(&self, lease: &mut Lease, terms: &Terms, now: u64) {
        let bucket = terms
            .bucket
            .map(|(bucket, _)| (bucket, bucket.span(self.left)));
        let terms = Terms {
            cost: self.left,
            bucket,
            ..*terms
        };
        lease.give_back(&terms, self.end, now.saturating_sub(self.at), now);
    }
}

/// All that one worker has in hand.
#[derive(Debug, Default)]
pub(super) struct Hands(RefCell<BTreeMap<Place, Hand>>);

impl Hands {
    /// Serves a request, if there is something good for it.
    pub(super) fn take(&self, place: Place, quota: &Quota, now: u64) -> Option<Outcome> {
        let mut hands = self.0.borrow_mut();
        let hand = hands.get_mut(&place)?;
        let fresh = (hand.at..hand.at.saturating_add(FRESH)).contains(&now) && now < hand.until;
        if !fresh || !fits(quota) || quota.limit != hand.quota.limit {
            return None;
        }
        hand.left = hand.left.checked_sub(1)?;
        let Hand {
            left, end, shown, ..
        } = *hand;
        if left == 0 {
            hands.remove(&place);
        }
        let mut shown = shown;
        shown.remaining = shown.remaining.saturating_add(left);
        if let Some(own) = &mut shown.own {
            own.remaining = own.remaining.saturating_add(left);
        }
        Some(Outcome::Admitted { end, shown })
    }

    /// What could not be used.
    pub(super) fn drop(&self, place: Place) -> Option<Hand> {
        let mut hands = self.0.borrow_mut();
        // Most workers have nothing in hand.
        if hands.is_empty() {
            return None;
        }
        hands.remove(&place)
    }

    /// Whether more may be taken in hand.
    pub(super) fn wants(&self, quota: &Quota) -> bool {
        fits(quota) && self.0.borrow().len() < MOST
    }

    /// `left` more hits are in hand; `shown` is what was told without them.
    pub(super) fn hold(
        &self,
        place: Place,
        left: u64,
        window: (u64, u64),
        now: u64,
        quota: &Quota,
        shown: Shown,
    ) {
        let hand = Hand {
            left,
            end: window.0,
            until: window.1,
            at: now,
            quota: *quota,
            shown,
        };
        self.0.borrow_mut().insert(place, hand);
    }

    /// Takes out what is older than [`FRESH`], or all.
    fn stale(&self, now: u64, all: bool) -> Vec<(Place, Hand)> {
        let mut hands = self.0.borrow_mut();
        if hands.is_empty() {
            return Vec::new();
        }
        let good = |hand: &Hand| !all && (hand.at..hand.at.saturating_add(FRESH)).contains(&now);
        let stale = hands.iter().filter(|(_, hand)| !good(hand));
        let stale: Vec<_> = stale.map(|(place, hand)| (*place, *hand)).collect();
        hands.retain(|_, hand| good(hand));
        stale
    }
}

/// Hits one by one, not paced.
fn fits(quota: &Quota) -> bool {
    quota.cost == 1 && quota.smooth.is_none()
}

impl Dispenser {
    /// Gives back what this worker has taken in hand and not used. To be called a few times a second.
    pub fn tick(&self, world: &dyn World) {
        self.put_down(world, false);
    }

    /// Gives back all of it: the configuration was replaced.
    pub fn stop(&self, world: &dyn World) {
        self.put_down(world, true);
    }

    fn put_down(&self, world: &dyn World, all: bool) {
        let now = world.now().0;
        for (place, hand) in self.hands.stale(now, all) {
            let clock = *self.service.clock.borrow();
            let terms = hand.quota.terms(&clock, now);
            self.change(world, place, cas::TRIES, |lease| {
                hand.put_back(lease, &terms, now);
            });
        }
    }
}
