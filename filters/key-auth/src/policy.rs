//! One exchange: prepare, judge, answer or forward.

use crate::expiry;
use crate::forward::{Forwarding, joined};
use crate::meters::HolderMeters;
use crate::reason::Reason;
use crate::rules::{Mode, Rule};
use crate::source::{Credential, Found, Presented, Shape};
use crate::table::{Key, KeyTable};
use tollgate_core::exchange::state_name;
use tollgate_core::flow::GrpcStatus;
use tollgate_core::time::Duration;
use tollgate_core::{Exchange, Flow, LocalReply, Policy, UnixNanos, World};

/// A compiled `key_auth` section.
pub struct KeyAuth {
    pub(crate) rules: Vec<Rule>,
    pub(crate) fallback: Rule,
    pub(crate) table: KeyTable,
    pub(crate) forwarding: Forwarding,
    pub(crate) meters: HolderMeters,
    pub(crate) max_key_bytes: usize,
    pub(crate) run_on_preflight: bool,
    pub(crate) warn_expiry: Duration,
}

/// What key auth remembers of one exchange: which rule, and what was presented. Never a key.
#[derive(Default)]
pub struct Stream {
    /// `None`: the fallback, which requires a key.
    rule: Option<usize>,
    found: Found,
}

/// Why a request does not pass, or under `observe` would not have.
pub(crate) struct Refusal {
    pub(crate) reason: Reason,
    /// The true key that was presented, by its place in the table.
    pub(crate) key: Option<usize>,
    /// A credential came by the Bearer scheme.
    pub(crate) by_bearer: bool,
    /// Forbidden, and only for want of a scope.
    pub(crate) scope: bool,
}

impl Policy for KeyAuth {
    type Stream = Stream;

    fn on_start(&self, world: &dyn World) {
        expiry::report(&self.table, self.warn_expiry, &self.meters, world);
    }

    fn prepare(&self, stream: &mut Stream, exchange: &mut Exchange, world: &dyn World) {
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
        match self.judge(stream, rule, world.now()) {
            Ok(Some((at, key))) => {
                self.meters.count(at, key, Reason::Allowed, world);
                rule.meters.count(Reason::Allowed, world);
                hide(rule, exchange);
                self.identify(key, exchange);
                Flow::Continue
            }
            Ok(None) => {
                hide(rule, exchange);
                pass_anonymous(rule, Reason::Anonymous, exchange, world)
            }
            Err(refusal) => self.refuse(&refusal, rule, exchange, world),
        }
    }
}

impl KeyAuth {
    fn rule(&self, stream: &Stream) -> &Rule {
        let matched = stream.rule.and_then(|at| self.rules.get(at));
        matched.unwrap_or(&self.fallback)
    }

    /// The key that opens the door; `None` where none is needed.
    fn judge(
        &self,
        stream: &Stream,
        rule: &Rule,
        now: UnixNanos,
    ) -> Result<Option<(usize, &Key)>, Refusal> {
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
        let found = self.table.find(&digest);
        let Some((at, key)) = found.and_then(|at| Some((at, self.table.get(at)?))) else {
            return Err(refusal(Reason::Invalid, None));
        };
        // From here on the client has proved that it holds the true key, and may know what is wrong with it.
        if key.revoked {
            return Err(refusal(Reason::Revoked, Some(at)));
        }
        if key.expires_at.is_some_and(|expires| now >= expires) {
            return Err(refusal(Reason::Expired, Some(at)));
        }
        if key.not_before.is_some_and(|from| now < from) {
            return Err(refusal(Reason::NotYetValid, Some(at)));
        }
        rule.allows(key).map_err(|forbidden| Refusal {
            scope: forbidden.scope,
            ..refusal(Reason::Forbidden, Some(at))
        })?;
        Ok(Some((at, key)))
    }

    fn refuse(
        &self,
        refusal: &Refusal,
        rule: &Rule,
        exchange: &mut Exchange,
        world: &dyn World,
    ) -> Flow {
        rule.meters.count(refusal.reason, world);
        let key = refusal.key.and_then(|at| self.table.get(at));
        if let (Some(at), Some(key)) = (refusal.key, key) {
            self.meters.count(at, key, refusal.reason, world);
        }
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
        match rule.answers.refuse(refusal, key) {
            Some(reply) => reply.into(),
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
}

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
