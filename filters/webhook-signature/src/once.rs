//! `replay.scope: global`: a delivery reaches the upstream once in a whole fleet of proxies.
//!
//! This proxy's own table is asked first ([`crate::replay`]). Who is the first here asks the fleet's counters
//! ([`tollgate_state::fleet::once`]) while the request is held, and tells them when it is over.

use crate::fault::Fault;
use std::rc::Rc;
use tollgate_core::config::{Compile, Value};
use tollgate_core::time::SECOND;
use tollgate_core::world::{Call, CallAnswer};
use tollgate_core::{Duration, UnixNanos, World};
use tollgate_state::fleet::counters::Failure;
use tollgate_state::fleet::once::{Basis, Guard, Question, Verdict, Visit};
use tollgate_state::fleet::service::{FailureMode, Mode, Service};
use tollgate_state::replay::Delivery;

/// How far the clocks of a fleet may be from the service's.
const CLOCKS: u64 = 60 * SECOND;

/// What a rule with `scope: global` has besides its table.
#[derive(Debug)]
pub(crate) struct Once {
    service: Rc<Service>,
    guard: Guard,
    /// How far a signed time may be from this proxy's clock, and that one from the service's.
    tolerance: u64,
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
        window: Duration,
        accepted: Option<(Duration, Duration)>,
        mode: FailureMode,
    ) -> Self {
        let accepted = accepted.map_or(0, |(past, future)| past.max(future).0);
        Self {
            tolerance: accepted.saturating_add(CLOCKS),
            guard: Guard::new(&service.namer, rule, window.0),
            service: Rc::clone(service),
            mode,
        }
    }

    /// The first here: asks the fleet. `signed_at`: each copy of the delivery says that it was signed then.
    pub(crate) fn begin(
        &self,
        delivery: &Delivery,
        signed_at: Option<UnixNanos>,
        world: &dyn World,
    ) -> (Visit, Next) {
        let basis = match signed_at {
            Some(at) => Basis::Signed {
                at: at.0,
                tolerance: self.tolerance,
            },
            None => Basis::Seen(self.service.clock.borrow().surely(world.now().0)),
        };
        let visit = self.guard.begin(delivery, basis);
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
