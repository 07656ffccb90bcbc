//! Limits held across a fleet: a rate limit service is asked
//! ([`envoy.service.ratelimit.v3`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/ratelimit/v3/rls.proto)).
//!
//! In mode `ticket` requests are served from leases ([`tollgate_state::fleet`]). Here is mode `classic`: each request
//! is a question, and the service decides. It sees one descriptor, `(the limit's field descriptor, keyed hash of limit and
//! key)`: no address, id or header of a client reaches it, its logs or its storage, and no name that was not written down
//! for it.

use crate::counters::ServiceCounters;
use crate::limit::Limit;
use std::cell::Cell;
use tollgate_core::config::{Compile, Value};
use tollgate_core::world::{CallAnswer, Level};
use tollgate_core::{MetricId, World};
use tollgate_state::fleet::counters::Failure;
use tollgate_state::fleet::dispenser::Dispenser;
use tollgate_state::fleet::proto;
use tollgate_state::fleet::service::{Mode, Service};

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
    pub(crate) dispenser: Dispenser,
    counters: ServiceCounters,
    warned_cluster: Cell<bool>,
    warned_limit: Cell<bool>,
}

impl Fleet {
    pub(crate) fn compile(value: Value<'_>, cx: &mut Compile<'_>) -> Option<Self> {
        let service = Service::compile(value, cx, "rate_limit")?;
        Some(Self {
            counters: ServiceCounters::register(cx.metrics),
            dispenser: Dispenser::new(service),
            warned_cluster: Cell::new(false),
            warned_limit: Cell::new(false),
        })
    }

    pub(crate) fn service(&self) -> &Service {
        &self.dispenser.service
    }

    pub(crate) fn is_ticket(&self) -> bool {
        self.service().mode == Mode::Ticket
    }

    /// Asks for `cost` hits; the answer comes to [`Fleet::read`]. `false`: no call was sent.
    pub(crate) fn ask(&self, world: &dyn World, limit: &Limit, parts: &[u8], cost: u64) -> bool {
        let service = self.service();
        if !service.admits(world.now().0) {
            world.count(self.counters.breaker_open, 1);
            return false;
        }
        let name = service.namer.classic(&limit.name, parts);
        let call = service.call(&limit.descriptor, &name, cost, true);
        if world.call(&call).is_ok() {
            return true;
        }
        world.count(self.counters.unknown_cluster, 1);
        service.note_failure(world, Failure::UnknownCluster);
        if !self.warned_cluster.replace(true) {
            world.log(
                Level::Error,
                format_args!(
                    "rate_limit.fleet: the proxy has no cluster {}",
                    service.cluster
                ),
            );
        }
        false
    }

    /// What the service said about the limit.
    pub(crate) fn read(&self, world: &dyn World, limit: &Limit, answer: &CallAnswer) -> Outcome {
        let (outcome, counter) = self.judge(answer);
        world.count(counter, 1);
        match outcome {
            Outcome::Failed if counter == self.counters.unavailable => {
                self.service().note_failure(world, Failure::Unavailable);
            }
            Outcome::Failed => self.service().note_failure(world, Failure::Error),
            _ => self.service().succeeded(world),
        }
        if counter == self.counters.unknown_limit && !self.warned_limit.replace(true) {
            world.log(
                Level::Error,
                format_args!(
                    "rate_limit.fleet: the rate limit service has no limit for domain {} and descriptor {}, or does not say so \
                     (Limitador needs --rate-limit-headers DRAFT_VERSION_03)",
                    self.service().domain,
                    limit.descriptor
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
        let headers = response.headers;
        let reset = response.reset_seconds.or(headers.reset_seconds);
        let reset = reset.map(|s| s.saturating_mul(SECOND));
        let unit =
            (response.unit_seconds > 0).then(|| response.unit_seconds.saturating_mul(SECOND));
        match response.code {
            1 if response.has_limit || headers.has_limit => {
                let unsaid = headers.remaining.unwrap_or(u64::MAX);
                let remaining = if response.has_limit {
                    response.remaining
                } else {
                    unsaid
                };
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
}
