//! What applies to whom, remembered while its windows last: to work it out takes a key and lists of their own, and nearly
//! every request finds what the one before it found.

use super::{Budgets, Part};
use std::rc::Rc;
use tollgate_core::{Consumer, UnixNanos};
use tollgate_state::window::Window;

/// Each consumer has its place among so many; who shares one with somebody else is worked out more often.
const PLACES: usize = 1_024;

/// See the module. Belongs to one worker and to the budgets of one configuration.
#[derive(Debug, Default)]
pub struct Remembered(Vec<Applied>);

/// What applies to one consumer.
#[derive(Debug)]
struct Applied {
    /// `None`: requests without a consumer.
    who: Option<Who>,
    /// All windows of the parts hold for these instants.
    during: Window,
    parts: Vec<Rc<Part>>,
}

/// All that [`Budgets::parts`] looks at in a consumer.
#[derive(Debug)]
struct Who {
    id: Rc<str>,
    groups: Rc<[Rc<str>]>,
}

impl Remembered {
    /// [`Budgets::parts`], remembered.
    #[inline(always)] // see `Accounts::pay`
    pub fn parts(
        &mut self,
        budgets: &Budgets,
        consumer: Option<&Consumer>,
        now: UnixNanos,
    ) -> &[Rc<Part>] {
        let at = place(consumer);
        let known = self.0.get(at);
        if !known.is_some_and(|a| a.during.contains(now) && a.is_about(consumer)) {
            self.work_out(at, budgets, consumer, now);
        }
        self.0.get(at).map_or(&[], |a| &a.parts)
    }

    #[inline(never)]
    fn work_out(
        &mut self,
        at: usize,
        budgets: &Budgets,
        consumer: Option<&Consumer>,
        now: UnixNanos,
    ) {
        if self.0.is_empty() {
            self.0.resize_with(PLACES, Applied::nobody);
        }
        if let Some(applied) = self.0.get_mut(at) {
            *applied = Applied::new(budgets, consumer, now);
        }
    }
}

impl Applied {
    /// An empty place: there is no instant that it is good for.
    const fn nobody() -> Self {
        Self {
            who: None,
            during: Window {
                start: UnixNanos(0),
                end: UnixNanos(0),
            },
            parts: Vec::new(),
        }
    }

    fn new(budgets: &Budgets, consumer: Option<&Consumer>, now: UnixNanos) -> Self {
        let parts = budgets.parts(consumer, now);
        let mut during = Window {
            start: UnixNanos(0),
            end: UnixNanos(u64::MAX),
        };
        for line in parts.iter().flat_map(|p| &p.lines) {
            during.start = during.start.max(line.window.start);
            during.end = during.end.min(line.window.end);
        }
        Self {
            who: consumer.map(|c| Who {
                id: Rc::clone(&c.id),
                groups: Rc::clone(&c.groups),
            }),
            during,
            parts: parts.into_iter().map(Rc::new).collect(),
        }
    }

    #[inline(always)] // see `Accounts::pay`
    fn is_about(&self, consumer: Option<&Consumer>) -> bool {
        match (&self.who, consumer) {
            (Some(who), Some(consumer)) => who.is(consumer),
            (None, None) => true,
            _ => false,
        }
    }
}

impl Who {
    #[inline(always)] // see `Accounts::pay`
    fn is(&self, consumer: &Consumer) -> bool {
        // Key auth in this chain hands out the same texts each time.
        (Rc::ptr_eq(&self.id, &consumer.id) && Rc::ptr_eq(&self.groups, &consumer.groups))
            || self.equals(consumer)
    }

    #[inline(never)]
    fn equals(&self, consumer: &Consumer) -> bool {
        self.id == consumer.id && self.groups == consumer.groups
    }
}

fn place(consumer: Option<&Consumer>) -> usize {
    let id = consumer.map_or("", |c| &c.id);
    let mixed = id.bytes().fold(0_usize, |mixed, byte| {
        mixed.wrapping_mul(31).wrapping_add(usize::from(byte))
    });
    mixed.checked_rem(PLACES).unwrap_or(0)
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)] // in a test an overflow is a finding
mod tests;
