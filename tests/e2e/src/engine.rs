//! Scenarios through the shipped modules in a real Envoy.
//!
//! One process serves many scenarios, one after another: each gets a listener with plugins of its own name, so that
//! state does not leak, pushed through a file-based LDS; a few old ones stay, so that the VMs they share live on and
//! need not be compiled again.

mod setup;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant as Real};

use serde_json::Value;
use tollgate_scenario::model::{Answer, EngineKind, Lines, Request, Services};
use tollgate_scenario::time::Instant;
use tollgate_scenario::{Engine, Metric, Observed, Refusal, Scenario, Wanted};

use crate::bootstrap;
use crate::client::Outgoing;
use crate::envoy::{Binary, Envoy, traps};
use crate::upstreams::Upstreams;

/// How many listeners of past scenarios stay.
const KEPT: usize = 4;
/// An access log line, a metric or a log line comes within this, real time.
const PATIENCE: Duration = Duration::from_secs(3);
/// Modules merge their counters at least this often, with room for a busy machine.
const BATCH: Duration = Duration::from_millis(400);

/// What every part of a run needs.
#[derive(Clone)]
pub(crate) struct Setting {
    pub(crate) binary: Binary,
    /// Where the modules are.
    pub(crate) dist: PathBuf,
    /// Where this run may write.
    pub(crate) dir: PathBuf,
    pub(crate) clock_library: PathBuf,
    pub(crate) runtime: tokio::runtime::Handle,
}

struct Current {
    listener: String,
    at: SocketAddr,
    access_log: PathBuf,
    access_read: usize,
    log: String,
    /// How much of `log` was handed out.
    log_seen: usize,
    reloads: i64,
    reads_access_log: bool,
}

/// The engine.
pub(crate) struct EnvoyEngine {
    name: String,
    setting: Setting,
    /// Of the binary's whole run: what its Envoys have in their environment.
    env: BTreeMap<String, String>,
    labels: BTreeSet<String>,
    upstreams: Upstreams,
    /// By concurrency; started when first needed.
    envoys: BTreeMap<usize, Envoy>,
    concurrency: usize,
    listeners: VecDeque<Value>,
    counter: usize,
    clock: (Instant, bool),
    current: Option<Current>,
    settling: Option<Real>,
    /// When the newest exchange ended whose counters may still be in the module.
    unsettled: Option<Real>,
}

impl EnvoyEngine {
    /// Starts the upstreams; Envoy itself starts with the first scenario.
    pub(crate) fn new(mut setting: Setting, scenarios: &[Scenario]) -> Result<Self, String> {
        // Every engine counts its listeners from 1: in one directory they would read each other's access logs.
        static ENGINES: AtomicUsize = AtomicUsize::new(1);
        let number = ENGINES.fetch_add(1, Ordering::Relaxed);
        setting.dir = setting.dir.join(format!("engine-{number}"));
        fs::create_dir_all(&setting.dir).map_err(|error| error.to_string())?;
        let upstreams = Upstreams::start(&setting.runtime)?;
        let mut env = BTreeMap::new();
        for (key, value) in scenarios.iter().flat_map(|scenario| &scenario.env) {
            env.entry(key.clone()).or_insert_with(|| value.clone());
        }
        Ok(Self {
            name: format!("envoy {}", setting.binary.label),
            env,
            labels: bootstrap::labels(scenarios),
            upstreams,
            envoys: BTreeMap::new(),
            concurrency: 1,
            listeners: VecDeque::new(),
            counter: 0,
            clock: (Instant::default(), true),
            current: None,
            settling: None,
            unsettled: None,
            setting,
        })
    }

    /// Where the running scenario's listener is.
    pub(crate) fn address(&self) -> Result<SocketAddr, String> {
        self.current
            .as_ref()
            .map(|current| current.at)
            .ok_or_else(|| "no scenario".to_owned())
    }

    /// All that Envoy has written since the scenario began: its log, with the modules' lines, and the access log.
    pub(crate) fn written(&mut self) -> Result<(String, String), String> {
        self.take_log()?;
        let current = self.current.as_ref().ok_or("no scenario")?;
        let access_log = fs::read(&current.access_log).unwrap_or_default();
        Ok((
            current.log.clone(),
            String::from_utf8_lossy(&access_log).into_owned(),
        ))
    }

    /// The Envoy of the running scenario.
    pub(crate) fn envoy(&mut self) -> Result<&mut Envoy, String> {
        self.envoys
            .get_mut(&self.concurrency)
            .ok_or_else(|| "no Envoy was started".to_owned())
    }

    /// New text of Envoy's log; kept for `finish` too.
    fn take_log(&mut self) -> Result<String, String> {
        let news = self.envoy()?.log_news();
        if let Some(current) = &mut self.current {
            current.log.push_str(&news);
        }
        Ok(news)
    }

    /// The line of the exchange that has just ended.
    fn access_line(&mut self) -> Result<Value, String> {
        let current = self.current.as_mut().ok_or("no scenario")?;
        let since = Real::now();
        loop {
            let text = fs::read(&current.access_log).unwrap_or_default();
            let rest = text.get(current.access_read..).unwrap_or_default();
            if let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
                current.access_read += end + 1;
                return serde_json::from_slice(&rest[..end])
                    .map_err(|error| format!("access log: {error}"));
            }
            if since.elapsed() > PATIENCE {
                return Err("no line in the access log".to_owned());
            }
            sleep(Duration::from_millis(1));
        }
    }
}

impl Engine for EnvoyEngine {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> EngineKind {
        EngineKind::Envoy
    }

