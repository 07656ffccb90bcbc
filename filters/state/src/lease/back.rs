//! Stretches go back to the table.

use super::share::Share;
use super::slots::Slot;
use crate::cas::{Change, Contended};
use crate::gcra::{Bucket, MAX_BUCKETS, Tat};
use crate::table::Table;
use tollgate_core::world::Store;

/// A request was given back that had used up one lease and begun another: that one goes back to the table, if it is
/// still the last stretch, and what is missing of the one before is the lease again.
pub(super) fn undo<S: Store + ?Sized>(
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

/// What became of it.
pub(super) struct Offered {
    /// The table took something back.
    pub(super) taken: bool,
    pub(super) retries: u32,
}

/// Moves the buckets' times back to where the lease begins, if it is the last stretch.
pub(super) fn offer<S: Store + ?Sized>(
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
