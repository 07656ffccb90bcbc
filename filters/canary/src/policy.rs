//! The filter: decides, sets headers, counts, publishes.

use crate::decision::{Decision, Reason};
use crate::decision_log::DecisionLog;
use crate::experiment::{Experiment, Variant};
use crate::marker::{Carried, Marker};
use crate::visitor::Visitor;
use crate::watch::{Measured, Watched};
use tollgate_core::UnixNanos;
use tollgate_core::exchange::{Exchange, state_name};
use tollgate_core::flow::{Flow, ResponseFlow, ResponseRead};
use tollgate_core::headers::HeaderName;
use tollgate_core::policy::Policy;
use tollgate_core::world::World;

/// The compiled `canary` section.
#[derive(Debug)]
pub struct Canary {
    pub(crate) experiments: Vec<Experiment>,
    /// All route headers, each once: no client may send one.
    pub(crate) route_headers: Vec<HeaderName>,
    pub(crate) marker: Option<Marker>,
    pub(crate) decision_log: Option<DecisionLog>,
    /// Whether any experiment looks at what becomes of its requests.
    pub(crate) watches: bool,
    /// Whether any experiment has something to do with answers.
    pub(crate) answers: bool,
}

/// What was decided about one exchange.
#[derive(Debug, Default)]
pub struct CanaryStream {
    decisions: Decisions,
    carried: Option<Carried>,
    /// Places in the list of experiments, and whose cookie is to be set.
    visitors: Vec<(usize, Visitor)>,
    measured: Measured,
}

/// Places in the list of experiments, and what each decided: for most requests only one, which needs no allocation.
#[derive(Debug, Default)]
struct Decisions {
    first: Option<(usize, Decision)>,
    others: Vec<(usize, Decision)>,
}

impl Decisions {
    fn add(&mut self, at: usize, decision: Decision) {
        if self.first.is_none() {
            self.first = Some((at, decision));
        } else {
            self.add_other(at, decision);
        }
    }

    #[inline(never)]
    fn add_other(&mut self, at: usize, decision: Decision) {
        self.others.push((at, decision));
    }

    fn iter(&self) -> impl Iterator<Item = &(usize, Decision)> + Clone {
        self.first.iter().chain(&self.others)
    }
}

impl Policy for Canary {
    type Stream = CanaryStream;

    fn on_start(&self, world: &dyn World) {
        if let Some(log) = &self.decision_log {
            log.seed(world);
        }
        self.on_tick(world);
    }

    fn prepare(&self, stream: &mut CanaryStream, exchange: &mut Exchange, world: &dyn World) {
        for header in &self.route_headers {
            exchange.request.remove(header);
        }
        if let Some(marker) = &self.marker {
            stream.carried = marker.take(&mut exchange.request, world);
        }
        if self.watches {
            stream.measured.started = world.now();
        }
    }

    fn on_request_headers(
        &self,
        stream: &mut CanaryStream,
        exchange: &mut Exchange,
        world: &dyn World,
    ) -> Flow {
        let logged = self.decision_log.as_ref().and_then(|log| log.begin(world));
        for (at, experiment) in self.experiments.iter().enumerate() {
            let decided = stream.decisions.first.is_some();
            if decided && self.has_header(stream, &experiment.route_header) {
                continue;
            }
            if !experiment.matcher.matches(exchange, world) {
                continue;
            }
            let decision = if experiment.by_key_alone && stream.carried.is_none() {
                experiment.by_share(exchange, world, None)
            } else {
                decide(at, experiment, stream, exchange, world)
            };
            stream.decisions.add(at, decision);
        }
        if let (Some(since), Some(log)) = (logged, &self.decision_log) {
            self.log(log, since, stream, world);
        }
        // Only now, so that no decision depends on what another one set.
        self.apply(stream, exchange, world);
        if self.watches {
            self.begin_to_watch(stream, exchange);
        }
        Flow::Continue
    }

    fn reads_response(&self, stream: &CanaryStream) -> ResponseRead {
        if !self.watches {
            return ResponseRead::Nothing;
        }
        self.watch_reads(stream)
    }

