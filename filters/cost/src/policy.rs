//! The life of a priced call: estimate and charge, read the answer, settle, tell.

use crate::accounts::Accounts;
use crate::budgets::Budgets;
use crate::call::{Call, Ending};
use crate::gauges::Gauges;
use crate::ledger::Ledger;
use crate::meters::Meters;
use crate::price::Price;
use crate::price::model::Aliases;
use crate::shared::Shared;
use crate::show::Shown;
use std::rc::Rc;
use tollgate_core::world::{CallId, CallReply};
use tollgate_core::{Exchange, Flow, HeaderName, Policy, ResponseFlow, ResponseRead, World};

/// A compiled `cost` section.
#[derive(Debug)]
pub struct Cost {
    pub(crate) currency: Rc<str>,
    pub(crate) prices: Vec<Price>,
    pub(crate) aliases: Aliases,
    pub(crate) budgets: Budgets,
    /// Whether a budget has something against single calls.
    pub(crate) bounds_calls: bool,
    /// Whether a priced request without a consumer is refused when there are budgets.
    pub(crate) refuse_anonymous: bool,
    /// Longer answers are not held for their exact cost.
    pub(crate) hold_bytes: usize,
    pub(crate) shown: Shown,
    pub(crate) accept_encoding: HeaderName,
    pub(crate) content_length: HeaderName,
    pub(crate) meters: Meters,
    pub(crate) gauges: Gauges,
    pub(crate) accounts: Accounts,
    /// Budgets of the whole fleet.
    pub(crate) shared: Option<Shared>,
    pub(crate) ledger: Option<Ledger>,
    /// Where a consumer sees what it has spent.
    pub(crate) usage_path: Option<Vec<u8>>,
    /// How bodies of requests are read; `None`: no price asks for it.
    pub(crate) request_table: Option<Rc<crate::json::Table>>,
    // What requests need not pay for if no price asks for it.
    pub(crate) prices_change: bool,
    pub(crate) prices_vary: bool,
    pub(crate) prices_ask_for_consumer: bool,
    pub(crate) wants_consumer: bool,
}

/// What the policy remembers of one exchange; nothing, if it is not priced.
#[derive(Debug, Default)]
pub struct Stream {
    pub(crate) phase: Phase,
    /// Filled in bit by bit; there is a call when the phase says so.
    pub(crate) call: Call,
}

/// How far the call of an exchange is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    /// There is none, or none yet.
    #[default]
    Nothing,
    /// Its body is being read.
    Asking,
    /// It waits for the fleet's money.
    Paying,
    Priced,
}

impl Stream {
    fn call(&self) -> Option<&Call> {
        (self.phase == Phase::Priced).then_some(&self.call)
    }

    fn call_mut(&mut self) -> Option<&mut Call> {
        (self.phase == Phase::Priced).then_some(&mut self.call)
    }
}

impl Cost {
    /// Concludes while the headers can still be changed, and tells the client.
    pub(crate) fn conclude_and_show(
        &self,
        call: &mut Call,
        ending: Ending,
        exchange: &mut Exchange,
        world: &dyn World,
    ) {
        self.conclude(call, ending, true, exchange, world);
    }
}

impl Policy for Cost {
    type Stream = Stream;

    fn on_start(&self, world: &dyn World) {
        if let Some(ledger) = &self.ledger {
            ledger.start(world);
        }
    }

    fn on_request_headers(
        &self,
        stream: &mut Stream,
        exchange: &mut Exchange,
        world: &dyn World,
    ) -> Flow {
        if let Some(path) = &self.usage_path
            && exchange.path() == path
        {
            return self.usage_page(exchange, world);
        }
        let candidates = self.candidates(exchange, world);
        if !self.knows_price(&candidates, stream)
            && let Some(flow) = self.look_closer(stream, candidates, exchange, world)
        {
            return flow;
        }
        self.begin(stream, exchange, world)
    }

