//! A limit as it was compiled: its key, its rules, their buckets.

use crate::cost::Cost;
use crate::counters::LimitCounters;
use crate::key::{AddressRule, Part};
use std::cell::OnceCell;
use std::rc::Rc;
use tollgate_core::matcher::Matcher;
use tollgate_core::{Consumer, Duration, Exchange, World};
use tollgate_state::fleet::dispenser::{Quota, Subject};
use tollgate_state::fleet::service::FailureMode;
use tollgate_state::gcra::{Bucket, MAX_BUCKETS, Tat};
use tollgate_state::seed::Seed;
use tollgate_state::table::{Key, Place, Table};

/// One entry of `limits`: a group of rules of which the first match applies.
#[derive(Debug)]
pub(crate) struct Limit {
    pub(crate) name: Rc<str>,
    pub(crate) key: Vec<Part>,
    /// No part of the key is the client's choice.
    pub(crate) has_few_keys: bool,
    /// How `client_address` is found.
    pub(crate) address: AddressRule,
    pub(crate) rules: Vec<Rule>,
    /// Counted and marked, not enforced.
    pub(crate) shadow: bool,
    /// A request that lacks a part of the key: not limited, or one bucket shared by all of those.
    pub(crate) skip_without_key: bool,
    /// Asked for each request at the fleet's service, too; what happens when it does not answer.
    pub(crate) global: Option<FailureMode>,
    /// In mode `classic` the key of the descriptor, which the service's configuration names; else empty.
    pub(crate) descriptor: Rc<str>,
    /// The status of a refusal.
    pub(crate) status: u16,
    pub(crate) counters: LimitCounters,
}

/// One rule of a limit.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) matcher: Matcher,
    /// Index into the policy's bucket sets, as are the next ones.
    pub(crate) set: usize,
    pub(crate) groups: Vec<(Rc<str>, usize)>,
    pub(crate) consumers: Vec<(Rc<str>, usize)>,
    pub(crate) cost: Cost,
}

/// Buckets that are charged together, and what is said about them.
#[derive(Debug)]
pub(crate) struct BucketSet {
    pub(crate) buckets: Vec<Bucket>,
    /// What one request costs in each, unless a header says otherwise.
    pub(crate) spans: Vec<Tat>,
    /// The same in tokens.
    pub(crate) cost: u64,
    /// Workers take tokens ahead.
    pub(crate) leased: bool,
    /// Policy names, one for each bucket.
    pub(crate) names: Vec<String>,
    /// What is shown of each bucket.
    pub(crate) faces: Vec<Face>,
    /// The items of `RateLimit-Policy`.
    pub(crate) policy: String,
    /// The smaller share that counts while the fleet's service does not answer.
    pub(crate) fallback: Option<usize>,
    /// Of a limit of the whole fleet in mode `ticket`: what is dispensed.
    pub(crate) ticket: Option<Dispensed>,
    limit: Rc<str>,
    is_fallback: bool,
    /// The key's hash up to where the request's own parts begin.
    start: OnceCell<Key>,
}

/// What headers say about a bucket whatever it holds.
#[derive(Debug)]
pub(crate) struct Face {
    /// An item of `RateLimit` up to what is left, and what separates it from the one before.
    pub(crate) item: String,
    /// `max_tokens`
    pub(crate) quota: String,
}

impl Face {
    fn new((name, bucket): (&String, &Bucket)) -> Self {
        Self {
            item: format!("{SEPARATOR}\"{name}\";r="),
            quota: bucket.max_tokens().to_string(),
        }
    }
}

/// Between the items of a list in a header.
pub(crate) const SEPARATOR: &str = ", ";

/// [`Bucket::span`]s of a request, one for each bucket.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Spans<'a> {
    OfSet(&'a [Tat]),
    OfRequest([Tat; MAX_BUCKETS], usize),
}

impl Spans<'_> {
    pub(crate) fn as_slice(&self) -> &[Tat] {
        match self {
            Self::OfSet(spans) => spans,
            Self::OfRequest(spans, n) => spans.get(..*n).unwrap_or_default(),
        }
    }
}

/// What a set of buckets is for the whole fleet.
#[derive(Debug)]
pub(crate) struct Dispensed {
    pub(crate) subject: Subject,
    pub(crate) quota: Quota,
}

impl BucketSet {
    /// What a request of that cost wants of the fleet.
    pub(crate) fn dispensed(&self, tokens: u64) -> Option<(&Subject, Quota)> {
        let dispensed = self.ticket.as_ref()?;
        let span = self.charge(tokens).as_slice().first().copied();
        let quota = Quota {
            cost: tokens,
            bucket: self.buckets.first().copied().zip(span),
            ..dispensed.quota
        };
        Some((&dispensed.subject, quota))
    }
}

