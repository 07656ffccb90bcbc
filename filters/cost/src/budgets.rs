//! Which budgets apply to whom, and in which windows.

mod compile;
mod remembered;

pub use remembered::Remembered;

use std::rc::Rc;
use tollgate_core::{Consumer, Money, UnixNanos};
use tollgate_state::budget::{Line, Tag};
use tollgate_state::window::{Period, Window, Zone};

/// A record holds 64 lines, and what is left of an earlier configuration needs room, too.
pub const MAX_BUDGETS: usize = 16;

/// One configured budget.
#[derive(Debug)]
pub struct Budget {
    /// Its name, unique.
    pub name: Rc<str>,
    /// The status of a refusal.
    pub status: u16,
    /// Limited to these consumers; everybody, if this and `groups` are empty.
    pub consumers: Vec<Rc<str>>,
    /// Limited to members of these groups.
    pub groups: Vec<Rc<str>>,
    /// Who has one of their own.
    pub key: Key,
    /// Whether it only warns.
    pub soft: bool,
    /// What a single call may be estimated at.
    pub per_request: Option<PerRequest>,
    /// The limits by period.
    pub limits: Vec<Limit>,
    /// Less left than this is a warning, for limits that are above it.
    pub low_balance: Money,
    /// Shared by the whole fleet; what happens when its service does not answer.
    pub global: Option<tollgate_state::fleet::service::FailureMode>,
    warn_percent: u64,
    zone: Zone,
}

/// Who has a budget of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// Each consumer.
    Consumer,
    /// Each of the budget's groups, shared by its members.
    Group,
    /// Nobody: all share one.
    Constant,
}

/// Bounds of what a single call is estimated at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerRequest {
    /// More is a warning.
    pub warn: Option<Money>,
    /// More is refused.
    pub refuse: Option<Money>,
}

/// What may be spent in a period.
#[derive(Debug)]
pub struct Limit {
    /// How long.
    pub period: Period,
    /// How much.
    pub amount: Money,
    tag: Tag,
}

/// Budgets that lie in one record of the shared state, and how they apply to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    key: String,
    /// Of the key: it is looked up with every request.
    hash: u64,
    /// The budgets in it.
    pub lines: Vec<Line>,
}

impl Part {
    /// These budgets, in the record of that key.
    #[must_use]
    pub fn new(key: String, lines: Vec<Line>) -> Self {
        let hash = hash_of(&key);
        Self { key, hash, lines }
    }

    /// The record's key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// [`hash_of`] the key.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }
}

/// A hash of a record's key, for tables of this worker.
#[must_use]
pub fn hash_of(key: &str) -> u64 {
    // FNV-1a, 64 bits: http://www.isthe.com/chongo/tech/comp/fnv/
    key.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

impl Budget {
    /// Whether it limits that consumer (or a request without one).
    #[must_use]
    pub fn applies_to(&self, consumer: Option<&Consumer>) -> bool {
        let Some(consumer) = consumer else {
            return self.key == Key::Constant && self.is_for_all();
        };
        self.is_for_all()
            || self.consumers.contains(&consumer.id)
            || self.groups.iter().any(|g| consumer.in_group(g))
    }

    fn is_for_all(&self) -> bool {
        self.consumers.is_empty() && self.groups.is_empty()
    }

    /// How it applies at that instant, by period.
    pub fn lines(&self, now: UnixNanos) -> impl Iterator<Item = Line> + use<'_> {
        self.limits.iter().map(move |limit| Line {
            tag: limit.tag,
            limit: limit.amount,
            soft: self.soft,
            window: Window::of(now, limit.period, self.zone),
        })
    }

    /// Whether so much of a limit is a warning.
    #[must_use]
    pub fn warns_at(&self, taken: Money, limit: Money) -> bool {
        let taken = u128::from(taken.pico()).saturating_mul(100);
        taken >= u128::from(limit.pico()).saturating_mul(u128::from(self.warn_percent))
            && self.warn_percent > 0
    }

    /// Whether so little is left of a limit that it is a warning.
    #[must_use]
    pub fn is_low(&self, left: Money, limit: Money) -> bool {
        left < self.low_balance && self.low_balance < limit
    }
}

/// The key of a consumer's record.
#[must_use]
pub fn consumer_key(consumer: &str) -> String {
    ["budget/", consumer].concat()
}

/// The key of a group's record.
#[must_use]
pub fn group_key(group: &str) -> String {
    ["group-budget/", group].concat()
}

/// The key of the record that all share.
pub const CONSTANT_KEY: &str = "shared-budget";

/// All budgets, in the order of the configuration.
#[derive(Debug, Default)]
pub struct Budgets(Vec<Budget>);

impl Budgets {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Budget> {
        self.0.iter()
    }

    /// Whether somebody must be known to pay.
    #[must_use]
    pub fn need_consumer(&self) -> bool {
        self.0.iter().any(|b| b.key != Key::Constant)
    }

    /// What applies to the consumer now; [`Remembered`] has it at hand. Records in a fixed order, so that two requests never wait for one another.
    #[must_use]
    pub fn parts(&self, consumer: Option<&Consumer>, now: UnixNanos) -> Vec<Part> {
        let mut parts: Vec<Part> = Vec::with_capacity(1);
        for budget in self.0.iter().filter(|b| b.applies_to(consumer)) {
            match (budget.key, consumer) {
                (Key::Constant, _) => {
                    put(&mut parts, CONSTANT_KEY.to_owned(), budget, now);
                }
                (Key::Consumer, Some(consumer)) => {
                    put(&mut parts, consumer_key(&consumer.id), budget, now);
                }
                (Key::Group, Some(consumer)) => {
                    for group in budget.groups.iter().filter(|g| consumer.in_group(g)) {
                        put(&mut parts, group_key(group), budget, now);
                    }
                }
                (_, None) => {}
            }
        }
        parts
    }

    /// The budget that a line came from: its position, itself, and its period.
    #[must_use]
    pub fn find(&self, line: &Line) -> Option<(usize, &Budget, Period)> {
        self.0.iter().enumerate().find_map(|(at, budget)| {
            let limit = budget.limits.iter().find(|l| l.tag == line.tag)?;
            Some((at, budget, limit.period))
        })
    }
}

fn put(parts: &mut Vec<Part>, key: String, budget: &Budget, now: UnixNanos) {
    if budget.limits.is_empty() {
        return;
    }
    match parts.iter_mut().find(|p| p.key == key) {
        Some(part) => part.lines.extend(budget.lines(now)),
        None => parts.push(Part::new(key, budget.lines(now).collect())),
    }
}
