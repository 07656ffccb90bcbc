//! Reading the configuration.

mod fleet;
mod options;
mod rules;

use crate::RateLimit;
use crate::answer::Shown;
use crate::counters::{LimitCounters, TableCounters};
use crate::fleet::Fleet;
use crate::key::Part;
use crate::ledger::Spare;
use crate::limit::{BucketSet, Limit, Rule};
use crate::places::Places;
use options::LeaseRule;
use std::cell::Cell;
use tollgate_core::HeaderName;
use tollgate_core::config::{Compile, Section, Value};
use tollgate_state::fleet::service::FailureMode;
use tollgate_state::gcra::Bucket;
use tollgate_state::lease::Leases;
use tollgate_state::table::Table;

const DEFAULT_BYTES: u64 = 8 * 1024 * 1024;

/// Reads the section `rate_limit` (or, of the single filter, the whole configuration). `None` when something essential is
/// missing; the report says what.
pub fn compile(section: Section<'_>, cx: &mut Compile<'_>) -> Option<RateLimit> {
    let shown = match section.optional("headers") {
        Some(value) => Shown::compile(value),
        None => Some(Shown::default()),
    };
    let admit_contended = match section.optional("on_contention") {
        Some(v) => v.one_of(&[("refuse", false), ("allow", true)]),
        None => Some(false),
    };
    let max_bytes = match section.optional("table").map(Value::section) {
        Some(Some(table)) => {
            let bytes = match table.optional("max_bytes") {
                Some(v) => v.integer(64 * 1024..=1 << 30),
                None => Some(DEFAULT_BYTES),
            };
            table.finish();
            bytes
        }
        Some(None) => None,
        None => Some(DEFAULT_BYTES),
    };
    let status = options::status(&section).unwrap_or(Some(429));
    let shadow_header = match section.optional("shadow_header") {
        Some(v) => v.header_name(),
        None => Some(HeaderName::from_static("x-tollgate-shadow-limit")),
    };
    let lease_rule = match section.optional("leases") {
        Some(v) => LeaseRule::compile(v),
        None => Some(LeaseRule::default()),
    };
    let fleet_value = section.optional("fleet");
    let has_fleet = fleet_value.is_some();
    let fleet = fleet_value.clone().and_then(|v| Fleet::compile(v, cx));
    let mut all = Limits {
        sets: Vec::new(),
        fleet: fleet.as_ref(),
        has_fleet,
        status: status.unwrap_or(429),
        leases: lease_rule.unwrap_or_default(),
    };
    let mut limits: Vec<Limit> = Vec::new();
    for value in some_items(&section, "limits", "limit") {
        let path = format!("{}.name", value.path());
        if let Some(limit) = all.limit(value, cx) {
            if limits.iter().any(|l| l.name == limit.name) {
                section
                    .report()
                    .error(&path, "another limit has the same name");
            }
            limits.push(limit);
        }
    }
    if let Some(value) = fleet_value.filter(|_| limits.iter().all(|l| l.global.is_none())) {
        value.warn("no limit has scope: global, so the service is never asked");
    }
    section.finish();
    // Stable: within a stage limits are decided in the order of the configuration.
    limits.sort_by_key(Limit::needs_consumer);
    let late_from = limits.iter().filter(|l| !l.needs_consumer()).count();
    let buckets = all.sets.iter().flat_map(|s| &s.buckets);
    let horizon = buckets.map(Bucket::drain).max().unwrap_or(0);
    let leased = all.sets.iter().filter(|s| s.leased);
    let stride = leased.map(|s| s.buckets.len()).max().unwrap_or(0);
    status?;
    Some(RateLimit {
        late_from,
        has_shadow: limits.iter().any(|l| l.shadow),
        shadow_header: shadow_header?,
        leases: Leases::new(lease_rule?.terms, stride),
        limits,
        table: Table::new(max_bytes?, horizon),
        sets: all.sets,
        seed: Cell::new(None),
        places: Places::default(),
        spare: Spare::default(),
        shown: shown?,
        admit_contended: admit_contended?,
        fleet,
        events: TableCounters::register(cx.metrics),
    })
}

/// Limits as they are read: their bucket sets lie in one list.
struct Limits<'a> {
    sets: Vec<BucketSet>,
    fleet: Option<&'a Fleet>,
    has_fleet: bool,
    status: u16,
    leases: LeaseRule,
}

impl Limits<'_> {
    fn limit(&mut self, value: Value<'_>, cx: &mut Compile<'_>) -> Option<Limit> {
        let section = value.section()?;
        let name = section.required("name").and_then(|v| v.identifier());
        let key = key(&section);
        let address = options::address(&section, &key);
        let status = options::status(&section).unwrap_or(Some(self.status));
        let leases = match section.optional("leases") {
            Some(v) => v.boolean(),
            None => Some(true),
        };
        let shadow = match section.optional("mode") {
            Some(v) => v.one_of(&[("enforce", false), ("shadow", true)]),
            None => Some(false),
        };
        let skip_without_key = match section.optional("on_missing_key") {
            Some(v) => v.one_of(&[("shared", false), ("skip", true)]),
            None => Some(false),
        };
        let global = self.scope(&section);
        let rules_path = format!("{}.rules", section.path());
        let label = name.clone().unwrap_or_else(|| "?".into());
        let first_set = self.sets.len();
        let rules: Vec<Rule> = some_items(&section, "rules", "rule")
            .into_iter()
            .filter_map(|v| self.rule(v, &label, &key))
            .collect();
        let global = global?;
        let smooth = self.smooth(&section, global.is_some());
        let descriptor = self.descriptor(&section, global.is_some());
        if global.is_some() {
            if self.is_ticket() {
                self.dispense(first_set, smooth?, &label, &section, &rules_path);
            } else {
                self.one_bucket(first_set, &section, &rules_path);
            }
        }
        if global == Some(FailureMode::Local) && !self.is_ticket() {
            self.add_fallbacks(first_set, &label);
        }
        section.finish();
        let leases = leases?;
        for set in self.sets.iter_mut().skip(first_set) {
            set.leased = leases && self.leases.covers(&set.buckets);
        }
        Some(Limit {
            counters: LimitCounters::register(cx.metrics, &label),
            name: name?,
            has_few_keys: key.iter().all(Part::is_configured),
            key,
            address: address?,
            status: status?,
            rules,
            shadow: shadow?,
            skip_without_key: skip_without_key?,
            global,
            descriptor: descriptor?,
        })
    }
}

/// The items of a list that must not be empty.
fn some_items<'a>(section: &Section<'a>, field: &'static str, what: &str) -> Vec<Value<'a>> {
    let Some(value) = section.required(field) else {
        return Vec::new();
    };
    let items = value.clone().list();
    if items.as_ref().is_some_and(Vec::is_empty) {
        value.error(format!("needs at least one {what}"));
    }
    items.unwrap_or_default()
}

fn key(section: &Section<'_>) -> Vec<Part> {
    let Some(value) = section.required("key") else {
        return Vec::new();
    };
    let Some(items) = value.clone().list() else {
        return Vec::new();
    };
    if items.is_empty() {
        value.error("must not be empty; for one bucket for all requests write [{constant: all}]");
    }
    items.iter().filter_map(Part::compile).collect()
}
