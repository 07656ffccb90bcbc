//! One exchange: prepare, judge, answer or forward.

use crate::consumers::{Described, Holder};
use crate::digest::Digest;
use crate::forward::{Forwarding, joined};
use crate::marks::Marks;
use crate::meters::HolderMeters;
use crate::reason::Reason;
use crate::remote::{Found as RemoteKey, Remote};
use crate::rotation::Rotation;
use crate::rules::{Mode, Rule};
use crate::source::{Found, Presented};
use crate::table::{Key, KeyTable};
use hashbrown::HashMap;
use std::rc::Rc;
use tollgate_core::exchange::state_name;
use tollgate_core::flow::GrpcStatus;
use tollgate_core::time::Duration;
use tollgate_core::world::{CallId, CallReply};
use tollgate_core::{Consumer, Exchange, Flow, LocalReply, Policy, UnixNanos, World};

/// How long a request waits for a key set that is there and being read. It takes a few tenths of a second.
const PATIENCE: Duration = Duration::from_secs(2);
/// The same in ticks, should the clock stand still.
const MOST_WAKES: u8 = 200;

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

/// Keys from elsewhere, and what the configuration says about their consumers.
pub(crate) struct RemoteKeys {
    pub(crate) remote: Remote,
    pub(crate) places: HashMap<Rc<str>, usize>,
    pub(crate) holders: Vec<Holder>,
}

/// What key auth remembers of one exchange: which rule, and what was presented. Never a key.
#[derive(Default)]
pub struct Stream {
    /// `None`: the fallback, which requires a key.
    rule: Option<usize>,
    found: Found,
    /// It has a header that only preflights have.
    asks_cors: bool,
    /// Since when the request waits for the key set to be read, and how often it has looked.
    waits: Option<(UnixNanos, u8)>,
}

/// A true key, and its place in the table, if it is there.
#[derive(Clone, Copy)]
pub(crate) struct Known<'k> {
    at: Option<usize>,
    pub(crate) key: &'k Key,
}

/// Why a request does not pass, or under `observe` would not have.
pub(crate) struct Refusal<'k> {
    pub(crate) reason: Reason,
    /// The true key that was presented.
    pub(crate) key: Option<Known<'k>>,
    /// A credential came by the Bearer scheme.
    pub(crate) by_bearer: bool,
    /// Forbidden, and only for want of a scope.
    pub(crate) scope: bool,
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

    fn remote(&self) -> Option<&Remote> {
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

    /// Nothing was presented, or nothing that could be a key.
    #[inline(never)]
    fn without_key(
        &self,
        rule: &Rule,
        stream: &Stream,
        exchange: &mut Exchange,
        world: &dyn World,
    ) -> Flow {
        let reason = match stream.found.presented {
            Presented::Nothing if rule.mode == Mode::Optional => {
                hide(rule, exchange);
                return pass_anonymous(rule, Reason::Anonymous, exchange, world);
            }
            Presented::Nothing => Reason::Missing,
            Presented::Several => Reason::Multiple,
            Presented::WrongPrefix => Reason::WrongPrefix,
            Presented::Empty | Presented::TooLong | Presented::Key(_) => Reason::Invalid,
        };
        self.refuse(stream.refusal(reason, None), rule, exchange, world)
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

    /// The keys are being read right now, as after a new configuration: worth waiting for, but not for long.
    #[inline(never)]
    fn waits(&self, stream: &mut Stream, world: &dyn World) -> bool {
        if !self.remote().is_some_and(Remote::is_coming) {
            return false;
        }
        let now = world.now();
        let (since, looks) = stream.waits.unwrap_or((now, 0));
        stream.waits = Some((since, looks.saturating_add(1)));
        now < since.plus(PATIENCE) && looks < MOST_WAKES
    }

    #[inline(never)]
    fn refuse(
        &self,
        refusal: Refusal<'_>,
        rule: &Rule,
        exchange: &mut Exchange,
        world: &dyn World,
    ) -> Flow {
        rule.meters.count(refusal.reason, world);
        if let Some(Known { at, key }) = refusal.key {
            self.meters.count(at, key, refusal.reason, world);
        }
        let key = refusal.key.map(|known| known.key);
        if rule.mode == Mode::Observe {
            hide(rule, exchange);
            match key.filter(|_| refusal.reason == Reason::Forbidden) {
                Some(key) => identify(key, exchange),
                None => exchange.facts.set_consumer(None),
            }
            return Flow::Continue;
        }
        exchange.facts.set_consumer(None);
        if let Some(key) = key {
            // The access log shows who knocked; nobody behind us reads it, since the request ends here.
            publish(key, exchange);
        }
        // Where the upstream wants to see the key, the log of a refusal still does not.
        rule.sources.hide_query(&mut exchange.request);
        let retry_after = match self.remote() {
            Some(remote) if refusal.reason == Reason::NotLoaded => Some(remote.retry_after(world)),
            _ => None,
        };
        match rule.answers.refuse(&refusal, key) {
            Some(reply) => match retry_after {
                Some(seconds) => reply.header("retry-after", seconds.to_string()).into(),
                None => reply.into(),
            },
            // No reason that comes here lets anybody pass; should one ever have no answer, it is still a refusal.
            None => {
                LocalReply::empty(401, "tollgate_key_invalid", GrpcStatus::UNAUTHENTICATED).into()
            }
        }
    }
}

impl Stream {
    fn refusal<'k>(&self, reason: Reason, key: Option<Known<'k>>) -> Refusal<'k> {
        Refusal {
            reason,
            key,
            by_bearer: self.found.by_bearer,
            scope: false,
        }
    }
}

