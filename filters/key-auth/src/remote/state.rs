//! What the workers of a proxy know together about the key set: one small value in shared data, and the set's bytes in pieces.
//!
//! | key | holds |
//! |---|---|
//! | `keys/state` | which set is in force, who fetches, when the next fetch is due |
//! | `keys/0/0000`, `keys/1/0000`, ... | the bytes of two sets: the one in force and the one being fetched; each piece begins with the number of its fetch |
//!
//! Shared data never forgets a key, so their number is that of the pieces of the largest set allowed, twice.

use tollgate_core::UnixNanos;
use tollgate_core::world::World;
use tollgate_state::cas::{self, Change, TRIES};

/// The one small value.
pub(crate) const STATE: &str = "keys/state";
/// Bytes a piece; also what is read from a reply at once.
pub(crate) const PIECE: usize = 64 * 1024;

const VERSION: u8 = 1;
const MAX_ETAG: usize = 256;

/// Bytes of a set in shared data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stored {
    /// Counts sets, 0 is none. The slot is its lowest bit.
    pub(crate) generation: u32,
    /// The random number of the fetch: its pieces have it, those that somebody else has written in between do not.
    pub(crate) fetch: u64,
    pub(crate) len: u64,
    /// What to ask for with `if-none-match`.
    pub(crate) etag: Vec<u8>,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// A hash of where the set comes from: another source's is no good.
    pub(crate) source: u64,
    /// In force: somebody has checked it.
    pub(crate) active: Stored,
    /// Fetched, and being checked.
    pub(crate) candidate: Stored,
    /// The newest generation ever given out.
    pub(crate) issued: u32,
    /// Who fetches, by a random number, until when.
    pub(crate) holder: u64,
    pub(crate) locked_until: UnixNanos,
    pub(crate) next_poll: UnixNanos,
    /// When the source last said what is in force.
    pub(crate) checked_at: UnixNanos,
    /// Fetches in a row that brought nothing.
    pub(crate) failures: u32,
}

impl Stored {
    pub(crate) fn exists(&self) -> bool {
        self.generation != 0
    }
}

impl State {
    pub(crate) fn load(world: &dyn World) -> Option<Self> {
        let mut bytes = Vec::new();
        world.load(STATE, &mut bytes)?;
        Self::decode(&bytes)
    }

    /// Changes the state if `change` says so. What it returned is returned; `None` if others were always faster.
    pub(crate) fn update<T>(
        world: &dyn World,
        mut change: impl FnMut(&mut Option<Self>) -> Change<T>,
    ) -> Option<T> {
        let done = cas::update(world, STATE, TRIES, |bytes| {
            let mut state = Self::decode(bytes);
            let what = change(&mut state);
            bytes.clear();
            state.unwrap_or_default().encode(bytes);
            what
        });
        done.ok().map(|done| done.value)
    }

    /// Whether somebody fetches right now. A lock that reaches further than any would is from before the clock was set back.
    pub(crate) fn is_locked(&self, now: UnixNanos, longest: tollgate_core::Duration) -> bool {
        now < self.locked_until && self.locked_until <= now.plus(longest)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        for number in [
            self.source,
            self.active.generation.into(),
            self.active.fetch,
            self.active.len,
            self.candidate.generation.into(),
            self.candidate.fetch,
            self.candidate.len,
            self.issued.into(),
            self.holder,
            self.locked_until.0,
            self.next_poll.0,
            self.checked_at.0,
            self.failures.into(),
        ] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for etag in [&self.active.etag, &self.candidate.etag] {
            let etag = etag.get(..MAX_ETAG).map_or(etag.as_slice(), |_| &[]);
            out.extend_from_slice(&u16::try_from(etag.len()).unwrap_or(0).to_le_bytes());
            out.extend_from_slice(etag);
        }
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, mut rest) = bytes.split_first()?;
        if *version != VERSION {
            return None;
        }
        let mut number = || {
            let (eight, after) = rest.split_first_chunk::<8>()?;
            rest = after;
            Some(u64::from_le_bytes(*eight))
        };
        let small = |n: u64| u32::try_from(n).ok();
        let mut state = Self {
            source: number()?,
            active: Stored {
                generation: small(number()?)?,
                fetch: number()?,
                len: number()?,
                etag: Vec::new(),
            },
            candidate: Stored {
                generation: small(number()?)?,
                fetch: number()?,
                len: number()?,
                etag: Vec::new(),
            },
            issued: small(number()?)?,
            holder: number()?,
            locked_until: UnixNanos(number()?),
            next_poll: UnixNanos(number()?),
            checked_at: UnixNanos(number()?),
            failures: small(number()?)?,
        };
        for etag in [&mut state.active.etag, &mut state.candidate.etag] {
            let (len, after) = rest.split_first_chunk::<2>()?;
            let (value, after) = after.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
            *etag = value.to_vec();
            rest = after;
        }
        rest.is_empty().then_some(state)
    }
}

impl Stored {
    /// A piece as it is stored.
    pub(crate) fn wrap(&self, bytes: &[u8]) -> Vec<u8> {
        [&self.fetch.to_le_bytes(), bytes].concat()
    }

    /// Loads a piece into `buffer`; its bytes, if it is of this fetch.
    pub(crate) fn load<'b>(
        &self,
        piece: u64,
        buffer: &'b mut Vec<u8>,
        world: &dyn World,
    ) -> Option<&'b [u8]> {
        world.load(&piece_key(self.generation, piece), buffer)?;
        buffer.strip_prefix(&self.fetch.to_le_bytes())
    }
}

/// How many pieces so many bytes are.
pub(crate) fn pieces(len: u64) -> u64 {
    len.div_ceil(PIECE as u64)
}

/// The key of a piece.
pub(crate) fn piece_key(generation: u32, piece: u64) -> String {
    format!("keys/{}/{piece:04}", generation & 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stored() -> impl Strategy<Value = Stored> {
        (
            any::<u32>(),
            any::<u64>(),
            any::<u64>(),
            proptest::collection::vec(any::<u8>(), 0..MAX_ETAG),
        )
            .prop_map(|(generation, fetch, len, etag)| Stored {
                generation,
                fetch,
                len,
                etag,
            })
    }

    proptest! {
        #[test]
        fn a_state_reads_back(active in stored(), candidate in stored(), n: [u64; 5], issued: u32, failures: u32) {
            let [source, holder, locked, next, checked] = n;
            let state = State {
                source, active, candidate, issued, holder, failures,
                locked_until: UnixNanos(locked), next_poll: UnixNanos(next), checked_at: UnixNanos(checked),
            };
            let mut bytes = Vec::new();
            state.encode(&mut bytes);
            prop_assert_eq!(State::decode(&bytes), Some(state));
            prop_assert_eq!(State::decode(&bytes[1..]), None);
            bytes.push(0);
            prop_assert_eq!(State::decode(&bytes), None);
        }

        #[test]
        fn any_bytes_are_read_or_discarded(bytes: Vec<u8>) {
            let _ = State::decode(&bytes);
        }
    }
}
