//! What only limits with `scope: global` have.

use super::Limits;
use crate::limit::{BucketSet, Dispensed};
use std::rc::Rc;
use tollgate_core::Duration;
use tollgate_core::config::Section;
use tollgate_state::fleet::dispenser::{Quota, Subject};
use tollgate_state::fleet::service::FailureMode;
use tollgate_state::fleet::unit::{Period, Windows};
use tollgate_state::gcra::{Bucket, MAX_TOKENS};

impl Limits<'_> {
    pub(super) fn is_ticket(&self) -> bool {
        self.fleet.is_some_and(|f| f.is_ticket())
    }

    /// `smooth`: hits at once; the others of a window come evenly.
    pub(super) fn smooth(&self, section: &Section<'_>, global: bool) -> Option<Option<u64>> {
        let Some(value) = section.optional("smooth") else {
            return Some(None);
        };
        // A section `fleet` with errors of its own may be of any mode.
        if !global || self.fleet.is_some_and(|f| !f.is_ticket()) {
            value.error("has a meaning only with scope: global and fleet.mode: ticket");
        }
        value.integer(1..=MAX_TOKENS).map(Some)
    }

    /// `descriptor`: the one word about a limit that leaves the proxy as it is, because the service's own configuration
    /// has to name it. So it is asked for, and not made of the limit's name.
    pub(super) fn descriptor(&self, section: &Section<'_>, global: bool) -> Option<Rc<str>> {
        let value = section.optional("descriptor");
        let classic = self.fleet.is_some_and(|f| !f.is_ticket());
        match value {
            // A section `fleet` with errors of its own may be of any mode.
            Some(v) if !global || self.is_ticket() => {
                v.error("has a meaning only with scope: global and fleet.mode: classic");
                None
            }
            Some(v) => v.identifier(),
            None if global && classic => {
                section.report().error(
                    &format!("{}.descriptor", section.path()),
                    "is missing: in fleet.mode: classic the limit needs the name that it has in the service's configuration",
                );
                None
            }
            None => Some("".into()),
        }
    }

    /// What the fleet may spend: as much as the bucket holds, in the time in which it becomes full. The windows are the
    /// service's, so not every time can be had.
    pub(super) fn dispense(
        &mut self,
        first_set: usize,
        smooth: Option<u64>,
        limit: &Rc<str>,
        section: &Section<'_>,
        rules_path: &str,
    ) {
        let Some(fleet) = self.fleet else {
            return;
        };
        let sets = || self.sets.iter().skip(first_set);
        if sets().any(|s| s.buckets.len() > 1) {
            section.report().error(
                rules_path,
                "a limit of scope: global has one bucket a rule; write a limit for each",
            );
            return;
        }
        // Rules of one bucket share its counter, others do not; a sole bucket goes on counting when it is enlarged.
        let first = sets().next().map(|s| &s.buckets);
        let alike = sets().all(|s| Some(&s.buckets) == first);
        for set in self.sets.iter_mut().skip(first_set) {
            let (Some(bucket), Some(span)) = (set.buckets.first(), set.spans.first()) else {
                continue;
            };
            let (hits, length) = window(bucket);
            let Some(windows) = Windows::of(length) else {
                section
                    .report()
                    .error(rules_path, not_a_window(bucket, length));
                continue;
            };
            let mut numbers = vec![length];
            if !alike {
                numbers.push(hits);
            }
            set.ticket = Some(Dispensed {
                subject: Subject::new(fleet.service(), "limit", limit, numbers),
                quota: Quota {
                    limit: hits,
                    cost: set.cost,
                    period: Period::Windows(windows),
                    smooth,
                    bucket: Some((*bucket, *span)),
                },
            });
        }
    }

    /// `scope` and what only a global limit has. The inner `None` is a local limit.
    pub(super) fn scope(&self, section: &Section<'_>) -> Option<Option<FailureMode>> {
        let scope = section.optional("scope");
        let failure_mode = section.optional("failure_mode");
        let global = match &scope {
            Some(v) => v.one_of(&[("local", false), ("global", true)])?,
            None => false,
        };
        if !global {
            if let Some(v) = failure_mode {
                v.error("has a meaning only with scope: global");
            }
            return Some(None);
        }
        if !self.has_fleet
            && let Some(v) = scope
        {
            v.error("needs the section fleet, which names the rate limit service's cluster");
        }
        match failure_mode {
            Some(v) => FailureMode::compile(&v).map(Some),
            None => Some(Some(FailureMode::Local)),
        }
    }

    /// The service holds one limit for each name, so a global limit cannot have several.
    pub(super) fn one_bucket(&self, first_set: usize, section: &Section<'_>, rules_path: &str) {
        let mut buckets = self.sets.iter().skip(first_set).map(|s| &s.buckets);
        let first = buckets.next();
        let same = buckets.all(|b| Some(b) == first);
        if !same || first.is_some_and(|b| b.len() > 1) {
            section.report().error(
                rules_path,
                "a limit of scope: global has one bucket, the same in all rules",
            );
        }
    }

    /// While the service is away each proxy grants its share: 1/n of the bucket at 1/n of the rate.
    pub(super) fn add_fallbacks(&mut self, first_set: usize, limit: &Rc<str>) {
        for at in first_set..self.sets.len() {
            let Some(set) = self.sets.get(at) else {
                continue;
            };
            let n = self.fleet.map_or(1, |f| f.service().expected_proxies);
            let share = |b: &Bucket| {
                let interval = b.fill_interval().saturating_mul(n);
                // At least one request must fit, or a small limit would be no limit but a wall.
                let most = b
                    .max_tokens()
                    .checked_div(n)
                    .unwrap_or(0)
                    .max(set.cost.max(1));
                Bucket::new(most, b.tokens_per_fill(), interval).unwrap_or(*b)
            };
            let buckets = set.buckets.iter().map(share).collect();
            let fallback = BucketSet::new(limit, buckets, set.cost, true);
            let index = self.sets.len();
            self.sets.push(fallback);
            if let Some(set) = self.sets.get_mut(at) {
                set.fallback = Some(index);
            }
        }
    }
}

/// What the fleet may spend and in how many nanoseconds. A bucket that holds more than it gains in an interval is the
/// fleet's for as long as it takes to fill.
fn window(bucket: &Bucket) -> (u64, u64) {
    if bucket.max_tokens() <= bucket.tokens_per_fill() {
        return (bucket.tokens_per_fill(), bucket.fill_interval());
    }
    (bucket.max_tokens(), bucket.drain())
}

fn not_a_window(bucket: &Bucket, length: u64) -> String {
    let (below, above) = Windows::neighbours(length);
    let near: Vec<String> = [below, above]
        .into_iter()
        .flatten()
        .map(|l| Duration(l).to_string())
        .collect();
    format!(
        "a bucket of {} tokens and {} per {} is full after {}, which is no window that the rate limit service can count; \
         the nearest are {}",
        bucket.max_tokens(),
        bucket.tokens_per_fill(),
        Duration(bucket.fill_interval()),
        Duration(length),
        near.join(" and ")
    )
}
