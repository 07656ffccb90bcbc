//! What becomes of one exchange, told to the experiments that decided about it.

use super::{Watch, bit};
use crate::decision::Decision;
use crate::variants::VariantId;
use crate::watch_metrics::ErrorKind;
use tollgate_core::UnixNanos;
use tollgate_core::exchange::Exchange;
use tollgate_core::flow::ResponseRead;
use tollgate_core::world::{Attribute, World};

/// What is remembered of one exchange, for all its experiments.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    /// When the request came.
    pub(crate) started: UnixNanos,
    /// The answer's headers have been seen.
    answered: bool,
    /// The answer has been seen whole.
    complete: bool,
    /// The request is gRPC.
    grpc: bool,
    /// A bit for each decision that was an error already.
    errors: u16,
}

/// An experiment that watches, and what it decided.
pub(crate) type Watched<'a> = (&'a Watch, Decision);

impl Measured {
    /// The request has been decided about.
    pub(crate) fn decided(&mut self, exchange: &Exchange) {
        self.grpc = exchange.is_grpc();
    }

    /// What of the answer has to be read.
    pub(crate) fn reads<'a>(&self, mut watched: impl Iterator<Item = Watched<'a>>) -> ResponseRead {
        let all = |(watch, _): Watched<'_>| {
            watch.outcome.reads_headers() || self.grpc && watch.outcome.has_grpc()
        };
        if watched.any(all) {
            ResponseRead::Headers
        } else {
            ResponseRead::Status
        }
    }

    /// The answer's headers are there.
    pub(crate) fn answered<'a>(
        &mut self,
        watched: impl Iterator<Item = Watched<'a>>,
        exchange: &Exchange,
        world: &dyn World,
        end: bool,
    ) {
        let mut watched = watched.enumerate().peekable();
        if watched.peek().is_none() {
            return;
        }
        self.answered = true;
        self.complete = end;
        // A reply of a policy behind this one: the variant had no part in it.
        if exchange.replied.is_some() {
            self.complete = true;
            return;
        }
        let micros = world.now().since(self.started).0 / 1_000;
        let status = exchange.status.unwrap_or(0);
        let grpc = self.grpc.then(|| exchange.response.first("grpc-status"));
        let grpc = grpc.flatten();
        for (at, (watch, decision)) in watched {
            let outcome = &watch.outcome;
            watch.request(decision, micros, outcome.is_conversion(exchange), world);
            let kind = if outcome.is_error(status) {
                ErrorKind::Status
            } else if grpc.is_some_and(|grpc| outcome.is_grpc_error(grpc)) {
                ErrorKind::Grpc
            } else {
                continue;
            };
            watch.error(decision, kind, world);
            self.errors |= place_bit(at);
        }
    }

    /// The exchange is over.
    pub(crate) fn over<'a>(
        &mut self,
        watched: impl Iterator<Item = Watched<'a>>,
        exchange: &Exchange,
        world: &dyn World,
    ) {
        if self.complete || exchange.replied.is_some() {
            return;
        }
        for (at, (watch, decision)) in watched.enumerate() {
            let outcome = &watch.outcome;
            if !self.answered {
                if outcome.client_aborts {
                    let micros = world.now().since(self.started).0 / 1_000;
                    watch.request(decision, micros, false, world);
                    watch.error(decision, ErrorKind::ClientAbort, world);
                }
                continue;
            }
            if self.errors & place_bit(at) != 0 {
                continue;
            }
            let grpc = outcome.has_grpc() && self.grpc;
            let number = |attribute| world.attribute(attribute);
            if grpc && number(Attribute::GrpcStatus).is_some_and(|s| outcome.is_grpc_error(&s)) {
                watch.error(decision, ErrorKind::Grpc, world);
            } else if outcome.resets
                && number(Attribute::ResponseFlags).is_some_and(|f| is_reset(&f))
            {
                watch.error(decision, ErrorKind::Reset, world);
            }
        }
    }
}

fn place_bit(at: usize) -> u16 {
    bit(VariantId(at))
}

/// Whether an answer was broken off by the upstream, or on its way from it: `UPSTREAM_REQUEST_TIMEOUT` (2),
/// `LOCAL_RESET` (3), `UPSTREAM_REMOTE_RESET` (4), `UPSTREAM_CONNECTION_FAILURE` (5), `UPSTREAM_CONNECTION_TERMINATION` (6),
/// `STREAM_IDLE_TIMEOUT` (16), `UPSTREAM_MAX_STREAM_DURATION_REACHED` (19), `DURATION_TIMEOUT` (22),
/// `UPSTREAM_PROTOCOL_ERROR` (23). Not where the client went away (`DOWNSTREAM_CONNECTION_TERMINATION`, 14;
/// `DOWNSTREAM_REMOTE_RESET`, 28): Envoy then resets the upstream itself.
fn is_reset(flags: &[u8]) -> bool {
    const UPSTREAM: u64 = 0b1100_1001_0000_0000_0111_1100;
    const CLIENT: u64 = 1 << 14 | 1 << 28;
    let flags = std::str::from_utf8(flags)
        .ok()
        .and_then(|f| f.parse::<u64>().ok());
    flags.is_some_and(|f| f & UPSTREAM != 0 && f & CLIENT == 0)
}
