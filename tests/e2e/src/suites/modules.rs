//! `tests/modules/*.yaml`: for each module one good configuration, in the form of a scenario whose steps are good requests. The
//! hostile and the reload suites run on them.

use std::fs;

use tollgate_scenario::engine::Wanted;
use tollgate_scenario::model::{Answer, Lines, Request, Step, lines};
use tollgate_scenario::sign::sign;
use tollgate_scenario::{Engine, Observed, Scenario, check};

use crate::engine::EnvoyEngine;
use crate::{Options, Tally};

pub(super) fn load(options: &Options, tally: &Tally, engine: &str) -> Vec<Scenario> {
    let mut modules = Vec::new();
    let dir = options.tests.join("modules");
    let mut paths: Vec<_> = fs::read_dir(&dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    paths.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "yaml")
    });
    paths.sort();
    if paths.is_empty() {
        tally.note(
            "modules",
            engine,
            Err(vec![format!("nothing in {}", dir.display())]),
        );
    }
    for path in paths {
        let name = path.display().to_string();
        match fs::read_to_string(&path)
            .map_err(|error| error.to_string())
            .and_then(|text| tollgate_scenario::load(&name, &text))
        {
            Ok(list) => modules.extend(list),
            Err(problem) => tally.note(&name, engine, Err(vec![problem])),
        }
    }
    modules
}

/// Starts a module with its good configuration; it must take it.
pub(super) fn start(engine: &mut EnvoyEngine, module: &Scenario) -> Result<(), String> {
    engine.set_clock(module.clock, module.frozen)?;
    engine
        .start(module)?
        .map_err(|refusal| format!("refused: {}", refusal.0))
}

/// All good requests must be answered as their steps say.
pub(super) fn good(engine: &mut EnvoyEngine, module: &Scenario) -> Result<(), String> {
    for (index, step) in module.steps.iter().enumerate() {
        let seen = send(
            engine,
            &step.request,
            &headers(module, step)?,
            &step.upstream,
        )?;
        let problems = check::exchange(&step.expect, &seen);
        if !problems.is_empty() {
            return Err(format!(
                "the good request {}: {}",
                index + 1,
                problems.join("; ")
            ));
        }
    }
    Ok(())
}

/// The headers of a good request, signed.
pub(super) fn headers(module: &Scenario, step: &Step) -> Result<Lines, String> {
    let mut headers = lines(&step.request.headers);
    if let Some(how) = &step.request.sign {
        headers.extend(sign(how, &step.request, module.clock)?);
    }
    Ok(headers)
}

pub(super) fn send(
    engine: &mut EnvoyEngine,
    request: &Request,
    headers: &Lines,
    answer: &Answer,
) -> Result<Observed, String> {
    engine.exchange(request, headers, answer, &Wanted::default())
}
