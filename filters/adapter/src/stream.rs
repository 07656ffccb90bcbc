//! One HTTP exchange: Envoy's callbacks in, actions out.
//!
//! What Envoy really does in each callback, with the experiments behind it, is in
//! `docs/how-it-runs.md`; comments here name only what the code next to them relies on.

use crate::abi::{self, Buffer, Half, Map};
use crate::running::Running;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;
use std::cell::RefCell;
use std::rc::Rc;
use tollgate_core::drive::{Body, Drive, ResponseStep, Step};
use tollgate_core::flow::GrpcStatus;
use tollgate_core::headers::HeaderChange;
use tollgate_core::world::CallAnswer;
use tollgate_core::{Exchange, Headers, LocalReply, ResponseRead, World};
use tollgate_gateway::Chain;

/// A body buffer of the proxy.
struct ProxyBody(Buffer);

impl Body for ProxyBody {
    fn read(&self, offset: usize, len: usize) -> Vec<u8> {
        abi::buffer(self.0, offset, len)
    }
}

/// The state of an exchange; shared with the watchdog, which may have to answer it from a tick.
pub(crate) struct Stream {
    context_id: u32,
    running: Rc<Running>,
    drive: Drive<Chain>,
    exchange: Exchange,
    /// A call under way: its token.
    call: Option<u32>,
    /// Size of the held answer at the last callback: trailers come without one.
    response_size: usize,
    watched: bool,
    asleep: bool,
    body: BodyState,
}

/// How far the request body has come while the request was held.
#[derive(Clone, Copy, PartialEq, Eq)]
enum BodyState {
    /// No piece was kept.
    Untouched,
    /// Pieces were kept, and more will come.
    Arriving,
    /// A call's answer let the request go in the middle of its body.
    ResumedMidway,
    /// Nothing to take care of any more.
    Settled,
}

/// What the SDK keeps for each exchange.
pub(crate) struct StreamContext(Rc<RefCell<Stream>>);

impl StreamContext {
    pub(crate) fn new(context_id: u32, running: Rc<Running>) -> Self {
        Self(Rc::new(RefCell::new(Stream {
            context_id,
            running,
            drive: Drive::default(),
            exchange: Exchange::default(),
            call: None,
            response_size: 0,
            watched: false,
            asleep: false,
            body: BodyState::Untouched,
        })))
    }

    /// Runs `f` on the stream. A callback inside a callback cannot happen (Envoy queues what would cause
    /// one); should it happen all the same, the exchange is left alone rather than the worker trapped.
    fn with<T>(&self, otherwise: T, f: impl FnOnce(&mut Stream, &Self) -> T) -> T {
        match self.0.try_borrow_mut() {
            Ok(mut stream) => {
                stream.running.proxy.begin();
                let result = f(&mut stream, self);
                stream.running.hurry();
                result
            }
            Err(_) => otherwise,
        }
    }
}

impl Stream {
    pub(crate) fn context_id(&self) -> u32 {
        self.context_id
    }

    /// Whether the request is still held for its body.
    pub(crate) fn waits_for_body(&self) -> bool {
        self.exchange.replied.is_none() && self.drive.waits_for_body()
    }

    /// Whether the answer is still held.
    pub(crate) fn holds_response(&self) -> bool {
        self.drive.holds_response()
    }

    /// Answers from the tick; the caller has made this the effective context.
    pub(crate) fn reply_from_tick(&mut self, reply: &LocalReply) {
        self.exchange.replied = Some(reply.details.clone().into_owned());
        self.send(reply);
    }

    /// Lets a held answer go from the tick; the caller has made this the effective context.
    pub(crate) fn release_from_tick(&mut self) {
        let running = Rc::clone(&self.running);
        self.drive
            .release_response(&running.gateway.chain, &mut self.exchange, &running.proxy);
        self.flush_response();
        abi::resume(Half::Response);
    }

    fn request_headers(&mut self, bodyless: bool) -> Step {
        let running = Rc::clone(&self.running);
        let headers = abi::header_map(Map::Request).map(Headers::from_wire);
        let Some(Ok(headers)) = headers else {
            let details = "tollgate_internal_headers_unreadable";
            let reply = LocalReply::empty(500, details, GrpcStatus::INTERNAL);
            self.exchange.replied = Some(details.to_owned());
            return Step::Reply(Box::new(reply));
        };
        self.exchange =
            Exchange::new(headers, bodyless).publishing(running.gateway.filter_state.clone());
        self.exchange.can_hold_response = running.watch.can_hold_response();
        self.drive
            .request_headers(&running.gateway.chain, &mut self.exchange, &running.proxy)
    }

    /// Fills in what the policies want to know of the answer's headers.
    fn read_response(&mut self, running: &Running) {
        let status = |value: &[u8]| std::str::from_utf8(value).ok()?.parse().ok();
        match self.drive.reads_response(&running.gateway.chain) {
            ResponseRead::Nothing => {}
            ResponseRead::Status => {
                self.exchange.status = abi::header(Map::Response, ":status")
                    .as_deref()
                    .and_then(status);
            }
            ResponseRead::Headers => {
                self.exchange.response = abi::header_map(Map::Response)
                    .and_then(|wire| Headers::from_wire(wire).ok())
                    .unwrap_or_default();
                self.exchange.status = self.exchange.response.first(":status").and_then(status);
            }
        }
    }

