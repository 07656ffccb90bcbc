//! Webhook signature verification: nothing reaches the upstream before the sender's signature over the
//! headers and the exact bytes of the body has been verified.
//!
//! | module | its one job |
//! |---|---|
//! | `rule` | configuration of a rule |
//! | `scheme`, `contradictions`, `presets` | a scheme as data; well-known ones in `presets.json` |
//! | `carrier`, `read` | signatures out of headers: series, lists, keys, prefixes |
//! | `template`, `timestamp`, `place`, `encoding`, `secret` | the parts of a scheme and of a rule |
//! | `mac`, `ed25519`, `ecdsa` | algorithms, fed piece by piece, compared in constant time |
//! | `body`, `pointer`, `form` | what is taken out of a body while it passes |
//! | `url` | the URL that senders sign |
//! | `handshake` | requests that come without a signature |
//! | `replay`, `claim` | deliveries that come again; what an exchange remembers of one |
//! | `check`, `lane` | the verification of one request |
//! | `fault`, `meters` | why one fails and what its sender is told; what is counted |
//! | [`sign`] | the other side: headers for a request, for tests and the command line |
//!
//! The engine knows no vendor: what differs between them is data.
#![forbid(unsafe_code)]

#[cfg(all(test, target_arch = "wasm32", target_os = "unknown"))]
#[macro_use(test)]
extern crate tollgate_wasm_test;

mod body;
mod carrier;
mod check;
mod claim;
mod contradictions;
mod ecdsa;
mod ed25519;
mod encoding;
mod fault;
mod form;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod handshake;
mod lane;
mod mac;
mod meters;
mod once;
mod place;
mod pointer;
mod presets;
mod read;
mod replay;
mod rule;
mod scheme;
mod secret;
pub mod sign;
mod template;
mod timestamp;
mod url;

pub use presets::{preset, preset_names};
pub use scheme::Scheme;
pub use secret::SecretEncoding;

use check::{Begun, Check, Verified};
use claim::{Claimed, claim, end_claim};
use fault::Fault;
use presets::Presets;
use rule::Rule;
use std::rc::Rc;
use tollgate_core::config::{Compile, Section};
use tollgate_core::exchange::state_name;
use tollgate_core::headers::HeaderName;
use tollgate_core::world::CallAnswer;
use tollgate_core::{Exchange, Flow, Policy, ResponseFlow, ResponseRead, World};
use tollgate_state::fleet::service::Service;

/// What the verdict header says about a request that passed without being verified.
const UNVERIFIED: &str = "unverified";
/// What it says about one whose headers go on before its body is verified.
const PENDING: &str = "pending";
/// No scheme may be called like that.
const RESERVED: [&str; 2] = [UNVERIFIED, PENDING];

/// The compiled policy.
#[derive(Debug)]
pub struct WebhookSignature {
    verdict_header: HeaderName,
    rules: Vec<Rc<Rule>>,
    /// Only bodies are held: the proxy cannot hold headers.
    streaming: bool,
    /// The service that remembers deliveries for the whole fleet.
    fleet: Option<Rc<Service>>,
}

/// What is remembered of one exchange.
#[derive(Default)]
pub struct WebhookStream {
    /// The verification that waits for the body.
    check: Option<Box<Check>>,
    /// The delivery that the replay guard let through.
    claim: Option<Box<Claimed>>,
}

/// Reads the section `webhook_signature` (or the whole configuration of the single filter).
pub fn compile(section: Section<'_>, cx: &mut Compile<'_>) -> Option<WebhookSignature> {
    let verdict_header = section
        .optional("verdict_header")
        .map_or(Some(HeaderName::from_static("x-webhook-verified")), |v| {
            v.header_name()
        });
    let streaming = section.optional("hold").map_or(Some(false), |v| {
        let streaming = v.one_of(&[("request", false), ("body", true)])?;
        v.accept(
            (cx.alone || !streaming).then_some(streaming),
            "hold: body is for the filter webhook-signature loaded by itself: the policies of the gateway that come \
             after it could not change the headers any more",
        )
    });
    let fleet = section.optional("fleet").and_then(|v| once::service(v, cx));
    let presets = Presets::load();
    let mut names = Vec::new();
    let items = section
        .required("rules")
        .and_then(tollgate_core::config::Value::list)
        .unwrap_or_default();
    let count = items.len();
    let rules: Vec<Rc<Rule>> = items
        .into_iter()
        .filter_map(|item| Rule::compile(item.section()?, cx, &presets, &mut names, fleet.as_ref()))
        .map(Rc::new)
        .collect();
    section.finish();
    Some(WebhookSignature {
        verdict_header: verdict_header?,
        rules: (rules.len() == count).then_some(rules)?,
        streaming: streaming?,
        fleet,
    })
}

