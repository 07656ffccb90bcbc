//! The trait that all five filters implement.

use crate::exchange::Exchange;
use crate::flow::{Flow, ResponseFlow, ResponseRead};
use crate::world::{CallAnswer, CallId, CallReply, World};

/// A compiled configuration that decides about exchanges. `Stream` is what it remembers of one.
///
/// For one exchange the methods are called in this order: `prepare`; `on_request_headers`; as long as the answer is
/// `HoldForBody`, `on_request_body`; after `HoldForCall`, `on_call`, and as long as the answer is `HoldForWake`,
/// `on_wake` (both may hold in another way again); later `on_response_headers`, `on_response_body`; at last `on_log`, always once, also when the client went away in between.
pub trait Policy {
    /// What the policy remembers of one exchange.
    type Stream: Default;

    /// Called once in every worker after the configuration was accepted, before any request.
    fn on_start(&self, _world: &dyn World) {}

    /// Called for every policy of a chain before any of them decides: remove what a client must not
    /// send (identity headers) and what no log may show (a credential in the query).
    fn prepare(&self, _stream: &mut Self::Stream, _exchange: &mut Exchange, _world: &dyn World) {}

    /// The request headers are there.
    fn on_request_headers(
        &self,
        stream: &mut Self::Stream,
        exchange: &mut Exchange,
        world: &dyn World,
    ) -> Flow;

    /// A new piece of the body, each byte shown once and in order; `end` with the last call, whose
    /// piece may be empty. Also called (with `end`) for a request that has no body at all. Trailers are an end, too.
    fn on_request_body(
        &self,
        _stream: &mut Self::Stream,
        _exchange: &mut Exchange,
        _world: &dyn World,
        _piece: &[u8],
        _end: bool,
    ) -> Flow {
        Flow::Continue
    }

    /// The answer to the call that was sent before `HoldForCall`.
    fn on_call(
        &self,
        _stream: &mut Self::Stream,
        _exchange: &mut Exchange,
        _world: &dyn World,
        _answer: &CallAnswer,
    ) -> Flow {
        Flow::Continue
    }

    /// A background reply or a tick has come while the request was held by `HoldForWake`: look again.
    /// Comes at least every 10 ms, until something else is answered.
    fn on_wake(
        &self,
        _stream: &mut Self::Stream,
        _exchange: &mut Exchange,
        _world: &dyn World,
    ) -> Flow {
        Flow::Continue
    }

    /// What of the answer must be filled in for this exchange (all headers cost about 1 us, the status
    /// half of it).
    fn reads_response(&self, _stream: &Self::Stream) -> ResponseRead {
        ResponseRead::Nothing
    }

    /// The answer's headers are there (also those of a local reply: see `exchange.replied`).
    /// `end`: it has no body.
    fn on_response_headers(
        &self,
        _stream: &mut Self::Stream,
        _exchange: &mut Exchange,
        _world: &dyn World,
        _end: bool,
    ) -> ResponseFlow {
        ResponseFlow::Continue
    }

    /// A new piece of the answer, after `Observe` or `Hold`. Headers can be changed only while held;
    /// trailers (`exchange.response_trailers`) are there, and can be changed, with `end`.
    fn on_response_body(
        &self,
        _stream: &mut Self::Stream,
        _exchange: &mut Exchange,
        _world: &dyn World,
        _piece: &[u8],
        _end: bool,
    ) -> ResponseFlow {
        ResponseFlow::Continue
    }

    /// A held answer had to be let go without its end having been seen (the proxy cannot hold
    /// answers): last chance to set headers. Pieces keep coming as after `Observe`.
    fn on_response_released(
        &self,
        _stream: &mut Self::Stream,
        _exchange: &mut Exchange,
        _world: &dyn World,
    ) {
    }

    /// The exchange is over, whatever way: settle, count, publish for the access log.
    fn on_log(&self, _stream: &mut Self::Stream, _exchange: &mut Exchange, _world: &dyn World) {}

    /// Called in every worker, and in the main thread, which never sees a request: every 250 ms, and
    /// every 10 ms while a request is held by `HoldForWake` or the chain [is busy](Policy::is_busy).
    fn on_tick(&self, _world: &dyn World) {}

