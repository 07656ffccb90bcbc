//! One HTTP exchange: the request and its answer, as policies see and change them.

use crate::headers::{Headers, MOST_SPARE_BYTES};
use crate::world::{Attribute, World};
use std::any::Any;
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

/// What policies found out, for those behind them, the access log and tracing.
#[derive(Debug, Default)]
pub struct Facts {
    consumer: Option<Consumer>,
    consumer_known: bool,
    wanted: Option<Rc<[&'static str]>>,
    pending: Vec<(&'static str, Range<usize>)>,
    values: Vec<u8>,
}

/// Filter state names. Envoy shows them as `%FILTER_STATE(wasm.NAME:PLAIN)%`.
pub mod state_name {
    /// The consumer's id.
    pub const CONSUMER: &str = "tollgate.consumer";
    /// The consumer's groups, joined by `,`: read by Tollgate filters loaded after key auth.
    pub const GROUPS: &str = "tollgate.groups";
    /// The id of the key that was used.
    pub const KEY_ID: &str = "tollgate.key_id";
    /// The consumer's metadata that key auth forwards, as a JSON object of texts.
    pub const METADATA: &str = "tollgate.metadata";
    /// The canary variant, `flag:variant`, several joined by `,`.
    pub const VARIANT: &str = "tollgate.variant";
    /// Why the canary chose it.
    pub const VARIANT_REASON: &str = "tollgate.variant_reason";
    /// The cost in the currency of the price table, plain decimal.
    pub const COST: &str = "tollgate.cost";
    /// The price rule that applied.
    pub const PRICE: &str = "tollgate.price";
    /// Tokens as `input,output`.
    pub const TOKENS: &str = "tollgate.tokens";
    /// The model that answered, as the answer names it, else as the request does.
    pub const MODEL: &str = "tollgate.model";
    /// What is left of the budget closest to its end, plain decimal.
    pub const BUDGET_REMAINING: &str = "tollgate.budget_remaining";
    /// The webhook verdict: `verified`, `unverified` or a reason of refusal.
    pub const WEBHOOK: &str = "tollgate.webhook";
    /// The id of the webhook secret that matched.
    pub const WEBHOOK_SECRET: &str = "tollgate.webhook_secret";
    /// The limit that refused.
    pub const LIMIT: &str = "tollgate.limit";
    /// The limits in shadow mode that would have refused, joined by `,`.
    pub const SHADOW_LIMIT: &str = "tollgate.shadow_limit";
    /// The budget that refused, or of which little is left.
    pub const BUDGET: &str = "tollgate.budget";
    /// All of them.
    pub const ALL: [&str; 16] = [
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

impl Facts {
    /// Whether a value of that name would be published at all.
    #[must_use]
    pub fn wants(&self, name: &str) -> bool {
        self.wanted.as_ref().is_none_or(|w| w.contains(&name))
    }

    /// The consumer, once [`Exchange::consumer`] was asked for it.
    #[must_use]
    pub fn consumer(&self) -> Option<&Consumer> {
        self.consumer.as_ref()
    }

    /// Called by key auth with its verdict: `None` is "anonymous", which also ends the search.
    pub fn set_consumer(&mut self, consumer: Option<Consumer>) {
        self.consumer = consumer;
        self.consumer_known = true;
    }

    /// Leaves a value in filter state, for the access log, tracing and filters loaded separately.
    /// `name` is one of [`state_name`]; what the configuration does not want is dropped at once.
    #[inline]
    pub fn publish(&mut self, name: &'static str, value: impl AsRef<[u8]>) {
        self.publish_bytes(name, value.as_ref());
    }

    #[inline(never)]
    fn publish_bytes(&mut self, name: &'static str, value: &[u8]) {
        if !self.wants(name) {
            return;
        }
        if self.pending.is_empty() {
            self.pending.reserve(4);
            self.values.reserve(128);
        }
        self.pending.retain(|(n, _)| *n != name);
        let start = self.values.len();
        self.values.extend_from_slice(value);
        self.pending.push((name, start..self.values.len()));
    }

    /// Whether something was published since the last [`Facts::drain_published`].
    #[must_use]
    pub fn is_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Shows what was published since the last call, for the proxy.
    pub fn drain_published(&mut self, mut show: impl FnMut(&'static str, &[u8])) {
        for (name, range) in &self.pending {
            show(name, self.values.get(range.clone()).unwrap_or_default());
        }
        self.pending.clear();
        self.values.clear();
    }

    /// Limits what is published to these names; each costs a hostcall and Envoy an object.
    pub fn want(&mut self, names: Option<Rc<[&'static str]>>) {
        self.wanted = names;
    }

    /// Forgets everything but the room for it.
    fn clear(&mut self) {
        let Self {
            consumer,
            consumer_known,
            wanted,
            pending,
            values,
        } = self;
        *consumer = None;
        *consumer_known = false;
        *wanted = None;
        pending.clear();
        values.clear();
        if values.capacity() > MOST_SPARE_BYTES {
            *values = Vec::new();
        }
    }

    /// What was published since the last call, as values of their own.
    pub fn take_published(&mut self) -> Vec<(&'static str, Vec<u8>)> {
        let mut all = Vec::new();
        self.drain_published(|name, value| all.push((name, value.to_vec())));
        all
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Exchange {
    /// Request headers and pseudo headers; changes reach the upstream.
    pub request: Headers,
    /// Response headers: filled only where a policy said that it reads them
    /// (`Policy::reads_response`); changes reach the client all the same.
    pub response: Headers,
    /// Response trailers: filled before the last call of `Policy::on_response_body`, if the answer has some
    /// and is observed or held; changes made in that call reach the client (over HTTP/1 only where the proxy
    /// is told to send trailers).
    pub response_trailers: Headers,
    /// Replaces the whole request body. For a policy that has held the request to the body's end; it also
    /// puts `content-length` right.
    pub new_body: Option<Vec<u8>>,
    /// The answer's status; filled where a policy said that it reads it (`Policy::reads_response`).
    pub status: Option<u16>,
    /// What policies found out.
    pub facts: Facts,
    /// The request has neither body nor trailers.
    pub bodyless: bool,
    /// Set once a policy of this chain has answered the request itself: the reply's details.
    pub replied: Option<String>,
    /// What the limits of this exchange remember: they decide in two stages of a chain, before and after key auth,
    /// and each stage has a stream of its own. Theirs alone; nobody else looks inside.
    pub limits: Option<Box<dyn Any>>,
    /// Whether an answer can be held, headers included. `false` once a proxy turned out to lack
    /// `allow_on_headers_stop_iteration`; a policy must then not ask for `ResponseFlow::Hold`.
    pub can_hold_response: bool,
    /// Set by a policy together with `Flow::HoldForBody`: the headers go to the upstream at once, and only the body is
    /// held. For proxies that cannot hold headers; request headers cannot be changed any more, so only a policy that is
    /// alone in its chain may do this.
    pub headers_released: bool,
    /// Set by the chain when a policy that starts late must see the body from its first byte.
    pub(crate) replay_body: bool,
}

impl Exchange {
    /// An exchange at the moment its request headers arrived.
    #[must_use]
    pub fn new(request: Headers, bodyless: bool) -> Self {
        Self {
            request,
            bodyless,
            can_hold_response: true,
            ..Self::default()
        }
    }

    /// Becomes as good as new, but keeps the room for headers and what is published: allocating it anew would be a tenth
    /// of what an exchange costs inside the VM. All fields by name, so that none is forgotten.
    pub fn clear(&mut self) {
        let Self {
            request,
            response,
            response_trailers,
            new_body,
            status,
            facts,
            bodyless,
            replied,
            limits,
            can_hold_response,
            headers_released,
            replay_body,
        } = self;
        request.clear();
        response.clear();
        response_trailers.clear();
        facts.clear();
        *new_body = None;
        *status = None;
        *replied = None;
        *limits = None;
        for flag in [bodyless, can_hold_response, headers_released, replay_body] {
            *flag = false;
        }
    }

    /// Limits what is published to these names; each costs a hostcall and Envoy an object.
    #[must_use]
    pub fn publishing(mut self, names: Option<Rc<[&'static str]>>) -> Self {
        self.facts.want(names);
        self
    }

    /// `:method`; empty if there is none.
    #[must_use]
    pub fn method(&self) -> &[u8] {
        self.request.first(":method").unwrap_or_default()
    }

    /// `:authority` as the client sent it, port included; empty if there is none.
    #[must_use]
    pub fn authority(&self) -> &[u8] {
        self.request.first(":authority").unwrap_or_default()
    }

    /// `:path` up to the query.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        split_path(self.request.first(":path").unwrap_or_default()).0
    }

    /// The query, without its `?`.
    #[must_use]
    pub fn query(&self) -> Option<&[u8]> {
        split_path(self.request.first(":path").unwrap_or_default()).1
    }

    /// Whether the request is gRPC (its answer will then be, too).
    #[must_use]
    pub fn is_grpc(&self) -> bool {
        self.request
            .first("content-type")
            .is_some_and(|v| v.starts_with(b"application/grpc"))
    }

    /// The consumer: from key auth in this chain, else from a key-auth filter loaded before this
    /// one, by filter state, which a client cannot forge.
    pub fn consumer(&mut self, world: &dyn World) -> Option<&Consumer> {
        if !self.facts.consumer_known {
            self.facts.consumer_known = true;
            self.facts.consumer = consumer_from_filter_state(world);
        }
        self.facts.consumer.as_ref()
    }
}

#[cold]
fn consumer_from_filter_state(world: &dyn World) -> Option<Consumer> {
    let text = |name| {
        let bytes = world.attribute(Attribute::FilterState(name))?;
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

fn split_path(path: &[u8]) -> (&[u8], Option<&[u8]>) {
    // A fragment never comes over the wire; Envoy refuses or strips it (RFC 9112, 3.2).
    let mut halves = path.splitn(2, |b| *b == b'?');
    (halves.next().unwrap_or_default(), halves.next())
}
