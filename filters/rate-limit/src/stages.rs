//! One policy in two places of a chain: limits that need no consumer stand before key auth, so that guessing keys is
//! limited too; the others stand behind the webhook verdict.

use crate::RateLimit;
use std::rc::Rc;
use tollgate_core::flow::ResponseFlow;
use tollgate_core::world::{CallAnswer, CallId, CallReply};
use tollgate_core::{Exchange, Flow, Policy, World};

/// The limits whose key needs no consumer. Also sets the response headers of both stages, so it must stand
/// before [`Limits`] (answers come from behind).
#[derive(Clone, Debug)]
pub struct EarlyLimits(pub Rc<RateLimit>);

/// All limits that are not decided yet.
#[derive(Clone, Debug)]
pub struct Limits(pub Rc<RateLimit>);

impl Policy for EarlyLimits {
    type Stream = ();

    fn on_start(&self, world: &dyn World) {
        self.0.on_start(world);
    }

    fn prepare(&self, stream: &mut (), exchange: &mut Exchange, world: &dyn World) {
        self.0.prepare(stream, exchange, world);
    }

    fn on_request_headers(
        &self,
        _stream: &mut (),
        exchange: &mut Exchange,
        world: &dyn World,
    ) -> Flow {
        if self.0.late_from == 0 {
            return Flow::Continue;
        }
        self.0.decide_until(self.0.late_from, exchange, world)
    }

    fn on_call(
        &self,
        _stream: &mut (),
        exchange: &mut Exchange,
        world: &dyn World,
        answer: &CallAnswer,
    ) -> Flow {
        self.0
            .answered_until(self.0.late_from, exchange, world, answer)
    }

    fn on_wake(&self, _stream: &mut (), exchange: &mut Exchange, world: &dyn World) -> Flow {
        self.0.woken_until(self.0.late_from, exchange, world)
    }

    // For both stages.
    fn on_log(&self, stream: &mut (), exchange: &mut Exchange, world: &dyn World) {
        self.0.on_log(stream, exchange, world);
    }

    fn on_background_reply(&self, world: &dyn World, id: CallId, reply: &dyn CallReply) {
        self.0.on_background_reply(world, id, reply);
    }

    fn on_response_headers(
        &self,
        stream: &mut (),
        exchange: &mut Exchange,
        world: &dyn World,
        end: bool,
    ) -> ResponseFlow {
        self.0.on_response_headers(stream, exchange, world, end)
    }

    fn on_tick(&self, world: &dyn World) {
        self.0.on_tick(world);
    }

    fn on_stop(&self, world: &dyn World) {
        self.0.on_stop(world);
    }
}

impl Policy for Limits {
    type Stream = ();

    fn on_request_headers(
        &self,
        stream: &mut (),
        exchange: &mut Exchange,
        world: &dyn World,
    ) -> Flow {
        if self.0.late_from == self.0.limits.len() {
            return Flow::Continue;
        }
        self.0.on_request_headers(stream, exchange, world)
    }

    fn on_wake(&self, stream: &mut (), exchange: &mut Exchange, world: &dyn World) -> Flow {
        self.0.on_wake(stream, exchange, world)
    }

    fn on_call(
        &self,
        stream: &mut (),
        exchange: &mut Exchange,
        world: &dyn World,
        answer: &CallAnswer,
    ) -> Flow {
        self.0.on_call(stream, exchange, world, answer)
    }
}
