//! Reading: which bytes next, and what becomes of a pass over them.

use super::Remote;
use super::load::{Fault, Goal, Pass, Step};
use super::meters::Fetch;
use super::set::{SEGMENTS, Segment};
use super::state::{PIECE, State, Stored};
use crate::table::KeyTable;
use tollgate_core::world::Level;
use tollgate_core::{UnixNanos, World};
use tollgate_state::cas::Change;

/// Pieces of 64 KiB that one tick reads, where each of their lines is taken in.
const PIECES: u32 = 6;
/// The same where three of four lines are passed over.
const PART_PIECES: u32 = 12;
/// A set of so many bytes is read in one go.
const SMALL: u64 = 2 * PIECE as u64;

impl Remote {
    /// The next few pieces of whatever is to be read; a small set to its end.
    pub(super) fn read(&self, inline: &KeyTable, world: &dyn World) {
        for _ in 0..SEGMENTS.saturating_add(2) {
            let Some(state) = State::load(world) else {
                return;
            };
            let pass = self.pass.take().filter(|pass| is_current(&state, pass));
            let Some(pass) = pass.or_else(|| self.next_pass(&state)) else {
                return;
            };
            let small = pass.stored.len <= SMALL;
            self.read_pass(pass, inline, world);
            if !small {
                return;
            }
        }
    }

    pub(super) fn read_pass(&self, mut pass: Pass, inline: &KeyTable, world: &dyn World) {
        let most = match pass.goal {
            Goal::Part(..) => PART_PIECES,
            _ => PIECES,
        };
        match pass.step(most, self.source.pin.as_ref(), inline, world) {
            Step::More => {
                self.pass.replace(Some(pass));
            }
            // Whoever writes says so in the state first: if it is as it was, all that was read belongs together.
            Step::Done => {
                if State::load(world).is_some_and(|now| is_current(&now, &pass)) {
                    self.finish(pass, world);
                }
            }
            Step::Wrong(fault) => {
                if State::load(world).is_some_and(|now| is_current(&now, &pass)) {
                    self.refuse(&pass, &fault, world);
                }
            }
        }
    }

    /// What to read next.
    pub(super) fn next_pass(&self, state: &State) -> Option<Pass> {
        let wanted = |stored: &Stored| stored.exists() && stored.generation != self.refused.get();
        let pinned = self.source.pin.is_some();
        if self.set.borrow().is_none() {
            let candidates = [&state.candidate, &state.active];
            let found = candidates.into_iter().find(|stored| wanted(stored));
            self.coming.set(found.is_some());
            self.waiting.set(false);
            return Some(Pass::new(
                found?.clone(),
                Goal::Whole(Box::default()),
                pinned,
            ));
        }
        let mine = state.candidate.generation == self.fetched.get();
        if mine && wanted(&state.candidate) {
            return Some(Pass::new(
                state.candidate.clone(),
                Goal::Check(Vec::new()),
                pinned,
            ));
        }
        let newer = state.active.generation != self.loaded.get() && wanted(&state.active);
        newer.then(|| Pass::new(state.active.clone(), Goal::Part(0, Box::default()), pinned))
    }

    /// A pass has come to its end, and nothing is wrong.
    pub(super) fn finish(&self, pass: Pass, world: &dyn World) {
        let generation = pass.stored.generation;
        let mine = self.fetched.get() == generation;
        match pass.goal {
            Goal::Whole(set) => {
                self.set.replace(Some(*set));
                self.loaded.set(generation);
                self.coming.set(false);
            }
            Goal::Check(_) => {}
            Goal::Part(number, segment) => {
                if let Some(set) = self.set.borrow_mut().as_mut() {
                    set.replace(number, *segment);
                }
                let next = number.saturating_add(1);
                if next < SEGMENTS {
                    let goal = Goal::Part(next, Box::<Segment>::default());
                    self.pass.replace(Some(Pass::new(pass.stored, goal, false)));
                } else {
                    self.loaded.set(generation);
                }
                return;
            }
        }
        if mine {
            self.fetched.set(0);
            if let Some(ids) = &pass.shadowed {
                world.log(
                    Level::Warn,
                    format_args!("key_auth: the key set gives keys of the configuration to somebody else, who does not get them: {ids}"),
                );
            }
            self.publish(&pass.stored, pass.keys, world);
        }
    }

    /// The bytes are no set.
    pub(super) fn refuse(&self, pass: &Pass, fault: &Fault, world: &dyn World) {
        let generation = pass.stored.generation;
        self.refused.set(generation);
        self.coming.set(false);
        if self.fetched.get() == generation {
            self.fetched.set(0);
            self.failed(Fetch::wrong(fault), fault, world);
        } else if self.set.borrow().is_none() {
            // What another configuration found good, or bytes that are lost: the next fetch must bring them anew.
            let _ = State::update(world, |state| match state {
                Some(state) if state.active.generation == generation => {
                    state.active.etag.clear();
                    state.next_poll = UnixNanos::default();
                    Change::Write(())
                }
                _ => Change::Keep(()),
            });
        }
    }
}

/// Whether the pass reads what the state speaks of.
fn is_current(state: &State, pass: &Pass) -> bool {
    let is_it = |stored: &Stored| stored.generation == pass.stored.generation;
    is_it(&state.active) || (is_it(&state.candidate) && !matches!(pass.goal, Goal::Part(..)))
}
