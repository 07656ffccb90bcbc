//! The scenario as it is written. Unknown fields are refused everywhere; `tests/README.md` shows the format by example.

mod expect;
mod message;

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::matcher::OneOrMany;
use crate::time::{Instant, Span};

pub use expect::{Expect, ExpectRateLimit, ExpectUpstream};
pub use message::{Answer, Chunk, HeaderItem, Lines, Request, Series, lines, whole};

/// One scenario.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Unique in the table; says what must hold.
    pub name: String,
    /// The file it came from.
    #[serde(skip)]
    pub file: String,
    /// The filters in a row: root ids, none = the bare proxy.
    pub filter: Filters,
    /// The plugin configuration; with a list of filters a map from root id to configuration.
    #[serde(default)]
    pub config: Value,
    /// How Envoy gets the configuration.
    #[serde(default)]
    pub form: Form,
    /// Environment variables of the VM.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Unix time at the start.
    #[serde(default)]
    pub clock: Instant,
    /// The wall clock stands still between `advance`s, so that numbers are exact. `false` lets it run, for what
    /// depends on ticks.
    #[serde(default = "yes")]
    pub frozen: bool,
    /// The engines it makes sense for.
    #[serde(default = "all_engines")]
    pub engines: Vec<EngineKind>,
    /// `allow_on_headers_stop_iteration` of the plugin.
    #[serde(default = "yes")]
    pub flag: bool,
    /// Envoy's worker threads.
    #[serde(default = "one")]
    pub concurrency: usize,
    /// Settings of the listener.
    #[serde(default)]
    pub listener: Listener,
    /// The configuration must be refused, with these words.
    pub refused: Option<Refused>,
    /// What happens.
    #[serde(default)]
    pub steps: Vec<Step>,
}

impl Scenario {
    /// (root id, configuration) of every filter in the row.
    ///
    /// # Errors
    /// With a list of filters, `config` has something that is not one of them.
    pub fn filters(&self) -> Result<Vec<(String, Value)>, String> {
        self.filters_with(&self.config)
    }

    /// The same with another configuration (see [`Step::configure`]).
    ///
    /// # Errors
    /// As [`Scenario::filters`].
    pub fn filters_with(&self, config: &Value) -> Result<Vec<(String, Value)>, String> {
        let roots = match &self.filter {
            Filters::One(root) if root == "none" => return Ok(Vec::new()),
            Filters::One(root) => return Ok(vec![(root.clone(), config.clone())]),
            Filters::Row(roots) => roots,
        };
        if let Some(key) = config
            .as_object()
            .and_then(|map| map.keys().find(|key| !roots.contains(key)))
        {
            return Err(format!("config.{key}: no such filter in the row {roots:?}"));
        }
        Ok(roots
            .iter()
            .map(|root| (root.clone(), config.get(root).cloned().unwrap_or_default()))
            .collect())
    }
}

/// `gateway`, `none`, or `[key-auth, rate-limit]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Filters {
    /// One plugin.
    One(String),
    /// Several, in this order.
    Row(Vec<String>),
}

/// How the plugin configuration stands in Envoy's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// A `StringValue` with JSON, every number with a fraction (`60.0`), as it comes through Istio.
    #[default]
    Json,
    /// A `Struct`: Envoy hands its protobuf bytes to the module, not JSON.
    Struct,
}

/// Which kind of engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineKind {
    /// The pure policies, on the host or as WebAssembly.
    Native,
    /// The shipped modules in a real Envoy.
    Envoy,
}

/// Settings of the listener (Envoy only, except `trusted_hops`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listener {
    /// `per_connection_buffer_limit_bytes`
    pub buffer_limit: Option<u32>,
    /// `xff_num_trusted_hops`
    pub trusted_hops: Option<u32>,
    /// `normalize_path` and `merge_slashes`, on unless this is `false`: then the filter sees the path as it was sent.
    pub normalize: Option<bool>,
}

/// A configuration that must be refused.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refused {
    /// All of these are said.
    pub says: OneOrMany,
    /// None of these is (secrets).
    pub never_says: Option<OneOrMany>,
}

/// One request, or the same request several times, and what must be seen each time.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Said in messages.
    pub name: Option<String>,
    /// Moves the clock before the request.
    pub advance: Option<Span>,
    /// A new configuration, pushed before the request.
    pub configure: Option<Value>,
    /// It must be refused, and the old one goes on.
    pub refused: Option<Refused>,
    /// What filters that make calls get, from this step on.
    pub services: Option<Services>,
    /// The same request and expectation this many times.
    #[serde(default = "one")]
    pub repeat: usize,
    /// The request.
    #[serde(default)]
    pub request: Request,
    /// What the upstream answers.
    #[serde(default)]
    pub upstream: Answer,
    /// What must be seen. A step that expects nothing is refused.
    pub expect: Expect,
}

/// What other services answer to the filter.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Services {
    /// The Envoy rate limit service on the cluster `ratelimit`.
    #[serde(deserialize_with = "through_json")]
    pub ratelimit: Option<RateLimit>,
    /// Plain HTTP below `/call/` on the clusters `stable` and `canary`.
    pub call: Option<Answer>,
}

/// How the rate limit service answers.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RateLimit {
    /// `ok`: OK without `current_limit`.
    Ok,
    /// `over_limit`
    OverLimit,
    /// `error: {status: 8, message: no way}`
    Error {
        /// The gRPC status.
        status: u16,
        /// Its message.
        #[serde(default)]
        message: String,
    },
    /// `hang: {ms: 5000}`: OK after that (real) time.
    Hang {
        /// Milliseconds.
        ms: u64,
    },
    /// `counter: {limit: 10, unit: minute}`: a fixed window for each descriptor.
    Counter {
        /// Hits per unit.
        limit: u32,
        /// second, minute, hour, day, month, year, week.
        unit: String,
    },
}

/// YAML would want `!counter` for an enum with fields; JSON takes `{counter: ...}`.
fn through_json<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<RateLimit>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    serde_json::from_value(value)
        .map(Some)
        .map_err(D::Error::custom)
}

fn yes() -> bool {
    true
}

fn one() -> usize {
    1
}

fn all_engines() -> Vec<EngineKind> {
    vec![EngineKind::Native, EngineKind::Envoy]
}
