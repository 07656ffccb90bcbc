//! What policies found out about an exchange: its consumer, and values for filter state.

use crate::headers::MOST_SPARE_BYTES;
use crate::world::{Attribute, World};
use std::ops::Range;
use std::rc::Rc;

/// Who sent the request, once a credential has been accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Consumer {
    /// Identifier from the configuration; safe in headers, logs and metric labels.
    pub id: Rc<str>,
    /// Groups, in the order of the configuration.
    pub groups: Rc<[Rc<str>]>,
    /// Which of the consumer's keys was used.
    pub key_id: Option<Rc<str>>,
}

impl Consumer {
    /// Whether the consumer is in the group.
    #[must_use]
    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|g| &**g == group)
    }
}

/// The name of a value in filter state: one of [`state_name`]. A set of them is a number, so that asking whether a
/// value is wanted costs an instruction where nobody wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateName {
    text: &'static str,
    bit: u16,
}

impl StateName {
    const fn new(place: u16, text: &'static str) -> Self {
        let bit = 1 << place;
        Self { text, bit }
    }

    /// As Envoy knows it, without its own `wasm.`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.text
    }
}

/// Filter state names. Envoy shows them as `%FILTER_STATE(wasm.NAME:PLAIN)%`.
pub mod state_name {
    use super::StateName;

    /// The consumer's id.
    pub const CONSUMER: StateName = StateName::new(0, "tollgate.consumer");
    /// The consumer's groups, joined by `,`: read by Tollgate filters loaded after key auth.
    pub const GROUPS: StateName = StateName::new(1, "tollgate.groups");
    /// The id of the key that was used.
    pub const KEY_ID: StateName = StateName::new(2, "tollgate.key_id");
    /// The consumer's metadata that key auth forwards, as a JSON object of texts.
    pub const METADATA: StateName = StateName::new(3, "tollgate.metadata");
    /// The canary variant, `flag:variant`, several joined by `,`.
    pub const VARIANT: StateName = StateName::new(4, "tollgate.variant");
    /// Why the canary chose it.
    pub const VARIANT_REASON: StateName = StateName::new(5, "tollgate.variant_reason");
    /// The cost in the currency of the price table, plain decimal.
    pub const COST: StateName = StateName::new(6, "tollgate.cost");
    /// The price rule that applied.
    pub const PRICE: StateName = StateName::new(7, "tollgate.price");
    /// Tokens as `input,output`.
    pub const TOKENS: StateName = StateName::new(8, "tollgate.tokens");
    /// The model that answered, as the answer names it, else as the request does.
    pub const MODEL: StateName = StateName::new(9, "tollgate.model");
    /// What is left of the budget closest to its end, plain decimal.
    pub const BUDGET_REMAINING: StateName = StateName::new(10, "tollgate.budget_remaining");
    /// The webhook verdict: `verified`, `unverified` or a reason of refusal.
    pub const WEBHOOK: StateName = StateName::new(11, "tollgate.webhook");
    /// The id of the webhook secret that matched.
    pub const WEBHOOK_SECRET: StateName = StateName::new(12, "tollgate.webhook_secret");
    /// The limit that refused.
    pub const LIMIT: StateName = StateName::new(13, "tollgate.limit");
    /// The limits in shadow mode that would have refused, joined by `,`.
    pub const SHADOW_LIMIT: StateName = StateName::new(14, "tollgate.shadow_limit");
    /// The budget that refused, or of which little is left.
    pub const BUDGET: StateName = StateName::new(15, "tollgate.budget");
    /// All of them.
    pub const ALL: [StateName; 16] = [
        CONSUMER,
        GROUPS,
        KEY_ID,
        METADATA,
        VARIANT,
        VARIANT_REASON,
        COST,
        PRICE,
        TOKENS,
        MODEL,
        BUDGET_REMAINING,
        WEBHOOK,
        WEBHOOK_SECRET,
        LIMIT,
        SHADOW_LIMIT,
        BUDGET,
    ];
}

/// Some of the [`state_name`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateNames(u16);

impl StateNames {
    /// Every name.
    pub const ALL: Self = Self(u16::MAX);
    const NONE: Self = Self(0);

    /// Whether the name is one of them.
    #[must_use]
    pub const fn contains(self, name: StateName) -> bool {
        self.0 & name.bit != 0
    }

    fn insert(&mut self, name: StateName) {
        self.0 |= name.bit;
    }
}

impl FromIterator<StateName> for StateNames {
    fn from_iter<I: IntoIterator<Item = StateName>>(names: I) -> Self {
        let mut all = Self::NONE;
        names.into_iter().for_each(|name| all.insert(name));
        all
    }
}

/// What policies found out, for those behind them, the access log and tracing.
#[derive(Debug)]
pub struct Facts {
    consumer: Option<Rc<Consumer>>,
    consumer_known: bool,
    wanted: StateNames,
    published: Published,
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            consumer: None,
            consumer_known: false,
            wanted: StateNames::ALL,
            published: Published::default(),
        }
    }
}

/// Values that the proxy has not been told yet: their names, and where each lies among the bytes.
#[derive(Debug)]
struct Published {
    names: StateNames,
    places: Vec<(StateName, Range<usize>)>,
    bytes: Vec<u8>,
}

impl Default for Published {
    fn default() -> Self {
        Self {
            names: StateNames::NONE,
            places: Vec::new(),
            bytes: Vec::new(),
        }
    }
}

