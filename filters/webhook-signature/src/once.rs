//! `replay.scope: global`: a delivery reaches the upstream once in a whole fleet of proxies.
//!
//! This proxy's own table is asked first ([`crate::replay`]). Who is the first here asks the fleet's counters
//! ([`tollgate_state::fleet::once`]) while the request is held, and tells them when it is over.

use crate::fault::Fault;
use std::rc::Rc;
use tollgate_core::World;
use tollgate_core::config::{Compile, Value};
use tollgate_core::world::{Call, CallAnswer};
use tollgate_state::fleet::counters::Failure;
use tollgate_state::fleet::once::{Basis, Guard, Question, Verdict, Visit};
use tollgate_state::fleet::service::{FailureMode, Mode, Service};
use tollgate_state::replay::Delivery;

/// What a rule with `scope: global` has besides its table.
#[derive(Debug)]
pub(crate) struct Once {
    service: Rc<Service>,
    guard: Guard,
    mode: FailureMode,
}

/// What is to be done next.
pub(crate) enum Next {
    /// Hold for the call.
    Hold,
    /// Nobody in the fleet had it.
    First,
    /// Somebody had.
    Fault(Fault),
    /// Nobody knows, and the rule lets it pass.
    Pass,
}

/// Reads the section `fleet`.
pub(crate) fn service(value: Value<'_>, cx: &mut Compile<'_>) -> Option<Rc<Service>> {
    let path = value.clone();
    let service = Service::compile(value, cx, "webhook_signature")?;
    if service.mode == Mode::Classic {
        path.error("mode: classic cannot tell who is the first; leave mode out");
    }
    Some(Rc::new(service))
}

impl Once {
    pub(crate) fn new(
        service: &Rc<Service>,
        rule: &str,
        window: tollgate_core::Duration,
        mode: FailureMode,
    ) -> Self {
        Self {
            guard: Guard::new(&service.namer, rule, window.0),
            service: Rc::clone(service),
            mode,
        }
    }

    /// The first here: asks the fleet.
    pub(crate) fn begin(&self, delivery: &Delivery, world: &dyn World) -> (Visit, Next) {
        let now = self.service.clock.borrow().surely(world.now().0);
        let visit = self.guard.begin(delivery, Basis::Seen(now));
        let next = self.ask(&visit, world);
        (visit, next)
    }

    /// An answer has come.
    pub(crate) fn answered(
        &self,
        visit: &mut Visit,
        answer: &CallAnswer,
        world: &dyn World,
    ) -> Next {
        let unit = visit.question(&self.guard).unit;
        let Ok(count) = self.service.read_answer(world, unit, answer) else {
            return self.failed();
        };
        self.service.answered(world, true);
        match visit.answered(count.after.unwrap_or(u64::MAX)) {
            Verdict::Ask => self.ask(visit, world),
            Verdict::First => Next::First,
            Verdict::InFlight => Next::Fault(Fault::InFlight),
            Verdict::Delivered => Next::Fault(Fault::Delivered),
        }
    }

    /// The exchange of a first delivery is over. Nobody waits for this; if it is lost, the delivery stays under way for
    /// the fleet until it is forgotten.
    pub(crate) fn end(&self, visit: &Visit, delivered: bool, world: &dyn World) {
        let call = self.call(&visit.end(&self.guard, delivered), false);
        world.call_in_background(call);
    }

    fn ask(&self, visit: &Visit, world: &dyn World) -> Next {
        let question = visit.question(&self.guard);
        if !self.service.admits(world.now().0) {
            let counters = &self.service.counters;
            counters.request_failed(world, Failure::BreakerOpen);
            return self.failed();
        }
        if world.call(&self.call(&question, true)).is_err() {
            self.service
                .failed(world, Failure::UnknownCluster, question.unit);
            return self.failed();
        }
        Next::Hold
    }

    fn call(&self, question: &Question, awaited: bool) -> Call {
        let Question { unit, name, hits } = question;
        self.service.call(unit.word(), name, *hits, awaited)
    }

    fn failed(&self) -> Next {
        match self.mode {
            FailureMode::Deny => Next::Fault(Fault::FleetUnavailable),
            // This proxy has not had it: that is what `local` is worth, too.
            FailureMode::Allow | FailureMode::Local => Next::Pass,
        }
    }
}
