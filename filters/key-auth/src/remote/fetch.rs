//! Fetching: when, by whom, and what becomes of the reply.

use super::meters::Fetch;
use super::state::{PIECE, State, Stored, piece_key, pieces};
use super::{CHECK_TIME, LOCK_MARGIN, Remote, clear};
use crate::table::KeyTable;
use tollgate_core::world::{CallId, CallReply, Expect, Level, Outcome};
use tollgate_core::{Duration, UnixNanos, World};
use tollgate_state::cas::Change;

/// A worker that serves requests leaves a refresh to one that does not, the main thread, for this long.
const COURTESY: Duration = Duration::from_millis(500);

impl Remote {
    /// A fetch brought nothing that can be used.
    pub(super) fn failed(&self, fetch: Fetch, why: &dyn std::fmt::Display, world: &dyn World) {
        let now = world.now();
        let interval = self.source.poll_interval;
        let former = State::update(world, |state| match state {
            Some(state) if state.holder == self.holder.get() => {
                let pause = 1_u64
                    .checked_shl(state.failures.min(16))
                    .unwrap_or(u64::MAX);
                state.failures = state.failures.saturating_add(1);
                state.next_poll = now.plus(Duration::from_secs(pause).min(interval));
                state.locked_until = UnixNanos::default();
                Change::Write(Some((
                    std::mem::take(&mut state.candidate),
                    state.active.exists(),
                )))
            }
            _ => Change::Keep(None),
        });
        self.meters.count(fetch, world);
        let Some(Some((candidate, has_set))) = former else {
            return;
        };
        clear(&candidate, world);
        let effect = if has_set {
            "the last good set stays"
        } else {
            "there is none yet: keys that are not in the configuration get 503"
        };
        world.log(
            Level::Warn,
            format_args!(
                "key_auth: no key set from cluster {}: {why} ({}); {effect}",
                self.source.cluster,
                fetch.label()
            ),
        );
    }

    /// Longer than anybody may hold the lock.
    pub(super) fn longest(&self) -> Duration {
        let fetch = self.source.timeout.0.saturating_add(LOCK_MARGIN.0);
        Duration(fetch.max(CHECK_TIME.0))
    }

    /// Up to a tenth early, so that proxies started together do not ask together.
    pub(super) fn next_poll(&self, world: &dyn World) -> UnixNanos {
        let interval = self.source.poll_interval.0;
        let early = world.random().checked_rem(interval / 10).unwrap_or(0);
        world.now().plus(Duration(interval.saturating_sub(early)))
    }

    /// Fetches if it is due and nobody else does.
    pub(super) fn poll(&self, state: &State, world: &dyn World) {
        let now = world.now();
        let no_set = self.set.borrow().is_none();
        let locked = state.is_locked(now, self.longest());
        self.waiting.set(no_set && locked);
        if locked || self.call.get().is_some() || self.pass.borrow().is_some() {
            return;
        }
        // The clock may have been set back since.
        let stands = state.next_poll <= now.plus(self.source.poll_interval);
        let courtesy = if no_set || !self.serves.get() {
            Duration(0)
        } else {
            COURTESY
        };
        if stands && now < state.next_poll.plus(courtesy) {
            return;
        }
        let holder = world.random();
        let until = now.plus(Duration(
            self.source.timeout.0.saturating_add(LOCK_MARGIN.0),
        ));
        let etag = State::update(world, |state| match state {
            Some(state)
                if state.source == self.source.fingerprint
                    && !state.is_locked(now, self.longest()) =>
            {
                state.holder = holder;
                state.locked_until = until;
                Change::Write(Some(state.active.etag.clone()))
            }
            _ => Change::Keep(None),
        });
        if let Some(Some(etag)) = etag {
            self.holder.set(holder);
            self.call
                .set(Some(world.call_in_background(self.source.call(&etag))));
            self.waiting.set(no_set);
        }
    }

    /// The source has answered, perhaps.
    pub(crate) fn reply(
        &self,
        id: CallId,
        reply: &dyn CallReply,
        inline: &KeyTable,
        world: &dyn World,
    ) {
        if self.call.get() != Some(id) {
            return;
        }
        self.call.set(None);
        let state = State::load(world).filter(|s| s.holder == self.holder.get());
        let Some(state) = state.filter(|s| s.source == self.source.fingerprint) else {
            self.meters.count(Fetch::Late, world);
            return;
        };
        match reply.outcome() {
            Outcome::Http(304) if state.active.exists() => self.unchanged(None, world),
            Outcome::Http(200) => {
                let size = reply.size() as u64;
                if size > self.source.max_bytes {
                    self.failed(Fetch::TooLarge, &"it is longer than max_bytes", world);
                } else if size == 0 {
                    self.failed(Fetch::BadFormat, &"it is empty", world);
                } else if state.active.len == size && is_stored(&state.active, reply, world) {
                    self.unchanged(etag(reply), world);
                } else {
                    self.take(&state, reply, world);
                    // A small set is there at once.
                    self.read(inline, world);
                }
            }
            outcome => {
                let status = match outcome {
                    Outcome::Http(status) => format!("status {status}"),
                    Outcome::Grpc(_) | Outcome::Refused => "the call was refused".to_owned(),
                };
                self.failed(Fetch::failed(outcome), &status, world);
            }
        }
        if let Some(state) = State::load(world) {
            self.show(&state, world);
        }
    }

