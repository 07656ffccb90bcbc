//! One exchange: prepare, judge, answer or forward.

use crate::consumers::{Described, Holder};
use crate::digest::Digest;
use crate::forward::{Forwarding, joined};
use crate::meters::HolderMeters;
use crate::reason::Reason;
use crate::remote::{Found as RemoteKey, Remote};
use crate::rotation::Rotation;
use crate::rules::{Mode, Rule};
use crate::source::{Credential, Found, Presented, Shape};
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
    pub(crate) meters: HolderMeters,
    pub(crate) rotation: Rotation,
    pub(crate) max_key_bytes: usize,
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
    /// Since when the request waits for the key set to be read, and how often it has looked.
    waits: Option<(UnixNanos, u8)>,
}

/// A true key, and its place in the table, if it is there.
#[derive(Clone)]
pub(crate) struct Known {
    at: Option<usize>,
    pub(crate) key: Rc<Key>,
}

/// Why a request does not pass, or under `observe` would not have.
pub(crate) struct Refusal {
    pub(crate) reason: Reason,
    /// The true key that was presented.
    pub(crate) key: Option<Known>,
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
        self.decide(stream, exchange, world)
    }

    fn prepare(&self, stream: &mut Stream, exchange: &mut Exchange, world: &dyn World) {
        if let Some(remote) = self.remote() {
            remote.serves();
        }
        // Before rules are matched: they could be about a header that only we may set.
        self.forwarding.strip(&mut exchange.request);
        stream.rule = self.rules.iter().position(|r| r.matches(exchange, world));
        let rule = self.rule(stream);
        if rule.mode != Mode::Off {
            let shape = Shape {
                max_bytes: self.max_key_bytes,
                prefix: rule.prefix.as_deref(),
            };
            stream.found = rule.sources.search(&exchange.request, &shape);
        }
        if rule.hide {
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
        if !self.run_on_preflight && is_preflight(exchange) {
            hide(rule, exchange);
            return pass_anonymous(rule, Reason::Preflight, exchange, world);
        }
        self.decide(stream, exchange, world)
    }
}

impl KeyAuth {
    fn rule(&self, stream: &Stream) -> &Rule {
        let matched = stream.rule.and_then(|at| self.rules.get(at));
        matched.unwrap_or(&self.fallback)
    }

    fn remote(&self) -> Option<&Remote> {
        self.remote.as_ref().map(|keys| &keys.remote)
    }

