//! Rules of a limit and their buckets.

use super::Limits;
use crate::cost::Cost;
use crate::key::Part;
use crate::limit::{BucketSet, Rule};
use std::rc::Rc;
use tollgate_core::config::Value;
use tollgate_core::matcher::Matcher;
use tollgate_state::gcra::{Bucket, Invalid, MAX_BUCKETS, MAX_TOKENS};

impl Limits<'_> {
    pub(super) fn rule(&mut self, value: Value<'_>, limit: &Rc<str>, key: &[Part]) -> Option<Rule> {
        let section = value.section()?;
        let matcher = Matcher::of_rule(&section);
        if let Some(matcher) = &matcher {
            for part in key {
                if let Part::Template(name) = part
                    && !matcher.has_template_variable(name)
                {
                    section.error(
                            "the limit's key has a template variable that this rule's match.path.template lacks",
                        );
                }
            }
        }
        let cost_value = section.optional("cost");
        let cost = match &cost_value {
            Some(v) => Cost::compile(v),
            None => Some(Cost::default()),
        };
        let set = section
            .required("buckets")
            .and_then(|v| self.set(v, limit, &cost, &cost_value));
        let groups = self.overrides(section.optional("groups"), limit, &cost, &cost_value);
        let consumers = self.overrides(section.optional("consumers"), limit, &cost, &cost_value);
        section.finish();
        Some(Rule {
            matcher: matcher?,
            set: set?,
            groups,
            consumers,
            cost: cost?,
        })
    }

    fn overrides(
        &mut self,
        value: Option<Value<'_>>,
        limit: &Rc<str>,
        cost: &Option<Cost>,
        cost_value: &Option<Value<'_>>,
    ) -> Vec<(Rc<str>, usize)> {
        let Some(section) = value.and_then(Value::section) else {
            return Vec::new();
        };
        let entries = section.entries();
        entries
            .into_iter()
            .filter_map(|(name, v)| Some((Rc::from(name), self.set(v, limit, cost, cost_value)?)))
            .collect()
    }

    /// A list of buckets; its index.
    fn set(
        &mut self,
        value: Value<'_>,
        limit: &Rc<str>,
        cost: &Option<Cost>,
        cost_value: &Option<Value<'_>>,
    ) -> Option<usize> {
        let items = value.clone().list()?;
        if items.is_empty() || items.len() > MAX_BUCKETS {
            value.error(format!("must be a list of 1 to {MAX_BUCKETS} buckets"));
        }
        let buckets: Vec<Bucket> = items.into_iter().filter_map(bucket).collect();
        let cost = cost.as_ref()?;
        if buckets.iter().any(|b| b.max_tokens() < cost.most()) {
            cost_value.as_ref().unwrap_or(&value).error(
                "is more than a bucket of this rule can hold (max_tokens): no request would ever pass",
            );
        }
        self.sets
            .push(BucketSet::new(limit, buckets, cost.tokens, false));
        self.sets.len().checked_sub(1)
    }
}

fn bucket(value: Value<'_>) -> Option<Bucket> {
    let section = value.section()?;
    let max_tokens = section
        .required("max_tokens")
        .and_then(|v| v.integer(1..=MAX_TOKENS));
    let tokens_per_fill = section
        .required("tokens_per_fill")
        .and_then(|v| v.integer(1..=MAX_TOKENS));
    let interval = section.required("fill_interval");
    let fill_interval = interval.as_ref().and_then(Value::duration);
    let path = section.path().to_owned();
    let report = section.report();
    section.finish();
    match Bucket::new(max_tokens?, tokens_per_fill?, fill_interval?.0) {
        Ok(bucket) => Some(bucket),
        Err(Invalid::FillInterval) => {
            if let Some(v) = interval {
                v.error("must be longer than nothing");
            }
            None
        }
        Err(_) => {
            report.error(&path, "would take more than 10 years to become full");
            None
        }
    }
}
