//! The secret of the seeded hash: random, one per proxy, shared by its workers.
//!
//! Without it a client could choose addresses or header values that all land on one page of the
//! [`crate::table`].

use tollgate_core::world::{Expect, Level, World};

/// The key in the store.
pub const KEY: &str = "seed";

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Seed(pub [u8; 16]);

/// Shows nothing: who knows it can craft collisions.
impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seed")
    }
}

impl Seed {
    /// The proxy's seed; the first worker to ask creates it.
    #[must_use]
    pub fn load(world: &dyn World) -> Self {
        let mut bytes = Vec::new();
        let version = world.load(KEY, &mut bytes);
        if let Ok(seed) = bytes.as_slice().try_into() {
            return Self(seed);
        }
        let mut fresh = [0; 16];
        let (head, tail) = fresh.split_at_mut(8);
        head.copy_from_slice(&world.random().to_le_bytes());
        tail.copy_from_slice(&world.random().to_le_bytes());
        let expect = match version {
            // Bytes that are no seed: another version's. Keys placed by it are lost anyway.
            Some(version) => Expect::Unchanged(version),
            None => Expect::Absent,
        };
        // Whoever was first has decided, so the store is asked again in any case.
        let _lost_race = world.store(KEY, &fresh, expect);
        bytes.clear();
        world.load(KEY, &mut bytes);
        if let Ok(seed) = bytes.as_slice().try_into() {
            return Self(seed);
        }
        world.log(
            Level::Error,
            format_args!("the hash seed could not be shared: this worker counts for itself"),
        );
        Self(fresh)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate_core::testing::TestWorld;
    use tollgate_core::world::Store;

    #[test]
    fn is_the_same_for_all_workers() {
        let world = TestWorld::default();
        let first = Seed::load(&world);
        assert_ne!(first, Seed([0; 16]));
        assert_eq!(Seed::load(&world), first);
        assert_eq!(world.keys(), 1);
    }

    #[test]
    fn a_lost_race_takes_the_winners_seed() {
        // The write fails as if another worker had just created the key, which it then reads.
        struct Racing(TestWorld);
        impl Store for Racing {
            fn load(&self, key: &str, out: &mut Vec<u8>) -> Option<tollgate_core::world::Version> {
                self.0.load(key, out)
            }
            fn store(
                &self,
                key: &str,
                _: &[u8],
                expect: Expect,
            ) -> Result<(), tollgate_core::world::Conflict> {
                self.0.store(key, &[9; 16], Expect::Anything)?;
                self.0.store(key, &[1; 16], expect)
            }
        }
        impl tollgate_core::world::Meter for Racing {
            fn count(&self, _: tollgate_core::MetricId, _: u64) {}
            fn gauge(&self, _: tollgate_core::MetricId, _: u64) {}
            fn observe(&self, _: tollgate_core::MetricId, _: u64) {}
        }
        impl World for Racing {
            fn now(&self) -> tollgate_core::UnixNanos {
                self.0.now()
            }
            fn call(
                &self,
                call: &tollgate_core::world::Call,
            ) -> Result<(), tollgate_core::world::CallRefused> {
                self.0.call(call)
            }
            fn call_in_background(
                &self,
                call: tollgate_core::world::Call,
            ) -> tollgate_core::world::CallId {
                self.0.call_in_background(call)
            }
            fn attribute(&self, a: tollgate_core::world::Attribute) -> Option<Vec<u8>> {
                self.0.attribute(a)
            }
            fn random(&self) -> u64 {
                self.0.random()
            }
            fn log(&self, level: Level, message: std::fmt::Arguments<'_>) {
                self.0.log(level, message);
            }
        }
        let world = Racing(TestWorld::default());
        assert_eq!(Seed::load(&world), Seed([9; 16]));
    }

    #[test]
    fn bytes_of_another_version_are_replaced() {
        let world = TestWorld::default();
        world.store(KEY, b"short", Expect::Anything).unwrap();
        let seed = Seed::load(&world);
        assert_eq!(Seed::load(&world), seed);
        assert!(world.take_logs().is_empty());
    }

    #[test]
    fn a_store_that_refuses_everything_is_reported() {
        let world = TestWorld::default();
        world.conflicts.set(u32::MAX);
        assert_ne!(Seed::load(&world), Seed([0; 16]));
        assert_eq!(world.take_logs().len(), 1);
    }
}