    fn decide(&self, stream: &mut Stream, exchange: &mut Exchange, world: &dyn World) -> Flow {
        let rule = self.rule(stream);
        match self.judge(stream, rule, world.now()) {
            Ok(Some(Known { at, key })) => {
                self.meters.count(at, &key, Reason::Allowed, world);
                self.rotation.used(at, &key, &self.table, world);
                rule.meters.count(Reason::Allowed, world);
                hide(rule, exchange);
                self.identify(&key, exchange);
                Flow::Continue
            }
            Ok(None) => {
                hide(rule, exchange);
                pass_anonymous(rule, Reason::Anonymous, exchange, world)
            }
            Err(refusal)
                if refusal.reason == Reason::NotLoaded
                    && rule.mode != Mode::Observe
                    && self.waits(stream, world) =>
            {
                Flow::HoldForWake
            }
            Err(refusal) => self.refuse(&refusal, rule, exchange, world),
        }
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

    /// The key with this digest.
    fn find(&self, digest: &Digest) -> Result<Option<Known>, Reason> {
        if let Some(at) = self.table.find(digest) {
            return Ok(self.table.get(at).map(|key| Known {
                at: Some(at),
                key: key.clone(),
            }));
        }
        let Some(keys) = &self.remote else {
            return Ok(None);
        };
        let Some(set) = keys.remote.set() else {
            return Err(Reason::NotLoaded);
        };
        let found = set.find(digest);
        Ok(found.map(|found| Known {
            at: None,
            key: Rc::new(keys.key(&found, digest, &self.forwarding)),
        }))
    }

    /// The key that opens the door; `None` where none is needed.
    fn judge(
        &self,
        stream: &Stream,
        rule: &Rule,
        now: UnixNanos,
    ) -> Result<Option<Known>, Refusal> {
        let by_bearer = stream.found.by_bearer;
        let refusal = |reason, key| Refusal {
            reason,
            key,
            by_bearer,
            scope: false,
        };
        let digest = match stream.found.presented {
            Presented::Nothing if rule.mode == Mode::Optional => return Ok(None),
            Presented::Nothing => return Err(refusal(Reason::Missing, None)),
            Presented::Several => return Err(refusal(Reason::Multiple, None)),
            Presented::One(Credential::WrongPrefix) => {
                return Err(refusal(Reason::WrongPrefix, None));
            }
            Presented::One(Credential::Empty | Credential::TooLong) => {
                return Err(refusal(Reason::Invalid, None));
            }
            Presented::One(Credential::Key(digest)) => digest,
        };
        let Some(known) = self.find(&digest).map_err(|reason| refusal(reason, None))? else {
            return Err(refusal(Reason::Invalid, None));
        };
        // From here on the client has proved that it holds the true key, and may know what is wrong with it.
        let key = &known.key;
        let fault = if key.revoked {
            Some(Reason::Revoked)
        } else if key.expires_at.is_some_and(|expires| now >= expires) {
            Some(Reason::Expired)
        } else if key.not_before.is_some_and(|from| now < from) {
            Some(Reason::NotYetValid)
        } else {
            None
        };
        if let Some(reason) = fault {
            return Err(refusal(reason, Some(known)));
        }
        match rule.allows(key) {
            Ok(()) => Ok(Some(known)),
            Err(forbidden) => Err(Refusal {
                scope: forbidden.scope,
                ..refusal(Reason::Forbidden, Some(known))
            }),
        }
    }

    #[inline(never)]
    fn refuse(
        &self,
        refusal: &Refusal,
        rule: &Rule,
        exchange: &mut Exchange,
        world: &dyn World,
    ) -> Flow {
        rule.meters.count(refusal.reason, world);
        if let Some(known) = &refusal.key {
            self.meters
                .count(known.at, &known.key, refusal.reason, world);
        }
        let key = refusal.key.as_ref().map(|known| &*known.key);
        if rule.mode == Mode::Observe {
            hide(rule, exchange);
            match key.filter(|_| refusal.reason == Reason::Forbidden) {
                Some(key) => self.identify(key, exchange),
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
        match rule.answers.refuse(refusal, key) {
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

    fn identify(&self, key: &Key, exchange: &mut Exchange) {
        for (name, value) in &key.headers {
            exchange.request.set(name, value);
        }
        publish(key, exchange);
        exchange.facts.set_consumer(Some(key.identity.clone()));
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
            identity: Consumer {
                id: own.map_or_else(|| Rc::from(found.consumer), |own| own.id.clone()),
                groups: groups.clone(),
                key_id: Some(Rc::from(found.key_id)),
            },
            scopes: scopes.clone(),
            not_before: found.not_before,
            expires_at: found.expires_at,
            revoked: found.revoked,
        }
    }
}

fn publish(key: &Key, exchange: &mut Exchange) {
    let who = &key.identity;
    let facts = &mut exchange.facts;
    facts.publish(state_name::CONSUMER, who.id.as_bytes());
    if !who.groups.is_empty() && facts.wants(state_name::GROUPS) {
        facts.publish(state_name::GROUPS, &*joined(&who.groups, ","));
    }
    if let Some(key_id) = &who.key_id {
        facts.publish(state_name::KEY_ID, key_id.as_bytes());
    }
    if let Some(metadata) = &key.metadata {
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

/// A CORS preflight (<https://fetch.spec.whatwg.org/#cors-preflight-request>): browsers send it without
/// credentials and without a body. One that asks to be taken for another method is none.
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
        && request.contains("access-control-request-method")
        && !OVERRIDES.iter().any(|name| request.contains(name))
}
