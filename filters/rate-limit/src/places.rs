//! Where the buckets of the keys seen last are, so that their hash need not be made again.
//!
//! The hash that places a key is one that clients cannot steer ([`tollgate_state::table`]), and costs accordingly. Where
//! a limit counts by what the configuration knows, as by consumers, most requests of a worker have one of a few keys, and
//! those are found here by comparing bytes. What stands here decides nothing: a key that is not found is hashed.

use std::cell::RefCell;
use tollgate_state::table::Place;

/// So many keys are remembered, each in the one entry that a byte of a cheap hash names.
const ENTRIES: usize = 256;

/// Longer keys are hashed each time.
const MOST_BYTES: usize = 56;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Places(RefCell<Vec<Entry>>);

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Index of the bucket set.
    set: usize,
    /// Zero where there is no key.
    len: usize,
    key: [u8; MOST_BYTES],
    place: Option<Place>,
}

impl Places {
    /// The place of that key, which `hash` tells if it is not known.
    pub(crate) fn get(&self, set: usize, key: &[u8], hash: impl FnOnce() -> Place) -> Place {
        self.known(set, key).unwrap_or_else(|| {
            let place = hash();
            self.remember(set, key, place);
            place
        })
    }

    fn known(&self, set: usize, key: &[u8]) -> Option<Place> {
        let entries = self.0.try_borrow().ok()?;
        let entry = entries.get(index(key))?;
        let is_it = entry.set == set && entry.key.get(..entry.len) == Some(key);
        entry.place.filter(|_| is_it)
    }

    #[inline(never)]
    fn remember(&self, set: usize, key: &[u8], place: Place) {
        let Ok(mut entries) = self.0.try_borrow_mut() else {
            return;
        };
        if entries.is_empty() {
            let none = Entry {
                set: 0,
                len: 0,
                key: [0; MOST_BYTES],
                place: None,
            };
            entries.resize(ENTRIES, none);
        }
        if let Some(entry) = entries.get_mut(index(key))
            && let Some(bytes) = entry.key.get_mut(..key.len())
        {
            bytes.copy_from_slice(key);
            entry.set = set;
            entry.len = key.len();
            entry.place = Some(place);
        }
    }
}

/// The entry of a key, by [FNV-1a](https://datatracker.ietf.org/doc/html/draft-eastlake-fnv).
fn index(key: &[u8]) -> usize {
    let mixed = key.iter().fold(0x811c_9dc5_u32, |mixed, byte| {
        (mixed ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    });
    usize::try_from(mixed >> 24).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::Cell;
    use tollgate_state::seed::Seed;
    use tollgate_state::table::{Key, Table};

    fn place(set: usize, key: &[u8]) -> Place {
        let mut parts = Key::new(Seed([7; 16]));
        parts.number(u64::try_from(set).unwrap());
        parts.part(Some(key));
        Table::new(1 << 20, 0).place(&parts)
    }

    #[test]
    fn a_key_is_hashed_once_unless_it_is_long() {
        let hashed = |key: &[u8]| {
            let (places, count) = (Places::default(), Cell::new(0));
            for _ in 0..3 {
                places.get(0, key, || {
                    count.set(count.get() + 1);
                    place(0, key)
                });
            }
            count.get()
        };
        assert_eq!(hashed(&[1; MOST_BYTES]), 1);
        assert_eq!(hashed(&[1; MOST_BYTES + 1]), 3);
    }

    proptest! {
        #[test]
        fn every_key_has_the_place_of_its_hash(
            asked in prop::collection::vec((0..3_usize, prop::collection::vec(0..3_u8, 0..9)), 1..300),
            longer in 0..70_usize,
        ) {
            let places = Places::default();
            for (set, mut key) in asked {
                key.extend(std::iter::repeat_n(0, longer));
                let got = places.get(set, &key, || place(set, &key));
                prop_assert_eq!(got, place(set, &key));
            }
        }
    }
}
