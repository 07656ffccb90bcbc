//! What is left of budgets, as gauges: refreshed from the tick, a few at a time, so that requests do not pay for them.

use crate::accounts::Accounts;
use crate::budgets::{Budget, Budgets, CONSTANT_KEY, Key, consumer_key, group_key};
use crate::meters::Meters;
use std::cell::Cell;
use tollgate_core::World;
use tollgate_core::metrics::{MetricId, Metrics};

/// Records that one tick looks at.
const EACH_TICK: usize = 16;

/// See the module.
#[derive(Debug, Default)]
pub struct Gauges {
    records: Vec<Record>,
    next: Cell<usize>,
}

#[derive(Debug)]
struct Record {
    key: String,
    budget: usize,
    /// By the budget's limits.
    metrics: Vec<MetricId>,
}

impl Gauges {
    /// Registers a gauge for every limit of every consumer or group that budgets name.
    #[must_use]
    pub fn register(metrics: &mut Metrics, budgets: &Budgets) -> Self {
        let mut records = Vec::new();
        for (at, budget) in budgets.iter().enumerate() {
            for (key, label) in owners(budget) {
                let metrics = budget
                    .limits
                    .iter()
                    .map(|limit| {
                        let mut labels =
                            vec![("budget", &*budget.name), ("period", limit.period.name())];
                        labels.extend(label.as_ref().map(|(name, value)| (*name, &**value)));
                        metrics.gauge("tollgate_budget_remaining_pico", &labels)
                    })
                    .collect();
                records.push(Record {
                    key,
                    budget: at,
                    metrics,
                });
            }
        }
        Self {
            records,
            next: Cell::new(0),
        }
    }

    /// Shows how some of them stand.
    pub fn refresh(
        &self,
        accounts: &Accounts,
        budgets: &Budgets,
        meters: &Meters,
        world: &dyn World,
    ) {
        let now = world.now();
        for _ in 0..EACH_TICK.min(self.records.len()) {
            let at = self.next.get();
            let next = at.saturating_add(1);
            self.next
                .set(if next < self.records.len() { next } else { 0 });
            let Some(record) = self.records.get(at) else {
                continue;
            };
            let Some(budget) = budgets.iter().nth(record.budget) else {
                continue;
            };
            let account = accounts.read(&record.key, meters, world);
            for (line, metric) in budget.lines(now).zip(&record.metrics) {
                let left = line.limit.saturating_sub(account.taken(&line));
                world.gauge(*metric, left.pico());
            }
        }
    }
}

/// The records of a budget that the configuration names, each with its label.
fn owners(budget: &Budget) -> Vec<(String, Option<(&'static str, String)>)> {
    match budget.key {
        Key::Constant => vec![(CONSTANT_KEY.to_owned(), None)],
        Key::Group => budget
            .groups
            .iter()
            .map(|g| (group_key(g), Some(("group", g.to_string()))))
            .collect(),
        Key::Consumer => budget
            .consumers
            .iter()
            .map(|c| (consumer_key(c), Some(("consumer", c.to_string()))))
            .collect(),
    }
}
