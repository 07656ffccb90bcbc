//! Counters. All are registered when the configuration is read; their labels come from it and from [`Reason`].

use crate::consumers::Consumers;
use crate::reason::Reason;
use crate::rules::Mode;
use crate::table::Key;
use tollgate_core::config::{Section, Value};
use tollgate_core::{MetricId, Metrics, World};

/// Decisions of one rule.
pub(crate) struct RuleMeters {
    decisions: Vec<(Reason, MetricId)>,
    /// The one that most requests count, once more.
    allowed: Option<MetricId>,
}

impl RuleMeters {
    /// `rule` is a label only where the rule has a name, `mode` only where refusals are not carried out.
    pub(crate) fn new(mode: Mode, name: Option<&str>, metrics: &mut Metrics) -> Self {
        let possible: &[Reason] = match mode {
            Mode::Off => &[Reason::Off],
            _ => &Reason::CHECKED,
        };
        let register = |reason: &Reason| {
            let mut labels = vec![("policy", "key_auth"), ("reason", reason.label())];
            if let Some(name) = name {
                labels.push(("rule", name));
            }
            if mode == Mode::Observe {
                labels.push(("mode", "observe"));
            }
            let id = metrics.counter("tollgate_decisions_total", &labels);
            (*reason, id)
        };
        let decisions: Vec<_> = possible.iter().map(register).collect();
        Self {
            allowed: id_of(&decisions, Reason::Allowed),
            decisions,
        }
    }

    /// The same as `count(Reason::Allowed)`.
    pub(crate) fn count_allowed(&self, world: &dyn World) {
        if let Some(id) = self.allowed {
            world.count(id, 1);
        }
    }

    pub(crate) fn count(&self, reason: Reason, world: &dyn World) {
        count(&self.decisions, reason, world);
    }
}

/// What is counted by consumer and by key, where the configuration asks for it.
#[derive(Default)]
pub(crate) struct HolderMeters {
    consumers: Vec<Vec<(Reason, MetricId)>>,
    /// All consumers together that are in the remote key set only.
    others: Vec<(Reason, MetricId)>,
    keys: Vec<MetricId>,
    by_consumer: bool,
    /// Whether metrics by key were asked for.
    pub(crate) by_key: bool,
}

impl HolderMeters {
    /// Reads `metrics: {consumer: true, key: true}`.
    pub(crate) fn compile(
        top: &Section<'_>,
        all: &Consumers,
        remote: bool,
        metrics: &mut Metrics,
    ) -> Self {
        let Some(section) = top.optional("metrics").and_then(Value::section) else {
            return Self::default();
        };
        let asked = |field| {
            let value = section.optional(field);
            value.and_then(|v| v.boolean()).unwrap_or(false)
        };
        let (by_consumer, by_key) = (asked("consumer"), asked("key"));
        section.finish();
        let mut meters = Self {
            by_consumer,
            by_key,
            ..Self::default()
        };
        let mut decisions = |id: &str| {
            let register = |reason: &Reason| {
                let labels = [
                    ("policy", "key_auth"),
                    ("consumer", id),
                    ("reason", reason.label()),
                ];
                let metric = metrics.counter("tollgate_consumer_decisions_total", &labels);
                (*reason, metric)
            };
            Reason::OF_CONSUMER.iter().map(register).collect()
        };
        if by_consumer {
            meters.consumers = all.ids.iter().map(|id| decisions(id)).collect();
            if remote {
                meters.others = decisions("remote");
            }
        }
        if by_key {
            for key in all.table.iter() {
                let key_id = key.identity.key_id.as_deref().unwrap_or_default();
                let labels = [("consumer", &*key.identity.id), ("key", key_id)];
                let uses = metrics.counter("tollgate_key_uses_total", &labels);
                meters.keys.push(uses);
            }
        }
        meters
    }

    /// Counts a request that came with a true key, good or not; `at` is its place in the table, if it is there.
    pub(crate) fn count(&self, at: Option<usize>, key: &Key, reason: Reason, world: &dyn World) {
        if self.by_consumer || self.by_key {
            self.count_holder(at, key, reason, world);
        }
    }

    #[inline(never)]
    fn count_holder(&self, at: Option<usize>, key: &Key, reason: Reason, world: &dyn World) {
        let counters = match key.consumer {
            Some(consumer) => self.consumers.get(consumer),
            None => Some(&self.others),
        };
        if let Some(counters) = counters {
            count(counters, reason, world);
        }
        if let Some(uses) = at.and_then(|at| self.keys.get(at)) {
            world.count(*uses, 1);
        }
    }
}

fn count(counters: &[(Reason, MetricId)], reason: Reason, world: &dyn World) {
    if let Some(id) = id_of(counters, reason) {
        world.count(id, 1);
    }
}

fn id_of(counters: &[(Reason, MetricId)], reason: Reason) -> Option<MetricId> {
    let found = counters.iter().find(|(r, _)| *r == reason);
    found.map(|(_, id)| *id)
}
