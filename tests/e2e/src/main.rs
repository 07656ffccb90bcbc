//! `tollgate-e2e`: the shipped modules in a real Envoy.

mod bootstrap;
mod client;
mod clock;
mod engine;
mod envoy;
mod suites;
mod upstreams;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;

use tollgate_scenario::Scenario;

use engine::Setting;
use envoy::Binary;

const USAGE: &str = "\
usage: tollgate-e2e --envoy LABEL=PATH [--envoy LABEL=PATH ...]
  --dist DIR          where the .wasm modules are (default: dist)
  --tests DIR         the tests directory (default: tests)
  --configs DIR       Envoy configurations to validate (default: envoy; none there = none validated)
  --suite A,B         of scenarios, vectors, hostile, reload, secrets, configs (default: all)
  --filter TEXT       only what has TEXT in its name
  --scenarios FILE    only the scenarios of this file, read now instead of the embedded table
  --list              names of the scenarios
  --keep              keeps the working directory and says where it is
ends with `N passed, N failed`";

/// What the command line says.
#[derive(Debug, Clone)]
struct Options {
    envoys: Vec<Binary>,
    dist: PathBuf,
    tests: PathBuf,
    configs: PathBuf,
    suites: Vec<String>,
    filter: String,
    scenarios: Option<PathBuf>,
    list: bool,
    keep: bool,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            envoys: Vec::new(),
            dist: "dist".into(),
            tests: "tests".into(),
            configs: "envoy".into(),
            suites: suites::ALL.iter().map(|&name| name.to_owned()).collect(),
            filter: String::new(),
            scenarios: None,
            list: false,
            keep: false,
        };
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--envoy" => {
                    let value = value()?;
                    let (label, path) = value.split_once('=').ok_or("--envoy: LABEL=PATH")?;
                    options.envoys.push(Binary {
                        label: label.to_owned(),
                        path: path.into(),
                    });
                }
                "--dist" => options.dist = value()?.into(),
                "--tests" => options.tests = value()?.into(),
                "--configs" => options.configs = value()?.into(),
                "--suite" => options.suites = value()?.split(',').map(str::to_owned).collect(),
                "--filter" => options.filter = value()?,
                "--scenarios" => options.scenarios = Some(value()?.into()),
                "--list" => options.list = true,
                "--keep" => options.keep = true,
                other => return Err(format!("unknown argument {other}")),
            }
        }
        if let Some(unknown) = options
            .suites
            .iter()
            .find(|name| !suites::ALL.contains(&name.as_str()))
        {
            return Err(format!("--suite: no suite {unknown}"));
        }
        for (index, binary) in options.envoys.iter().enumerate() {
            if options.envoys[..index]
                .iter()
                .any(|other| other.label == binary.label)
            {
                return Err(format!("--envoy: {} occurs twice", binary.label));
            }
        }
        if options.envoys.is_empty() && !options.list {
            return Err("no --envoy".to_owned());
        }
        Ok(options)
    }
}

/// Counts and prints the results of all threads.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    counts: Mutex<(usize, usize, Vec<String>)>,
}

impl Tally {
    /// One result; `Err` holds the problems.
    pub(crate) fn note(&self, name: &str, engine: &str, result: Result<(), Vec<String>>) {
        let mut counts = self.counts.lock().unwrap();
        match result {
            Ok(()) => {
                counts.0 += 1;
                println!("PASS {name} ({engine})");
            }
            Err(problems) => {
                counts.1 += 1;
                println!("FAIL {name} ({engine})");
                for problem in problems {
                    println!("     {}", problem.replace('\n', "\n     "));
                }
                counts.2.push(format!("{name} ({engine})"));
            }
        }
    }

    /// Something that was not run, and why: never silently.
    pub(crate) fn skip(&self, name: &str, engine: &str, why: &str) {
        let _one_line_at_a_time = self.counts.lock().unwrap();
        println!("SKIP {name} ({engine}): {why}");
    }
}

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("{problem}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("tollgate-e2e: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// The scenarios to run, and what is wrong with files that cannot be read: the others run all the same.
fn scenarios(options: &Options) -> Result<(Vec<Scenario>, Vec<String>), String> {
    let (mut scenarios, mut problems) = (Vec::new(), Vec::new());
    match &options.scenarios {
        None => {
            for (file, text) in tollgate_scenario::FILES {
                match tollgate_scenario::load(file, text) {
                    Ok(list) => scenarios.extend(list),
                    Err(problem) => problems.push(problem),
                }
            }
        }
        Some(file) => {
            let name = file.display().to_string();
            let text = std::fs::read_to_string(file).map_err(|error| format!("{name}: {error}"))?;
            scenarios = tollgate_scenario::load(&name, &text)?;
        }
    }
    scenarios.retain(|scenario| {
        scenario.name.contains(&options.filter) || scenario.file.contains(&options.filter)
    });
    // One process for each concurrency: those that share it run in a row.
    scenarios.sort_by_key(|scenario| scenario.concurrency);
    Ok((scenarios, problems))
}

fn run(options: &Options) -> Result<bool, String> {
    let (scenarios, problems) = scenarios(options)?;
    if options.list {
        for scenario in &scenarios {
            println!(
                "{}: {} {:?}",
                scenario.file, scenario.name, scenario.engines
            );
        }
        return Ok(true);
    }
    let dir = std::env::temp_dir().join(format!("tollgate-e2e-{}", std::process::id()));
    std::fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let clock_library = clock::build(&options.tests.join("clock/clock.c"), &dir)
        .map_err(|error| error.to_string())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| format!("runtime: {error}"))?;
    let tally = Tally::default();
    for problem in problems {
        tally.note(
            "a scenario file that cannot be read",
            "all",
            Err(vec![problem]),
        );
    }
    thread::scope(|scope| {
        // Each version of Envoy has its own upstreams, clock and files, so they can run side by side.
        for binary in &options.envoys {
            let setting = Setting {
                binary: binary.clone(),
                dist: absolute(&options.dist),
                dir: dir.clone(),
                clock_library: clock_library.clone(),
                runtime: runtime.handle().clone(),
            };
            let (tally, scenarios) = (&tally, &scenarios);
            scope.spawn(move || suites::run(&setting, options, scenarios, tally));
        }
    });
    let (passed, failed, names) = tally
        .counts
        .into_inner()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    if options.keep {
        println!("files: {}", dir.display());
    } else {
        let _ = std::fs::remove_dir_all(&dir);
    }
    for name in names {
        println!("failed: {name}");
    }
    if passed + failed == 0 {
        return Err("nothing was run".to_owned());
    }
    println!("{passed} passed, {failed} failed");
    Ok(failed == 0)
}

/// Envoy runs elsewhere.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
