//! A key set from somewhere else: fetched over HTTP by one worker for all, kept until a better one is there.
//!
//! Any worker fetches when it is due, and holds a lock meanwhile. It puts the bytes into shared data without reading
//! them, checks them a few pieces a tick, and only then makes them the set in force; every worker reads them from
//! there into a table of its own, again a few pieces a tick. What fails changes nothing: the last good set stays.
//!
//! | module | its one job |
//! |---|---|
//! | `source` | where the set comes from: configuration, request |
//! | `line`, `lines` | the text form of a set |
//! | `set`, `blocks` | a set in memory |
//! | `state` | what workers know together: who fetches, which bytes are in force |
//! | `fetch` | when, by whom, and what becomes of the reply |
//! | `read` | which bytes next, and what becomes of them |
//! | `load` | one pass over the bytes: from text to keys |
//! | `meters` | counters |

mod blocks;
mod fetch;
mod line;
mod lines;
mod load;
mod meters;
mod read;
mod set;
mod source;
mod state;

use crate::digest::Digest;
use crate::table::KeyTable;
use load::Pass;
use meters::RemoteMeters;
use set::Set;
use source::Source;
use state::{State, Stored, piece_key, pieces};
use std::cell::{Cell, Ref, RefCell};
use tollgate_core::config::{Compile, Section};
use tollgate_core::world::{CallId, Expect, Level};
use tollgate_core::{Duration, UnixNanos, World};
use tollgate_state::cas::Change;

pub(crate) use set::Found;

/// How much longer than its timeout a fetch may take before another worker tries.
const LOCK_MARGIN: Duration = Duration::from_secs(5);
/// How long a fetched set may take to be checked.
const CHECK_TIME: Duration = Duration::from_secs(30);
/// Without a better guess.
const ALWAYS_AGAIN: Duration = Duration::from_secs(1);

/// A key set by itself, for tools: the command line checks files with it.
pub struct KeySet {
    set: Set,
    keys: u64,
}

impl KeySet {
    /// Reads the text of a set.
    ///
    /// # Errors
    /// Says what is wrong with it, by line numbers and ids; never what stands in a line.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        match load::whole(text) {
            Ok((set, keys)) => Ok(Self { set, keys }),
            Err(fault) => Err(fault.to_string()),
        }
    }

    /// Whether the key with this digest is in it.
    #[must_use]
    pub fn contains(&self, digest: &Digest) -> bool {
        self.set.find(digest).is_some()
    }

    /// How many keys it has.
    #[must_use]
    pub fn keys(&self) -> u64 {
        self.keys
    }
}

/// See the module.
pub(crate) struct Remote {
    source: Source,
    meters: RemoteMeters,
    /// What is served; `None` before the first load.
    set: RefCell<Option<Set>>,
    /// The generation that is served.
    loaded: Cell<u32>,
    /// The generation that turned out to be none.
    refused: Cell<u32>,
    /// The generation that this worker fetched and has to judge.
    fetched: Cell<u32>,
    pass: RefCell<Option<Pass>>,
    /// The fetch that is under way, and the number in the lock.
    call: Cell<Option<CallId>>,
    holder: Cell<u64>,
    /// There are bytes, and this worker will have read them soon.
    coming: Cell<bool>,
    /// Somebody fetches the very first set, or nobody has looked yet.
    waiting: Cell<bool>,
    serves: Cell<bool>,
    displaced: Cell<bool>,
    shown: Cell<(u64, u64, u64)>,
}

impl Remote {
    /// Reads `remote_keys`.
    pub(crate) fn compile(section: Section<'_>, cx: &mut Compile<'_>) -> Option<Self> {
        let source = Source::compile(section, cx)?;
        Some(Self {
            source,
            meters: RemoteMeters::new(cx.metrics),
            set: RefCell::default(),
            loaded: Cell::default(),
            refused: Cell::default(),
            fetched: Cell::default(),
            pass: RefCell::default(),
            call: Cell::default(),
            holder: Cell::default(),
            coming: Cell::default(),
            waiting: Cell::new(true),
            serves: Cell::default(),
            displaced: Cell::default(),
            shown: Cell::default(),
        })
    }

