//! One HTTP exchange: the state of it, and its request half. The other half is in `response.rs`.

use crate::abi::{self, Buffer, Half, Map};
use crate::proxy::Proxy;
use crate::running::Running;
use std::cell::RefCell;
use std::rc::Rc;
use tollgate_core::drive::{Body, Drive, Step};
use tollgate_core::exchange::Facts;
use tollgate_core::flow::GrpcStatus;
use tollgate_core::headers::HeaderChange;
use tollgate_core::world::CallAnswer;
use tollgate_core::{Exchange, Headers, LocalReply, World};
use tollgate_gateway::Chain;

/// A body buffer of the proxy.
pub(crate) struct ProxyBody(pub(crate) Buffer);

impl Body for ProxyBody {
    fn read(&self, offset: usize, len: usize) -> Vec<u8> {
        abi::buffer(self.0, offset, len)
    }
}

const REQUEST_BODY: ProxyBody = ProxyBody(Buffer::RequestBody);

/// Where an exchange takes place.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    /// The configuration it began with.
    pub(crate) running: &'a Running,
    /// The exchange itself, for whoever has to come back to it.
    pub(crate) cell: &'a Rc<RefCell<Stream>>,
}

/// The state of an exchange; shared with the watchdog, which may have to answer it from a tick.
pub(crate) struct Stream {
    context_id: u32,
    pub(crate) drive: Drive<Chain>,
    pub(crate) exchange: Exchange,
    /// A call under way: its token.
    call: Option<u32>,
    /// Size of the held answer at the last callback: trailers come without one.
    pub(crate) response_size: usize,
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
    /// Something else than its end let the request go in the middle of its body.
    ResumedMidway,
    /// Nothing to take care of any more.
    Settled,
}

impl Stream {
    pub(crate) fn new() -> Self {
        Self {
            context_id: 0,
            drive: Drive::default(),
            exchange: Exchange::default(),
            call: None,
            response_size: 0,
            watched: false,
            asleep: false,
            body: BodyState::Untouched,
        }
    }

    pub(crate) fn begin(&mut self, context_id: u32) {
        self.context_id = context_id;
    }

    /// Becomes as good as new, but keeps the room that it has: making a stream anew would be a tenth of what an exchange
    /// costs inside the VM. All fields by name, so that none is forgotten.
    pub(crate) fn clear(&mut self) {
        let Self {
            context_id: _,
            drive,
            exchange,
            call,
            response_size,
            watched,
            asleep,
            body,
        } = self;
        *drive = Drive::default();
        exchange.clear();
        *call = None;
        *response_size = 0;
        *watched = false;
        *asleep = false;
        *body = BodyState::Untouched;
    }

    pub(crate) fn context_id(&self) -> u32 {
        self.context_id
    }

    /// Whether the request is still held for its body.
    pub(crate) fn waits_for_body(&self) -> bool {
        self.exchange.replied.is_none() && self.drive.waits_for_body()
    }

    /// Answers from the tick; the caller has made this the effective context.
    pub(crate) fn reply_from_tick(&mut self, reply: &LocalReply) {
        self.exchange.replied = Some(reply.details.clone().into_owned());
        self.send(reply);
    }

    /// Like all callbacks of the request: whether it goes on.
    pub(crate) fn request_headers(&mut self, bodyless: bool, at: At<'_>) -> bool {
        let read = abi::header_map(Map::Request).map(|wire| self.exchange.request.read_wire(&wire));
        let step = match read {
            Some(Ok(())) => self.ask_first(bodyless, at),
            _ => self.unreadable(),
        };
        let goes_on = self.apply(step, at);
        // Only the body is held: `Exchange::headers_released`.
        goes_on || (self.exchange.headers_released && self.waits_for_body())
    }

    fn ask_first(&mut self, bodyless: bool, at: At<'_>) -> Step {
        let running = at.running;
        self.exchange.bodyless = bodyless;
        self.exchange.facts.want(running.gateway.filter_state);
        self.exchange.can_hold_response = running.watch.can_hold_response();
        self.ask(at.running, |drive, chain, exchange, proxy| {
            drive.request_headers(chain, exchange, proxy)
        })
    }

    /// Asks the policies, of whose dealings with this exchange `drive` keeps the state.
    pub(crate) fn ask<T>(
        &mut self,
        running: &Running,
        question: impl FnOnce(&mut Drive<Chain>, &Chain, &mut Exchange, &Proxy) -> T,
    ) -> T {
        let Running { gateway, proxy, .. } = running;
        question(&mut self.drive, &gateway.chain, &mut self.exchange, proxy)
    }

    #[cold]
    fn unreadable(&mut self) -> Step {
        let details = "tollgate_internal_headers_unreadable";
        self.exchange.replied = Some(details.to_owned());
        Step::Reply(Box::new(LocalReply::empty(
            500,
            details,
            GrpcStatus::INTERNAL,
        )))
    }

