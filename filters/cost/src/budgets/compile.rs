//! Reading `budgets`.

use super::{Budget, Budgets, Key, Limit, MAX_BUDGETS, PerRequest};
use crate::price::tokens::all_or_none;
use tollgate_core::Money;
use tollgate_core::config::{Node, Section, Value};
use tollgate_state::budget::Tag;
use tollgate_state::window::{Period, Zone};

const WARN_PERCENT: u64 = 80;
/// 1.00
const LOW_BALANCE: Money = Money::from_pico(1_000_000_000_000);

impl Budget {
    /// Reads one item of `budgets`.
    #[must_use]
    pub fn compile(value: Value<'_>) -> Option<Self> {
        let section = value.section()?;
        let name = section.required("name").and_then(|v| v.identifier());
        let key = match section.optional("key") {
            Some(value) => key(value),
            None => Some(Key::Consumer),
        };
        let consumers = crate::price::ids_of(&section, "consumers");
        let groups = crate::price::ids_of(&section, "groups");
        let per_request = section.optional("per_request").map(per_request);
        let amounts = [
            (Period::Minute, section.optional("per_minute")),
            (Period::Day, section.optional("daily")),
            (Period::Month, section.optional("monthly")),
        ];
        if per_request.is_none() && amounts.iter().all(|(_, v)| v.is_none()) {
            section.error("needs per_request, per_minute, daily, monthly or several of them");
        }
        let zone = match section.optional("time_zone") {
            Some(v) => v.text().and_then(|t| {
                v.accept(
                    Zone::parse(t),
                    "must be UTC, a time zone such as Europe/Berlin, or a POSIX rule such as CET-1CEST,M3.5.0,M10.5.0/3",
                )
            }),
            None => Some(Zone::Utc),
        };
        let status = match section.optional("status") {
            Some(v) => v.integer(400..=499).and_then(|n| u16::try_from(n).ok()),
            None => Some(402),
        };
        let soft = match section.optional("mode") {
            Some(v) => v.one_of(&[("hard", false), ("soft", true)]),
            None => Some(false),
        };
        let warn_percent = match section.optional("warn_percent") {
            Some(v) => v.integer(0..=100),
            None => Some(WARN_PERCENT),
        };
        let low_balance = match section.optional("low_balance") {
            Some(v) => v.money(),
            None => Some(LOW_BALANCE),
        };
        let global = crate::shared::scope(&section);
        if key == Some(Key::Group) && section.optional("groups").is_none() {
            section.error("key: [group] needs groups");
        }
        section.finish();
        let amounts: Vec<(Period, Option<Money>)> = amounts
            .into_iter()
            .filter_map(|(period, value)| Some((period, value?.money())))
            .collect();
        let name = name?;
        let limits = amounts
            .into_iter()
            .map(|(period, amount)| {
                Some(Limit {
                    period,
                    tag: Tag::new(&name, period),
                    amount: amount?,
                })
            })
            .collect::<Option<Vec<_>>>();
        Some(Self {
            name,
            status: status?,
            consumers: consumers?,
            groups: groups?,
            key: key?,
            soft: soft?,
            per_request: all_or_none(per_request)?,
            limits: limits?,
            low_balance: low_balance?,
            warn_percent: warn_percent?,
            global: global?,
            zone: zone?,
        })
    }
}

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
}

/// `[consumer]`, `[group]` or `[constant]`.
fn key(value: Value<'_>) -> Option<Key> {
    let place = value.clone();
    let items = value.list()?;
    let key = match items.as_slice() {
        [only] => match only.text() {
            Some("consumer") => Some(Key::Consumer),
            Some("group") => Some(Key::Group),
            Some("constant") => Some(Key::Constant),
            _ => None,
        },
        _ => None,
    };
    place.accept(key, "must be [consumer], [group] or [constant]")
}

/// An amount, or `{warn, refuse}`.
fn per_request(value: Value<'_>) -> Option<PerRequest> {
    if !matches!(value.node(), Node::Object(_)) {
        return Some(PerRequest {
            warn: None,
            refuse: Some(value.money()?),
        });
    }
    let section = value.section()?;
    let warn = section.optional("warn").map(|v| v.money());
    let refuse = section.optional("refuse").map(|v| v.money());
    if warn.is_none() && refuse.is_none() {
        section.error("needs warn, refuse or both");
    }
    section.finish();
    Some(PerRequest {
        warn: all_or_none(warn)?,
        refuse: all_or_none(refuse)?,
    })
}
