//! The filter: decides, sets headers, counts, publishes.

use crate::decision::Decision;
use crate::experiment::Experiment;
use tollgate_core::exchange::{Exchange, state_name};
use tollgate_core::flow::{Flow, ResponseFlow};
use tollgate_core::headers::HeaderName;
use tollgate_core::policy::Policy;
use tollgate_core::world::World;

/// The compiled `canary` section.
#[derive(Debug)]
pub struct Canary {
    pub(crate) experiments: Vec<Experiment>,
    /// All route headers, each once: no client may send one.
    pub(crate) route_headers: Vec<HeaderName>,
}

/// What was decided about one exchange.
#[derive(Debug, Default)]
pub struct CanaryStream {
    /// Places in the list of experiments, and what each decided.
    decisions: Vec<(usize, Decision)>,
}

impl Policy for Canary {
    type Stream = CanaryStream;

    fn on_start(&self, world: &dyn World) {
        self.watch(world);
    }

    fn prepare(&self, _: &mut CanaryStream, exchange: &mut Exchange, _: &dyn World) {
        for header in &self.route_headers {
            exchange.request.remove(header);
        }
    }

    fn on_request_headers(
        &self,
        stream: &mut CanaryStream,
        exchange: &mut Exchange,
        world: &dyn World,
    ) -> Flow {
        for (at, experiment) in self.experiments.iter().enumerate() {
            // Of those that set the same header the first match wins.
            let taken = self
                .decided(stream)
                .any(|(other, _)| other.route_header == experiment.route_header);
            if !taken && experiment.matcher.matches(exchange, world) {
                let decision = experiment.decide(exchange, world);
                stream.decisions.push((at, decision));
            }
        }
        // Only now, so that no decision depends on what another one set.
        self.apply(stream, exchange, world);
        Flow::Continue
    }

    fn on_response_headers(
        &self,
        stream: &mut CanaryStream,
        exchange: &mut Exchange,
        _: &dyn World,
        _: bool,
    ) -> ResponseFlow {
        for (experiment, decision) in self.decided(stream) {
            let variant = experiment.variant(decision.variant);
            if let (Some(header), Some(variant)) = (&experiment.response_header, variant) {
                exchange.response.set(header, variant.name.as_bytes());
            }
        }
        ResponseFlow::Continue
    }

    fn on_tick(&self, world: &dyn World) {
        self.watch(world);
    }
}

impl Canary {
    fn decided<'a>(
        &'a self,
        stream: &'a CanaryStream,
    ) -> impl Iterator<Item = (&'a Experiment, Decision)> {
        let with =
            |(at, decision): &(usize, Decision)| Some((self.experiments.get(*at)?, *decision));
        stream.decisions.iter().filter_map(with)
    }

    fn apply(&self, stream: &CanaryStream, exchange: &mut Exchange, world: &dyn World) {
        let (mut states, mut reasons) = (String::new(), String::new());
        let wants_reasons = exchange.facts.wants(state_name::VARIANT_REASON);
        for (experiment, decision) in self.decided(stream) {
            let Some(variant) = experiment.variant(decision.variant) else {
                continue;
            };
            let name = variant.name.as_bytes();
            exchange.request.set(&experiment.route_header, name);
            if let Some(Some(metric)) = variant.metrics.get(decision.reason.index()) {
                world.count(*metric, 1);
            }
            if !states.is_empty() {
                states.push(',');
                reasons.push(',');
            }
            states.push_str(&variant.state);
            if wants_reasons {
                reasons.push_str(decision.reason.code());
            }
        }
        if !states.is_empty() {
            exchange.facts.publish(state_name::VARIANT, states);
            exchange.facts.publish(state_name::VARIANT_REASON, reasons);
        }
    }

    fn watch(&self, world: &dyn World) {
        for experiment in &self.experiments {
            experiment.lifecycle.watch(world);
            if let Some(gauge) = experiment.weight_gauge {
                world.gauge(gauge, u64::from(experiment.shown_weight(world)));
            }
        }
    }
}
