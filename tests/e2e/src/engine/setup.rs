//! What an Envoy is started with, and the listeners that are pushed to it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tollgate_scenario::{Engine, Refusal, Scenario};

use super::{EnvoyEngine, KEPT};
use crate::bootstrap::{self, Plugin};
use crate::envoy::{Envoy, Push, Start};

impl EnvoyEngine {
    /// A complete static configuration with the scenario's plugins, for `--mode validate`.
    pub(crate) fn static_config(
        &self,
        scenario: &Scenario,
        config: &Value,
    ) -> Result<Value, String> {
        let log = self.setting.dir.join("unused.log");
        let mut value = bootstrap::bootstrap(&self.upstreams.addresses, &self.labels);
        let mut listener = self.listener(scenario, config, "static", &log)?;
        if let Some(fields) = listener.as_object_mut() {
            fields.remove("@type");
        }
        value["static_resources"]["listeners"] = json!([listener]);
        Ok(value)
    }

    pub(super) fn start_envoy(&mut self) -> Result<(), String> {
        if self.envoys.contains_key(&self.concurrency) {
            return Ok(());
        }
        // Listeners belong to a process.
        self.envoys.clear();
        self.listeners.clear();
        let envoy = Envoy::start(Start {
            binary: &self.setting.binary,
            dir: self.setting.dir.join(format!(
                "envoy-{}-{}",
                self.setting.binary.label, self.concurrency
            )),
            bootstrap: bootstrap::bootstrap(&self.upstreams.addresses, &self.labels),
            concurrency: self.concurrency,
            env: self.env.clone(),
            clock_library: &self.setting.clock_library,
        })?;
        self.envoys.insert(self.concurrency, envoy);
        let (now, frozen) = self.clock;
        self.set_clock(now, frozen)
    }

    pub(super) fn module(&self, root: &str) -> PathBuf {
        self.setting.dist.join(format!("{root}.wasm"))
    }

    pub(super) fn listener(
        &self,
        scenario: &Scenario,
        config: &Value,
        name: &str,
        access_log: &Path,
    ) -> Result<Value, String> {
        // For Envoy 1.36 the environment is not part of what tells VMs apart, so the name of the VM must be.
        let mut hasher = DefaultHasher::new();
        scenario.env.hash(&mut hasher);
        let vm_id = format!("tollgate-{:x}", hasher.finish());
        let mut filters = Vec::new();
        for (root, config) in scenario.filters_with(config)? {
            let plugin = format!("{name}-{root}");
            let ours = |(key, value): (&String, &String)| self.env.get(key) == Some(value);
            let (host, own): (Vec<_>, Vec<_>) = scenario
                .env
                .iter()
                .partition(|&(key, value)| ours((key, value)));
            filters.push(bootstrap::filter(&Plugin {
                name: &plugin,
                root_id: &root,
                vm_id: &vm_id,
                module: &self.module(&root),
                config: &config,
                form: scenario.form,
                host_env: host.into_iter().map(|(key, _)| key.clone()).collect(),
                env: own
                    .into_iter()
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .collect(),
                flag: scenario.flag,
            }));
        }
        Ok(bootstrap::listener(bootstrap::Listener {
            name,
            filters,
            access_log,
            state: scenario
                .steps
                .iter()
                .flat_map(|step| step.expect.state.keys().cloned())
                .collect(),
            proxy_protocol: scenario
                .steps
                .iter()
                .any(|step| step.request.client.is_some()),
            settings: &scenario.listener,
        }))
    }

    /// Pushes the current listener (a new one, or `replace` the newest).
    pub(super) fn push(
        &mut self,
        listener: Value,
        replace: bool,
    ) -> Result<Result<(), Refusal>, String> {
        let mut next = self.listeners.clone();
        if replace {
            next.pop_back();
        }
        while next.len() >= KEPT {
            next.pop_front();
        }
        let changed = usize::from(!replace || self.listeners.back() != Some(&listener));
        next.push_back(listener);
        let all: Vec<Value> = next.iter().cloned().collect();
        let pushed = self.envoy()?.push(&all, changed)?;
        if pushed == Push::Taken {
            self.listeners = next;
            return Ok(Ok(()));
        }
        // Its log lines come before the counter moves.
        let said = self.take_log()?;
        Ok(Err(Refusal(said)))
    }
}
