//! Limits held across a fleet: each request asks a rate limit service
//! ([`envoy.service.ratelimit.v3`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/ratelimit/v3/rls.proto)).
//!
//! The service sees one descriptor, `(limit name, keyed hash of the key)`: no address, id or header of a client
//! reaches it, its logs or its storage. Addresses are guessable, hence the key to the hash.

use crate::counters::ServiceCounters;
use crate::proto;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::cell::Cell;
use tollgate_core::config::{Compile, Section, Value};
use tollgate_core::world::{Call, CallAnswer, Level};
use tollgate_core::{MetricId, World};

const VERSION: u8 = 1;
const LEAST_KEY: usize = 16;

/// What happens to a request when the service does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureMode {
    /// 503.
    Deny,
    /// It passes.
    Allow,
    /// This proxy's share of the limit decides.
    Local,
}

/// How asking went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// There was room.
    Ok {
        /// Tokens left in the fleet's window.
        remaining: u64,
        /// Nanoseconds until the window is over.
        reset: u64,
    },
    /// There was none.
    Over {
        /// Nanoseconds until the window is over; `None` if the service does not say.
        reset: Option<u64>,
    },
    /// No usable answer.
    Failed,
}

/// The service and how it is asked.
#[derive(Debug)]
pub(crate) struct Fleet {
    cluster: String,
    domain: String,
    key: Hmac<Sha256>,
    timeout_ms: u32,
    /// A proxy's share of a limit while the service does not answer is one in this many.
    pub(crate) expected_proxies: u64,
    counters: ServiceCounters,
    warned_cluster: Cell<bool>,
    warned_limit: Cell<bool>,
}

impl Fleet {
    pub(crate) fn compile(value: Value<'_>, cx: &mut Compile<'_>) -> Option<Self> {
        let section = value.section()?;
        let cluster = section.required("cluster").and_then(|v| v.nonempty());
        let domain = match section.optional("domain") {
            Some(v) => v.identifier(),
            None => Some("tollgate".into()),
        };
        let key = key(&section, cx);
        // One question for each request. Required, so that another way of asking can become the default.
        let mode = section
            .required("mode")
            .and_then(|v| v.one_of(&[("classic", ())]));
        let timeout_ms = match section.optional("timeout") {
            Some(v) => v.duration().and_then(|d| {
                let ms = u32::try_from(d.millis_ceil()).ok();
                let ms = ms.filter(|ms| (1..=60_000).contains(ms));
                v.accept(ms, "must be between 1ms and 60s")
            }),
            None => Some(100),
        };
        let expected_proxies = match section.optional("expected_proxies") {
            Some(v) => v.integer(1..=100_000),
            None => Some(1),
        };
        section.finish();
        mode?;
        Some(Self {
            cluster: cluster?.to_owned(),
            domain: domain?.to_string(),
            key: key?,
            timeout_ms: timeout_ms?,
            expected_proxies: expected_proxies?,
            counters: ServiceCounters::register(cx.metrics),
            warned_cluster: Cell::new(false),
            warned_limit: Cell::new(false),
        })
    }

    /// Asks for `cost` hits; the answer comes to [`Fleet::read`]. `false`: the call could not be sent.
    pub(crate) fn ask(&self, world: &dyn World, limit: &str, parts: &[u8], cost: u64) -> bool {
        let hits = u32::try_from(cost).unwrap_or(u32::MAX);
        let call = Call::Grpc {
            cluster: self.cluster.clone(),
            service: proto::SERVICE.to_owned(),
            method: proto::METHOD.to_owned(),
            message: proto::request(&self.domain, limit, &self.name(limit, parts), hits),
            timeout_ms: self.timeout_ms,
        };
        if world.call(&call).is_ok() {
            return true;
        }
        world.count(self.counters.unknown_cluster, 1);
        if !self.warned_cluster.replace(true) {
            world.log(
                Level::Error,
                format_args!(
                    "rate_limit.fleet: the proxy has no cluster {}",
                    self.cluster
                ),
            );
        }
        false
    }

    /// What the service said about the limit.
    pub(crate) fn read(&self, world: &dyn World, limit: &str, answer: &CallAnswer) -> Outcome {
        let (outcome, counter) = self.judge(answer);
        world.count(counter, 1);
        if counter == self.counters.unknown_limit && !self.warned_limit.replace(true) {
            world.log(
                Level::Error,
                format_args!(
                    "rate_limit.fleet: the rate limit service has no limit for domain {} and descriptor {limit}",
                    self.domain
                ),
            );
        }
        outcome
    }

    fn judge(&self, answer: &CallAnswer) -> (Outcome, MetricId) {
        const SECOND: u64 = tollgate_core::time::SECOND;
        let message = match answer {
            CallAnswer::Grpc { status: 0, message } => message,
            // A timeout inside the proxy is UNAVAILABLE, too, not DEADLINE_EXCEEDED.
            CallAnswer::Grpc { status: 4 | 14, .. } => {
                return (Outcome::Failed, self.counters.unavailable);
            }
            _ => return (Outcome::Failed, self.counters.error),
        };
        let Some(response) = proto::response(message) else {
            return (Outcome::Failed, self.counters.error);
        };
        // Real time left is at most what is said, so waiting that long is never too short.
        let reset = response.reset_seconds.map(|s| s.saturating_mul(SECOND));
        let unit =
            (response.unit_seconds > 0).then(|| response.unit_seconds.saturating_mul(SECOND));
        match response.code {
            1 if response.has_limit => {
                let remaining = response.remaining;
                let reset = reset.or(unit).unwrap_or(0);
                (Outcome::Ok { remaining, reset }, self.counters.ok)
            }
            // What a service says about limits that it does not know: OK, without a limit. Nobody is counting.
            1 => (Outcome::Failed, self.counters.unknown_limit),
            2 => {
                let reset = reset.or(unit);
                (Outcome::Over { reset }, self.counters.over_limit)
            }
            _ => (Outcome::Failed, self.counters.error),
        }
    }

    /// 16 bytes of HMAC-SHA256 in hex: of a fixed length, and nothing in it needs escaping.
    fn name(&self, limit: &str, parts: &[u8]) -> String {
        let mut mac = self.key.clone();
        mac.update(&[VERSION]);
        mac.update(&u64::try_from(limit.len()).unwrap_or(0).to_le_bytes());
        mac.update(limit.as_bytes());
        mac.update(parts);
        let digest = mac.finalize().into_bytes();
        let mut hex = String::with_capacity(32);
        for byte in digest.iter().take(16) {
            for nibble in [byte >> 4, byte & 0x0f] {
                hex.extend(char::from_digit(u32::from(nibble), 16));
            }
        }
        hex
    }
}

fn key(section: &Section<'_>, cx: &Compile<'_>) -> Option<Hmac<Sha256>> {
    let source = section.required("key")?.section()?;
    let name = source
        .required("env")
        .and_then(|v| v.nonempty().map(|n| (v.path().to_owned(), n)));
    let report = source.report();
    source.finish();
    let (path, name) = name?;
    let Some(secret) = (cx.env)(name) else {
        report.error(&path, "the environment variable is not set in the VM");
        return None;
    };
    if secret.len() < LEAST_KEY {
        report.error(
            &path,
            format!("the environment variable must hold at least {LEAST_KEY} characters"),
        );
        return None;
    }
    Hmac::new_from_slice(secret.as_bytes()).ok()
}
