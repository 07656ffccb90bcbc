//! The life of a priced call: estimate and charge, read the answer, settle, tell.

use crate::accounts::Accounts;
use crate::ask::Asking;
use crate::budgets::{Budgets, Remembered};
use crate::call::{Call, Candidates, Ending, content_length, is_stream, readable_type};
use crate::gauges::Gauges;
use crate::ledger::Ledger;
use crate::meters::{Meters, Reason};
use crate::price::Price;
use crate::price::model::Aliases;
use crate::request::Asked;
use crate::shared::Shared;
use crate::show::Shown;
use crate::usage::{Format, Reader};
use std::cell::RefCell;
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
    /// Which of them apply to whom.
    pub(crate) remembered: RefCell<Remembered>,
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
    pub(crate) prices_ask_for_consumer: bool,
    pub(crate) wants_consumer: bool,
}

/// What the policy remembers of one exchange; nothing, if it is not priced.
#[derive(Debug, Default)]
pub struct Stream(State);

#[derive(Debug, Default)]
enum State {
    #[default]
    Nothing,
    /// Its body is being read.
    Asking(Box<Asking>),
    /// It waits for the fleet's money.
    Paying(Call),
    Priced(Call),
}

impl Stream {
    fn call(&self) -> Option<&Call> {
        match &self.0 {
            State::Priced(call) => Some(call),
            _ => None,
        }
    }

    fn call_mut(&mut self) -> Option<&mut Call> {
        match &mut self.0 {
            State::Priced(call) => Some(call),
            _ => None,
        }
    }
}

impl Cost {
    fn begin(
        &self,
        stream: &mut Stream,
        candidates: Candidates,
        asked: Option<Box<Asked>>,
        exchange: &mut Exchange,
        world: &dyn World,
    ) -> Flow {
        match self.price(candidates, asked, exchange, world) {
            Ok(Some(call)) => stream.0 = State::Priced(call),
            Ok(None) => {
                self.count(Reason::Unpriced, world);
                return Flow::Continue;
            }
            Err(refusal) => return refusal,
        }
        if let Some(call) = stream.call_mut()
            && let Err(refusal) = self.admit(call, exchange, world)
        {
            stream.0 = State::Nothing;
            return refusal;
        }
        self.go_on(stream, exchange, world)
    }

    /// Pays the fleet; then the call begins.
    fn go_on(&self, stream: &mut Stream, exchange: &mut Exchange, world: &dyn World) -> Flow {
        if let Some(shared) = &self.shared
            && let Some(flow) = self.pay_fleet(shared, stream, exchange, world)
        {
            return flow;
        }
        // Usage cannot be read out of a compressed answer.
        if stream.call().is_some_and(|c| c.needs.usage)
            && exchange.request.sole("accept-encoding") != Ok(Some(b"identity"))
        {
            exchange.request.set(&self.accept_encoding, "identity");
        }
        Flow::Continue
    }

    /// `None`: it is paid. Else what becomes of the request.
    #[inline(never)]
    fn pay_fleet(
        &self,
        shared: &Shared,
        stream: &mut Stream,
        exchange: &mut Exchange,
        world: &dyn World,
    ) -> Option<Flow> {
        let (State::Priced(mut call) | State::Paying(mut call)) = std::mem::take(&mut stream.0)
        else {
            return None;
        };
        match self.pay(shared, &mut call, exchange, world) {
            Ok(true) => {
                stream.0 = State::Priced(call);
                None
            }
            Ok(false) => {
                stream.0 = State::Paying(call);
                Some(Flow::HoldForWake)
            }
            Err(refusal) => Some(refusal),
        }
    }

    /// How tokens are reported: by the first candidate that has any.
    fn format(&self, call: &Call) -> Option<&Format> {
        self.rules(call.candidates())
            .find(|(_, p)| p.tokens.is_some() || p.models.is_some())
            .map(|(_, p)| &p.format)
    }

    /// Whether an answer is short enough to be held for its exact cost, as far as it says, and no stream.
    fn may_hold(&self, call: &Call, media_type: Option<&[u8]>, exchange: &Exchange) -> bool {
        let streams = call.asked().is_some_and(|a| a.stream)
            || media_type.is_some_and(is_stream)
            || exchange.path().ends_with(b":streamGenerateContent");
        let length = content_length(&exchange.response);
        let one_document = call.reader().is_some_and(Reader::is_one_document);
        let most = u64::try_from(self.hold_bytes).unwrap_or(u64::MAX);
        // What is neither JSON nor says how long it is may be a stream of somebody's own.
        let short = length.map_or(one_document, |n| n <= most);
        exchange.can_hold_response
            && self.shown.cost.is_some()
            && self.hold_bytes > 0
            && short
            && !streams
    }