    fn on_response_headers(
        &self,
        stream: &mut CanaryStream,
        exchange: &mut Exchange,
        world: &dyn World,
        end: bool,
    ) -> ResponseFlow {
        if self.answers {
            self.answer(stream, exchange, world, end);
        }
        ResponseFlow::Continue
    }

    fn on_log(&self, stream: &mut CanaryStream, exchange: &mut Exchange, world: &dyn World) {
        if self.watches {
            let watched = self.watched(&stream.decisions);
            stream.measured.over(watched, exchange, world);
        }
    }

    fn on_tick(&self, world: &dyn World) {
        for experiment in &self.experiments {
            if let Some(watch) = &experiment.watch {
                watch.tick(world);
            }
            experiment.lifecycle.watch(world);
            if let Some(gauge) = experiment.weight_gauge {
                world.gauge(gauge, u64::from(experiment.shown_weight(world)));
            }
        }
    }

    fn on_stop(&self, world: &dyn World) {
        for watch in self.experiments.iter().filter_map(|e| e.watch.as_ref()) {
            watch.stop(world);
        }
    }
}

impl Canary {
    fn decided<'a>(
        &'a self,
        stream: &'a CanaryStream,
    ) -> impl Iterator<Item = (&'a Experiment, Decision)> + Clone {
        let with =
            |(at, decision): &(usize, Decision)| Some((self.experiments.get(*at)?, *decision));
        stream.decisions.iter().filter_map(with)
    }

    fn watched<'a>(&'a self, decisions: &'a Decisions) -> impl Iterator<Item = Watched<'a>> {
        decisions.iter().filter_map(|(at, decision)| {
            let watch = self.experiments.get(*at)?.watch.as_ref()?;
            Some((watch, *decision))
        })
    }

    #[inline(never)]
    fn log(&self, log: &DecisionLog, since: UnixNanos, stream: &CanaryStream, world: &dyn World) {
        let took = world.clock().since(since).0;
        for (experiment, decision) in self.decided(stream) {
            let variant = experiment.variant(decision.variant).map_or("", |v| &v.name);
            let reason = decision.reason.code();
            log.line(since, took, &experiment.flag, variant, reason, world);
        }
    }

    /// Whether an experiment before this one sets the header: of those the first match wins.
    #[inline(never)]
    fn has_header(&self, stream: &CanaryStream, header: &HeaderName) -> bool {
        let mut decided = self.decided(stream);
        decided.any(|(other, _)| other.route_header == *header)
    }

    #[inline(never)]
    fn begin_to_watch(&self, stream: &mut CanaryStream, exchange: &Exchange) {
        if self.watched(&stream.decisions).next().is_some() {
            stream.measured.decided(exchange);
        }
    }

    #[inline(never)]
    fn watch_reads(&self, stream: &CanaryStream) -> ResponseRead {
        let mut watched = self.watched(&stream.decisions).peekable();
        if watched.peek().is_none() {
            return ResponseRead::Nothing;
        }
        stream.measured.reads(watched)
    }

    #[inline(never)]
    fn answer(
        &self,
        stream: &mut CanaryStream,
        exchange: &mut Exchange,
        world: &dyn World,
        end: bool,
    ) {
        let watched = self.watched(&stream.decisions);
        stream.measured.answered(watched, exchange, world, end);
        for (experiment, decision) in self.decided(stream) {
            let variant = experiment.variant(decision.variant);
            if let (Some(header), Some(variant)) = (&experiment.response_header, variant) {
                exchange.response.set(header, variant.name.as_bytes());
            }
            if decision.reason == Reason::RolledBack {
                tell_rollback(experiment, exchange);
            }
        }
        if exchange.replied.is_none() && !stream.visitors.is_empty() {
            self.set_cookies(stream, exchange, world);
        }
    }

    fn apply(&self, stream: &CanaryStream, exchange: &mut Exchange, world: &dyn World) {
        if !stream.decisions.others.is_empty() {
            self.apply_all(stream, exchange, world);
        } else if let Some((at, decision)) = stream.decisions.first
            && let Some(experiment) = self.experiments.get(at)
            && let Some(variant) = set(experiment, decision, exchange, world)
        {
            let facts = &mut exchange.facts;
            facts.publish(state_name::VARIANT, &variant.state);
            facts.publish(state_name::VARIANT_REASON, decision.reason.code());
        }
        if let Some(marker) = self.marker.as_ref().filter(|m| m.send) {
            self.mark(marker, stream, exchange, world);
        }
    }

    #[inline(never)]
    fn apply_all(&self, stream: &CanaryStream, exchange: &mut Exchange, world: &dyn World) {
        for (experiment, decision) in self.decided(stream) {
            set(experiment, decision, exchange, world);
        }
        let (states, reasons): (Vec<&str>, Vec<&str>) = self.told(stream).unzip();
        let facts = &mut exchange.facts;
        facts.publish(state_name::VARIANT, states.join(","));
        facts.publish(state_name::VARIANT_REASON, reasons.join(","));
    }

    /// `flag:variant` and the reason, of each experiment that decided.
    fn told<'a>(
        &'a self,
        stream: &'a CanaryStream,
    ) -> impl Iterator<Item = (&'a str, &'static str)> {
        self.decided(stream).filter_map(|(experiment, decision)| {
            let variant = experiment.variant(decision.variant)?;
            Some((variant.state.as_str(), decision.reason.code()))
        })
    }

    /// Tells the filters of the services behind this one.
    #[inline(never)]
    fn mark(
        &self,
        marker: &Marker,
        stream: &CanaryStream,
        exchange: &mut Exchange,
        world: &dyn World,
    ) {
        let decided = self.decided(stream).filter_map(|(experiment, decision)| {
            let variant = experiment.variant(decision.variant)?;
            Some((variant.state.as_str(), decision.reason == Reason::Forced))
        });
        let (carried, now) = (stream.carried.as_ref(), world.now());
        marker.put(&mut exchange.request, decided, carried, now);
    }

    #[inline(never)]
    fn set_cookies(&self, stream: &CanaryStream, exchange: &mut Exchange, world: &dyn World) {
        for (at, visitor) in &stream.visitors {
            let decided = stream.decisions.iter().find(|(other, _)| other == at);
            let Some((experiment, (_, decision))) = self.experiments.get(*at).zip(decided) else {
                continue;
            };
            let variant = experiment.variant(decision.variant);
            if let (Some(cookie), Some(variant)) = (&experiment.visitor_cookie, variant) {
                let line = cookie.line(&experiment.flag, &variant.name, visitor, world);
                let header = HeaderName::from_static("set-cookie");
                exchange.response.append(&header, line);
            }
        }
    }
}