    /// Tells the proxy what was decided about the request. Whether it then goes on is returned.
    fn apply(&mut self, step: Step) -> bool {
        self.call = self.running.proxy.take_call().or(self.call);
        self.flush_request();
        match step {
            Step::Forward => {
                if let Some(body) = self.exchange.new_body.take() {
                    abi::replace_buffer(Buffer::RequestBody, &body);
                }
                true
            }
            Step::Hold => false,
            Step::Reply(reply) => {
                self.send(&reply);
                false
            }
        }
    }

    fn send(&self, reply: &LocalReply) {
        let headers = abi::serialize_pairs(
            reply
                .headers
                .iter()
                .map(|(name, value)| (name.as_ref(), value.as_slice())),
        );
        // Envoy makes a trailers-only answer of it for gRPC, and grpc-message of the body.
        let body = if self.exchange.is_grpc() {
            reply.message.as_bytes()
        } else {
            reply.body.as_slice()
        };
        abi::send_local_reply(
            reply.status,
            &reply.details,
            body,
            &headers,
            i32::from(reply.grpc.0),
        );
    }

    fn flush_request(&mut self) {
        flush(Map::Request, &mut self.exchange.request);
        self.publish();
    }

    fn flush_response(&mut self) {
        flush(Map::Response, &mut self.exchange.response);
        self.publish();
    }

    /// Only at the very end of an answer: earlier Envoy refuses to touch trailers.
    fn flush_trailers(&mut self) {
        flush(Map::ResponseTrailers, &mut self.exchange.response_trailers);
    }

    fn publish(&mut self) {
        self.exchange.facts.drain_published(|name, value| {
            abi::set_filter_state(name, value);
        });
    }

    fn response_action(&mut self, step: ResponseStep) -> Action {
        self.flush_response();
        match step {
            ResponseStep::Forward | ResponseStep::Observe => Action::Continue,
            ResponseStep::Hold => Action::Pause,
        }
    }

    /// The answer to a call arrived; the SDK has made this the effective context.
    fn call_answered(&mut self, token: u32, context: &StreamContext, answer: &CallAnswer) {
        if self.call != Some(token) || self.exchange.replied.is_some() {
            return;
        }
        self.call = None;
        let running = Rc::clone(&self.running);
        let step = self.drive.call_answer(
            &running.gateway.chain,
            &mut self.exchange,
            &running.proxy,
            answer,
            &ProxyBody(Buffer::RequestBody),
        );
        self.go_on(step, &context.0);
    }

    /// The request was held for something else than its body, and that has come.
    fn go_on(&mut self, step: Step, cell: &Rc<RefCell<Self>>) {
        if !self.apply(step) {
            self.watch(cell);
            return;
        }
        if self.body == BodyState::Arriving {
            self.body = BodyState::ResumedMidway;
        }
        abi::resume(Half::Request);
    }

    /// Asks again who was held by `HoldForWake`; the caller has made this the effective context. Whether it
    /// goes on waiting is returned.
    pub(crate) fn wake(&mut self, cell: &Rc<RefCell<Self>>) -> bool {
        if !self.drive.waits_for_wake() || self.exchange.replied.is_some() {
            self.asleep = false;
            return false;
        }
        let running = Rc::clone(&self.running);
        let step = self.drive.wake(
            &running.gateway.chain,
            &mut self.exchange,
            &running.proxy,
            &ProxyBody(Buffer::RequestBody),
        );
        self.asleep = step == Step::Hold && self.drive.waits_for_wake();
        self.go_on(step, cell);
        self.asleep
    }

    /// A request that waits to be woken is remembered. One that waits for its body is watched until the first body
    /// callback: without `allow_on_headers_stop_iteration` none will ever come.
    fn watch(&mut self, cell: &Rc<RefCell<Self>>) {
        if self.drive.waits_for_wake() && !self.asleep {
            self.asleep = true;
            self.running.sleep(cell);
        }
        if self.drive.waits_for_body() && !self.exchange.bodyless && !self.watched {
            self.watched = true;
            self.running.watch.request(cell, self.running.proxy.now());
        }
    }
}

fn flush(map: Map, headers: &mut Headers) {
    headers.drain_changes(|name, change| {
        match change {
            HeaderChange::Set(value) => abi::set_header(map, name.as_str(), value),
            HeaderChange::Append(value) => abi::add_header(map, name.as_str(), value),
            HeaderChange::Remove => abi::remove_header(map, name.as_str()),
        };
    });
}

fn action(goes_on: bool) -> Action {
    if goes_on {
        Action::Continue
    } else {
        Action::Pause
    }
}

