//! One Envoy process: started, asked, watched, and ended with its owner.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tollgate_scenario::Metric;

use crate::client::{connect, http1::read_reply};
use crate::clock::Clock;

/// A labelled binary: `1.40` = `/path/to/envoy`.
#[derive(Debug, Clone)]
pub(crate) struct Binary {
    pub(crate) label: String,
    pub(crate) path: PathBuf,
}

/// How long a start or a configuration push may take, real time.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(2);

/// How to start one.
pub(crate) struct Start<'a> {
    pub(crate) binary: &'a Binary,
    pub(crate) dir: PathBuf,
    /// The static part; `dynamic_resources` for a file-based LDS is added.
    pub(crate) bootstrap: Value,
    pub(crate) concurrency: usize,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) clock_library: &'a Path,
}

/// A running Envoy whose listeners come from a file (LDS).
pub(crate) struct Envoy {
    child: Child,
    dir: PathBuf,
    admin: SocketAddr,
    concurrency: usize,
    pub(crate) clock: Clock,
    log_read: usize,
    version: u64,
}

/// What became of an LDS push.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Push {
    /// All listeners are in place.
    Taken,
    /// Some were refused; Envoy's log says why.
    Rejected,
}

impl Envoy {
    /// Starts it with no listeners and waits until it is live.
    pub(crate) fn start(start: Start<'_>) -> Result<Self, String> {
        let Start {
            binary,
            dir,
            mut bootstrap,
            concurrency,
            env,
            clock_library,
        } = start;
        let failed = |what: &str, error: io::Error| format!("{what}: {error}");
        fs::create_dir_all(&dir).map_err(|error| failed("cannot create the directory", error))?;
        let clock = Clock::new(dir.join("clock")).map_err(|error| failed("clock", error))?;
        let lds = dir.join("lds.json");
        bootstrap["dynamic_resources"] =
            json!({"lds_config": {"path_config_source": {"path": lds}}});
        let config = dir.join("envoy.json");
        let log = fs::File::create(dir.join("envoy.log")).map_err(|error| failed("log", error))?;
        fs::write(&lds, lds_text(0, &[])).map_err(|error| failed("lds.json", error))?;
        fs::write(&config, bootstrap.to_string()).map_err(|error| failed("envoy.json", error))?;
        let admin_file = dir.join("admin");
        let _ = fs::remove_file(&admin_file);
        let child = Command::new(&binary.path)
            .arg("-c")
            .arg(&config)
            .arg("--admin-address-path")
            .arg(&admin_file)
            .args([
                "--concurrency",
                &concurrency.to_string(),
                "--disable-hot-restart",
                "--drain-time-s",
                "1",
            ])
            .args([
                "--file-flush-interval-msec",
                "5",
                "-l",
                "warning",
                "--component-log-level",
                "wasm:info",
            ])
            .env_clear()
            .envs(env)
            .env("LD_PRELOAD", clock_library)
            .env("TOLLGATE_TEST_CLOCK", &clock.path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|error| failed(&binary.path.display().to_string(), error))?;
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut envoy = Self {
            child,
            dir,
            admin: nowhere,
            concurrency,
            clock,
            log_read: 0,
            version: 0,
        };
        let ready = envoy.wait_for(|envoy| {
            let text = fs::read_to_string(&admin_file).unwrap_or_default();
            let Ok(admin) = text.trim().parse() else {
                return Ok(false);
            };
            envoy.admin = admin;
            Ok(envoy
                .get("/ready")
                .is_ok_and(|body| body.starts_with("LIVE")))
        });
        ready.map_err(|error| format!("{error}\n{}", envoy.log_text()))?;
        Ok(envoy)
    }

