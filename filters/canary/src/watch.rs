//! Counts what becomes of an experiment's requests and rolls a bad variant back, in all workers of the proxy.
//!
//! A request only ever touches counts of its own worker. The tick adds them to the windows in shared data, and whoever has
//! added something judges; a trip is written to shared data, too, where every worker's tick finds it.

use crate::decision::Decision;
use crate::outcome::Outcome;
use crate::rollback::Rollback;
use crate::rules::{self, Finding, Severity};
use crate::variants::VariantId;
use crate::watch_metrics::{ErrorKind, WatchMetrics};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use tollgate_core::exchange::Exchange;
use tollgate_core::flow::ResponseRead;
use tollgate_core::world::{Attribute, Level, World};
use tollgate_core::{Duration, UnixNanos};
use tollgate_state::rollback::{Place, Tally, Trip, Trips, Windows};

/// `outcome` and `rollback` of one experiment.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) flag: Rc<str>,
    /// By [`VariantId`].
    pub(crate) names: Vec<Rc<str>>,
    pub(crate) default: VariantId,
    pub(crate) outcome: Outcome,
    pub(crate) rollback: Option<Rollback>,
    pub(crate) metrics: WatchMetrics,
    windows: Windows,
    trips: Trips,
    /// What this worker has counted since the last tick, by [`VariantId`].
    pending: RefCell<Vec<Tally>>,
    dirty: Cell<bool>,
    /// What shared data said at the last tick.
    place: RefCell<Option<Place>>,
    /// A bit for each variant with a trip that is not over.
    tripped: Cell<u16>,
    /// What the gauges show.
    shown: Cell<Option<u16>>,
}

/// What is remembered of one exchange, for all its experiments.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    /// When the request came.
    pub(crate) started: UnixNanos,
    /// The answer's headers have been seen.
    answered: bool,
    /// The answer has been seen whole.
    complete: bool,
    /// The request is gRPC.
    grpc: bool,
    /// A bit for each decision that was an error already.
    errors: u16,
}

impl Watch {
    #[allow(clippy::too_many_arguments)] // one for each field that is given
    pub(crate) fn new(
        flag: Rc<str>,
        names: Vec<Rc<str>>,
        default: VariantId,
        outcome: Outcome,
        rollback: Option<Rollback>,
        metrics: WatchMetrics,
        configuration: u64,
    ) -> Self {
        let window = rollback
            .as_ref()
            .map_or(Duration::from_secs(3600), |r| r.window);
        Self {
            windows: Windows::new(&flag, window, configuration, names.len()),
            trips: Trips::new(&flag, configuration),
            pending: RefCell::new(vec![Tally::default(); names.len()]),
            dirty: Cell::new(false),
            place: RefCell::default(),
            tripped: Cell::new(0),
            shown: Cell::new(None),
            flag,
            names,
            default,
            outcome,
            rollback,
            metrics,
        }
    }

    /// Whether nobody but forced testers gets the variant now.
    pub(crate) fn has_tripped(&self, variant: VariantId, world: &dyn World) -> bool {
        self.tripped.get() & bit(variant) != 0
            && self
                .trip_of(variant)
                .is_some_and(|trip| world.now() < trip.until)
    }

    /// For the answer's header: each variant that is rolled back and the rule that it broke.
    pub(crate) fn broken_rules(&self) -> String {
        let rules = self
            .rollback
            .as_ref()
            .map_or(&[][..], |r| r.rules.as_slice());
        let broken = (0..self.names.len()).map(VariantId).filter_map(|variant| {
            let trip = self.trip_of(variant)?;
            let rule = rules.get(usize::from(trip.rule))?;
            let lasts = self.tripped.get() & bit(variant) != 0;
            let name = self.names.get(variant.0)?;
            lasts.then(|| format!("{name};rule={}", rule.name))
        });
        broken.collect::<Vec<String>>().join(", ")
    }

    fn trip_of(&self, variant: VariantId) -> Option<Trip> {
        let number = u8::try_from(variant.0).ok()?;
        let place = self.place.try_borrow().ok()?;
        place.as_ref()?.trip_of(number).copied()
    }

    fn count(&self, decision: Decision, count: impl FnOnce(&mut Tally)) {
        if self.outcome.counts(decision.reason)
            && let Ok(mut pending) = self.pending.try_borrow_mut()
            && let Some(tally) = pending.get_mut(decision.variant.0)
        {
            count(tally);
            self.dirty.set(true);
        }
    }

    fn error(&self, decision: Decision, kind: ErrorKind, world: &dyn World) {
        self.count(decision, |tally| {
            tally.errors = tally.errors.saturating_add(1);
        });
        self.metrics.error(decision.variant, kind, world);
    }

