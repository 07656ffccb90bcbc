//! Counts what becomes of an experiment's requests and rolls a bad variant back, in all workers of the proxy.
//!
//! A request only ever touches counts of its own worker. The tick adds them to the windows in shared data, and whoever has
//! added something judges; a trip is written to shared data, too, where every worker's tick finds it.

mod measured;

pub(crate) use measured::{Measured, Watched};

use crate::decision::Decision;
use crate::outcome::Outcome;
use crate::rollback::Rollback;
use crate::rules::{self, Finding, Severity};
use crate::variants::VariantId;
use crate::watch_metrics::{ErrorKind, WatchMetrics};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use tollgate_core::world::{Level, World};
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
