//! The pure policies as an engine: the chain of `tollgate-gateway` in a world of plain data. Runs on the host and,
//! compiled to WebAssembly, under Node. What a proxy does around the policies (callbacks, buffers, routing) is
//! imitated as `docs/how-it-runs.md` describes it; that the imitation is right is what the Envoy engine is for.

mod calls;
mod exchange;
mod lines;
mod response;

use serde_json::Value;
use tollgate_core::config::{self, Report};
use tollgate_core::metrics::MetricKind;
use tollgate_core::testing::TestWorld;
use tollgate_core::time::UnixNanos;
use tollgate_core::world::Level;
use tollgate_core::{Metrics, Policy};
use tollgate_gateway::Gateway;

use crate::engine::{Broken, Engine, Metric, Observed, Refusal, Wanted};
use crate::model::{Answer, EngineKind, Lines, Request, Scenario, Services};
use crate::time::Instant;

/// One plugin.
struct Plugin {
    gateway: Gateway,
    metrics: Metrics,
    world: TestWorld,
}

/// See the module.
#[derive(Default)]
pub struct Native {
    plugins: Vec<Plugin>,
    retired: Vec<Metric>,
    now: Instant,
    call: Option<Answer>,
    settled: bool,
    trusted_hops: Option<u32>,
}

impl Native {
    fn build(
        &self,
        scenario: &Scenario,
        config: &Value,
    ) -> Result<Result<Vec<Plugin>, Refusal>, Broken> {
        let mut plugins = Vec::new();
        for (root_id, config) in scenario.filters_with(config)? {
            let report = Report::default();
            let mut metrics = Metrics::default();
            let text = if config.is_null() {
                String::new()
            } else {
                config.to_string()
            };
            let env = |name: &str| scenario.env.get(name).cloned();
            let gateway = config::parse(&text, &report).and_then(|root| {
                tollgate_gateway::compile(&root_id, &root, &report, &env, &mut metrics)
            });
            match gateway {
                Some(gateway) if report.is_ok() => {
                    plugins.push(Plugin {
                        gateway,
                        metrics,
                        world: TestWorld::at(unix(self.now)),
                    });
                }
                _ => {
                    let said: Vec<String> =
                        report.errors().iter().map(ToString::to_string).collect();
                    return Ok(Err(Refusal(said.join("\n"))));
                }
            }
        }
        Ok(Ok(plugins))
    }
}

fn unix(now: Instant) -> UnixNanos {
    UnixNanos(u64::try_from(now.0).unwrap_or(0))
}

/// Counters and gauges of a plugin. Gauges of a replaced configuration show nothing any more.
fn numbers(plugin: &Plugin, gauges: bool) -> Vec<Metric> {
    let numbers = plugin.world.numbers();
    let shown = |kind| kind == MetricKind::Counter || kind == MetricKind::Gauge && gauges;
    let metric = |(at, metric): (usize, &tollgate_core::metrics::Metric)| {
        let value = *numbers.get(&at)?;
        shown(metric.kind).then(|| Metric {
            name: metric.name.clone(),
            labels: metric.labels.iter().cloned().collect(),
            value: i64::try_from(value).unwrap_or(i64::MAX),
        })
    };
    plugin
        .metrics
        .iter()
        .enumerate()
        .filter_map(metric)
        .collect()
}

impl Engine for Native {
    fn name(&self) -> &str {
        "native"
    }

    fn kind(&self) -> EngineKind {
        EngineKind::Native
    }

    fn set_clock(&mut self, now: Instant, _frozen: bool) -> Result<(), Broken> {
        self.now = now;
        self.settled = false;
        for plugin in &self.plugins {
            plugin.world.set_now(unix(now));
        }
        Ok(())
    }

    fn start(&mut self, scenario: &Scenario) -> Result<Result<(), Refusal>, Broken> {
        let now = self.now;
        *self = Self {
            now,
            trusted_hops: scenario.listener.trusted_hops,
            ..Self::default()
        };
        let built = self.build(scenario, &scenario.config)?;
        Ok(built.map(|plugins| {
            for plugin in &plugins {
                plugin.gateway.chain.on_start(&plugin.world);
            }
            self.plugins = plugins;
        }))
    }

    fn configure(
        &mut self,
        scenario: &Scenario,
        config: &Value,
    ) -> Result<Result<(), Refusal>, Broken> {
        let built = self.build(scenario, config)?;
        Ok(built.map(|mut plugins| {
            // Shared data outlives a configuration; counters do, too.
            for (new, old) in plugins.iter_mut().zip(self.plugins.drain(..)) {
                // Its last exchange has ended.
                old.gateway.chain.on_stop(&old.world);
                self.retired.extend(numbers(&old, false));
                new.world = old.world;
                new.world.clear_numbers();
                new.gateway.chain.on_start(&new.world);
            }
            self.plugins = plugins;
        }))
    }

    fn services(&mut self, services: &Services) -> Result<(), Broken> {
        if let Some(call) = &services.call {
            self.call = Some(call.clone());
        }
        Ok(())
    }

    fn exchange(
        &mut self,
        request: &Request,
        headers: &Lines,
        answer: &Answer,
        _: &Wanted,
    ) -> Result<Observed, Broken> {
        self.settled = false;
        self.run(request, headers, answer)
    }

    fn metrics(&mut self) -> Result<Vec<Metric>, Broken> {
        let mut all = self.retired.clone();
        all.extend(self.plugins.iter().flat_map(|p| numbers(p, true)));
        Ok(all)
    }

    fn log(&mut self) -> Result<Vec<String>, Broken> {
        let line = |(level, text): (Level, String)| format!("{level:?}: tollgate: {text}");
        Ok(self
            .plugins
            .iter()
            .flat_map(|p| p.world.take_logs())
            .map(line)
            .collect())
    }

    fn settle(&mut self) -> bool {
        if std::mem::replace(&mut self.settled, true) {
            return false;
        }
        for plugin in &self.plugins {
            plugin.gateway.chain.on_tick(&plugin.world);
            // An error is one of the next exchange's, too.
            let _ = self.background(plugin);
        }
        true
    }

    fn finish(&mut self) -> Result<(), Broken> {
        Ok(())
    }
}