    fn request(&self, decision: Decision, micros: u64, converted: bool, world: &dyn World) {
        self.count(decision, |tally| {
            tally.requests = tally.requests.saturating_add(1);
            let more = u64::from(converted);
            tally.conversions = tally.conversions.saturating_add(more);
            tally.latency.add(micros);
        });
        self.metrics
            .request(decision.variant, micros, converted, world);
    }

    /// On every tick: tells the others what was counted, learns what they found out, judges.
    pub(crate) fn tick(&self, world: &dyn World) {
        let now = world.now();
        let Ok(place) = self.trips.visit(world, now) else {
            world.count(self.metrics.contended, 1);
            return;
        };
        self.learn(place, now);
        if self.dirty.get() && self.hand_over(world, now) {
            self.judge(world, now);
        }
        self.show(world);
    }

    /// At the end of a configuration: what was counted is not lost.
    pub(crate) fn stop(&self, world: &dyn World) {
        if self.dirty.get() {
            self.hand_over(world, world.now());
        }
    }

    fn learn(&self, place: Place, now: UnixNanos) {
        let lasting = place.trips().iter().filter(|t| now < t.until);
        let bits = lasting.fold(0, |all, t| all | bit(VariantId(usize::from(t.variant))));
        self.tripped.set(bits);
        self.place.replace(Some(place));
    }

    fn place_number(&self) -> usize {
        let place = self.place.try_borrow();
        place.map_or(0, |p| p.as_ref().map_or(0, |p| p.number))
    }

    fn hand_over(&self, world: &dyn World, now: UnixNanos) -> bool {
        let Ok(mut pending) = self.pending.try_borrow_mut() else {
            return false;
        };
        let done = self
            .windows
            .add(world, self.place_number(), now, &mut pending);
        match done {
            Ok(()) => self.dirty.set(false),
            // It stays pending: the next tick tries again.
            Err(_) => world.count(self.metrics.contended, 1),
        }
        done.is_ok()
    }

    fn judge(&self, world: &dyn World, now: UnixNanos) {
        let slots = self.windows.load(world, self.place_number(), now);
        self.metrics.show_latency(&slots, world);
        let Some(rollback) = &self.rollback else {
            return;
        };
        for at in 0..self.names.len() {
            let variant = VariantId(at);
            if variant == self.default || self.tripped.get() & bit(variant) != 0 {
                continue;
            }
            // What was counted before a trip does not count after it.
            let since = self.trip_of(variant).map_or(UnixNanos(0), |t| t.until);
            let fresh = slots.iter().take_while(|slot| since <= slot.start);
            let pairs = fresh.filter_map(|slot| {
                let all = &slot.tallies;
                Some((all.get(at)?, all.get(self.default.0)?))
            });
            if let Some(finding) = rules::judge(&rollback.rules, &rollback.proof, pairs) {
                self.trip(rollback, variant, &finding, world, now);
            }
        }
    }

    fn trip(
        &self,
        rollback: &Rollback,
        variant: VariantId,
        finding: &Finding,
        world: &dyn World,
        now: UnixNanos,
    ) {
        let until = match rollback.cool_down {
            Some(cool_down) => now.plus(cool_down),
            None => UnixNanos(u64::MAX),
        };
        let (Ok(number), Ok(rule)) = (u8::try_from(variant.0), u8::try_from(finding.rule)) else {
            return;
        };
        let trip = Trip {
            variant: number,
            rule,
            at: now,
            until,
        };
        let place = match self.trips.add(world, trip) {
            Ok(Some(place)) => place,
            // Another worker was faster; the next tick shows it.
            Ok(None) => return,
            // The next tick that has something to add judges again.
            Err(_) => {
                self.dirty.set(true);
                world.count(self.metrics.contended, 1);
                return;
            }
        };
        self.learn(place, now);
        self.metrics.tripped(variant, finding.rule, world);
        let Some(rule) = rollback.rules.get(finding.rule) else {
            return;
        };
        let level = match rule.severity {
            Severity::Critical | Severity::High => Level::Error,
            Severity::Medium | Severity::Low => Level::Warn,
        };
        let (flag, figures) = (&self.flag, &finding.figures);
        let name = self.names.get(variant.0).map_or("", |n| n);
        let (rule, severity) = (&rule.name, rule.severity.name());
        let lasts = match rollback.cool_down {
            Some(_) => format!("until {until}"),
            None => "until its configuration changes".to_owned(),
        };
        world.log(
            level,
            format_args!(
                "canary: flag {flag}: variant {name} rolled back by rule {rule} ({severity}): {figures}; \
                 everybody but forced testers gets the default variant {lasts}"
            ),
        );
    }

    /// The gauges; only when something has changed, because a replaced configuration may still be ticking.
    fn show(&self, world: &dyn World) {
        let tripped = self.tripped.get();
        if self.shown.replace(Some(tripped)) != Some(tripped) {
            for at in 0..self.names.len() {
                let variant = VariantId(at);
                self.metrics
                    .rolled_back(variant, tripped & bit(variant) != 0, world);
            }
        }
    }
}