    /// Whether work is left for ticks, because it was cut into slices that block no request: they then come
    /// every 10 ms. Asked after every tick, after every background reply, and at the start.
    fn is_busy(&self) -> bool {
        false
    }

    /// The reply to a call sent with `World::call_in_background`, by whichever policy of the chain: one
    /// that does not know the id leaves it alone.
    fn on_background_reply(&self, _world: &dyn World, _id: CallId, _reply: &dyn CallReply) {}

    /// The last call of all: the configuration was replaced and its last exchange is over, or the VM ends.
    /// What must not be lost is written now. Not called when a VM is killed.
    fn on_stop(&self, _world: &dyn World) {}
}

/// A policy that is not configured lets everything pass.
impl<P: Policy> Policy for Option<P> {
    type Stream = P::Stream;

    fn on_start(&self, world: &dyn World) {
        if let Some(policy) = self {
            policy.on_start(world);
        }
    }

    fn prepare(&self, stream: &mut P::Stream, exchange: &mut Exchange, world: &dyn World) {
        if let Some(policy) = self {
            policy.prepare(stream, exchange, world);
        }
    }

    fn on_request_headers(
        &self,
        stream: &mut P::Stream,
        exchange: &mut Exchange,
        world: &dyn World,
    ) -> Flow {
        match self {
            Some(policy) => policy.on_request_headers(stream, exchange, world),
            None => Flow::Continue,
        }
    }

    fn on_request_body(
        &self,
        stream: &mut P::Stream,
        exchange: &mut Exchange,
        world: &dyn World,
        piece: &[u8],
        end: bool,
    ) -> Flow {
        match self {
            Some(policy) => policy.on_request_body(stream, exchange, world, piece, end),
            None => Flow::Continue,
        }
    }

    fn on_call(
        &self,
        stream: &mut P::Stream,
        exchange: &mut Exchange,
        world: &dyn World,
        answer: &CallAnswer,
    ) -> Flow {
        match self {
            Some(policy) => policy.on_call(stream, exchange, world, answer),
            None => Flow::Continue,
        }
    }

    fn on_wake(&self, stream: &mut P::Stream, exchange: &mut Exchange, world: &dyn World) -> Flow {
        match self {
            Some(policy) => policy.on_wake(stream, exchange, world),
            None => Flow::Continue,
        }
    }

    fn reads_response(&self, stream: &P::Stream) -> ResponseRead {
        self.as_ref()
            .map(|p| p.reads_response(stream))
            .unwrap_or_default()
    }

    fn on_response_headers(
        &self,
        stream: &mut P::Stream,
        exchange: &mut Exchange,
        world: &dyn World,
        end: bool,
    ) -> ResponseFlow {
        match self {
            Some(policy) => policy.on_response_headers(stream, exchange, world, end),
            None => ResponseFlow::Continue,
        }
    }

    fn on_response_body(
        &self,
        stream: &mut P::Stream,
        exchange: &mut Exchange,
        world: &dyn World,
        piece: &[u8],
        end: bool,
    ) -> ResponseFlow {
        match self {
            Some(policy) => policy.on_response_body(stream, exchange, world, piece, end),
            None => ResponseFlow::Continue,
        }
    }

    fn on_response_released(
        &self,
        stream: &mut P::Stream,
        exchange: &mut Exchange,
        world: &dyn World,
    ) {
        if let Some(policy) = self {
            policy.on_response_released(stream, exchange, world);
        }
    }

    fn on_log(&self, stream: &mut P::Stream, exchange: &mut Exchange, world: &dyn World) {
        if let Some(policy) = self {
            policy.on_log(stream, exchange, world);
        }
    }

    fn on_tick(&self, world: &dyn World) {
        if let Some(policy) = self {
            policy.on_tick(world);
        }
    }

    fn is_busy(&self) -> bool {
        self.as_ref().is_some_and(Policy::is_busy)
    }

    fn on_background_reply(&self, world: &dyn World, id: CallId, reply: &dyn CallReply) {
        if let Some(policy) = self {
            policy.on_background_reply(world, id, reply);
        }
    }

    fn on_stop(&self, world: &dyn World) {
        if let Some(policy) = self {
            policy.on_stop(world);
        }
    }
}