impl Limit {
    /// Whether it can be decided only after key auth.
    pub(crate) fn needs_consumer(&self) -> bool {
        self.key.iter().any(Part::needs_consumer) || self.rules.iter().any(Rule::has_overrides)
    }

    /// The first rule that is about the request.
    pub(crate) fn rule(&self, exchange: &Exchange, world: &dyn World) -> Option<&Rule> {
        let mut rules = self.rules.iter();
        rules.find(|rule| {
            rule.matcher.matches(exchange, world)
                // It lets more pass than the rules behind it do.
                && (!rule.cost.may_be_free() || rule.matches_safely(exchange, world))
        })
    }
}

impl Rule {
    pub(crate) fn has_overrides(&self) -> bool {
        !self.groups.is_empty() || !self.consumers.is_empty()
    }

    #[inline(never)]
    fn matches_safely(&self, exchange: &Exchange, world: &dyn World) -> bool {
        self.matcher.matches_safely(exchange, world)
    }

    /// The consumer's own buckets, else those of the first of its groups (in the consumer's order) that has some.
    #[inline(never)]
    pub(crate) fn set_for(&self, consumer: Option<&Consumer>) -> usize {
        let Some(consumer) = consumer else {
            return self.set;
        };
        let own = self.consumers.iter().find(|(id, _)| *id == consumer.id);
        let by_group = || {
            let mut groups = consumer.groups.iter();
            groups.find_map(|g| self.groups.iter().find(|(name, _)| name == g))
        };
        own.or_else(by_group).map_or(self.set, |(_, set)| *set)
    }
}

impl BucketSet {
    pub(crate) fn new(limit: &Rc<str>, buckets: Vec<Bucket>, cost: u64, is_fallback: bool) -> Self {
        let names = policy_names(limit, &buckets);
        let items = names.iter().zip(&buckets).map(|(name, bucket)| {
            // Over this window the quota is what the bucket gains: the rate, in the draft's terms.
            let window = Duration(bucket.drain()).secs_ceil().max(1);
            format!("\"{name}\";q={};w={window}", bucket.max_tokens())
        });
        Self {
            policy: items.collect::<Vec<_>>().join(SEPARATOR),
            faces: names.iter().zip(&buckets).map(Face::new).collect(),
            spans: buckets.iter().map(|b| b.span(cost)).collect(),
            names,
            cost,
            leased: false,
            buckets,
            fallback: None,
            ticket: None,
            limit: Rc::clone(limit),
            is_fallback,
            start: OnceCell::new(),
        }
    }

    /// Where the buckets of this key are. Limits and figures are part of the key, the rule is not: rules with
    /// the same buckets share them, and changed figures start anew.
    #[inline(never)]
    pub(crate) fn place(&self, table: &Table, seed: impl FnOnce() -> Seed, parts: &[u8]) -> Place {
        let start = self.start.get_or_init(|| self.start(seed()));
        let mut key = start.clone();
        key.part(Some(parts));
        table.place(&key)
    }

    #[cold]
    fn start(&self, seed: Seed) -> Key {
        let mut key = Key::new(seed);
        key.number(u64::from(self.is_fallback));
        key.part(Some(self.limit.as_bytes()));
        key.buckets(&self.buckets);
        key
    }

    /// What a request of that cost is charged.
    pub(crate) fn charge(&self, tokens: u64) -> Spans<'_> {
        if tokens == self.cost {
            return Spans::OfSet(&self.spans);
        }
        let mut spans = [Tat::default(); MAX_BUCKETS];
        for (span, bucket) in spans.iter_mut().zip(&self.buckets) {
            *span = bucket.span(tokens);
        }
        Spans::OfRequest(spans, self.buckets.len().min(MAX_BUCKETS))
    }
}

/// The limit's name, and with several buckets their fill intervals: `api-1m`, `api-1h`.
fn policy_names(limit: &str, buckets: &[Bucket]) -> Vec<String> {
    if buckets.len() < 2 {
        return vec![limit.to_owned()];
    }
    let mut names: Vec<String> = Vec::with_capacity(buckets.len());
    for bucket in buckets {
        let name = format!("{limit}-{}", Duration(bucket.fill_interval()));
        let mut unique = name.clone();
        let mut n = 2_u32;
        while names.contains(&unique) {
            unique = format!("{name}-{n}");
            n = n.saturating_add(1);
        }
        names.push(unique);
    }
    names
}