impl WebhookSignature {
    /// Verified: the upstream is told by which scheme, the access log by which secret. Unless it came before.
    #[inline(never)]
    fn pass(
        &self,
        rule: &Rc<Rule>,
        verified: &Verified,
        stream: &mut WebhookStream,
        exchange: &mut Exchange,
        world: &dyn World,
    ) -> Flow {
        rule.meters.secret_used(world, verified.secret);
        if let Some(secret) = rule.secrets.get(verified.secret) {
            exchange
                .facts
                .publish(state_name::WEBHOOK_SECRET, secret.id.as_bytes());
        }
        match claim(rule, verified, stream, world) {
            Ok(None) => self.passed(rule, exchange, world),
            Ok(Some(next)) => self.asked(rule, next, stream, exchange, world),
            Err(fault) => Self::repeated(rule, fault, exchange, world),
        }
    }

    /// The rule is about this request.
    #[inline(never)]
    fn begin(
        &self,
        rule: &Rc<Rule>,
        stream: &mut WebhookStream,
        exchange: &mut Exchange,
        world: &dyn World,
    ) -> Flow {
        // `/hooks/test/../live` begins with `/hooks/test/`, and must not profit from its leniency.
        let lenient = rule.is_lenient() && rule.matcher.matches_safely(exchange, world);
        let begun = check::begin(rule, lenient, exchange, world);
        match begun {
            Ok(Begun::Pending(check)) => {
                stream.check = Some(check);
                if self.streaming && !exchange.bodyless {
                    self.tell(PENDING, exchange);
                    exchange.headers_released = true;
                }
                Flow::HoldForBody
            }
            Ok(Begun::Verified(verified)) => self.pass(rule, &verified, stream, exchange, world),
            Err(fault) => self.fail(rule, lenient, fault, exchange, world),
        }
    }

    /// Nothing stands against it any more.
    fn passed(&self, rule: &Rule, exchange: &mut Exchange, world: &dyn World) -> Flow {
        rule.meters.decision(world, "verified");
        exchange.facts.publish(state_name::WEBHOOK, "verified");
        self.tell(rule.scheme.name(), exchange);
        Flow::Continue
    }

    /// Verified, and refused all the same.
    fn repeated(rule: &Rule, fault: Fault, exchange: &mut Exchange, world: &dyn World) -> Flow {
        rule.meters.decision(world, fault.reason());
        exchange.facts.publish(state_name::WEBHOOK, fault.reason());
        fault.reply(rule).into()
    }

    /// What the fleet said about the delivery.
    #[inline(never)]
    fn asked(
        &self,
        rule: &Rc<Rule>,
        next: once::Next,
        stream: &mut WebhookStream,
        exchange: &mut Exchange,
        world: &dyn World,
    ) -> Flow {
        match next {
            once::Next::Hold => return Flow::HoldForCall,
            once::Next::First => {
                if let Some((_, first)) = stream.visit() {
                    *first = true;
                }
            }
            once::Next::Pass => stream.forget_visit(),
            once::Next::Fault(fault) => {
                stream.forget_visit();
                if !rule.report {
                    end_claim(stream, fault == Fault::Delivered, world);
                    return Self::repeated(rule, fault, exchange, world);
                }
            }
        }
        self.passed(rule, exchange, world)
    }

