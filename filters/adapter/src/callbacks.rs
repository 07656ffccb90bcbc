//! Envoy's callbacks for one HTTP exchange, as the SDK delivers them.
//!
//! What Envoy really does in each callback, with the experiments behind it, is in
//! `docs/how-it-runs.md`; comments here name only what the code next to them relies on.

use crate::abi::{self, Buffer, Map};
use crate::running::Running;
use crate::stream::{At, Stream};
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;
use std::cell::RefCell;
use std::rc::Rc;
use tollgate_core::world::CallAnswer;

/// What the SDK keeps for each exchange.
pub(crate) struct StreamContext {
    stream: Rc<RefCell<Stream>>,
    /// The configuration it began with.
    running: Rc<Running>,
}

impl StreamContext {
    pub(crate) fn new(context_id: u32, running: Rc<Running>) -> Self {
        Self {
            stream: running.lend(context_id),
            running,
        }
    }

    /// Runs `f` on the stream. A callback inside a callback cannot happen (Envoy queues what would cause
    /// one); should it happen all the same, the exchange is left alone rather than the worker trapped.
    fn with<T>(&self, otherwise: T, f: impl FnOnce(&mut Stream, At<'_>) -> T) -> T {
        match self.stream.try_borrow_mut() {
            Ok(mut stream) => {
                self.running.proxy.begin();
                let at = At {
                    running: &self.running,
                    cell: &self.stream,
                };
                let result = f(&mut stream, at);
                self.running.hurry();
                result
            }
            Err(_) => otherwise,
        }
    }
}

impl Drop for StreamContext {
    fn drop(&mut self) {
        self.running.keep(&self.stream);
    }
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
        self.with(Action::Pause, |stream, at| {
            action(stream.request_headers(end_of_stream, at))
        })
    }

    fn on_http_request_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        self.with(Action::Pause, |stream, at| {
            action(stream.request_body(size, end_of_stream, at))
        })
    }

    // With trailers no body callback ever says "end of stream": this is the end, and a check that
    // waits for the other one would be bypassed.
    fn on_http_request_trailers(&mut self, _: usize) -> Action {
        self.with(Action::Pause, |stream, at| {
            action(stream.request_trailers(at))
        })
    }

    fn on_http_response_headers(&mut self, _: usize, end_of_stream: bool) -> Action {
        self.with(Action::Continue, |stream, at| {
            action(stream.response_headers(end_of_stream, at))
        })
    }

    fn on_http_response_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        self.with(Action::Continue, |stream, at| {
            action(stream.response_body(size, end_of_stream, at))
        })
    }

    fn on_http_response_trailers(&mut self, _: usize) -> Action {
        self.with(Action::Continue, |stream, at| {
            action(stream.response_trailers(at))
        })
    }

    fn on_log(&mut self) {
        self.with((), |stream, at| stream.log(at));
    }
}

impl Context for StreamContext {
    fn on_http_call_response(&mut self, token: u32, _: usize, body_size: usize, _: usize) {
        self.with((), |stream, at| {
            let status = abi::status(Map::HttpCallResponse).unwrap_or(0);
            let body = abi::buffer(Buffer::HttpCallResponseBody, 0, body_size);
            stream.call_answered(token, &CallAnswer::Http { status, body }, at);
        });
    }

    fn on_grpc_call_response(&mut self, token: u32, status: u32, size: usize) {
        self.with((), |stream, at| {
            let message = if status == 0 {
                abi::buffer(Buffer::GrpcReceive, 0, size)
            } else {
                Vec::new()
            };
            stream.call_answered(token, &CallAnswer::Grpc { status, message }, at);
        });
    }
}
