//! Load, change, store if nobody was faster: a bounded number of times.

use std::cell::RefCell;
use tollgate_core::world::{Expect, Store};

/// How often a change is tried before [`Contended`]. Two workers that do nothing else collide in about
/// a quarter of the tries, so eight tries fail for one change in 65,000 of that worst case.
pub const TRIES: u32 = 8;

/// What a change wants done with the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<T> {
    /// Nothing: what was loaded stays as it is, whatever was done to the buffer.
    Keep(T),
    /// Store what the buffer holds now.
    Write(T),
}

/// A change that was made, or that found nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Updated<T> {
    /// What the change said.
    pub value: T,
    /// How many tries were lost to others.
    pub retries: u32,
}

/// Others were faster in every try. Nothing was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contended {
    /// How many tries were lost to others: all of them.
    pub retries: u32,
}

/// Changes one value. `change` is shown the bytes (none if there is no such key) and edits them in
/// place; it is called again with fresh bytes after each lost race, so it must start anew each time.
///
/// # Errors
/// [`Contended`] after `tries` lost races (at least one try is made).
pub fn update<T, S: Store + ?Sized>(
    store: &S,
    key: &str,
    tries: u32,
    change: impl FnMut(&mut Vec<u8>) -> Change<T>,
) -> Result<Updated<T>, Contended> {
    update_in(&RefCell::default(), store, key, tries, change)
}

/// [`update`] with a buffer that its owner keeps, so that a hot path does not allocate.
///
/// # Errors
/// As [`update`].
pub fn update_in<T, S: Store + ?Sized>(
    buffer: &RefCell<Vec<u8>>,
    store: &S,
    key: &str,
    tries: u32,
    mut change: impl FnMut(&mut Vec<u8>) -> Change<T>,
) -> Result<Updated<T>, Contended> {
    // Taken out rather than borrowed: a change that comes back here cannot panic, it allocates.
    let mut bytes = buffer.take();
    let mut retries = 0_u32;
    let result = loop {
        bytes.clear();
        let expect = match store.load(key, &mut bytes) {
            Some(version) => Expect::Unchanged(version),
            None => {
                bytes.clear();
                Expect::Absent
            }
        };
        let value = match change(&mut bytes) {
            Change::Keep(value) => break Ok(Updated { value, retries }),
            Change::Write(value) => value,
        };
        if store.store(key, &bytes, expect).is_ok() {
            break Ok(Updated { value, retries });
        }
        retries = retries.saturating_add(1);
        if retries >= tries {
            break Err(Contended { retries });
        }
    };
    buffer.replace(bytes);
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate_core::testing::TestWorld;

    fn append(bytes: &mut Vec<u8>) -> Change<usize> {
        bytes.push(7);
        Change::Write(bytes.len())
    }

    #[test]
    fn creates_and_changes() {
        let world = TestWorld::default();
        assert_eq!(
            update(&world, "k", 8, append),
            Ok(Updated {
                value: 1,
                retries: 0
            })
        );
        assert_eq!(
            update(&world, "k", 8, append),
            Ok(Updated {
                value: 2,
                retries: 0
            })
        );
    }

    #[test]
    fn keeps_what_is_there() {
        let world = TestWorld::default();
        let kept = update(&world, "k", 8, |bytes| {
            bytes.push(1);
            Change::Keep(5)
        });
        assert_eq!(kept.map(|u| u.value), Ok(5));
        assert_eq!(world.keys(), 0);
    }

    #[test]
    fn starts_anew_after_a_lost_race() {
        let world = TestWorld::default();
        world.conflicts.set(7);
        let done = update(&world, "k", 8, append).unwrap();
        assert_eq!((done.value, done.retries), (1, 7));
    }

    #[test]
    fn gives_up_after_so_many_tries() {
        let world = TestWorld::default();
        world.conflicts.set(100);
        assert_eq!(
            update(&world, "k", 8, append),
            Err(Contended { retries: 8 })
        );
        assert_eq!(world.conflicts.get(), 92);
        assert_eq!(
            update(&world, "k", 0, append),
            Err(Contended { retries: 1 })
        );
    }
}
