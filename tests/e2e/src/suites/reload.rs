//! New configurations under load: a refused one leaves the old one serving, an accepted one is taken, and no request is lost
//! meanwhile.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use serde_json::{Value, json};
use tollgate_scenario::model::{Filters, Listener};
use tollgate_scenario::{Engine, Refusal, Reply, Scenario};

use super::modules;
use crate::client::Outgoing;
use crate::engine::{EnvoyEngine, Setting};
use crate::envoy::validate;
use crate::{Options, Tally};

/// No module knows this field.
const UNKNOWN: &str = "no_such_field_anywhere";

pub(super) fn run(setting: &Setting, options: &Options, tally: &Tally) {
    let name = format!("envoy {}", setting.binary.label);
    let all = modules::load(options, tally, &name);
    let mut engine = match EnvoyEngine::new(setting.clone(), &all) {
        Ok(engine) => engine,
        Err(problem) => return tally.note("reload", &name, Err(vec![problem])),
    };
    for module in &all {
        // The bare proxy has no configuration that could be refused.
        if matches!(&module.filter, Filters::One(root) if root == "none") {
            continue;
        }
        let title = format!("reload: {}", module.name);
        if title.contains(&options.filter) {
            let result = one_module(&mut engine, setting, module);
            let end = engine.finish();
            tally.note(
                &title,
                &name,
                result.and(end).map_err(|problem| vec![problem]),
            );
        }
    }
}

fn one_module(
    engine: &mut EnvoyEngine,
    setting: &Setting,
    module: &Scenario,
) -> Result<(), String> {
    modules::start(engine, module)?;
    modules::good(engine, module)?;
    let step = module.steps.first().ok_or("no good request")?;
    let headers = modules::headers(module, step)?;
    let (at, wanted) = (
        engine.address()?,
        step.expect
            .status
            .ok_or("the first good request expects no status")?,
    );
    let (stop, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    let outcome = thread::scope(|scope| {
        let load = scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                let reply: Reply = Outgoing {
                    request: &step.request,
                    headers: &headers,
                }
                .send(at)
                .map_err(|error| error.to_string())?;
                if reply.status != wanted || !reply.complete {
                    return Err(format!(
                        "under load: {} instead of {wanted}: {}",
                        reply.status,
                        String::from_utf8_lossy(&reply.body)
                    ));
                }
                sent.fetch_add(1, Ordering::SeqCst);
            }
            Ok(())
        });
        let pushed = pushes(engine, module, &|| {
            // Some requests pass between one push and the next.
            let before = sent.load(Ordering::SeqCst);
            while sent.load(Ordering::SeqCst) < before + 5 && !load.is_finished() {
                thread::yield_now();
            }
        });
        stop.store(true, Ordering::SeqCst);
        let loaded = load
            .join()
            .unwrap_or_else(|_| Err("the load generator panicked".to_owned()));
        pushed.and(loaded)
    });
    outcome?;
    modules::good(engine, module).map_err(|problem| format!("after the pushes, {problem}"))?;
    started_with_it(engine, setting, module)
}

fn pushes(engine: &mut EnvoyEngine, module: &Scenario, wait: &dyn Fn()) -> Result<(), String> {
    let rejected = "^listener_manager.lds.update_rejected";
    let count = |engine: &mut EnvoyEngine| {
        Ok::<i64, String>(engine.envoy()?.stats(rejected)?.values().sum())
    };
    for round in 1..=2 {
        wait();
        let before = count(engine)?;
        match engine.configure(module, &broken(module, round))? {
            Ok(()) => return Err("a configuration with an unknown field was accepted".to_owned()),
            Err(Refusal(said)) if !said.contains(UNKNOWN) => {
                return Err(format!("the refusal does not name `{UNKNOWN}`: {said}"));
            }
            Err(_) => {}
        }
        if count(engine)? != before + 1 {
            return Err("update_rejected did not go up by 1".to_owned());
        }
        wait();
        // The same plugin configuration in a listener that differs: everything is built anew.
        let other = Scenario {
            listener: Listener {
                trusted_hops: Some(round),
                ..module.listener.clone()
            },
            ..module.clone()
        };
        engine
            .configure(&other, &module.config)?
            .map_err(|refusal| format!("a good push was refused: {}", refusal.0))?;
        wait();
    }
    Ok(())
}

/// A static configuration: Envoy refuses to start with the broken one, and accepts the good one.
fn started_with_it(
    engine: &EnvoyEngine,
    setting: &Setting,
    module: &Scenario,
) -> Result<(), String> {
    for (config, good) in [(module.config.clone(), true), (broken(module, 0), false)] {
        let file = setting
            .dir
            .join(format!("static-{}.json", setting.binary.label));
        let value: Value = engine.static_config(module, &config)?;
        fs::write(&file, value.to_string()).map_err(|error| error.to_string())?;
        let env: BTreeMap<String, String> = module.env.clone();
        let (accepted, said) = validate(&setting.binary, &file, &env)?;
        if accepted != good {
            return Err(format!(
                "envoy --mode validate: accepted {accepted}, expected {good}: {said}"
            ));
        }
        if !good && !said.contains(UNKNOWN) {
            return Err(format!(
                "envoy --mode validate does not name `{UNKNOWN}`: {said}"
            ));
        }
    }
    Ok(())
}

/// The configuration with an unknown field, in the first filter of a row. Envoy does not ask a module again about a text that it
/// refused before, and then says nothing of the reason: hence the number.
fn broken(module: &Scenario, round: u32) -> Value {
    let mut config = module.config.clone();
    match &module.filter {
        Filters::Row(roots) if !roots.is_empty() => config[&roots[0]][UNKNOWN] = json!(round),
        _ => config[UNKNOWN] = json!(round),
    }
    config
}