    /// The source has what is in force.
    pub(super) fn unchanged(&self, etag: Option<Vec<u8>>, world: &dyn World) {
        let now = world.now();
        let next_poll = self.next_poll(world);
        let _ = State::update(world, |state| match state {
            Some(state) if state.holder == self.holder.get() => {
                if let Some(etag) = &etag {
                    state.active.etag.clone_from(etag);
                }
                state.checked_at = now;
                state.next_poll = next_poll;
                state.locked_until = UnixNanos::default();
                state.failures = 0;
                Change::Write(())
            }
            _ => Change::Keep(()),
        });
        self.meters.count(Fetch::Unchanged, world);
    }

    /// Puts the bytes into shared data, unread: that is all that has to happen while the reply is there.
    pub(super) fn take(&self, state: &State, reply: &dyn CallReply, world: &dyn World) {
        let mut generation = state.issued.max(state.active.generation).saturating_add(1);
        // The other slot than that of the set in force.
        if generation & 1 == state.active.generation & 1 && state.active.exists() {
            generation = generation.saturating_add(1);
        }
        let stored = Stored {
            generation,
            fetch: self.holder.get(),
            len: reply.size() as u64,
            etag: etag(reply).unwrap_or_default(),
        };
        // Whoever still reads the slot sees that it must not believe what it reads.
        let mine = |state: &mut Option<State>, candidate: Stored, until: UnixNanos| match state {
            Some(state) if state.holder == self.holder.get() => {
                state.issued = generation;
                state.locked_until = until;
                let former = std::mem::replace(&mut state.candidate, candidate);
                Change::Write(Some(former))
            }
            _ => Change::Keep(None),
        };
        let until = world.now().plus(CHECK_TIME);
        let former = State::update(world, |state| mine(state, Stored::default(), until));
        let Some(Some(former)) = former else {
            self.meters.count(Fetch::Late, world);
            return;
        };
        clear(&former, world);
        for piece in 0..pieces(stored.len) {
            let bytes = stored.wrap(&read_piece(reply, piece));
            if world
                .store(&piece_key(generation, piece), &bytes, Expect::Anything)
                .is_err()
            {
                break;
            }
        }
        self.fetched.set(generation);
        let _ = State::update(world, |state| mine(state, stored.clone(), until));
    }

    /// What was fetched is good: it is the set in force now.
    pub(super) fn publish(&self, stored: &Stored, keys: u64, world: &dyn World) {
        let now = world.now();
        let next_poll = self.next_poll(world);
        let former = State::update(world, |state| match state {
            Some(state) if state.candidate.generation == stored.generation => {
                let candidate = std::mem::take(&mut state.candidate);
                let former = std::mem::replace(&mut state.active, candidate);
                state.checked_at = now;
                state.next_poll = next_poll;
                state.locked_until = UnixNanos::default();
                state.failures = 0;
                Change::Write(Some(former))
            }
            _ => Change::Keep(None),
        });
        let Some(Some(former)) = former else {
            self.meters.count(Fetch::Late, world);
            return;
        };
        clear(&former, world);
        self.meters.count(Fetch::Loaded, world);
        world.log(
            Level::Info,
            format_args!(
                "key_auth: key set in force: keys={keys} bytes={} cluster={}",
                stored.len, self.source.cluster
            ),
        );
    }
}

fn read_piece(reply: &dyn CallReply, piece: u64) -> Vec<u8> {
    let at = usize::try_from(piece.saturating_mul(PIECE as u64)).unwrap_or(usize::MAX);
    reply.read(at, PIECE)
}

/// Whether the reply has the same bytes.
fn is_stored(stored: &Stored, reply: &dyn CallReply, world: &dyn World) -> bool {
    let mut known = Vec::new();
    stored.exists()
        && (0..pieces(stored.len)).all(|piece| {
            stored.load(piece, &mut known, world) == Some(read_piece(reply, piece).as_slice())
        })
}

/// The reply's `etag`, if it is one that can be sent back.
fn etag(reply: &dyn CallReply) -> Option<Vec<u8>> {
    let etag = reply.header("etag")?;
    (etag.len() < 256 && etag.iter().all(u8::is_ascii_graphic)).then_some(etag)
}