    /// The set in force; `None` before the first load.
    pub(crate) fn set(&self) -> Option<Ref<'_, Set>> {
        Ref::filter_map(self.set.borrow(), Option::as_ref).ok()
    }

    /// Which set is served: another number for every other set.
    pub(crate) fn generation(&self) -> u32 {
        self.loaded.get()
    }

    /// There is a set, and it will have been read in a moment.
    pub(crate) fn is_coming(&self) -> bool {
        self.coming.get() && self.set.borrow().is_none()
    }

    /// This VM serves requests.
    pub(crate) fn serves(&self) {
        self.serves.set(true);
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.waiting.get() || self.pass.borrow().is_some()
    }

    /// Seconds after which it is worth asking again, before the first load.
    pub(crate) fn retry_after(&self, world: &dyn World) -> u64 {
        let now = world.now();
        let state = State::load(world).filter(|s| !s.is_locked(now, self.longest()));
        let wait = state.map_or(ALWAYS_AGAIN, |s| s.next_poll.since(now));
        wait.secs_ceil()
            .clamp(1, self.source.poll_interval.secs_ceil())
    }

    /// Takes shared data over from another source.
    pub(crate) fn start(&self, world: &dyn World) {
        let own = self.source.fingerprint;
        let former = State::update(world, |state| match state {
            Some(state) if state.source == own => Change::Keep(Some(state.clone())),
            other => {
                // Generations of a state that is lost must not come again.
                let anew = || State {
                    issued: u32::try_from(world.random() >> 36).unwrap_or(0),
                    ..State::default()
                };
                let former = other.take().unwrap_or_else(anew);
                *other = Some(State {
                    source: own,
                    issued: former.issued,
                    ..State::default()
                });
                Change::Write(Some(former))
            }
        });
        let Some(former) = former.flatten() else {
            return;
        };
        if former.source == own {
            self.coming
                .set(former.active.exists() || former.candidate.exists());
        } else {
            for stored in [&former.active, &former.candidate] {
                clear(stored, world);
            }
        }
    }

    /// Reads a little, fetches if that is due.
    pub(crate) fn tick(&self, inline: &KeyTable, world: &dyn World) {
        let Some(state) = State::load(world) else {
            // Bytes of another version: begin anew.
            self.start(world);
            return;
        };
        if state.source != self.source.fingerprint {
            self.waiting.set(false);
            self.coming.set(false);
            self.pass.replace(None);
            if !self.displaced.replace(true) && self.set.borrow().is_some() {
                world.log(
                    Level::Debug,
                    format_args!("key_auth: another configuration fetches another key set now; this one's stays as it is"),
                );
            }
            return;
        }
        self.read(inline, world);
        let Some(state) = State::load(world) else {
            return;
        };
        self.poll(&state, world);
        self.show(&state, world);
    }

    pub(super) fn show(&self, state: &State, world: &dyn World) {
        let keys = self.set.borrow().as_ref().map_or(0, Set::len);
        let age = world.now().since(state.checked_at).0 / tollgate_core::time::SECOND;
        let age = if state.active.exists() { age } else { 0 };
        let now = (keys as u64, state.active.len, age);
        if self.shown.replace(now) != now {
            self.meters.show(now.0, now.1, now.2, world);
        }
    }

    /// Gives the lock back.
    pub(crate) fn stop(&self, world: &dyn World) {
        if self.call.get().is_none() && self.fetched.get() == 0 {
            return;
        }
        let now = world.now();
        let former = State::update(world, |state| match state {
            Some(state) if state.holder == self.holder.get() => {
                state.locked_until = UnixNanos::default();
                state.next_poll = now;
                Change::Write(std::mem::take(&mut state.candidate))
            }
            _ => Change::Keep(Stored::default()),
        });
        if let Some(candidate) = former {
            clear(&candidate, world);
        }
    }
}

/// Frees the bytes; their keys stay.
fn clear(stored: &Stored, world: &dyn World) {
    if stored.exists() {
        for piece in 0..pieces(stored.len) {
            let _ = world.store(&piece_key(stored.generation, piece), &[], Expect::Anything);
        }
    }
}
