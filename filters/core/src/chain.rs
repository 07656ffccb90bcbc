//! Several policies as one: [`Then`] runs its second policy when the first has let the request pass.
//!
//! `Then(a, Then(b, c))` is a chain of three. Dispatch is static, and the streams of all lie in one
//! value, so a chain costs what its policies cost. The chain stops at a policy that holds or replies.

use crate::exchange::Exchange;
use crate::flow::{Flow, ResponseFlow, ResponseRead};
use crate::policy::Policy;
use crate::world::{CallAnswer, CallId, CallReply, World};

/// See the module.
#[derive(Debug, Default)]
pub struct Then<A, B>(pub A, pub B);

/// The stream of [`Then`].
#[derive(Debug)]
pub struct ThenStream<S, T> {
    /// Of the first policy.
    pub first: S,
    /// Of the second policy.
    pub second: T,
    passed: bool,
    first_flow: ResponseFlow,
    second_flow: ResponseFlow,
}

impl<S: Default, T: Default> Default for ThenStream<S, T> {
    fn default() -> Self {
        Self {
            first: S::default(),
            second: T::default(),
            passed: false,
            first_flow: ResponseFlow::Continue,
            second_flow: ResponseFlow::Continue,
        }
    }
}

impl<A: Policy, B: Policy> Then<A, B> {
    /// The first policy has answered: on `Continue` it is the second one's turn. If the body has been read by
    /// then, a second policy that wants it must see it again from the start.
    fn go_on(
        &self,
        flow: Flow,
        late: bool,
        stream: &mut ThenStream<A::Stream, B::Stream>,
        exchange: &mut Exchange,
        world: &dyn World,
    ) -> Flow {
        if flow != Flow::Continue {
            return flow;
        }
        stream.passed = true;
        let flow = self
            .1
            .on_request_headers(&mut stream.second, exchange, world);
        if late && flow == Flow::HoldForBody {
            exchange.replay_body = true;
        }
        flow
    }
}

impl<A: Policy, B: Policy> Policy for Then<A, B> {
    type Stream = ThenStream<A::Stream, B::Stream>;

    fn on_start(&self, world: &dyn World) {
        self.0.on_start(world);
        self.1.on_start(world);
    }

    fn prepare(&self, stream: &mut Self::Stream, exchange: &mut Exchange, world: &dyn World) {
        self.0.prepare(&mut stream.first, exchange, world);
        self.1.prepare(&mut stream.second, exchange, world);
    }

    fn on_request_headers(
        &self,
        stream: &mut Self::Stream,
        exchange: &mut Exchange,
        world: &dyn World,
    ) -> Flow {
        let flow = self
            .0
            .on_request_headers(&mut stream.first, exchange, world);
        self.go_on(flow, false, stream, exchange, world)
    }

    fn on_request_body(
        &self,
        stream: &mut Self::Stream,
        exchange: &mut Exchange,
        world: &dyn World,
        piece: &[u8],
        end: bool,
    ) -> Flow {
        if stream.passed {
            return self
                .1
                .on_request_body(&mut stream.second, exchange, world, piece, end);
        }
        let flow = self
            .0
            .on_request_body(&mut stream.first, exchange, world, piece, end);
        self.go_on(flow, true, stream, exchange, world)
    }

    fn on_call(
        &self,
        stream: &mut Self::Stream,
        exchange: &mut Exchange,
        world: &dyn World,
        answer: &CallAnswer,
    ) -> Flow {
        if stream.passed {
            return self.1.on_call(&mut stream.second, exchange, world, answer);
        }
        let flow = self.0.on_call(&mut stream.first, exchange, world, answer);
        self.go_on(flow, true, stream, exchange, world)
    }

    fn on_wake(
        &self,
        stream: &mut Self::Stream,
        exchange: &mut Exchange,
        world: &dyn World,
    ) -> Flow {
        if stream.passed {
            return self.1.on_wake(&mut stream.second, exchange, world);
        }
        let flow = self.0.on_wake(&mut stream.first, exchange, world);
        self.go_on(flow, true, stream, exchange, world)
    }

    fn reads_response(&self, stream: &Self::Stream) -> ResponseRead {
        let first = self.0.reads_response(&stream.first);
        first.max(self.1.reads_response(&stream.second))
    }

    fn on_response_headers(
        &self,
        stream: &mut Self::Stream,
        exchange: &mut Exchange,
        world: &dyn World,
        end: bool,
    ) -> ResponseFlow {
        stream.second_flow = self
            .1
            .on_response_headers(&mut stream.second, exchange, world, end);
        stream.first_flow = self
            .0
            .on_response_headers(&mut stream.first, exchange, world, end);
        stream.first_flow.max(stream.second_flow)
    }

    fn on_response_body(
        &self,
        stream: &mut Self::Stream,
        exchange: &mut Exchange,
        world: &dyn World,
        piece: &[u8],
        end: bool,
    ) -> ResponseFlow {
        if stream.second_flow != ResponseFlow::Continue {
            stream.second_flow =
                self.1
                    .on_response_body(&mut stream.second, exchange, world, piece, end);
        }
        if stream.first_flow != ResponseFlow::Continue {
            stream.first_flow =
                self.0
                    .on_response_body(&mut stream.first, exchange, world, piece, end);
        }
        stream.first_flow.max(stream.second_flow)
    }

    fn on_response_released(
        &self,
        stream: &mut Self::Stream,
        exchange: &mut Exchange,
        world: &dyn World,
    ) {
        for flow in [&mut stream.first_flow, &mut stream.second_flow] {
            *flow = (*flow).min(ResponseFlow::Observe);
        }
        self.1
            .on_response_released(&mut stream.second, exchange, world);
        self.0
            .on_response_released(&mut stream.first, exchange, world);
    }

    fn on_log(&self, stream: &mut Self::Stream, exchange: &mut Exchange, world: &dyn World) {
        self.0.on_log(&mut stream.first, exchange, world);
        self.1.on_log(&mut stream.second, exchange, world);
    }

    fn on_tick(&self, world: &dyn World) {
        self.0.on_tick(world);
        self.1.on_tick(world);
    }

    fn is_busy(&self) -> bool {
        self.0.is_busy() || self.1.is_busy()
    }

    fn on_background_reply(&self, world: &dyn World, id: CallId, reply: &dyn CallReply) {
        self.0.on_background_reply(world, id, reply);
        self.1.on_background_reply(world, id, reply);
    }

    fn on_stop(&self, world: &dyn World) {
        self.0.on_stop(world);
        self.1.on_stop(world);
    }
}
