//! The response half of an exchange.

use crate::abi::{self, Buffer, Half, Map};
use crate::running::Running;
use crate::stream::{At, ProxyBody, Stream, tell};
use tollgate_core::drive::ResponseStep;
use tollgate_core::{Headers, ResponseRead, World};

const RESPONSE_BODY: ProxyBody = ProxyBody(Buffer::ResponseBody);

impl Stream {
    /// Whether the answer is still held.
    pub(crate) fn holds_response(&self) -> bool {
        self.drive.holds_response()
    }

    /// Lets a held answer go from the tick; the caller has made this the effective context.
    pub(crate) fn release_from_tick(&mut self, running: &Running) {
        self.ask(running, |drive, chain, exchange, proxy| {
            drive.release_response(chain, exchange, proxy)
        });
        self.flush_response();
        abi::resume(Half::Response);
    }

    /// Like all callbacks of the answer: whether it goes on.
    pub(crate) fn response_headers(&mut self, end: bool, at: At<'_>) -> bool {
        self.read_response(at);
        let step = self.ask(at.running, |drive, chain, exchange, proxy| {
            drive.response_headers(chain, exchange, proxy, end)
        });
        if step == ResponseStep::Hold {
            let running = at.running;
            running.watch.response(at.cell, running.proxy.now());
        }
        self.apply_response(step)
    }

    /// Fills in what the policies want to know of the answer's headers.
    fn read_response(&mut self, at: At<'_>) {
        match self.drive.reads_response(&at.running.gateway.chain) {
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
    pub(crate) fn response_body(&mut self, size: usize, end: bool, at: At<'_>) -> bool {
        let running = at.running;
        if self.drive.holds_response() {
            running.watch.body_seen(&running.proxy);
        } else {
            running
                .watch
                .body_after_release(self.context_id(), &running.proxy);
        }
        self.response_size = size;
        self.show_body(size, end, at)
    }

    /// The end of an answer with trailers; no body callback has said so.
    pub(crate) fn response_trailers(&mut self, at: At<'_>) -> bool {
        if self.drive.watches_response() {
            self.exchange.response_trailers = read_map(Map::ResponseTrailers);
        }
        let size = if self.drive.holds_response() {
            self.response_size
        } else {
            0
        };
        self.show_body(size, true, at)
    }

    fn show_body(&mut self, size: usize, end: bool, at: At<'_>) -> bool {
        let step = self.ask(at.running, |drive, chain, exchange, proxy| {
            drive.response_body(chain, exchange, proxy, &RESPONSE_BODY, size, end)
        });
        if end {
            // Only now: earlier Envoy refuses to touch trailers.
            tell(Map::ResponseTrailers, &mut self.exchange.response_trailers);
        }
        self.apply_response(step)
    }

    fn apply_response(&mut self, step: ResponseStep) -> bool {
        self.flush_response();
        step != ResponseStep::Hold
    }

    fn flush_response(&mut self) {
        tell(Map::Response, &mut self.exchange.response);
        self.publish();
    }
}

/// A map that cannot be read is an empty one: the answer is the upstream's affair.
fn read_map(map: Map) -> Headers {
    abi::header_map(map)
        .and_then(|wire| Headers::from_wire(&wire).ok())
        .unwrap_or_default()
}
