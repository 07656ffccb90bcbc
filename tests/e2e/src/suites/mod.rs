//! The suites.

mod configs;
mod hostile;
mod modules;
mod reload;
mod secrets;
mod vectors;

use tollgate_scenario::{Engine, EngineKind, Scenario, run as run_scenario};

use crate::engine::{EnvoyEngine, Setting};
use crate::{Options, Tally};

/// Their names.
pub(crate) const ALL: [&str; 6] = [
    "scenarios",
    "vectors",
    "hostile",
    "reload",
    "secrets",
    "configs",
];

/// Runs those that the options name with one Envoy binary.
pub(crate) fn run(setting: &Setting, options: &Options, scenarios: &[Scenario], tally: &Tally) {
    let wanted = |name: &str| options.suites.iter().any(|suite| suite == name);
    let label = format!("envoy {}", setting.binary.label);
    if wanted("scenarios") {
        match EnvoyEngine::new(setting.clone(), scenarios) {
            Ok(mut engine) => table(&mut engine, scenarios, tally),
            Err(problem) => tally.note("start", &label, Err(vec![problem])),
        }
    }
    if wanted("vectors") {
        vectors::run(setting, options, tally);
    }
    if wanted("hostile") {
        hostile::run(setting, options, tally);
    }
    if wanted("reload") {
        reload::run(setting, options, tally);
    }
    if wanted("secrets") {
        secrets::run(setting, options, scenarios, tally);
    }
    if wanted("configs") {
        configs::run(setting, options, tally);
    }
}

fn table(engine: &mut EnvoyEngine, scenarios: &[Scenario], tally: &Tally) {
    for scenario in scenarios
        .iter()
        .filter(|scenario| scenario.engines.contains(&EngineKind::Envoy))
    {
        let name = engine.name().to_owned();
        match engine.skips(scenario) {
            Some(why) => tally.skip(&scenario.name, &name, &why),
            None => tally.note(&scenario.name, &name, run_scenario(engine, scenario)),
        }
    }
}