    /// The price depends on the answer: concludes by its headers, or looks at its body.
    #[inline(never)]
    fn read_answer(
        &self,
        call: &mut Call,
        exchange: &mut Exchange,
        world: &dyn World,
        end: bool,
    ) -> ResponseFlow {
        let format = self.format(call);
        let in_headers = format.and_then(|f| f.in_headers(&exchange.response));
        let media_type = readable_type(&exchange.response);
        let reader = if call.needs.usage && in_headers.is_none() && !end {
            let table = format.and_then(|f| f.table.clone());
            media_type
                .as_deref()
                .zip(table)
                .and_then(|(media_type, table)| Reader::of_type(media_type, table))
        } else {
            None
        };
        let reads = reader.is_some();
        let details = call.details_mut();
        details.in_headers = in_headers.map(Box::new);
        details.reader = reader.map(Box::new);
        let measures_end = self
            .rules(call.candidates())
            .any(|(_, p)| p.response_kib.is_some() || p.second.is_some());
        if end || !(reads || measures_end) {
            self.conclude_and_show(call, Ending::Answered, exchange, world);
            return ResponseFlow::Continue;
        }
        if self.may_hold(call, media_type.as_deref(), exchange) {
            call.details_mut().held = true;
            return ResponseFlow::Hold;
        }
        self.show_estimate(call, exchange);
        ResponseFlow::Observe
    }

    /// Concludes while the headers can still be changed, and tells the client.
    fn conclude_and_show(
        &self,
        call: &mut Call,
        ending: Ending,
        exchange: &mut Exchange,
        world: &dyn World,
    ) {
        self.conclude(call, ending, true, exchange, world);
    }

    /// A piece of an answer whose price depends on it.
    #[inline(never)]
    fn read_body(
        &self,
        call: &mut Call,
        exchange: &mut Exchange,
        world: &dyn World,
        piece: &[u8],
        end: bool,
    ) -> ResponseFlow {
        let details = call.details_mut();
        if let Some(reader) = &mut details.reader {
            reader.feed(piece, end);
        }
        details.read = details.read.saturating_add(piece.len());
        let (held, too_long) = (details.held, details.read > self.hold_bytes);
        if end {
            if held {
                self.conclude_and_show(call, Ending::Answered, exchange, world);
            } else {
                self.conclude(call, Ending::Answered, false, exchange, world);
                self.show_in_trailer(call, exchange);
            }
            return ResponseFlow::Continue;
        }
        if held && too_long {
            self.let_go(call, exchange);
        }
        // Nothing that may still come can bring any usage, so the answer need not wait.
        let hopeless = call.reader().is_some_and(Reader::is_hopeless)
            && !self
                .rules(call.candidates())
                .any(|(_, p)| p.response_kib.is_some() || p.second.is_some());
        if hopeless && call.is_held() {
            call.details_mut().held = false;
            self.conclude_and_show(call, Ending::Answered, exchange, world);
            return ResponseFlow::Continue;
        }
        if call.is_held() {
            ResponseFlow::Hold
        } else {
            ResponseFlow::Observe
        }
    }

    /// The answer is not held any longer: its cost will not be known in time.
    fn let_go(&self, call: &mut Call, exchange: &mut Exchange) {
        call.details_mut().held = false;
        self.show_estimate(call, exchange);
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
        if let Some(may_change) = self.reads_request(&candidates, exchange) {
            return match self.ask(candidates, may_change, exchange, world) {
                Ok(asking) => {
                    stream.0 = State::Asking(Box::new(asking));
                    Flow::HoldForBody
                }
                Err(refusal) => refusal,
            };
        }
        self.begin(stream, candidates, None, exchange, world)
    }

    fn on_request_body(
        &self,
        stream: &mut Stream,
        exchange: &mut Exchange,
        world: &dyn World,
        piece: &[u8],
        end: bool,
    ) -> Flow {
        let State::Asking(asking) = &mut stream.0 else {
            return Flow::Continue;
        };
        asking.feed(piece);
        if !end {
            return Flow::HoldForBody;
        }
        let State::Asking(asking) = std::mem::take(&mut stream.0) else {
            return Flow::Continue;
        };
        match self.asked(*asking, exchange, world) {
            Ok((candidates, asked)) => {
                self.begin(stream, candidates, Some(Box::new(asked)), exchange, world)
            }
            Err(refusal) => refusal,
        }
    }

    fn on_wake(&self, stream: &mut Stream, exchange: &mut Exchange, world: &dyn World) -> Flow {
        match stream.0 {
            State::Paying(_) => self.go_on(stream, exchange, world),
            _ => Flow::Continue,
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
        let status = exchange
            .status
            .filter(|_| call.needs.status || call.needs.headers);
        let price = self.prices.get(call.costliest);
        if status.is_some_and(|s| price.is_some_and(|p| p.is_free_status(s))) {
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
        if let State::Paying(call) = &mut stream.0 {
            self.unpay(call, world);
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