impl HttpContext for StreamContext {
    fn on_http_request_headers(&mut self, _: usize, end_of_stream: bool) -> Action {
        self.with(Action::Pause, |stream, context| {
            let step = stream.request_headers(end_of_stream);
            let goes_on = stream.apply(step);
            stream.watch(&context.0);
            action(goes_on)
        })
    }

    fn on_http_request_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        self.with(Action::Pause, |stream, _| {
            if stream.exchange.replied.is_some() {
                return Action::Pause;
            }
            if stream.body == BodyState::ResumedMidway {
                // Envoy 1.36 puts this piece into the buffer that it has just sent on, and forgets it there when
                // told "continue": it has to be sent on, too. Later versions do not mind.
                stream.body = BodyState::Settled;
                abi::resume(Half::Request);
                return Action::Pause;
            }
            if !stream.drive.is_holding() {
                return Action::Continue;
            }
            stream.body = if end_of_stream {
                BodyState::Settled
            } else {
                BodyState::Arriving
            };
            // Body callbacks while the headers are held: the flag is set.
            stream.running.watch.body_seen(&stream.running.proxy);
            let running = Rc::clone(&stream.running);
            let step = stream.drive.request_body(
                &running.gateway.chain,
                &mut stream.exchange,
                &running.proxy,
                &ProxyBody(Buffer::RequestBody),
                size,
                end_of_stream,
            );
            action(stream.apply(step))
        })
    }

    // With trailers no body callback ever says "end of stream": this is the end, and a check that
    // waits for the other one would be bypassed.
    fn on_http_request_trailers(&mut self, _: usize) -> Action {
        self.with(Action::Pause, |stream, _| {
            if stream.exchange.replied.is_some() {
                return Action::Pause;
            }
            if !stream.drive.is_holding() {
                return Action::Continue;
            }
            stream.body = BodyState::Settled;
            let running = Rc::clone(&stream.running);
            let step = stream.drive.request_trailers(
                &running.gateway.chain,
                &mut stream.exchange,
                &running.proxy,
                &ProxyBody(Buffer::RequestBody),
            );
            action(stream.apply(step))
        })
    }

    fn on_http_response_headers(&mut self, _: usize, end_of_stream: bool) -> Action {
        self.with(Action::Continue, |stream, context| {
            let running = Rc::clone(&stream.running);
            stream.read_response(&running);
            let step = stream.drive.response_headers(
                &running.gateway.chain,
                &mut stream.exchange,
                &running.proxy,
                end_of_stream,
            );
            if step == ResponseStep::Hold {
                running.watch.response(&context.0, running.proxy.now());
            }
            stream.response_action(step)
        })
    }

    fn on_http_response_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        self.with(Action::Continue, |stream, _| {
            let running = Rc::clone(&stream.running);
            if stream.drive.holds_response() {
                running.watch.body_seen(&running.proxy);
            } else {
                running
                    .watch
                    .body_after_release(stream.context_id, &running.proxy);
            }
            stream.response_size = size;
            let step = stream.drive.response_body(
                &running.gateway.chain,
                &mut stream.exchange,
                &running.proxy,
                &ProxyBody(Buffer::ResponseBody),
                size,
                end_of_stream,
            );
            if end_of_stream {
                stream.flush_trailers();
            }
            stream.response_action(step)
        })
    }

    fn on_http_response_trailers(&mut self, _: usize) -> Action {
        self.with(Action::Continue, |stream, _| {
            let running = Rc::clone(&stream.running);
            let size = if stream.drive.holds_response() {
                stream.response_size
            } else {
                0
            };
            if stream.drive.watches_response() {
                stream.exchange.response_trailers = abi::header_map(Map::ResponseTrailers)
                    .and_then(|wire| Headers::from_wire(wire).ok())
                    .unwrap_or_default();
            }
            let step = stream.drive.response_body(
                &running.gateway.chain,
                &mut stream.exchange,
                &running.proxy,
                &ProxyBody(Buffer::ResponseBody),
                size,
                true,
            );
            stream.flush_trailers();
            stream.response_action(step)
        })
    }

    fn on_log(&mut self) {
        self.with((), |stream, _| {
            let running = Rc::clone(&stream.running);
            stream
                .drive
                .log(&running.gateway.chain, &mut stream.exchange, &running.proxy);
            stream.publish();
        });
    }
}

impl Context for StreamContext {
    fn on_http_call_response(&mut self, token: u32, _: usize, body_size: usize, _: usize) {
        self.with((), |stream, context| {
            let status = abi::header(Map::HttpCallResponse, ":status")
                .and_then(|s| std::str::from_utf8(&s).ok()?.parse().ok())
                .unwrap_or(0);
            let body = abi::buffer(Buffer::HttpCallResponseBody, 0, body_size);
            stream.call_answered(token, context, &CallAnswer::Http { status, body });
        });
    }

    fn on_grpc_call_response(&mut self, token: u32, status: u32, size: usize) {
        self.with((), |stream, context| {
            let message = if status == 0 {
                abi::buffer(Buffer::GrpcReceive, 0, size)
            } else {
                Vec::new()
            };
            stream.call_answered(token, context, &CallAnswer::Grpc { status, message });
        });
    }
}
