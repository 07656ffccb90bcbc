//! The filter: decides, sets headers, counts, publishes.

use crate::decision::{Decision, Reason};
use crate::decision_log::DecisionLog;
use crate::experiment::Experiment;
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
}

/// What was decided about one exchange.
#[derive(Debug, Default)]
pub struct CanaryStream {
    /// Places in the list of experiments, and what each decided.
    decisions: Vec<(usize, Decision)>,
    carried: Option<Carried>,
    /// Places in the list of experiments, and whose cookie is to be set.
    visitors: Vec<(usize, Visitor)>,
    measured: Measured,
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
            // Of those that set the same header the first match wins.
            let taken = self
                .decided(stream)
                .any(|(other, _)| other.route_header == experiment.route_header);
            if !taken && experiment.matcher.matches(exchange, world) {
                let carried = stream.carried.as_ref();
                let before = carried.and_then(|c| c.about(&experiment.flag));
                let (decision, visitor) = experiment.decide(exchange, world, before);
                if stream.decisions.is_empty() {
                    stream.decisions = Vec::with_capacity(self.experiments.len());
                }
                stream.decisions.push((at, decision));
                stream.visitors.extend(visitor.map(|v| (at, v)));
            }
        }
        if let (Some(since), Some(log)) = (logged, &self.decision_log) {
            self.log(log, since, stream, world);
        }
        // Only now, so that no decision depends on what another one set.
        self.apply(stream, exchange, world);
        if self.watched(&stream.decisions).next().is_some() {
            stream.measured.decided(exchange);
        }
        Flow::Continue
    }

    fn reads_response(&self, stream: &CanaryStream) -> ResponseRead {
        let mut watched = self.watched(&stream.decisions).peekable();
        if watched.peek().is_none() {
            return ResponseRead::Nothing;
        }
        stream.measured.reads(watched)
    }

    fn on_response_headers(
        &self,
        stream: &mut CanaryStream,
        exchange: &mut Exchange,
        world: &dyn World,
        end: bool,
    ) -> ResponseFlow {
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
        ResponseFlow::Continue
    }

    fn on_log(&self, stream: &mut CanaryStream, exchange: &mut Exchange, world: &dyn World) {
        let watched = self.watched(&stream.decisions);
        stream.measured.over(watched, exchange, world);
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

    fn watched<'a>(
        &'a self,
        decisions: &'a [(usize, Decision)],
    ) -> impl Iterator<Item = Watched<'a>> {
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

    fn apply(&self, stream: &CanaryStream, exchange: &mut Exchange, world: &dyn World) {
        for (experiment, decision) in self.decided(stream) {
            let Some(variant) = experiment.variant(decision.variant) else {
                continue;
            };
            let name = variant.name.as_bytes();
            exchange.request.set(&experiment.route_header, name);
            if let Some(Some(metric)) = variant.metrics.get(decision.reason.index()) {
                world.count(*metric, 1);
            }
        }
        let mut told = self.told(stream);
        match (told.next(), told.next()) {
            (Some((state, reason)), None) => {
                exchange.facts.publish(state_name::VARIANT, state);
                exchange.facts.publish(state_name::VARIANT_REASON, reason);
            }
            (Some(_), Some(_)) => self.publish_all(stream, exchange),
            (None, _) => {}
        }
        if let Some(marker) = self.marker.as_ref().filter(|m| m.send) {
            self.mark(marker, stream, exchange, world);
        }
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

    #[inline(never)]
    fn publish_all(&self, stream: &CanaryStream, exchange: &mut Exchange) {
        let (states, reasons): (Vec<&str>, Vec<&str>) = self.told(stream).unzip();
        let facts = &mut exchange.facts;
        facts.publish(state_name::VARIANT, states.join(","));
        facts.publish(state_name::VARIANT_REASON, reasons.join(","));
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

/// Whoever would have got a variant that was rolled back is told which rule it broke.
#[cold]
fn tell_rollback(experiment: &Experiment, exchange: &mut Exchange) {
    let watch = experiment.watch.as_ref();
    let header = watch.and_then(|w| w.rollback.as_ref()?.response_header.as_ref());
    if let (Some(watch), Some(header)) = (watch, header) {
        exchange.response.set(header, watch.broken_rules());
    }
}