    fn set_clock(&mut self, now: Instant, frozen: bool) -> Result<(), String> {
        self.clock = (now, frozen);
        self.upstreams.set_clock(now);
        match self.envoys.get(&self.concurrency) {
            Some(envoy) => envoy
                .clock
                .set(now, frozen)
                .map_err(|error| format!("clock: {error}")),
            None => Ok(()),
        }
    }

    fn start(&mut self, scenario: &Scenario) -> Result<Result<(), Refusal>, String> {
        for (root, _) in scenario.filters()? {
            let module = self.module(&root);
            if !module.is_file() {
                return Err(format!(
                    "{} is missing: `make wasm` builds it",
                    module.display()
                ));
            }
        }
        self.concurrency = scenario.concurrency;
        self.start_envoy()?;
        let (now, frozen) = self.clock;
        self.set_clock(now, frozen)?;
        self.upstreams.reset();
        self.counter += 1;
        let listener = format!("s{}", self.counter);
        let access_log = self.setting.dir.join(format!(
            "access-{}-{listener}.log",
            self.setting.binary.label
        ));
        let reloads = self.envoy()?.reloads()?;
        self.envoy()?.log_news();
        self.current = Some(Current {
            listener: listener.clone(),
            at: SocketAddr::from(([127, 0, 0, 1], 0)),
            access_log: access_log.clone(),
            access_read: 0,
            log: String::new(),
            log_seen: 0,
            reloads,
            reads_access_log: scenario
                .steps
                .iter()
                .any(|step| step.expect.details.is_some() || !step.expect.state.is_empty()),
        });
        let value = self.listener(scenario, &scenario.config, &listener, &access_log)?;
        if let Err(refusal) = self.push(value, false)? {
            return Ok(Err(refusal));
        }
        let at = self.envoy()?.listener(&listener)?;
        self.current.as_mut().ok_or("no scenario")?.at = at;
        Ok(Ok(()))
    }

    fn configure(
        &mut self,
        scenario: &Scenario,
        config: &Value,
    ) -> Result<Result<(), Refusal>, String> {
        let current = self.current.as_ref().ok_or("no scenario")?;
        let (name, access_log) = (current.listener.clone(), current.access_log.clone());
        let value = self.listener(scenario, config, &name, &access_log)?;
        self.take_log()?;
        let pushed = self.push(value, true)?;
        let at = self.envoy()?.listener(&name)?;
        self.current.as_mut().ok_or("no scenario")?.at = at;
        Ok(pushed)
    }

    fn services(&mut self, services: &Services) -> Result<(), String> {
        self.upstreams.services(services)
    }

    fn exchange(
        &mut self,
        request: &Request,
        headers: &Lines,
        answer: &Answer,
        wanted: &Wanted,
    ) -> Result<Observed, String> {
        self.settling = None;
        self.upstreams.expect(answer);
        let current = self.current.as_ref().ok_or("no scenario")?;
        let (at, reads_access_log) = (current.at, current.reads_access_log);
        let sent = Outgoing { request, headers }.send(at);
        self.unsettled = Some(Real::now());
        let mut observed = Observed {
            reply: sent.map_err(|error| format!("client: {error}"))?,
            ..Observed::default()
        };
        if reads_access_log {
            // One line for each exchange, so that the next one finds its own.
            let line = self.access_line()?;
            let text = |value: &Value| value.as_str().map(|text| text.as_bytes().to_vec());
            observed.details = text(&line["details"]);
            observed.state = wanted
                .state
                .iter()
                .filter_map(|key| Some((key.clone(), text(&line["state"][key])?)))
                .collect();
        }
        if request.abort {
            // Envoy may have to notice that the client is gone, the upstream to read what was sent on before.
            sleep(Duration::from_millis(50));
        }
        self.upstreams.observe(&mut observed);
        Ok(observed)
    }

    fn metrics(&mut self) -> Result<Vec<Metric>, String> {
        self.envoy()?.metrics()
    }

    fn log(&mut self) -> Result<Vec<String>, String> {
        self.take_log()?;
        let current = self.current.as_mut().ok_or("no scenario")?;
        let news = current
            .log
            .get(current.log_seen..)
            .unwrap_or_default()
            .to_owned();
        current.log_seen = current.log.len();
        let own = format!("{}-", current.listener);
        // Lines of a stream begin with the plugin's name, those of a root context do not.
        let of_another = |line: &str| {
            let name = line.split_once("wasm log ").map_or("", |(_, rest)| rest);
            let digits = name
                .strip_prefix('s')
                .map_or("", |rest| rest.split('-').next().unwrap_or(""));
            !digits.is_empty()
                && digits.bytes().all(|byte| byte.is_ascii_digit())
                && !name.starts_with(&own)
        };
        Ok(news
            .lines()
            .filter(|line| line.contains("wasm log ") && !of_another(line))
            .map(str::to_owned)
            .collect())
    }

    fn settle(&mut self) -> bool {
        let since = *self.settling.get_or_insert_with(Real::now);
        sleep(Duration::from_millis(25));
        since.elapsed() < PATIENCE
    }

    fn quiesce(&mut self) {
        if let Some(since) = self.unsettled.take() {
            sleep(BATCH.saturating_sub(since.elapsed()));
        }
    }

    fn finish(&mut self) -> Result<(), String> {
        if self.envoys.is_empty() {
            return Ok(());
        }
        self.take_log()?;
        let Some(current) = self.current.take() else {
            return Ok(());
        };
        let reloads = self.envoy()?.reloads()? - current.reloads;
        let traps = traps(&current.log);
        if reloads != 0 || !traps.is_empty() {
            // Its VM may be gone for a while; the next scenario shall not suffer from it.
            self.envoys.clear();
            return Err(format!(
                "the module trapped (vm_reload counters +{reloads}):\n{}",
                traps.join("\n")
            ));
        }
        Ok(())
    }
}
