//! From YAML text to scenarios.

use std::collections::BTreeSet;

use serde::de::Error;
use serde_yaml_ng::{Mapping, Value};

use crate::model::{Chunk, Scenario};

include!(concat!(env!("OUT_DIR"), "/files.rs"));

/// Keys at the top of a file that are not defaults for its scenarios.
const NOT_DEFAULTS: [&str; 2] = ["scenarios", "anchors"];

/// Reads one file: either one scenario, or `scenarios: [...]` with defaults beside it (each replaced as a whole by a
/// scenario's own). `anchors:` is a place for YAML anchors.
///
/// # Errors
/// The text is no YAML or no scenario; the message names the file and the scenario.
pub fn load(file: &str, text: &str) -> Result<Vec<Scenario>, String> {
    let fail = |place: &str, error: serde_yaml_ng::Error| format!("{file}: {place}{error}");
    let mut root: Value = serde_yaml_ng::from_str(text).map_err(|error| fail("", error))?;
    root.apply_merge().map_err(|error| fail("", error))?;
    let Value::Mapping(mut root) = root else {
        return Err(format!("{file}: not a mapping"));
    };
    let list = match root.remove("scenarios") {
        None => vec![Value::Mapping(root.clone())],
        Some(Value::Sequence(list)) if !list.is_empty() => list,
        Some(_) => {
            return Err(format!(
                "{file}: scenarios: not a list with something in it"
            ));
        }
    };
    let mut scenarios = Vec::new();
    for (index, item) in list.into_iter().enumerate() {
        let place = |item: &Value| match item.get("name").and_then(Value::as_str) {
            Some(name) => format!("`{name}`: "),
            None => format!("scenarios[{index}]: "),
        };
        let place = place(&item);
        let scenario = with_defaults(item, &root).and_then(serde_yaml_ng::from_value::<Scenario>);
        let mut scenario = scenario.map_err(|error| fail(&place, error))?;
        file.clone_into(&mut scenario.file);
        sound(&scenario).map_err(|problem| format!("{file}: {place}{problem}"))?;
        scenarios.push(scenario);
    }
    Ok(scenarios)
}

/// Reads every embedded file.
///
/// # Errors
/// The problems of all files; names that occur twice.
pub fn load_all() -> Result<Vec<Scenario>, String> {
    let (mut scenarios, mut problems, mut names) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (file, text) in FILES {
        match load(file, text) {
            Ok(list) => scenarios.extend(list),
            Err(problem) => problems.push(problem),
        }
    }
    for scenario in &scenarios {
        if !names.insert(&scenario.name) {
            problems.push(format!(
                "{}: the name `{}` occurs twice",
                scenario.file, scenario.name
            ));
        }
    }
    if problems.is_empty() {
        Ok(scenarios)
    } else {
        Err(problems.join("\n"))
    }
}

fn with_defaults(item: Value, defaults: &Mapping) -> Result<Value, serde_yaml_ng::Error> {
    let Value::Mapping(mut map) = item else {
        return Err(serde_yaml_ng::Error::custom("not a mapping"));
    };
    for (key, value) in defaults {
        if !NOT_DEFAULTS.iter().any(|name| key == name) && !map.contains_key(key) {
            map.insert(key.clone(), value.clone());
        }
    }
    map.remove("anchors");
    Ok(Value::Mapping(map))
}

/// What the types alone do not say.
fn sound(scenario: &Scenario) -> Result<(), String> {
    scenario.filters()?;
    match (&scenario.refused, scenario.steps.len()) {
        (None, 0) => return Err("no steps and no `refused`: it could not fail".to_owned()),
        (Some(_), 1..) => return Err("a refused configuration has no steps".to_owned()),
        _ => {}
    }
    for (index, step) in scenario.steps.iter().enumerate() {
        if step.expect.is_empty() {
            return Err(format!(
                "steps[{index}].expect: nothing is expected, so it could not fail"
            ));
        }
        if step.repeat == 0 {
            return Err(format!("steps[{index}].repeat: 0"));
        }
        if step
            .request
            .body
            .iter()
            .any(|chunk| matches!(chunk, Chunk::Cut { .. }))
        {
            return Err(format!(
                "steps[{index}].request.body: `cut` is for answers; `abort: true` cuts a request"
            ));
        }
        if step.refused.is_some() && step.configure.is_none() {
            return Err(format!("steps[{index}].refused: needs `configure`"));
        }
        if let Some(config) = &step.configure {
            scenario.filters_with(config)?;
        }
        for name in step
            .expect
            .headers
            .keys()
            .chain(step.expect.trailers.keys())
        {
            if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
                return Err(format!(
                    "steps[{index}].expect: header names are lower case: {name}"
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "
filter: none
config: {a: 1}
scenarios:
- {name: one, steps: [{expect: {status: 200}}]}
- {name: two, config: {b: 2}, steps: [{expect: {status: 200}}]}
";

    #[test]
    fn the_table_loads() {
        load_all().unwrap();
    }

    #[test]
    fn a_scenario_replaces_a_default_as_a_whole() {
        let scenarios = load("x", GOOD).unwrap();
        assert_eq!(scenarios[0].config, serde_json::json!({"a": 1}));
        assert_eq!(scenarios[1].config, serde_json::json!({"b": 2}));
    }

    #[test]
    fn unknown_fields_and_steps_that_cannot_fail_are_refused() {
        for (from, to) in [
            ("name: one", "name: one, nmae: x"),
            ("status: 200", "stauts: 200"),
            ("{status: 200}", "{}"),
            ("{expect", "{repeat: 0, expect"),
            ("{expect", "{request: {paht: /}, expect"),
            ("{expect", "{request: {body: [{cut: true}]}, expect"),
            ("{expect", "{refused: {says: x}, expect"),
            ("steps: [{expect: {status: 200}}]", "steps: []"),
        ] {
            let text = GOOD.replacen(from, to, 1);
            assert_ne!(text, GOOD, "{from}");
            let problem = load("x", &text).unwrap_err();
            assert!(problem.starts_with("x: "), "{problem}");
        }
    }
}
