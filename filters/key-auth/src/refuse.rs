//! Who does not pass, and why.

use crate::policy::{KeyAuth, Known, Stream, hide, identify, pass_anonymous, publish};
use crate::reason::Reason;
use crate::remote::Remote;
use crate::rules::{Mode, Rule};
use crate::source::Presented;
use crate::table::Key;
use tollgate_core::flow::GrpcStatus;
use tollgate_core::time::Duration;
use tollgate_core::{Exchange, Flow, LocalReply, World};

/// How long a request waits for a key set that is there and being read. It takes a few tenths of a second.
const PATIENCE: Duration = Duration::from_secs(2);
/// The same in ticks, should the clock stand still.
const MOST_WAKES: u8 = 200;

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

impl KeyAuth {
    /// Nothing was presented, or nothing that could be a key.
    #[inline(never)]
    pub(crate) fn without_key(
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

    /// The keys are being read right now, as after a new configuration: worth waiting for, but not for long.
    #[inline(never)]
    pub(crate) fn waits(&self, stream: &mut Stream, world: &dyn World) -> bool {
        if !self.remote().is_some_and(Remote::is_coming) {
            return false;
        }
        let now = world.now();
        let (since, looks) = stream.waits.unwrap_or((now, 0));
        stream.waits = Some((since, looks.saturating_add(1)));
        now < since.plus(PATIENCE) && looks < MOST_WAKES
    }

    #[inline(never)]
    pub(crate) fn refuse(
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
    pub(crate) fn refusal<'k>(&self, reason: Reason, key: Option<Known<'k>>) -> Refusal<'k> {
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
pub(crate) fn fault(key: &Key, world: &dyn World) -> Option<Reason> {
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