    fn wait_for(
        &mut self,
        mut done: impl FnMut(&mut Self) -> Result<bool, String>,
    ) -> Result<(), String> {
        let since = Instant::now();
        while !done(self)? {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("envoy ended: {status}"));
            }
            if since.elapsed() > PATIENCE {
                return Err(format!("not within {PATIENCE:?}"));
            }
            sleep(POLL);
        }
        Ok(())
    }

    /// An admin page.
    pub(crate) fn get(&self, path: &str) -> Result<String, String> {
        let ask = || -> io::Result<Vec<u8>> {
            let mut stream = connect(self.admin)?;
            write!(
                stream,
                "GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n"
            )?;
            Ok(read_reply(&mut BufReader::new(stream), false)?.body)
        };
        let body = ask().map_err(|error| format!("admin {path}: {error}"))?;
        String::from_utf8(body).map_err(|error| format!("admin {path}: {error}"))
    }

    /// Stats whose name matches the regular expression, by name.
    pub(crate) fn stats(&self, filter: &str) -> Result<BTreeMap<String, i64>, String> {
        let text = self.get(&format!("/stats?filter={filter}"))?;
        let line = |line: &str| {
            let (name, value) = line.rsplit_once(": ")?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        Ok(text.lines().filter_map(line).collect())
    }

    /// Replaces all listeners and waits until Envoy has taken or refused them. `changed` = how many of them are new or differ.
    pub(crate) fn push(&mut self, listeners: &[Value], changed: usize) -> Result<Push, String> {
        let count = |envoy: &Self| -> Result<[i64; 4], String> {
            let stats = envoy.stats("^listener_manager")?;
            let names = [
                "lds.update_success",
                "lds.update_rejected",
                "listener_create_success",
                "total_listeners_warming",
            ];
            Ok(names.map(|name| {
                stats
                    .get(&format!("listener_manager.{name}"))
                    .copied()
                    .unwrap_or(0)
            }))
        };
        let before = count(self)?;
        self.version += 1;
        let next = self.dir.join("lds.next");
        let write = || {
            fs::write(&next, lds_text(self.version, listeners))
                .and_then(|()| fs::rename(&next, self.dir.join("lds.json")))
        };
        write().map_err(|error| format!("lds.json: {error}"))?;
        let mut result = Push::Taken;
        let workers = i64::try_from(self.concurrency * changed).unwrap_or(0);
        self.wait_for(|envoy| {
            let now = count(envoy)?;
            if now[1] > before[1] {
                result = Push::Rejected;
                return Ok(true);
            }
            Ok(now[0] > before[0] && now[3] == 0 && now[2] - before[2] >= workers)
        })
        .map_err(|error| format!("LDS push: {error}\n{}", self.log_text()))?;
        Ok(result)
    }

    /// Where a listener listens.
    pub(crate) fn listener(&self, name: &str) -> Result<SocketAddr, String> {
        let text = self.get("/listeners?format=json")?;
        let value: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let all = value["listener_statuses"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let port = all
            .iter()
            .find(|listener| listener["name"] == name)
            .and_then(|listener| listener["local_address"]["socket_address"]["port_value"].as_u64())
            .and_then(|port| u16::try_from(port).ok())
            .filter(|&port| port != 0);
        port.map(|port| SocketAddr::from(([127, 0, 0, 1], port)))
            .ok_or_else(|| format!("no listener {name}: {text}"))
    }

    /// Counters and gauges of Wasm modules, with the labels that Prometheus gets.
    pub(crate) fn metrics(&self) -> Result<Vec<Metric>, String> {
        // `usedonly` leaves out counters that nobody has incremented yet; those are 0 anyway.
        Ok(self
            .get("/stats/prometheus?filter=^wasmcustom")?
            .lines()
            .filter_map(metric)
            .collect())
    }

    /// Everything in Envoy's log that was not read before.
    pub(crate) fn log_news(&mut self) -> String {
        let bytes = fs::read(self.dir.join("envoy.log")).unwrap_or_default();
        let news =
            String::from_utf8_lossy(bytes.get(self.log_read..).unwrap_or_default()).into_owned();
        self.log_read = bytes.len();
        news
    }

    fn log_text(&self) -> String {
        let text = fs::read_to_string(self.dir.join("envoy.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// How often a VM was, or had to be, loaded anew: moves when a module trapped.
    pub(crate) fn reloads(&self) -> Result<i64, String> {
        Ok(self.stats("^wasm.*vm_reload")?.values().sum())
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Major and minor version of a binary: `envoy  version: <commit>/1.40.0/Clean/...`.
pub(crate) fn version(binary: &Binary) -> Option<(u32, u32)> {
    let output = Command::new(&binary.path).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    major_minor(text.split("version: ").nth(1)?.split('/').nth(1)?)
}

/// The first two numbers of `1.40.0`.
pub(crate) fn major_minor(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.trim().split('.').map(|part| part.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

/// Whether `envoy --mode validate`, which also configures the modules, accepts a configuration file; and what it said.
pub(crate) fn validate(
    binary: &Binary,
    config: &Path,
    env: &BTreeMap<String, String>,
) -> Result<(bool, String), String> {
    let output = Command::new(&binary.path)
        .args([
            "--mode",
            "validate",
            "--disable-hot-restart",
            "-l",
            "warning",
            "--component-log-level",
            "wasm:info",
            "-c",
        ])
        .arg(config)
        .env_clear()
        .envs(env)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{}: {error}", binary.path.display()))?;
    Ok((
        output.status.success(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    ))
}

/// Lines that only a trap writes.
pub(crate) fn traps(log: &str) -> Vec<&str> {
    let marks = ["panicked at", "Function: proxy_", "Uncaught RuntimeError"];
    log.lines()
        .filter(|line| marks.iter().any(|mark| line.contains(mark)))
        .collect()
}

fn lds_text(version: u64, listeners: &[Value]) -> String {
    json!({"version_info": version.to_string(), "resources": listeners}).to_string()
}

/// `name{label="value",...} 3`
fn metric(line: &str) -> Option<Metric> {
    let (series, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let (name, mut rest) = series.strip_suffix('}')?.split_once('{')?;
    let mut labels = BTreeMap::new();
    while let Some((label, after)) = rest.split_once("=\"") {
        let mut text = String::new();
        let mut characters = after.char_indices();
        let end = loop {
            match characters.next()? {
                (at, '"') => break at,
                (_, '\\') => text.push(match characters.next()?.1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, other) => text.push(other),
            }
        };
        labels.insert(label.trim_start_matches(',').to_owned(), text);
        rest = after.get(end + 1..)?;
    }
    Some(Metric {
        name: name.to_owned(),
        labels,
        value,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_prometheus_page() {
        let read = metric(r#"tollgate_x_total{policy="a",reason="say \"hi\", b"} 3"#).unwrap();
        let labels = [
            ("policy".to_owned(), "a".to_owned()),
            ("reason".to_owned(), "say \"hi\", b".to_owned()),
        ];
        assert_eq!(
            read,
            Metric {
                name: "tollgate_x_total".to_owned(),
                labels: labels.into(),
                value: 3
            }
        );
        assert_eq!(metric("plain{} 1").unwrap().labels.len(), 0);
        assert_eq!(metric("# TYPE x counter"), None);
    }
}
