//! Which budgets apply to a consumer, and in which windows.

use std::rc::Rc;
use tollgate_core::config::{Section, Value};
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
    groups: Vec<Rc<str>>,
    limits: Vec<Limit>,
    zone: Zone,
}

#[derive(Debug)]
struct Limit {
    period: Period,
    tag: Tag,
    amount: Money,
}

impl Budget {
    /// Whether it limits that consumer.
    #[must_use]
    pub fn applies_to(&self, consumer: &Consumer) -> bool {
        (self.consumers.is_empty() && self.groups.is_empty())
            || self.consumers.contains(&consumer.id)
            || self.groups.iter().any(|g| consumer.in_group(g))
    }

    /// Reads one item of `budgets`.
    #[must_use]
    pub fn compile(value: Value<'_>) -> Option<Self> {
        let section = value.section()?;
        let name = section.required("name").and_then(|v| v.identifier());
        if let Some(key) = section.optional("key") {
            consumer_key(key);
        }
        let consumers = ids(&section, "consumers");
        let groups = ids(&section, "groups");
        let daily = section.optional("daily").map(|v| v.money());
        let monthly = section.optional("monthly").map(|v| v.money());
        if daily.is_none() && monthly.is_none() {
            section.error("needs daily, monthly or both");
        }
        let zone = match section.optional("time_zone") {
            Some(v) => v
                .text()
                .and_then(|t| v.accept(Zone::parse(t), "must be UTC")),
            None => Some(Zone::Utc),
        };
        let status = match section.optional("status") {
            Some(v) => v.integer(400..=499).and_then(|n| u16::try_from(n).ok()),
            None => Some(402),
        };
        section.finish();
        let name = name?;
        let mut limits = Vec::new();
        for (period, amount) in [(Period::Day, daily), (Period::Month, monthly)] {
            if let Some(amount) = amount {
                limits.push(Limit {
                    period,
                    tag: Tag::new(&name, period),
                    amount: amount?,
                });
            }
        }
        Some(Self {
            name,
            status: status?,
            consumers: consumers?,
            groups: groups?,
            limits,
            zone: zone?,
        })
    }
}

/// All budgets, in the order of the configuration.
#[derive(Debug, Default)]
pub struct Budgets(Vec<Budget>);

impl Budgets {
    /// Reads `budgets`.
    #[must_use]
    pub fn compile(section: &Section<'_>) -> Option<Self> {
        let items = section.items("budgets");
        if items.len() > MAX_BUDGETS {
            section.error(format!("at most {MAX_BUDGETS} budgets are possible"));
            return None;
        }
        let mut all: Vec<Budget> = Vec::with_capacity(items.len());
        let mut good = true;
        for item in items {
            let place = item.clone();
            let Some(budget) = Budget::compile(item) else {
                good = false;
                continue;
            };
            let clashes = |other: &Budget| {
                other.name == budget.name
                    || other
                        .limits
                        .iter()
                        .any(|l| budget.limits.iter().any(|m| m.tag == l.tag))
            };
            if all.iter().any(clashes) {
                place.error("name is used twice");
                good = false;
            }
            all.push(budget);
        }
        good.then_some(Self(all))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Budget> {
        self.0.iter()
    }

    /// What applies to the consumer now.
    #[must_use]
    pub fn lines(&self, consumer: &Consumer, now: UnixNanos) -> Vec<Line> {
        self.0
            .iter()
            .filter(|b| b.applies_to(consumer))
            .flat_map(|b| {
                b.limits.iter().map(move |limit| Line {
                    tag: limit.tag,
                    limit: limit.amount,
                    window: Window::of(now, limit.period, b.zone),
                })
            })
            .collect()
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

/// `[consumer]` is the only key there is so far; written out, it stays right when there are more.
fn consumer_key(value: Value<'_>) {
    let place = value.clone();
    if let Some(items) = value.list() {
        let is_consumer = |v: &Value<'_>| v.text() == Some("consumer");
        if items.len() != 1 || !items.iter().all(is_consumer) {
            place.error("must be [consumer]");
        }
    }
}

fn ids(section: &Section<'_>, field: &'static str) -> Option<Vec<Rc<str>>> {
    let Some(value) = section.optional(field) else {
        return Some(Vec::new());
    };
    let place = value.clone();
    let items = value.list()?;
    // An empty list would mean everybody, which is hardly what somebody meant who wrote it.
    place.accept(
        (!items.is_empty()).then_some(()),
        "must not be empty; leave it out for all",
    )?;
    let read: Vec<Option<Rc<str>>> = items.iter().map(|v| v.identifier()).collect();
    read.into_iter().collect()
}
