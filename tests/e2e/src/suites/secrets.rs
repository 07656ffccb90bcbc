//! No key shows anywhere: the key-auth scenarios are run once more, and after each of them the config dump, the metrics, Envoy's log with
//! the modules' lines, the access log and all answers are searched for every key that the scenario files have.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;
use tollgate_scenario::engine::Wanted;
use tollgate_scenario::model::{Answer, EngineKind, Lines, Request, Services};
use tollgate_scenario::time::Instant;
use tollgate_scenario::{Engine, Metric, Observed, Refusal, Scenario, run as run_scenario};

use crate::engine::{EnvoyEngine, Setting};
use crate::{Options, Tally};

/// What keys in the scenarios begin with; it may stand in an escaped path.
const PREFIXES: [&str; 2] = ["live_", "test_"];
/// What follows is as random as a key.
const LEAST: usize = 12;

pub(super) fn run(setting: &Setting, options: &Options, scenarios: &[Scenario], tally: &Tally) {
    let name = format!("envoy {}", setting.binary.label);
    let keys = match keys(&options.tests.join("scenarios")) {
        Ok(keys) => keys,
        Err(problem) => return tally.note("secrets", &name, Err(vec![problem])),
    };
    let chosen: Vec<Scenario> = scenarios
        .iter()
        .filter(|s| s.file.starts_with("key-auth") && s.engines.contains(&EngineKind::Envoy))
        .filter(|s| !shows_keys_on_purpose(s))
        .cloned()
        .collect();
    let inner = match EnvoyEngine::new(setting.clone(), &chosen) {
        Ok(inner) => inner,
        Err(problem) => return tally.note("secrets", &name, Err(vec![problem])),
    };
    let mut engine = Recording {
        inner,
        answers: Vec::new(),
        log: String::new(),
        access_log: String::new(),
    };
    for scenario in chosen
        .iter()
        .filter(|_| "secrets".contains(&options.filter))
    {
        let title = format!("secrets: {}", scenario.name);
        let result = run_scenario(&mut engine, scenario).and_then(|()| {
            engine
                .search(&keys, scenario.refused.is_some())
                .map_err(|found| vec![found])
        });
        tally.note(&title, &name, result);
    }
}

/// With `hide_credentials: false` a key in the query stays in the path, and the access log shows it: so it is documented.
fn shows_keys_on_purpose(scenario: &Scenario) -> bool {
    scenario
        .config
        .to_string()
        .contains(r#""hide_credentials":false"#)
}

/// The random part of every key in the key-auth scenarios, good or wrong.
fn keys(dir: &Path) -> Result<BTreeSet<String>, String> {
    let mut keys = BTreeSet::new();
    for entry in fs::read_dir(dir).map_err(|error| error.to_string())? {
        let path = entry.map_err(|error| error.to_string())?.path();
        let is_ours = path
            .file_name()
            .is_some_and(|n| n.to_string_lossy().starts_with("key-auth"));
        if !is_ours {
            continue;
        }
        let text = fs::read_to_string(&path).map_err(|error| error.to_string())?;
        for prefix in PREFIXES {
            for rest in text.split(prefix).skip(1) {
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '-');
                let key = &rest[..end.unwrap_or(rest.len())];
                if key.len() >= LEAST {
                    keys.insert(key.to_owned());
                }
            }
        }
    }
    if keys.len() < 8 {
        return Err(format!(
            "only {} keys found in {}",
            keys.len(),
            dir.display()
        ));
    }
    Ok(keys)
}

/// The engine, and all that was answered.
struct Recording {
    inner: EnvoyEngine,
    answers: Vec<u8>,
    log: String,
    access_log: String,
}

impl Recording {
    /// Demands that everything is there to be searched, and that no key is in it.
    fn search(&mut self, keys: &BTreeSet<String>, refused: bool) -> Result<(), String> {
        let envoy = self.inner.envoy()?;
        let places = [
            ("the config dump", envoy.get("/config_dump?include_eds")?),
            ("the metrics", envoy.get("/stats")?),
            (
                "the metrics for Prometheus",
                envoy.get("/stats/prometheus")?,
            ),
            ("Envoy's log", std::mem::take(&mut self.log)),
            ("the access log", std::mem::take(&mut self.access_log)),
            (
                "an answer",
                String::from_utf8_lossy(&self.answers).into_owned(),
            ),
        ];
        self.answers.clear();
        for (place, text) in &places {
            for key in keys {
                if let Some(at) = text.find(key.as_str()) {
                    let from = (0..=at.saturating_sub(60))
                        .rev()
                        .find(|i| text.is_char_boundary(*i));
                    return Err(format!(
                        "{place} shows a key: ...{}",
                        &text[from.unwrap_or(0)..at]
                    ));
                }
            }
        }
        // A search through nothing would find nothing.
        let [(_, dump), (_, stats), ..] = &places;
        for (text, word) in [(dump, "key-auth"), (stats, "tollgate_decisions_total")] {
            if !refused && !text.contains(word) {
                return Err(format!(
                    "`{word}` is not where it must be: what was searched?"
                ));
            }
        }
        Ok(())
    }
}

impl Engine for Recording {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn kind(&self) -> EngineKind {
        self.inner.kind()
    }

    fn skips(&self, scenario: &Scenario) -> Option<String> {
        self.inner.skips(scenario)
    }

    fn set_clock(&mut self, now: Instant, frozen: bool) -> Result<(), String> {
        self.inner.set_clock(now, frozen)
    }

    fn start(&mut self, scenario: &Scenario) -> Result<Result<(), Refusal>, String> {
        let started = self.inner.start(scenario)?;
        if let Err(Refusal(said)) = &started {
            self.log.push_str(said);
        }
        Ok(started)
    }

    fn configure(
        &mut self,
        scenario: &Scenario,
        config: &Value,
    ) -> Result<Result<(), Refusal>, String> {
        self.inner.configure(scenario, config)
    }

    fn services(&mut self, services: &Services) -> Result<(), String> {
        self.inner.services(services)
    }

    fn exchange(
        &mut self,
        request: &Request,
        headers: &Lines,
        answer: &Answer,
        wanted: &Wanted,
    ) -> Result<Observed, String> {
        let seen = self.inner.exchange(request, headers, answer, wanted)?;
        for (name, value) in seen.reply.headers.iter().chain(&seen.reply.trailers) {
            for part in [name.as_slice(), b": ", value, b"\n"] {
                self.answers.extend_from_slice(part);
            }
        }
        self.answers.extend_from_slice(&seen.reply.body);
        Ok(seen)
    }

    fn metrics(&mut self) -> Result<Vec<Metric>, String> {
        self.inner.metrics()
    }

    fn log(&mut self) -> Result<Vec<String>, String> {
        self.inner.log()
    }

    fn settle(&mut self) -> bool {
        self.inner.settle()
    }

    fn quiesce(&mut self) {
        self.inner.quiesce();
    }

    fn finish(&mut self) -> Result<(), String> {
        // A scenario whose configuration was refused has no listener.
        if let Ok((log, access_log)) = self.inner.written() {
            self.log.push_str(&log);
            self.access_log.push_str(&access_log);
        }
        self.inner.finish()
    }
}