impl Published {
    #[inline(never)]
    fn add(&mut self, name: StateName, value: &[u8]) {
        if self.names.contains(name) {
            self.take_back(name);
        }
        self.names.insert(name);
        let start = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.places.push((name, start..self.bytes.len()));
    }

    /// The last value of a name is the one that counts.
    #[cold]
    fn take_back(&mut self, name: StateName) {
        self.places.retain(|(other, _)| *other != name);
    }

    fn clear(&mut self) {
        self.names = StateNames::NONE;
        self.places.clear();
        self.bytes.clear();
    }
}

impl Facts {
    /// Whether a value of that name would be published at all.
    #[must_use]
    pub const fn wants(&self, name: StateName) -> bool {
        self.wanted.contains(name)
    }

    /// Called by key auth with its verdict: `None` is "anonymous", which also ends the search.
    pub fn set_consumer(&mut self, consumer: Option<Rc<Consumer>>) {
        self.consumer = consumer;
        self.consumer_known = true;
    }

    /// The consumer, once [`crate::Exchange::consumer`] was asked for it.
    #[must_use]
    pub fn consumer(&self) -> Option<&Consumer> {
        self.consumer.as_deref()
    }

    /// See [`crate::Exchange::consumer`].
    pub(crate) fn find_consumer(&mut self, world: &dyn World) -> Option<&Consumer> {
        if !self.consumer_known {
            self.consumer_known = true;
            self.consumer = consumer_from_filter_state(world).map(Rc::new);
        }
        self.consumer.as_deref()
    }

    /// Leaves a value in filter state, for the access log, tracing and filters loaded separately.
    /// What the configuration does not want is dropped at once.
    #[inline]
    pub fn publish(&mut self, name: StateName, value: impl AsRef<[u8]>) {
        if self.wants(name) {
            self.published.add(name, value.as_ref());
        }
    }

    /// Whether something was published since the last [`Facts::drain_published`].
    #[must_use]
    pub const fn is_pending(&self) -> bool {
        !self.published.places.is_empty()
    }

    /// Shows what was published since the last call, for the proxy.
    pub fn drain_published(&mut self, mut show: impl FnMut(&'static str, &[u8])) {
        let Published { places, bytes, .. } = &self.published;
        for (name, range) in places {
            show(name.text, bytes.get(range.clone()).unwrap_or_default());
        }
        self.published.clear();
    }

    /// Limits what is published to these names; each costs a hostcall and Envoy an object.
    pub fn want(&mut self, names: StateNames) {
        self.wanted = names;
    }

    /// What was published since the last call, as values of their own.
    pub fn take_published(&mut self) -> Vec<(&'static str, Vec<u8>)> {
        let mut all = Vec::new();
        self.drain_published(|name, value| all.push((name, value.to_vec())));
        all
    }

    /// Forgets everything, but not the room for what is published, unless that is large.
    pub(crate) fn clear(&mut self) {
        let Self {
            consumer,
            consumer_known,
            wanted,
            published,
        } = self;
        *consumer = None;
        *consumer_known = false;
        *wanted = StateNames::ALL;
        published.clear();
        if published.bytes.capacity() > MOST_SPARE_BYTES {
            published.bytes = Vec::new();
        }
    }
}

#[cold]
fn consumer_from_filter_state(world: &dyn World) -> Option<Consumer> {
    let text = |name: StateName| {
        let bytes = world.attribute(Attribute::FilterState(name.as_str()))?;
        String::from_utf8(bytes).ok().filter(|t| !t.is_empty())
    };
    let id = text(state_name::CONSUMER)?;
    let groups = text(state_name::GROUPS).unwrap_or_default();
    Some(Consumer {
        id: Rc::from(id),
        groups: groups
            .split(',')
            .filter(|g| !g.is_empty())
            .map(Rc::from)
            .collect(),
        key_id: text(state_name::KEY_ID).map(Rc::from),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_a_bit_of_its_own() {
        for name in state_name::ALL {
            let only: StateNames = [name].into_iter().collect();
            for other in state_name::ALL {
                assert_eq!(only.contains(other), name == other, "{name:?} {other:?}");
            }
        }
        let all: StateNames = state_name::ALL.into_iter().collect();
        assert_eq!(all, StateNames::ALL);
    }

    #[test]
    fn the_last_value_of_a_name_is_shown_and_only_once() {
        let mut facts = Facts::default();
        facts.publish(state_name::WEBHOOK, "unverified");
        facts.publish(state_name::COST, "1");
        facts.publish(state_name::WEBHOOK, "verified");
        assert_eq!(
            facts.take_published(),
            [
                ("tollgate.cost", b"1".to_vec()),
                ("tollgate.webhook", b"verified".to_vec())
            ]
        );
        assert_eq!(facts.take_published(), []);
        facts.publish(state_name::COST, "2");
        assert_eq!(facts.take_published(), [("tollgate.cost", b"2".to_vec())]);
    }

    #[test]
    fn what_is_not_wanted_is_dropped() {
        let mut facts = Facts::default();
        facts.want([state_name::COST].into_iter().collect());
        facts.publish(state_name::CONSUMER, "web-app");
        facts.publish(state_name::COST, "1");
        assert_eq!(facts.take_published(), [("tollgate.cost", b"1".to_vec())]);
    }
}