/// Tells the proxy's routes and counts.
fn set<'a>(
    experiment: &'a Experiment,
    decision: Decision,
    exchange: &mut Exchange,
    world: &dyn World,
) -> Option<&'a Variant> {
    let variant = experiment.variant(decision.variant)?;
    let name = variant.name.as_bytes();
    exchange.request.set(&experiment.route_header, name);
    if let Some(Some(metric)) = variant.metrics.get(decision.reason.index()) {
        world.count(*metric, 1);
    }
    Some(variant)
}

/// By all steps that an experiment may have.
#[inline(never)]
fn decide(
    at: usize,
    experiment: &Experiment,
    stream: &mut CanaryStream,
    exchange: &mut Exchange,
    world: &dyn World,
) -> Decision {
    let carried = stream.carried.as_ref();
    let before = carried.and_then(|c| c.about(&experiment.flag));
    let (decision, visitor) = experiment.decide(exchange, world, before);
    stream.visitors.extend(visitor.map(|v| (at, v)));
    decision
}

/// Whoever would have got a variant that was rolled back is told which rule it broke.
#[cold]
fn tell_rollback(experiment: &Experiment, exchange: &mut Exchange) {
    let watch = experiment.watch.as_ref();
    let header = watch.and_then(|w| w.rollback.as_ref()?.response_header.as_ref());
    if let (Some(watch), Some(header)) = (watch, header) {
        exchange.response.set(header, watch.broken_rules());
    }
}
