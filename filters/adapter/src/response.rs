//! The response half of an exchange.

use crate::abi::{self, Buffer, Half, Map};
use crate::stream::{ProxyBody, Stream, flush};
use std::cell::RefCell;
use std::rc::Rc;
use tollgate_core::drive::ResponseStep;
use tollgate_core::{Headers, ResponseRead, World};

const RESPONSE_BODY: ProxyBody = ProxyBody(Buffer::ResponseBody);

impl Stream {
    /// Whether the answer is still held.
    pub(crate) fn holds_response(&self) -> bool {
        self.drive.holds_response()
    }

    /// Lets a held answer go from the tick; the caller has made this the effective context.
    pub(crate) fn release_from_tick(&mut self) {
        self.ask(|drive, chain, exchange, proxy| drive.release_response(chain, exchange, proxy));
        self.flush_response();
        abi::resume(Half::Response);
    }

    /// Like all callbacks of the answer: whether it goes on.
    pub(crate) fn response_headers(&mut self, end: bool, cell: &Rc<RefCell<Self>>) -> bool {
        self.read_response();
        let step = self.ask(|drive, chain, exchange, proxy| {
            drive.response_headers(chain, exchange, proxy, end)
        });
        if step == ResponseStep::Hold {
            let running = &self.running;
            running.watch.response(cell, running.proxy.now());
        }
        self.apply_response(step)
    }

    /// Fills in what the policies want to know of the answer's headers.
    fn read_response(&mut self) {
        match self.drive.reads_response(&self.running.gateway.chain) {
            ResponseRead::Nothing => {}
            ResponseRead::Status => {
                self.exchange.status = abi::status(Map::Response);
            }
            ResponseRead::Headers => self.read_response_headers(),
        }
    }

    #[inline(never)]
    fn read_response_headers(&mut self) {
        self.exchange.response = read_map(Map::Response);
        let status = self.exchange.response.first(":status");
        self.exchange.status = status.and_then(abi::read_status);
    }

    /// `size` bytes are readable: all since the start while the answer is held, else just the new ones.
    pub(crate) fn response_body(&mut self, size: usize, end: bool) -> bool {
        let running = &self.running;
        if self.drive.holds_response() {
            running.watch.body_seen(&running.proxy);
        } else {
            running
                .watch
                .body_after_release(self.context_id(), &running.proxy);
        }
        self.response_size = size;
        self.show_body(size, end)
    }

    /// The end of an answer with trailers; no body callback has said so.
    pub(crate) fn response_trailers(&mut self) -> bool {
        if self.drive.watches_response() {
            self.exchange.response_trailers = read_map(Map::ResponseTrailers);
        }
        let size = if self.drive.holds_response() {
            self.response_size
        } else {
            0
        };
        self.show_body(size, true)
    }

    fn show_body(&mut self, size: usize, end: bool) -> bool {
        let Self {
            running,
            drive,
            exchange,
            ..
        } = self;
        let step = drive.response_body(
            &running.gateway.chain,
            exchange,
            &running.proxy,
            &RESPONSE_BODY,
            size,
            end,
        );
        if end {
            // Only now: earlier Envoy refuses to touch trailers.
            flush(Map::ResponseTrailers, &mut self.exchange.response_trailers);
        }
        self.apply_response(step)
    }

    fn apply_response(&mut self, step: ResponseStep) -> bool {
        self.flush_response();
        step != ResponseStep::Hold
    }

    fn flush_response(&mut self) {
        flush(Map::Response, &mut self.exchange.response);
        self.publish();
    }
}

/// A map that cannot be read is an empty one: the answer is the upstream's affair.
fn read_map(map: Map) -> Headers {
    abi::header_map(map)
        .and_then(|wire| Headers::from_wire(wire).ok())
        .unwrap_or_default()
}
