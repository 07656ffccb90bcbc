//! The replay guard of a rule: each delivery reaches the upstream once.
//!
//! What identifies a delivery is signed: the id, else the MAC or a digest of everything that was signed. It is claimed
//! when the request is let through and remembered only after the upstream has answered 2xx, so that a delivery that
//! failed may be repeated; see [`tollgate_state::replay`].
//!
//! `scope: local` is what one proxy knows. With `scope: global` the fleet is asked between [`Replay::claim`] saying
//! `First` and the request going on: see [`crate::once`].

use crate::meters::Meters;
use crate::once::Once;
use crate::scheme::Scheme;
use sha2::{Digest as _, Sha256};
use std::rc::Rc;
use tollgate_core::config::Value;
use tollgate_core::world::Level;
use tollgate_core::{Duration, World};
use tollgate_state::fleet::service::{FailureMode, Service};
use tollgate_state::replay::{Claim, Delivery, ReplayTable, Ticket};

/// What is remembered when the configuration does not say.
const DEFAULT_ENTRIES: u64 = 10_000;
/// A request that takes longer than this counts as lost.
const DEFAULT_LEASE: Duration = Duration::from_secs(60);

const SCOPES: &[(&str, bool)] = &[("local", false), ("global", true)];

/// A compiled `replay`.
#[derive(Debug)]
pub(crate) struct Replay {
    rule: Rc<str>,
    table: ReplayTable,
    pub(crate) delivered_status: u16,
    pub(crate) in_flight_status: u16,
    /// A request for which the table has no room is refused.
    pub(crate) full_refuses: bool,
    /// The fleet is asked, too.
    pub(crate) once: Option<Once>,
}

impl Replay {
    /// Reads `{window, max_entries, in_flight_timeout, delivered_status, in_flight_status, on_full, scope,
    /// failure_mode}`.
    pub(crate) fn compile(
        value: Value<'_>,
        rule: &Rc<str>,
        scheme: &Scheme,
        fleet: Option<&Rc<Service>>,
    ) -> Option<Self> {
        let place = value.clone();
        let section = value.section()?;
        let span = |field: &'static str| {
            let value = section.optional(field)?;
            let span = value.duration()?;
            let good = (Duration::from_secs(1)..=Duration::from_secs(400 * 86_400)).contains(&span);
            value.accept(good.then_some(span), "must be from 1s to 400d")
        };
        let window = match section.required("window") {
            Some(_) => span("window"),
            None => None,
        };
        let lease = match section.optional("in_flight_timeout") {
            Some(_) => span("in_flight_timeout"),
            None => Some(DEFAULT_LEASE),
        };
        let entries = section
            .optional("max_entries")
            .map_or(Some(DEFAULT_ENTRIES), |v| v.integer(1..=1_000_000))
            .and_then(|n| u32::try_from(n).ok());
        let delivered_status = status(&section, "delivered_status", 200);
        let in_flight_status = status(&section, "in_flight_status", 409);
        let full_refuses = section.optional("on_full").map_or(Some(true), |v| {
            v.one_of(&[("refuse", true), ("pass", false)])
        });
        let scope = section.optional("scope");
        let global = scope.as_ref().map_or(Some(false), |v| v.one_of(SCOPES));
        let failure_mode = section.optional("failure_mode");
        let mode = match &failure_mode {
            Some(v) => FailureMode::compile(v),
            None => Some(FailureMode::Deny),
        };
        match (global, &failure_mode, &scope) {
            (Some(false), Some(v), _) => v.error("has a meaning only with scope: global"),
            (Some(true), _, Some(v)) if fleet.is_none() => {
                v.error("needs the section fleet, which names the rate limit service's cluster");
            }
            _ => {}
        }
        section.finish();
        if scheme.algorithm == crate::mac::Algorithm::Token {
            place.error(
                "a token is the same in every request: nothing tells one delivery from the next",
            );
        }
        let accepted = scheme.timestamp.as_ref().map(|t| (t.tolerance, t.future));
        let span = accepted.map(|(past, future)| past.0.saturating_add(future.0));
        if window.zip(span).is_some_and(|(w, span)| w.0 < span) {
            place.warn(
                "window is shorter than the time in which a timestamp is accepted (tolerance and future_tolerance \
                 together): a request can be repeated after it",
            );
        }
        let window = window?;
        let once = fleet
            .filter(|_| global == Some(true))
            .and_then(|service| Some(Once::new(service, rule, window, accepted, mode?)));
        global?;
        let table = ReplayTable::new(rule, entries?, window, lease?);
        Some(Self {
            once,
            rule: Rc::clone(rule),
            table,
            delivered_status: delivered_status?,
            in_flight_status: in_flight_status?,
            full_refuses: full_refuses?,
        })
    }

    /// What a delivery is called, here and everywhere else: SHA-256 of the rule's name and its identity.
    pub(crate) fn delivery(&self, identity: &[u8]) -> Delivery {
        let mut hash = Sha256::new();
        // A name has no NUL, so the two cannot run into each other.
        hash.update(self.rule.as_bytes());
        hash.update([0]);
        hash.update(identity);
        hash.finalize().into()
    }

    /// Claims a delivery.
    pub(crate) fn claim(&self, identity: &[u8], meters: &Meters, world: &dyn World) -> Claim {
        let claim = self
            .table
            .claim(world, &self.delivery(identity), world.now());
        meters.replay(
            world,
            match claim {
                Claim::First(_) => "first",
                Claim::Delivered => "delivered",
                Claim::InFlight => "in_flight",
                Claim::Full | Claim::Contended => "full",
            },
        );
        if self.table.take_events().discarded {
            world.log(
                Level::Warn,
                format_args!(
                    "webhook replay guard of rule {}: what it remembered was of another size or version and is lost",
                    self.rule
                ),
            );
        }
        claim
    }

    /// The exchange is over, or its answer is there: the upstream has it or not.
    pub(crate) fn end(&self, ticket: Ticket, delivered: bool, meters: &Meters, world: &dyn World) {
        let noted = if delivered {
            self.table.settle(world, ticket, world.now())
        } else {
            self.table.release(world, ticket)
        };
        let outcome = match (noted, delivered) {
            (true, true) => "settled",
            (true, false) => "released",
            (false, _) => "lost",
        };
        meters.replay(world, outcome);
    }
}

/// A status that no sender takes for "unsubscribe": 2xx, or 4xx and 5xx but for 410.
fn status(
    section: &tollgate_core::config::Section<'_>,
    field: &'static str,
    default: u16,
) -> Option<u16> {
    let Some(value) = section.optional(field) else {
        return Some(default);
    };
    let status = value.integer(200..=599)?;
    let good = !(300..400).contains(&status) && status != 410;
    value.accept(
        u16::try_from(status).ok().filter(|_| good),
        "must be a status from 200 to 299 or 400 to 599, and not 410: senders take 3xx and 410 as \"unsubscribe\"",
    )
}
