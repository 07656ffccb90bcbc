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
        Self {
            decisions: possible.iter().map(register).collect(),
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
    keys: Vec<KeyMeters>,
}

struct KeyMeters {
    used: MetricId,
    expires: MetricId,
}

impl HolderMeters {
    /// Reads `metrics: {consumer: true, key: true}`.
    pub(crate) fn compile(top: &Section<'_>, all: &Consumers, metrics: &mut Metrics) -> Self {
        let Some(section) = top.optional("metrics").and_then(Value::section) else {
            return Self::default();
        };
        let asked = |field| {
            let value = section.optional(field);
            value.and_then(|v| v.boolean()).unwrap_or(false)
        };
        let (by_consumer, by_key) = (asked("consumer"), asked("key"));
        section.finish();
        let mut meters = Self::default();
        if by_consumer {
            for id in &all.ids {
                let register = |reason: &Reason| {
                    let labels = [
                        ("policy", "key_auth"),
                        ("consumer", &**id),
                        ("reason", reason.label()),
                    ];
                    let metric = metrics.counter("tollgate_consumer_decisions_total", &labels);
                    (*reason, metric)
                };
                let counters = Reason::OF_CONSUMER.iter().map(register).collect();
                meters.consumers.push(counters);
            }
        }
        if by_key {
            for key in all.table.iter() {
                let key_id = key.identity.key_id.as_deref().unwrap_or_default();
                let labels = [("consumer", &*key.identity.id), ("key", key_id)];
                meters.keys.push(KeyMeters {
                    used: metrics.counter("tollgate_key_uses_total", &labels),
                    expires: metrics.gauge("tollgate_key_expires_at_seconds", &labels),
                });
            }
        }
        meters
    }

    /// Counts a request that came with a true key, good or not.
    pub(crate) fn count(&self, at: usize, key: &Key, reason: Reason, world: &dyn World) {
        if let Some(counters) = self.consumers.get(key.consumer) {
            count(counters, reason, world);
        }
        if let Some(meters) = self.keys.get(at) {
            world.count(meters.used, 1);
        }
    }

    /// Shows when a key expires, as `time()` in PromQL counts.
    pub(crate) fn show_expiry(&self, at: usize, key: &Key, world: &dyn World) {
        if let (Some(meters), Some(expires)) = (self.keys.get(at), key.expires_at) {
            world.gauge(meters.expires, expires.secs());
        }
    }
}

fn count(counters: &[(Reason, MetricId)], reason: Reason, world: &dyn World) {
    if let Some((_, id)) = counters.iter().find(|(r, _)| *r == reason) {
        world.count(*id, 1);
    }
}
