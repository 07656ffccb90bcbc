//! The life of a priced call: estimate and charge, read the answer, settle, tell.

use crate::budgets::Budgets;
use crate::call::{Call, Ending, reader_for};
use crate::ledger::Ledger;
use crate::meters::Meters;
use crate::price::Price;
use crate::usage::Reader;
use std::rc::Rc;
use tollgate_core::{Exchange, Flow, HeaderName, Money, Policy, ResponseFlow, ResponseRead, World};

/// A compiled `cost` section.
#[derive(Debug)]
pub struct Cost {
    pub(crate) currency: Rc<str>,
    pub(crate) prices: Vec<Price>,
    pub(crate) budgets: Budgets,
    /// Whether a priced request without a consumer is refused when there are budgets.
    pub(crate) refuse_anonymous: bool,
    /// Longer answers are not held for their exact cost.
    pub(crate) hold_bytes: usize,
    pub(crate) shown: Shown,
    pub(crate) accept_encoding: HeaderName,
    pub(crate) meters: Meters,
    pub(crate) ledger: Ledger,
}

/// The headers that tell a client what it cost; `None`: not told.
#[derive(Debug)]
pub struct Shown {
    /// The cost, once it is known.
    pub cost: Option<HeaderName>,
    /// What was set aside, where the cost is not known in time.
    pub estimate: Option<HeaderName>,
    /// What is left of the budget closest to its end.
    pub remaining: Option<HeaderName>,
}

impl Default for Shown {
    fn default() -> Self {
        Self {
            cost: Some(HeaderName::from_static("x-request-cost")),
            estimate: Some(HeaderName::from_static("x-request-cost-estimate")),
            remaining: Some(HeaderName::from_static("x-budget-remaining")),
        }
    }
}

/// What the policy remembers of one exchange; nothing, if it is not priced.
#[derive(Debug, Default)]
pub struct Stream(Option<Box<Call>>);

impl Cost {
    /// Shows `amount` as the cost or as an estimate, and what is left. A header of that kind that the
    /// upstream sent is not about this call.
    fn show(&self, call: &Call, amount: Money, exact: bool, exchange: &mut Exchange) {
        let response = &mut exchange.response;
        let (name, other) = if exact {
            (&self.shown.cost, &self.shown.estimate)
        } else {
            (&self.shown.estimate, &self.shown.cost)
        };
        if let Some(other) = other {
            response.remove(other);
        }
        let mut text = String::with_capacity(32);
        if let Some(name) = name {
            amount.push_to(&mut text);
            response.set(name, &text);
        }
        if let (Some(name), Some(left)) = (&self.shown.remaining, call.remaining) {
            text.clear();
            left.push_to(&mut text);
            response.set(name, &text);
        }
    }

    fn show_estimate(&self, call: &Call, exchange: &mut Exchange) {
        self.show(call, call.estimate, false, exchange);
    }

    /// Concludes while the headers can still be changed, and tells the client.
    fn conclude_and_show(
        &self,
        call: &mut Call,
        ending: Ending,
        exchange: &mut Exchange,
        world: &dyn World,
    ) {
        if let Some(cost) = self.conclude(call, ending, exchange, world) {
            self.show(call, cost, true, exchange);
        }
    }

    /// Whether an answer is short enough to be held for its exact cost, as far as it says.
    fn may_hold(&self, reader: &Reader, exchange: &Exchange) -> bool {
        let length = exchange
            .response
            .first("content-length")
            .and_then(|v| std::str::from_utf8(v).ok())
            .and_then(|v| v.parse::<usize>().ok());
        exchange.can_hold_response
            && self.shown.cost.is_some()
            && self.hold_bytes > 0
            && matches!(reader, Reader::Json(_))
            && length.is_none_or(|n| n <= self.hold_bytes)
    }
}

impl Policy for Cost {
    type Stream = Stream;

    fn on_request_headers(
        &self,
        stream: &mut Stream,
        exchange: &mut Exchange,
        world: &dyn World,
    ) -> Flow {
        let call = match self.admit(exchange, world) {
            Ok(Some(call)) => call,
            Ok(None) => return Flow::Continue,
            Err(refusal) => return refusal,
        };
        // Usage cannot be read out of a compressed answer.
        let encoding = exchange.request.sole("accept-encoding");
        if call.needs_body && encoding != Ok(Some(b"identity")) {
            exchange.request.set(&self.accept_encoding, "identity");
        }
        stream.0 = Some(Box::new(call));
        Flow::Continue
    }

    fn reads_response(&self, stream: &Stream) -> ResponseRead {
        match stream.0.as_deref() {
            Some(call) if call.needs_body => ResponseRead::Headers,
            Some(call) if call.reads_status => ResponseRead::Status,
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
        let Some(call) = stream.0.as_deref_mut() else {
            return ResponseFlow::Continue;
        };
        if exchange.replied.is_some() {
            self.conclude(call, Ending::Replied, exchange, world);
            return ResponseFlow::Continue;
        }
        let status = exchange.status.filter(|_| call.reads_status);
        let price = self.prices.get(call.costliest);
        if status.is_some_and(|s| price.is_some_and(|p| p.is_free_status(s))) {
            self.conclude_and_show(call, Ending::Free, exchange, world);
            return ResponseFlow::Continue;
        }
        let reader = (call.needs_body && !end)
            .then(|| reader_for(&exchange.response))
            .flatten();
        let Some(reader) = reader else {
            self.conclude_and_show(call, Ending::Answered, exchange, world);
            return ResponseFlow::Continue;
        };
        call.held = self.may_hold(&reader, exchange);
        call.reader = Some(reader);
        if call.held {
            return ResponseFlow::Hold;
        }
        self.show_estimate(call, exchange);
        ResponseFlow::Observe
    }

    fn on_response_body(
        &self,
        stream: &mut Stream,
        exchange: &mut Exchange,
        world: &dyn World,
        piece: &[u8],
        end: bool,
    ) -> ResponseFlow {
        let Some(call) = stream.0.as_deref_mut() else {
            return ResponseFlow::Continue;
        };
        let Some(reader) = &mut call.reader else {
            return ResponseFlow::Continue;
        };
        reader.feed(piece, end);
        call.read = call.read.saturating_add(piece.len());
        if end || reader.is_hopeless() {
            if call.held {
                self.conclude_and_show(call, Ending::Answered, exchange, world);
            } else {
                self.conclude(call, Ending::Answered, exchange, world);
            }
            return ResponseFlow::Continue;
        }
        if call.held && call.read > self.hold_bytes {
            call.held = false;
            self.show_estimate(call, exchange);
        }
        if call.held {
            ResponseFlow::Hold
        } else {
            ResponseFlow::Observe
        }
    }

    fn on_response_released(&self, stream: &mut Stream, exchange: &mut Exchange, _: &dyn World) {
        if let Some(call) = stream.0.as_deref_mut()
            && std::mem::take(&mut call.held)
        {
            self.show_estimate(call, exchange);
        }
    }

    fn on_log(&self, stream: &mut Stream, exchange: &mut Exchange, world: &dyn World) {
        if let Some(call) = stream.0.as_deref_mut() {
            let ending = if exchange.replied.is_some() {
                Ending::Replied
            } else {
                Ending::Broken
            };
            self.conclude(call, ending, exchange, world);
        }
    }

    fn on_tick(&self, world: &dyn World) {
        self.ledger.retry(&self.meters, world);
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)] // in a test an overflow is a finding
mod tests;