    /// `size` bytes of the body have come since its beginning, or since it was let go.
    pub(crate) fn request_body(&mut self, size: usize, end: bool, at: At<'_>) -> bool {
        if self.exchange.replied.is_some() {
            return false;
        }
        if self.body == BodyState::ResumedMidway {
            // Envoy 1.36 puts this piece into the buffer that it has just sent on, and forgets it there when
            // told "continue": it has to be sent on, too. Later versions do not mind.
            self.body = BodyState::Settled;
            abi::resume(Half::Request);
            return false;
        }
        if !self.drive.is_holding() {
            return true;
        }
        self.body = if end {
            BodyState::Settled
        } else {
            BodyState::Arriving
        };
        if !self.exchange.headers_released {
            // Body callbacks while the headers are held: the flag is set.
            at.running.watch.body_seen(&at.running.proxy);
        }
        let step = self.ask(at.running, |drive, chain, exchange, proxy| {
            drive.request_body(chain, exchange, proxy, &REQUEST_BODY, size, end)
        });
        self.apply(step, at)
    }

    pub(crate) fn request_trailers(&mut self, at: At<'_>) -> bool {
        if self.exchange.replied.is_some() {
            return false;
        }
        if !self.drive.is_holding() {
            return true;
        }
        self.body = BodyState::Settled;
        let step = self.ask(at.running, |drive, chain, exchange, proxy| {
            drive.request_trailers(chain, exchange, proxy, &REQUEST_BODY)
        });
        self.apply(step, at)
    }

    /// The answer to a call arrived; the SDK has made this the effective context.
    pub(crate) fn call_answered(&mut self, token: u32, answer: &CallAnswer, at: At<'_>) {
        if self.call != Some(token) || self.exchange.replied.is_some() {
            return;
        }
        self.call = None;
        let step = self.ask(at.running, |drive, chain, exchange, proxy| {
            drive.call_answer(chain, exchange, proxy, answer, &REQUEST_BODY)
        });
        self.go_on(step, at);
    }

    /// Asks again who was held by `HoldForWake`; the caller has made this the effective context. Whether it
    /// goes on waiting is returned.
    pub(crate) fn wake(&mut self, at: At<'_>) -> bool {
        if !self.drive.waits_for_wake() || self.exchange.replied.is_some() {
            self.asleep = false;
            return false;
        }
        let step = self.ask(at.running, |drive, chain, exchange, proxy| {
            drive.wake(chain, exchange, proxy, &REQUEST_BODY)
        });
        self.asleep = step == Step::Hold && self.drive.waits_for_wake();
        self.go_on(step, at);
        self.asleep
    }

    /// The request was held for something else than its body, and that has come.
    fn go_on(&mut self, step: Step, at: At<'_>) {
        if !self.apply(step, at) {
            return;
        }
        if self.body == BodyState::Arriving {
            self.body = BodyState::ResumedMidway;
        }
        abi::resume(Half::Request);
    }

    /// Tells the proxy what was decided about the request. Whether it then goes on is returned.
    fn apply(&mut self, step: Step, at: At<'_>) -> bool {
        self.call = at.running.proxy.take_call().or(self.call);
        tell(Map::Request, &mut self.exchange.request);
        self.publish();
        match step {
            Step::Forward => {
                if let Some(body) = self.exchange.new_body.take() {
                    abi::replace_buffer(Buffer::RequestBody, &body);
                }
                true
            }
            Step::Hold => {
                self.watch(at);
                false
            }
            Step::Reply(reply) => {
                self.send(&reply);
                false
            }
        }
    }

    /// A request that waits to be woken is remembered. One that waits for its body is watched until the first body
    /// callback: without `allow_on_headers_stop_iteration` none will ever come.
    #[inline(never)]
    fn watch(&mut self, at: At<'_>) {
        if self.drive.waits_for_wake() && !self.asleep {
            self.asleep = true;
            at.running.sleep(at.cell);
        }
        if self.drive.waits_for_body()
            && !self.exchange.headers_released
            && !self.exchange.bodyless
            && self.body == BodyState::Untouched
            && !self.watched
        {
            self.watched = true;
            at.running.watch.request(at.cell, at.running.proxy.now());
        }
    }

    #[inline(never)]
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

    pub(crate) fn publish(&mut self) {
        if self.exchange.facts.is_pending() {
            publish(&mut self.exchange.facts);
        }
    }

    /// The exchange is over.
    pub(crate) fn log(&mut self, at: At<'_>) {
        self.ask(at.running, |drive, chain, exchange, proxy| {
            drive.log(chain, exchange, proxy)
        });
        self.publish();
    }
}

/// Tells the proxy what was changed.
pub(crate) fn tell(map: Map, headers: &mut Headers) {
    if headers.is_changed() {
        flush(map, headers);
    }
}

// One copy for all maps and phases: what is inlined in several places is several times code to load.
#[inline(never)]
fn flush(map: Map, headers: &mut Headers) {
    headers.drain_changes(|name, change| {
        match change {
            HeaderChange::Set(value) => abi::set_header(map, name, value),
            HeaderChange::Append(value) => abi::add_header(map, name, value),
            HeaderChange::Remove => abi::remove_header(map, name),
        };
    });
}

#[inline(never)]
fn publish(facts: &mut Facts) {
    facts.drain_published(|name, value| {
        abi::set_filter_state(name, value);
    });
}
