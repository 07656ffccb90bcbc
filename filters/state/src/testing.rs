//! What tests of several modules share.

use std::cell::RefCell;
use tollgate_core::testing::TestWorld;
use tollgate_core::world::{Conflict, Expect, Store, Version};

/// A store in which another worker makes a whole request before each of the next writes.
pub(crate) struct Racing<'a> {
    store: &'a TestWorld,
    between: RefCell<Vec<Box<dyn FnMut() + 'a>>>,
}

impl<'a> Racing<'a> {
    /// The other worker's `request` comes in between so many times.
    pub(crate) fn new(
        store: &'a TestWorld,
        times: usize,
        request: impl FnMut() + Copy + 'a,
    ) -> Self {
        let between = (0..times).map(|_| Box::new(request) as Box<dyn FnMut() + 'a>);
        Self {
            store,
            between: RefCell::new(between.collect()),
        }
    }
}

impl Store for Racing<'_> {
    fn load(&self, key: &str, out: &mut Vec<u8>) -> Option<Version> {
        self.store.load(key, out)
    }

    fn store(&self, key: &str, value: &[u8], expect: Expect) -> Result<(), Conflict> {
        if let Some(mut other) = self.between.borrow_mut().pop() {
            other();
        }
        self.store.store(key, value, expect)
    }
}