/// What is wrong with a true key.
#[inline(never)]
fn fault(key: &Key, world: &dyn World) -> Option<Reason> {
    let now = world.now();
    if key.revoked {
        Some(Reason::Revoked)
    } else if key.expires_at.is_some_and(|expires| now >= expires) {
        Some(Reason::Expired)
    } else if key.not_before.is_some_and(|from| now < from) {
        Some(Reason::NotYetValid)
    } else {
        None
    }
}

impl RemoteKeys {
    /// The key as if it had been written in the configuration. A line that says nothing about a consumer that the
    /// configuration knows leaves what that says.
    #[inline(never)]
    fn key(&self, found: &RemoteKey<'_>, digest: &Digest, forwarding: &Forwarding) -> Key {
        let place = self.places.get(found.consumer).copied();
        let own = place.and_then(|at| self.holders.get(at));
        let profile = found.profile;
        let (groups, scopes, metadata) = match own.filter(|_| profile.is_empty()) {
            Some(own) => (&own.groups, &own.scopes, &own.metadata),
            None => (&profile.groups, &profile.scopes, &profile.metadata),
        };
        let described = Described {
            id: found.consumer,
            groups,
            key_id: found.key_id,
            scopes,
            metadata,
        };
        Key {
            digest: *digest,
            consumer: place,
            headers: forwarding.headers(&described),
            metadata: forwarding.state(&described),
            identity: Rc::new(Consumer {
                id: own.map_or_else(|| Rc::from(found.consumer), |own| own.id.clone()),
                groups: groups.clone(),
                key_id: Some(Rc::from(found.key_id)),
            }),
            scopes: scopes.clone(),
            not_before: found.not_before,
            expires_at: found.expires_at,
            revoked: found.revoked,
        }
    }
}

/// Tells the upstream, the access log and the policies behind this one who it is.
fn identify(key: &Key, exchange: &mut Exchange) {
    for (name, value) in &key.headers {
        exchange.request.set(name, value);
    }
    publish(key, exchange);
    exchange.facts.set_consumer(Some(key.identity.clone()));
}

fn publish(key: &Key, exchange: &mut Exchange) {
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
fn pass_anonymous(rule: &Rule, reason: Reason, exchange: &mut Exchange, world: &dyn World) -> Flow {
    rule.meters.count(reason, world);
    exchange.facts.set_consumer(None);
    Flow::Continue
}

fn hide(rule: &Rule, exchange: &mut Exchange) {
    if rule.hide {
        rule.sources.hide(&mut exchange.request);
    }
}

/// The header that makes a request a preflight.
pub(crate) const PREFLIGHT: &str = "access-control-request-method";

/// A CORS preflight (<https://fetch.spec.whatwg.org/#cors-preflight-request>): browsers send it without
/// credentials and without a body. One that asks to be taken for another method is none.
#[inline(never)]
fn is_preflight(exchange: &Exchange) -> bool {
    const OVERRIDES: [&str; 3] = [
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
    ];
    let request = &exchange.request;
    exchange.method() == b"OPTIONS"
        && exchange.bodyless
        && request.contains("origin")
        && request.contains(PREFLIGHT)
        && !OVERRIDES.iter().any(|name| request.contains(name))
}
