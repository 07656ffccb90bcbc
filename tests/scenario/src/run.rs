//! Drives an engine through a scenario.

use crate::check;
use crate::engine::{Engine, Refusal, Wanted};
use crate::matcher::{Form, Matcher, OneOrMany};
use crate::model::{self, Expect, Refused, Scenario, Step};
use crate::sign::sign;
use crate::time::Instant;

/// Runs one scenario; `Err` holds every problem of the first step that failed.
///
/// # Errors
/// An expectation does not hold, or the engine broke down.
pub fn run(engine: &mut dyn Engine, scenario: &Scenario) -> Result<(), Vec<String>> {
    let result = steps(engine, scenario);
    let end = engine
        .finish()
        .map_err(|broken| vec![format!("afterwards: {broken}")]);
    match (result, end) {
        (Err(mut problems), Err(more)) => {
            problems.extend(more);
            Err(problems)
        }
        (result, end) => result.and(end),
    }
}

fn steps(engine: &mut dyn Engine, scenario: &Scenario) -> Result<(), Vec<String>> {
    let broken = |broken: String| vec![format!("engine: {broken}")];
    let mut now = scenario.clock;
    engine.set_clock(now, scenario.frozen).map_err(broken)?;
    let started = engine.start(scenario).map_err(broken)?;
    check_refusal("config", started, scenario.refused.as_ref()).map_err(|problem| vec![problem])?;
    for (index, step) in scenario.steps.iter().enumerate() {
        let place = match &step.name {
            Some(name) => format!("step {} ({name})", index + 1),
            None => format!("step {}", index + 1),
        };
        one_step(engine, scenario, step, &mut now).map_err(|problems| {
            problems
                .into_iter()
                .map(|problem| format!("{place}: {problem}"))
                .collect::<Vec<_>>()
        })?;
    }
    Ok(())
}

fn one_step(
    engine: &mut dyn Engine,
    scenario: &Scenario,
    step: &Step,
    now: &mut Instant,
) -> Result<(), Vec<String>> {
    let broken = |broken: String| vec![format!("engine: {broken}")];
    // Before anything moves: what a tick reports after `advance` belongs to the step.
    let counts = !step.expect.metrics.is_empty() || !step.expect.gauges.is_empty();
    let before = if counts {
        engine.quiesce();
        engine.metrics().map_err(broken)?
    } else {
        Vec::new()
    };
    let mut log = Vec::new();
    if step.expect.log.is_some() {
        engine.log().map_err(broken)?;
    }
    if let Some(span) = step.advance {
        now.0 = now.0.saturating_add(span.0);
        engine.set_clock(*now, scenario.frozen).map_err(broken)?;
    }
    if let Some(config) = &step.configure {
        let pushed = engine.configure(scenario, config).map_err(broken)?;
        check_refusal("configure", pushed, step.refused.as_ref())
            .map_err(|problem| vec![problem])?;
    }
    if let Some(services) = &step.services {
        engine.services(services).map_err(broken)?;
    }
    let wanted = Wanted {
        access_log: step.expect.details.is_some() || !step.expect.state.is_empty(),
        state: step.expect.state.keys().cloned().collect(),
    };
    let mut headers = model::lines(&step.request.headers);
    if let Some(how) = &step.request.sign {
        headers.extend(sign(how, &step.request, *now).map_err(broken)?);
    }
    for round in 0..step.repeat {
        let seen = engine
            .exchange(&step.request, &headers, &step.upstream, &wanted)
            .map_err(broken)?;
        let mut problems = check::exchange(&step.expect, &seen);
        if !problems.is_empty() {
            if step.repeat > 1 {
                problems.insert(0, format!("repetition {} of {}", round + 1, step.repeat));
            }
            return Err(problems);
        }
    }
    if step.expect.metrics.values().any(|&increase| increase == 0) {
        // Nothing may come: give what is batched the time to do so.
        engine.quiesce();
    }
    loop {
        let mut problems = Vec::new();
        if counts {
            problems.extend(check::metrics(
                &step.expect,
                &before,
                &engine.metrics().map_err(broken)?,
            ));
        }
        if step.expect.log.is_some() {
            log.extend(engine.log().map_err(broken)?);
            problems.extend(check_log(&step.expect, &log));
        }
        if problems.is_empty() {
            return Ok(());
        }
        if !engine.settle() {
            return Err(problems);
        }
    }
}

fn check_log(expect: &Expect, log: &[String]) -> Option<String> {
    let text = log.join("\n");
    let problem = expect.log.as_ref()?.check(&[text.as_bytes()]).err()?;
    Some(format!("log: {problem}"))
}

fn check_refusal(
    place: &str,
    result: Result<(), Refusal>,
    wanted: Option<&Refused>,
) -> Result<(), String> {
    match (result, wanted) {
        (Ok(()), None) => Ok(()),
        (Ok(()), Some(_)) => Err(format!("{place}: expected to be refused, was accepted")),
        (Err(Refusal(said)), None) => Err(format!("{place}: refused: {said}")),
        (Err(Refusal(said)), Some(refused)) => {
            let never: Option<OneOrMany> = refused.never_says.clone();
            let matcher = Matcher::Form(Form {
                contains: Some(refused.says.clone()),
                lacks: never,
                ..Form::default()
            });
            matcher.check(&[said.as_bytes()]).map_err(|problem| {
                // The whole text: the checker cuts long values.
                let whole = if said.len() > 300 {
                    format!("\n{said}")
                } else {
                    String::new()
                };
                format!("{place}: refused as expected, but {problem}{whole}")
            })
        }
    }
}
