//! One exchange: prepare, judge, answer or forward.

use crate::forward::{Forwarding, joined};
use crate::marks::Marks;
use crate::meters::HolderMeters;
use crate::preflight::{PREFLIGHT, is_preflight};
use crate::reason::Reason;
use crate::refuse::fault;
use crate::remote::Remote;
use crate::remote_keys::RemoteKeys;
use crate::rotation::Rotation;
use crate::rules::{Mode, Rule};
use crate::source::{Found, Presented};
use crate::table::{Key, KeyTable};
use tollgate_core::exchange::state_name;
use tollgate_core::world::{CallId, CallReply};
use tollgate_core::{Exchange, Flow, Policy, UnixNanos, World};

/// A compiled `key_auth` section.
pub struct KeyAuth {
    pub(crate) rules: Vec<Rule>,
    pub(crate) fallback: Rule,
    pub(crate) table: KeyTable,
    pub(crate) remote: Option<RemoteKeys>,
    pub(crate) forwarding: Forwarding,
    /// Of what [`KeyAuth::look_closer`] looks for.
    pub(crate) marks: Marks,
    pub(crate) meters: HolderMeters,
    pub(crate) rotation: Rotation,
    pub(crate) run_on_preflight: bool,
}

/// What key auth remembers of one exchange: which rule, and what was presented. Never a key.
#[derive(Default)]
pub struct Stream {
    /// `None`: the fallback, which requires a key.
    rule: Option<usize>,
    pub(crate) found: Found,
    /// It has a header that only preflights have.
    asks_cors: bool,
    /// Since when the request waits for the key set to be read, and how often it has looked.
    pub(crate) waits: Option<(UnixNanos, u8)>,
}

/// A true key, and its place in the table, if it is there.
#[derive(Clone, Copy)]
pub(crate) struct Known<'k> {
    pub(crate) at: Option<usize>,
    pub(crate) key: &'k Key,
}

impl Policy for KeyAuth {
    type Stream = Stream;

    fn on_start(&self, world: &dyn World) {
        if let Some(keys) = &self.remote {
            keys.remote.start(world);
        }
        self.rotation.look(&self.table, self.remote(), world);
    }

    fn on_tick(&self, world: &dyn World) {
        if let Some(remote) = self.remote() {
            remote.tick(&self.table, world);
        }
        self.rotation.look(&self.table, self.remote(), world);
    }

    fn is_busy(&self) -> bool {
        self.remote().is_some_and(Remote::is_busy)
    }

    fn on_background_reply(&self, world: &dyn World, id: CallId, reply: &dyn CallReply) {
        if let Some(remote) = self.remote() {
            remote.reply(id, reply, &self.table, world);
        }
    }

    fn on_stop(&self, world: &dyn World) {
        if let Some(remote) = self.remote() {
            remote.stop(world);
        }
    }

    fn on_wake(&self, stream: &mut Stream, exchange: &mut Exchange, world: &dyn World) -> Flow {
        self.decide(self.rule(stream), stream, exchange, world)
    }

    #[inline(never)]
    fn prepare(&self, stream: &mut Stream, exchange: &mut Exchange, world: &dyn World) {
        if let Some(remote) = self.remote() {
            remote.serves();
        }
        // Before rules are matched: they could be about a header that only we may set.
        if self.marks.could_be_in(&exchange.request) {
            self.look_closer(stream, exchange);
        }
        stream.rule = self.rules.iter().position(|r| r.matches(exchange, world));
        let rule = self.rule(stream);
        if rule.mode != Mode::Off {
            rule.sources
                .search(&exchange.request, &rule.shape, &mut stream.found);
        }
        if rule.hide_query {
            rule.sources.hide_query(&mut exchange.request);
        }
    }

    fn on_request_headers(
        &self,
        stream: &mut Stream,
        exchange: &mut Exchange,
        world: &dyn World,
    ) -> Flow {
        let rule = self.rule(stream);
        if rule.mode == Mode::Off {
            return pass_anonymous(rule, Reason::Off, exchange, world);
        }
        if stream.asks_cors && is_preflight(exchange) {
            hide(rule, exchange);
            return pass_anonymous(rule, Reason::Preflight, exchange, world);
        }
        self.decide(rule, stream, exchange, world)
    }
}

impl KeyAuth {
    fn rule(&self, stream: &Stream) -> &Rule {
        let matched = stream.rule.and_then(|at| self.rules.get(at));
        matched.unwrap_or(&self.fallback)
    }