/// The bit of a variant in a set.
fn bit(variant: VariantId) -> u16 {
    let at = u32::try_from(variant.0).unwrap_or(u32::MAX);
    1_u16.checked_shl(at).unwrap_or(0)
}

/// An experiment that watches, and what it decided.
pub(crate) type Watched<'a> = (&'a Watch, Decision);

impl Measured {
    /// The request has been decided about.
    pub(crate) fn decided(&mut self, exchange: &Exchange) {
        self.grpc = exchange.is_grpc();
    }

    /// What of the answer has to be read.
    pub(crate) fn reads<'a>(&self, mut watched: impl Iterator<Item = Watched<'a>>) -> ResponseRead {
        let all = |(watch, _): Watched<'_>| {
            watch.outcome.reads_headers() || self.grpc && watch.outcome.has_grpc()
        };
        if watched.any(all) {
            ResponseRead::Headers
        } else {
            ResponseRead::Status
        }
    }

    /// The answer's headers are there.
    pub(crate) fn answered<'a>(
        &mut self,
        watched: impl Iterator<Item = Watched<'a>>,
        exchange: &Exchange,
        world: &dyn World,
        end: bool,
    ) {
        let mut watched = watched.enumerate().peekable();
        if watched.peek().is_none() {
            return;
        }
        self.answered = true;
        self.complete = end;
        // A reply of a policy behind this one: the variant had no part in it.
        if exchange.replied.is_some() {
            self.complete = true;
            return;
        }
        let micros = world.now().since(self.started).0 / 1_000;
        let status = exchange.status.unwrap_or(0);
        let grpc = self.grpc.then(|| exchange.response.first("grpc-status"));
        let grpc = grpc.flatten();
        for (at, (watch, decision)) in watched {
            let outcome = &watch.outcome;
            watch.request(decision, micros, outcome.is_conversion(exchange), world);
            let kind = if outcome.is_error(status) {
                ErrorKind::Status
            } else if grpc.is_some_and(|grpc| outcome.is_grpc_error(grpc)) {
                ErrorKind::Grpc
            } else {
                continue;
            };
            watch.error(decision, kind, world);
            self.errors |= place_bit(at);
        }
    }

    /// The exchange is over.
    pub(crate) fn over<'a>(
        &mut self,
        watched: impl Iterator<Item = Watched<'a>>,
        exchange: &Exchange,
        world: &dyn World,
    ) {
        if self.complete || exchange.replied.is_some() {
            return;
        }
        for (at, (watch, decision)) in watched.enumerate() {
            let outcome = &watch.outcome;
            if !self.answered {
                if outcome.client_aborts {
                    let micros = world.now().since(self.started).0 / 1_000;
                    watch.request(decision, micros, false, world);
                    watch.error(decision, ErrorKind::ClientAbort, world);
                }
                continue;
            }
            if self.errors & place_bit(at) != 0 {
                continue;
            }
            let grpc = outcome.has_grpc() && self.grpc;
            let number = |attribute| world.attribute(attribute);
            if grpc && number(Attribute::GrpcStatus).is_some_and(|s| outcome.is_grpc_error(&s)) {
                watch.error(decision, ErrorKind::Grpc, world);
            } else if outcome.resets
                && number(Attribute::ResponseFlags).is_some_and(|f| is_reset(&f))
            {
                watch.error(decision, ErrorKind::Reset, world);
            }
        }
    }
}

fn place_bit(at: usize) -> u16 {
    bit(VariantId(at))
}

/// Whether an answer was broken off by the upstream, or on its way from it: `UPSTREAM_REQUEST_TIMEOUT` (2),
/// `LOCAL_RESET` (3), `UPSTREAM_REMOTE_RESET` (4), `UPSTREAM_CONNECTION_FAILURE` (5), `UPSTREAM_CONNECTION_TERMINATION` (6),
/// `STREAM_IDLE_TIMEOUT` (16), `UPSTREAM_MAX_STREAM_DURATION_REACHED` (19), `DURATION_TIMEOUT` (22),
/// `UPSTREAM_PROTOCOL_ERROR` (23). Not where the client went away (`DOWNSTREAM_CONNECTION_TERMINATION`, 14;
/// `DOWNSTREAM_REMOTE_RESET`, 28): Envoy then resets the upstream itself.
fn is_reset(flags: &[u8]) -> bool {
    const UPSTREAM: u64 = 0b1100_1001_0000_0000_0111_1100;
    const CLIENT: u64 = 1 << 14 | 1 << 28;
    let flags = std::str::from_utf8(flags)
        .ok()
        .and_then(|f| f.parse::<u64>().ok());
    flags.is_some_and(|f| f & UPSTREAM != 0 && f & CLIENT == 0)
}
