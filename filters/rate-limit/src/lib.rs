//! Token-bucket rate limiting: exact over all workers of a proxy, in bounded memory.
//!
//! Where is a limit decided? [`RateLimit`]'s `run` in `decide.rs` goes through the limits; the arithmetic of a bucket is
//! [`tollgate_state::gcra`], the shared memory [`tollgate_state::table`].
//!
//! | module | its one job |
//! |---|---|
//! | `compile` | the configuration |
//! | `limit`, `key`, `cost` | which buckets a request has, and what it costs |
//! | `places` | where the buckets of the keys seen last are |
//! | `decide`, `ledger` | taking tokens, all or nothing; what is remembered of an exchange |
//! | `refuse` | what becomes of a request that a limit refuses: the answer, and what is given back |
//! | `answer` | headers and refusals |
//! | `service`, `fleet` | limits held by a rate limit service: when, what and how it is asked |
//! | `ticket` | limits of the whole fleet, served from leases |
//! | `stages` | the same policy in two places of a chain |
#![forbid(unsafe_code)]

// As WebAssembly, `#[test]` means wasm_bindgen_test: see tests/wasm-test.
#[cfg(all(test, target_arch = "wasm32", target_os = "unknown"))]
#[macro_use(test)]
extern crate tollgate_wasm_test;

mod answer;
mod compile;
mod cost;
mod counters;
mod decide;
mod fleet;
mod key;
mod ledger;
mod limit;
mod places;
mod refuse;
mod service;
mod stages;
#[cfg(test)]
mod tests;
mod ticket;

pub use compile::compile;
pub use stages::{EarlyLimits, Limits};

use decide::Turn;
use ledger::Ledger;
use std::cell::Cell;
use tollgate_core::flow::ResponseFlow;
use tollgate_core::world::{CallAnswer, CallId, CallReply};
use tollgate_core::{Exchange, Flow, HeaderName, Policy, World};
use tollgate_state::lease::Leases;
use tollgate_state::occupancy;
use tollgate_state::seed::Seed;
use tollgate_state::table::Table;

/// All limits of a configuration.
#[derive(Debug)]
pub struct RateLimit {
    /// Those that can be decided before key auth come first.
    limits: Vec<limit::Limit>,
    /// Index of the first limit that needs the consumer.
    late_from: usize,
    sets: Vec<limit::BucketSet>,
    table: Table,
    leases: Leases,
    seed: Cell<Option<Seed>>,
    places: places::Places,
    spare: ledger::Spare,
    shown: answer::Shown,
    /// What the upstream is told about limits in shadow mode.
    shadow_header: HeaderName,
    has_shadow: bool,
    admit_contended: bool,
    fleet: Option<fleet::Fleet>,
    events: counters::TableCounters,
}

impl RateLimit {
    /// Decides the limits up to `end`.
    #[inline(never)]
    fn decide_until(&self, end: usize, exchange: &mut Exchange, world: &dyn World) -> Flow {
        self.visit(end, exchange, world, |turn| self.run(turn))
    }

    /// The service asked by a limit before `end` has answered.
    fn answered_until(
        &self,
        end: usize,
        exchange: &mut Exchange,
        world: &dyn World,
        answer: &CallAnswer,
    ) -> Flow {
        self.visit(end, exchange, world, |turn| self.answered(turn, answer))
    }

    /// Nobody but this filter says what a limit in shadow mode would have done.
    fn strip(&self, exchange: &mut Exchange) {
        if self.has_shadow {
            exchange.request.remove(&self.shadow_header);
        }
    }

    /// Hands unused leases back, looks after the gauges.
    fn tick(&self, world: &dyn World) {
        let now = world.now().0;
        let returned = self.leases.tick(&self.table, world, now);
        self.events.returned(world, returned);
        if let Some(fleet) = &self.fleet {
            fleet.dispenser.tick(world);
        }
        if let Some(found) = occupancy::step(&self.table, world, now) {
            self.events.occupancy(world, found, self.table.capacity());
        }
        if let Some(fleet) = &self.fleet {
            fleet.service().tick(world);
        }
    }

    /// The configuration was replaced: the next one's workers can have the tokens.
    fn stop(&self, world: &dyn World) {
        let returned = self.leases.stop(&self.table, world, world.now().0);
        self.events.returned(world, returned);
        if let Some(fleet) = &self.fleet {
            fleet.dispenser.stop(world);
        }
    }

    /// A lease may have come for a limit before `end`.
    fn woken_until(&self, end: usize, exchange: &mut Exchange, world: &dyn World) -> Flow {
        self.visit(end, exchange, world, |turn| self.woken(turn))
    }

    fn visit(
        &self,
        end: usize,
        exchange: &mut Exchange,
        world: &dyn World,
        work: impl FnOnce(&mut Turn<'_>) -> Flow,
    ) -> Flow {
        let mut ledger = self.spare.open(exchange);
        let flow = work(&mut Turn {
            ledger: &mut ledger,
            exchange,
            world,
            end,
        });
        ledger::close(exchange, ledger);
        flow
    }

    /// Sets the headers for all limits that applied, of whatever stage.
    #[inline(never)]
    fn show(&self, exchange: &mut Exchange) {
        let Exchange {
            limits, response, ..
        } = exchange;
        if let Some(ledger) = limits.as_mut().and_then(|any| any.downcast_mut::<Ledger>())
            && !ledger.refused
        {
            self.shown.write(ledger, &self.sets, response);
        }
    }
}

/// All limits in one place, as in the single filter.
impl Policy for RateLimit {
    type Stream = ();

    fn on_start(&self, world: &dyn World) {
        self.seed(world);
    }

    fn prepare(&self, _stream: &mut (), exchange: &mut Exchange, _world: &dyn World) {
        self.strip(exchange);
    }

    fn on_request_headers(
        &self,
        _stream: &mut (),
        exchange: &mut Exchange,
        world: &dyn World,
    ) -> Flow {
        self.decide_until(self.limits.len(), exchange, world)
    }

    fn on_call(
        &self,
        _stream: &mut (),
        exchange: &mut Exchange,
        world: &dyn World,
        answer: &CallAnswer,
    ) -> Flow {
        self.answered_until(self.limits.len(), exchange, world, answer)
    }

    fn on_wake(&self, _stream: &mut (), exchange: &mut Exchange, world: &dyn World) -> Flow {
        self.woken_until(self.limits.len(), exchange, world)
    }

    fn on_log(&self, _stream: &mut (), exchange: &mut Exchange, world: &dyn World) {
        self.gone(exchange, world);
    }

    fn on_background_reply(&self, world: &dyn World, id: CallId, reply: &dyn CallReply) {
        if let Some(fleet) = &self.fleet {
            fleet.dispenser.on_reply(world, id, reply);
        }
    }

    fn on_response_headers(
        &self,
        _stream: &mut (),
        exchange: &mut Exchange,
        _world: &dyn World,
        _end: bool,
    ) -> ResponseFlow {
        self.show(exchange);
        ResponseFlow::Continue
    }

    fn on_tick(&self, world: &dyn World) {
        self.tick(world);
    }

    fn on_stop(&self, world: &dyn World) {
        self.stop(world);
    }
}