    /// Not verified: refused, or let through with a mark where the rule says so.
    #[inline(never)]
    fn fail(
        &self,
        rule: &Rule,
        lenient: bool,
        fault: Fault,
        exchange: &mut Exchange,
        world: &dyn World,
    ) -> Flow {
        let handshake = fault == Fault::Missing && rule.is_handshake(exchange, world);
        let excused = handshake || (lenient && rule.excuses(fault));
        let reason = if handshake {
            "handshake"
        } else if excused && !rule.report {
            UNVERIFIED
        } else {
            fault.reason()
        };
        rule.meters.decision(world, reason);
        exchange.facts.publish(state_name::WEBHOOK, reason);
        if !excused {
            return fault.reply(rule).into();
        }
        self.tell(UNVERIFIED, exchange);
        Flow::Continue
    }

    /// The verdict header, unless the headers are gone.
    fn tell(&self, verdict: &str, exchange: &mut Exchange) {
        if !exchange.headers_released {
            exchange.request.set(&self.verdict_header, verdict);
        }
    }
}

impl Policy for WebhookSignature {
    type Stream = WebhookStream;

    /// A client's own verdict never reaches the upstream, whether a rule matches or not.
    fn prepare(&self, _: &mut WebhookStream, exchange: &mut Exchange, _: &dyn World) {
        exchange.request.remove(&self.verdict_header);
    }

    fn on_request_headers(
        &self,
        stream: &mut WebhookStream,
        exchange: &mut Exchange,
        world: &dyn World,
    ) -> Flow {
        stream.check = None;
        let found = self
            .rules
            .iter()
            .find(|r| r.matcher.matches(exchange, world));
        match found {
            Some(rule) => self.begin(rule, stream, exchange, world),
            None => Flow::Continue,
        }
    }
    fn on_request_body(
        &self,
        stream: &mut WebhookStream,
        exchange: &mut Exchange,
        world: &dyn World,
        piece: &[u8],
        end: bool,
    ) -> Flow {
        let Some(mut check) = stream.check.take() else {
            return Flow::Continue;
        };
        let (rule, lenient) = (Rc::clone(&check.rule), check.lenient);
        let verdict = match check.update(piece) {
            Ok(()) if !end => {
                stream.check = Some(check);
                return Flow::HoldForBody;
            }
            Ok(()) => check.finish(world),
            Err(fault) => Err(fault),
        };
        match verdict {
            Ok(verified) => self.pass(&rule, &verified, stream, exchange, world),
            Err(fault) => self.fail(&rule, lenient, fault, exchange, world),
        }
    }

    fn on_call(
        &self,
        stream: &mut WebhookStream,
        exchange: &mut Exchange,
        world: &dyn World,
        answer: &CallAnswer,
    ) -> Flow {
        let rule = stream
            .claim
            .as_ref()
            .map(|claimed| Rc::clone(&claimed.rule));
        let Some((rule, (visit, _))) = rule.zip(stream.visit()) else {
            return Flow::Continue;
        };
        let Some(once) = rule.replay.as_ref().and_then(|r| r.once.as_ref()) else {
            return Flow::Continue;
        };
        let next = once.answered(visit, answer, world);
        self.asked(&rule, next, stream, exchange, world)
    }

    fn reads_response(&self, stream: &WebhookStream) -> ResponseRead {
        if stream.claim.is_some() {
            ResponseRead::Status
        } else {
            ResponseRead::Nothing
        }
    }

    /// Only what the upstream has taken counts as delivered: a sender repeats what failed.
    fn on_response_headers(
        &self,
        stream: &mut WebhookStream,
        exchange: &mut Exchange,
        world: &dyn World,
        _: bool,
    ) -> ResponseFlow {
        let taken = matches!(exchange.status, Some(200..=299)) && exchange.replied.is_none();
        end_claim(stream, taken, world);
        ResponseFlow::Continue
    }

    fn on_tick(&self, world: &dyn World) {
        if let Some(fleet) = &self.fleet {
            fleet.tick(world);
        }
    }

    /// No answer came: the client went away, or the upstream broke off.
    fn on_log(&self, stream: &mut WebhookStream, _: &mut Exchange, world: &dyn World) {
        end_claim(stream, false, world);
    }
}

#[cfg(test)]
mod tests;