    /// A header has the mark of one that a client must not send, or of a preflight's.
    #[inline(never)]
    fn look_closer(&self, stream: &mut Stream, exchange: &mut Exchange) {
        self.forwarding.strip(&mut exchange.request);
        stream.asks_cors = !self.run_on_preflight && exchange.request.contains(PREFLIGHT);
    }

    pub(crate) fn remote(&self) -> Option<&Remote> {
        self.remote.as_ref().map(|keys| &keys.remote)
    }

    fn decide(
        &self,
        rule: &Rule,
        stream: &mut Stream,
        exchange: &mut Exchange,
        world: &dyn World,
    ) -> Flow {
        let Presented::Key(digest) = &stream.found.presented else {
            return self.without_key(rule, stream, exchange, world);
        };
        let found = self.table.find(digest);
        match found.and_then(|at| Some((at, self.table.get(at)?))) {
            Some((at, key)) => {
                let known = Known { at: Some(at), key };
                self.judge(known, rule, stream, exchange, world)
            }
            None => self.not_in_table(rule, stream, exchange, world),
        }
    }

    /// A key of the remote set, or a wrong one.
    #[inline(never)]
    fn not_in_table(
        &self,
        rule: &Rule,
        stream: &mut Stream,
        exchange: &mut Exchange,
        world: &dyn World,
    ) -> Flow {
        let mut reason = Reason::Invalid;
        if let (Some(keys), Presented::Key(digest)) = (&self.remote, &stream.found.presented) {
            match keys.remote.set() {
                Some(set) => {
                    if let Some(found) = set.find(digest) {
                        let key = &keys.key(&found, digest, &self.forwarding);
                        return self.judge(Known { at: None, key }, rule, stream, exchange, world);
                    }
                }
                None if rule.mode != Mode::Observe && self.waits(stream, world) => {
                    return Flow::HoldForWake;
                }
                None => reason = Reason::NotLoaded,
            }
        }
        self.refuse(stream.refusal(reason, None), rule, exchange, world)
    }

    /// The client has proved that it holds the true key. Is it good, and may its holder do this? Where not, the client
    /// may know what is wrong with it.
    fn judge(
        &self,
        known: Known<'_>,
        rule: &Rule,
        stream: &Stream,
        exchange: &mut Exchange,
        world: &dyn World,
    ) -> Flow {
        let Known { at, key } = known;
        if key.is_limited()
            && let Some(reason) = fault(key, world)
        {
            return self.refuse(stream.refusal(reason, Some(known)), rule, exchange, world);
        }
        if let Err(forbidden) = rule.allows(key) {
            let mut refusal = stream.refusal(Reason::Forbidden, Some(known));
            refusal.scope = forbidden.scope;
            return self.refuse(refusal, rule, exchange, world);
        }
        self.meters.count(at, key, Reason::Allowed, world);
        if key.expires_at.is_some() {
            self.rotation.used(at, key, &self.table, world);
        }
        rule.meters.count_allowed(world);
        hide(rule, exchange);
        identify(key, exchange);
        Flow::Continue
    }
}

/// Tells the upstream, the access log and the policies behind this one who it is.
pub(crate) fn identify(key: &Key, exchange: &mut Exchange) {
    for (name, value) in &key.headers {
        exchange.request.set(name, value);
    }
    publish(key, exchange);
    exchange.facts.set_consumer(Some(key.identity.clone()));
}

pub(crate) fn publish(key: &Key, exchange: &mut Exchange) {
    let who = &key.identity;
    let facts = &mut exchange.facts;
    facts.publish(state_name::CONSUMER, who.id.as_bytes());
    if facts.wants(state_name::GROUPS) && !who.groups.is_empty() {
        facts.publish(state_name::GROUPS, &*joined(&who.groups, ","));
    }
    if facts.wants(state_name::KEY_ID)
        && let Some(key_id) = &who.key_id
    {
        facts.publish(state_name::KEY_ID, key_id.as_bytes());
    }
    if facts.wants(state_name::METADATA)
        && let Some(metadata) = &key.metadata
    {
        facts.publish(state_name::METADATA, metadata);
    }
}

#[inline(never)]
pub(crate) fn pass_anonymous(
    rule: &Rule,
    reason: Reason,
    exchange: &mut Exchange,
    world: &dyn World,
) -> Flow {
    rule.meters.count(reason, world);
    exchange.facts.set_consumer(None);
    Flow::Continue
}

pub(crate) fn hide(rule: &Rule, exchange: &mut Exchange) {
    if rule.hide {
        rule.sources.hide(&mut exchange.request);
    }
}