    fn on_request_body(
        &self,
        stream: &mut Stream,
        exchange: &mut Exchange,
        world: &dyn World,
        piece: &[u8],
        end: bool,
    ) -> Flow {
        match stream.phase {
            Phase::Asking => self.ask_on(stream, exchange, world, piece, end),
            Phase::Nothing | Phase::Paying | Phase::Priced => Flow::Continue,
        }
    }

    fn on_wake(&self, stream: &mut Stream, exchange: &mut Exchange, world: &dyn World) -> Flow {
        match stream.phase {
            Phase::Paying => self.go_on(stream, exchange, world),
            Phase::Nothing | Phase::Asking | Phase::Priced => Flow::Continue,
        }
    }

    fn reads_response(&self, stream: &Stream) -> ResponseRead {
        match stream.call() {
            Some(call) if call.needs.headers => ResponseRead::Headers,
            Some(call) if call.needs.status => ResponseRead::Status,
            _ => ResponseRead::Nothing,
        }
    }

    fn on_response_headers(
        &self,
        stream: &mut Stream,
        exchange: &mut Exchange,
        world: &dyn World,
        end: bool,
    ) -> ResponseFlow {
        let Some(call) = stream.call_mut() else {
            return ResponseFlow::Continue;
        };
        if exchange.replied.is_some() {
            self.conclude(call, Ending::Replied, false, exchange, world);
            return ResponseFlow::Continue;
        }
        if call.needs.status
            && let Some(status) = exchange.status
            && let Some(price) = self.prices.get(call.costliest)
            && price.is_free_status(status)
        {
            self.conclude_and_show(call, Ending::Free, exchange, world);
            return ResponseFlow::Continue;
        }
        if call.needs.flat {
            self.conclude_and_show(call, Ending::Answered, exchange, world);
            return ResponseFlow::Continue;
        }
        self.read_answer(call, exchange, world, end)
    }

    fn on_response_body(
        &self,
        stream: &mut Stream,
        exchange: &mut Exchange,
        world: &dyn World,
        piece: &[u8],
        end: bool,
    ) -> ResponseFlow {
        match stream.call_mut() {
            Some(call) => self.read_body(call, exchange, world, piece, end),
            None => ResponseFlow::Continue,
        }
    }

    fn on_response_released(&self, stream: &mut Stream, exchange: &mut Exchange, _: &dyn World) {
        if let Some(call) = stream.call_mut()
            && call.is_held()
        {
            self.let_go(call, exchange);
        }
    }

    fn on_log(&self, stream: &mut Stream, exchange: &mut Exchange, world: &dyn World) {
        if stream.phase == Phase::Paying {
            self.unpay(&mut stream.call, world);
        }
        if let Some(call) = stream.call_mut()
            && call.cost.is_none()
        {
            let ending = if exchange.replied.is_some() {
                Ending::Replied
            } else {
                Ending::Broken
            };
            self.conclude(call, ending, false, exchange, world);
        }
    }

    fn on_tick(&self, world: &dyn World) {
        self.accounts.tick(&self.budgets, &self.meters, world);
        self.gauges
            .refresh(&self.accounts, &self.budgets, &self.meters, world);
        if let Some(ledger) = &self.ledger {
            ledger.tick(&self.meters, world);
        }
        if let Some(shared) = &self.shared {
            shared.tick(world);
        }
    }

    fn on_background_reply(&self, world: &dyn World, id: CallId, reply: &dyn CallReply) {
        if let Some(shared) = &self.shared {
            shared.on_reply(world, id, reply);
        }
        if let Some(ledger) = &self.ledger {
            ledger.answered(id, reply.outcome(), &self.meters, world);
        }
    }

    fn on_stop(&self, world: &dyn World) {
        self.accounts.stop(&self.budgets, &self.meters, world);
        if let Some(ledger) = &self.ledger {
            ledger.stop(&self.meters, world);
        }
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)] // in a test an overflow is a finding
mod tests;
