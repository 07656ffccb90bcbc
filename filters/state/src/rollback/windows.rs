//! The sliding window: a ring of [`SLOTS`] slots in shared data, each one key; one ring for each
//! [place](super::trips::Place).
//!
//! ```text
//! magic "TGRB" | version u8 | configuration u64 | slot u64 | variants u8 | a tally for each (LEB128 numbers)
//! ```
//! A slot belongs to a tenth of the window by its number since 1970. Bytes of another slot, configuration or version are
//! replaced, never guessed at, so that a ring needs no clearing and no timer.

use super::bytes::Take;
use super::tally::Tally;
use super::trips::PLACES;
use crate::cas::{self, Change, Contended, TRIES};
use std::cell::RefCell;
use tollgate_core::world::Store;
use tollgate_core::{Duration, UnixNanos};

/// Parts of a window. What is older than the window leaves it a part at a time.
pub const SLOTS: u64 = 10;

const HEAD: &[u8] = b"TGRB\x01";

/// The most variants of an experiment.
const MOST: usize = 16;

/// What was counted in one slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// When it began.
    pub start: UnixNanos,
    /// One for each variant.
    pub tallies: Vec<Tally>,
}

/// The slots of one experiment.
#[derive(Debug)]
pub struct Windows {
    rings: Vec<Vec<String>>,
    /// Nanoseconds of one slot.
    slot: u64,
    configuration: u64,
    variants: usize,
    buffer: RefCell<Vec<u8>>,
}

impl Windows {
    /// For an experiment of that name. `configuration` is a hash of what its counts depend on: what was counted under
    /// another one does not count.
    #[must_use]
    pub fn new(name: &str, window: Duration, configuration: u64, variants: usize) -> Self {
        Self {
            rings: (0..PLACES)
                .map(|place| {
                    let key = |at| format!("rollback/{name}/{place}/{at}");
                    (0..SLOTS).map(key).collect()
                })
                .collect(),
            slot: window.0.div_ceil(SLOTS).max(1),
            configuration,
            variants: variants.min(MOST),
            buffer: RefCell::default(),
        }
    }

    fn number(&self, now: UnixNanos) -> u64 {
        now.0.checked_div(self.slot).unwrap_or(0)
    }

    fn key(&self, place: usize, number: u64) -> Option<&str> {
        let at = usize::try_from(number % SLOTS).ok()?;
        self.rings.get(place)?.get(at).map(String::as_str)
    }

    /// Adds what a worker has counted to the slot of this moment; `pending` (one tally for each variant) is then
    /// empty.
    ///
    /// # Errors
    /// [`Contended`]: nothing was added, `pending` is as it was.
    pub fn add<S: Store + ?Sized>(
        &self,
        store: &S,
        place: usize,
        now: UnixNanos,
        pending: &mut [Tally],
    ) -> Result<(), Contended> {
        let number = self.number(now);
        let Some(key) = self.key(place, number) else {
            return Ok(());
        };
        cas::update_in(&self.buffer, store, key, TRIES, |bytes| {
            let mut all = self.read(bytes, number).unwrap_or_default();
            all.resize(self.variants, Tally::default());
            for (tally, more) in all.iter_mut().zip(pending.iter()) {
                tally.merge(more);
            }
            self.write(bytes, number, &all);
            Change::Write(())
        })?;
        pending.iter_mut().for_each(Tally::clear);
        Ok(())
    }

    /// What is in the window, slot by slot, the newest first.
    #[must_use]
    pub fn load<S: Store + ?Sized>(&self, store: &S, place: usize, now: UnixNanos) -> Vec<Slot> {
        let newest = self.number(now);
        let mut slots = Vec::new();
        let mut bytes = self.buffer.take();
        for number in (0..SLOTS).filter_map(|back| newest.checked_sub(back)) {
            let found = self
                .key(place, number)
                .and_then(|k| store.load(k, &mut bytes));
            if found.is_some()
                && let Some(tallies) = self.read(&bytes, number)
            {
                let start = UnixNanos(number.saturating_mul(self.slot));
                slots.push(Slot { start, tallies });
            }
        }
        self.buffer.replace(bytes);
        slots
    }

    fn write(&self, out: &mut Vec<u8>, number: u64, all: &[Tally]) {
        out.clear();
        out.extend_from_slice(HEAD);
        out.extend_from_slice(&self.configuration.to_le_bytes());
        out.extend_from_slice(&number.to_le_bytes());
        out.push(u8::try_from(all.len()).unwrap_or(0));
        for tally in all {
            tally.write(out);
        }
    }

    fn read(&self, bytes: &[u8], number: u64) -> Option<Vec<Tally>> {
        let mut from = Take(bytes);
        from.literal(HEAD)?;
        if from.fixed()? != self.configuration || from.fixed()? != number {
            return None;
        }
        from.literal(&[u8::try_from(self.variants).ok()?])?;
        let all = (0..self.variants).map(|_| Tally::read(&mut from));
        let all: Option<Vec<Tally>> = all.collect();
        all.filter(|_| from.0.is_empty())
    }
}
