//! Webhook signature verification: nothing reaches the upstream before the sender's signature over the
//! headers and the exact bytes of the body has been verified.
//!
//! | module | its one job |
//! |---|---|
//! | `rule` | configuration of a rule |
//! | `scheme`, `presets` | a scheme as data; well-known ones in `presets.json` |
//! | `read` | signatures out of headers: series, lists, keys, prefixes |
//! | `template`, `timestamp`, `encoding`, `secret` | the parts of a scheme and of a rule |
//! | `mac`, `ed25519` | algorithms, fed piece by piece, compared in constant time |
//! | `url` | the URL that senders sign |
//! | `check` | the verification of one request |
//! | `fault`, `meters` | why one fails and what its sender is told; what is counted |
//! | [`sign`] | the other side: headers for a request, for tests and the command line |
//!
//! The engine knows no vendor: what differs between them is data.
#![forbid(unsafe_code)]

#[cfg(all(test, target_arch = "wasm32", target_os = "unknown"))]
#[macro_use(test)]
extern crate tollgate_wasm_test;

mod check;
mod ed25519;
mod encoding;
mod fault;
mod mac;
mod meters;
mod presets;
mod read;
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

use check::{Begun, Check};
use fault::Fault;
use presets::Presets;
use rule::Rule;
use std::rc::Rc;
use tollgate_core::config::{Compile, Section};
use tollgate_core::exchange::state_name;
use tollgate_core::headers::HeaderName;
use tollgate_core::{Exchange, Flow, Policy, World};

/// What the verdict header says about a request that passed without being verified.
const UNVERIFIED: &str = "unverified";

/// The compiled policy.
#[derive(Debug)]
pub struct WebhookSignature {
    verdict_header: HeaderName,
    rules: Vec<Rc<Rule>>,
}

/// What is remembered of one exchange: the verification that waits for the body.
#[derive(Default)]
pub struct WebhookStream {
    check: Option<Box<Check>>,
}

/// Reads the section `webhook_signature` (or the whole configuration of the single filter).
pub fn compile(section: Section<'_>, cx: &mut Compile<'_>) -> Option<WebhookSignature> {
    let verdict_header = section
        .optional("verdict_header")
        .map_or(Some(HeaderName::from_static("x-webhook-verified")), |v| {
            v.header_name()
        });
    let presets = Presets::load();
    let mut names = Vec::new();
    let items = section
        .required("rules")
        .and_then(tollgate_core::config::Value::list)
        .unwrap_or_default();
    let count = items.len();
    let rules: Vec<Rc<Rule>> = items
        .into_iter()
        .filter_map(|item| Rule::compile(item.section()?, cx, &presets, &mut names))
        .map(Rc::new)
        .collect();
    section.finish();
    Some(WebhookSignature {
        verdict_header: verdict_header?,
        rules: (rules.len() == count).then_some(rules)?,
    })
}

impl WebhookSignature {
    /// Verified: the upstream is told by which scheme, the access log by which secret.
    fn pass(&self, rule: &Rule, secret: usize, exchange: &mut Exchange, world: &dyn World) -> Flow {
        rule.meters.decision(world, "verified");
        rule.meters.secret_used(world, secret);
        exchange
            .request
            .set(&self.verdict_header, rule.scheme.name());
        exchange.facts.publish(state_name::WEBHOOK, "verified");
        if let Some(secret) = rule.secrets.get(secret) {
            exchange
                .facts
                .publish(state_name::WEBHOOK_SECRET, secret.id.as_bytes());
        }
        Flow::Continue
    }

    /// Not verified: refused, or let through with a mark where the rule says so.
    fn fail(
        &self,
        rule: &Rule,
        lenient: bool,
        fault: Fault,
        exchange: &mut Exchange,
        world: &dyn World,
    ) -> Flow {
        let excused = lenient && rule.excuses(fault);
        let reason = if excused && !rule.report {
            UNVERIFIED
        } else {
            fault.reason()
        };
        rule.meters.decision(world, reason);
        exchange.facts.publish(state_name::WEBHOOK, reason);
        if !excused {
            return fault.reply(rule.max_body_bytes).into();
        }
        exchange.request.set(&self.verdict_header, UNVERIFIED);
        Flow::Continue
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
        let Some(rule) = found else {
            return Flow::Continue;
        };
        // `/hooks/test/../live` begins with `/hooks/test/`, and must not profit from its leniency.
        let lenient = rule.is_lenient() && rule.matcher.matches_safely(exchange, world);
        let begun = check::begin(rule, lenient, exchange, world);
        match begun {
            Ok(Begun::Pending(check)) => {
                stream.check = Some(Box::new(check));
                Flow::HoldForBody
            }
            Ok(Begun::Verified(secret)) => self.pass(rule, secret, exchange, world),
            Err(fault) => self.fail(rule, lenient, fault, exchange, world),
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
            Ok(()) => check.finish(),
            Err(fault) => Err(fault),
        };
        match verdict {
            Ok(secret) => self.pass(&rule, secret, exchange, world),
            Err(fault) => self.fail(&rule, lenient, fault, exchange, world),
        }
    }
}

#[cfg(test)]
mod tests;
