//! The scenario as it is written. Unknown fields are refused everywhere; `tests/README.md` shows the format by example.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::bytes::Bytes;
use crate::matcher::{BodyMatcher, Matcher, OneOrMany, Yes};
use crate::sign::Sign;
use crate::time::{Instant, Span};

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

/// A request.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Request {
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: Bytes,
    /// `Host` or `:authority`.
    pub authority: Bytes,
    /// 1 or 2.
    pub http: u8,
    /// `[[name, value], ...]` or `{name: "x-{i}", value: v, times: 1000}`.
    pub headers: Vec<HeaderItem>,
    /// The chunks, each written by itself.
    pub body: Vec<Chunk>,
    /// HTTP/1: chunked instead of Content-Length.
    pub chunked: bool,
    /// Trailers; with HTTP/1 they need `chunked`.
    pub trailers: Vec<HeaderItem>,
    /// The client's address (default 127.0.0.1).
    pub client: Option<String>,
    /// The client goes away when the given body is sent, without ending the request.
    pub abort: bool,
    /// Signatures to compute over the request; their headers come after `headers`.
    pub sign: Option<Sign>,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            method: "GET".to_owned(),
            path: "/".into(),
            authority: "api.example.test".into(),
            http: 1,
            headers: Vec::new(),
            body: Vec::new(),
            chunked: false,
            trailers: Vec::new(),
            client: None,
            abort: false,
            sign: None,
        }
    }
}

impl Request {
    /// All body bytes.
    #[must_use]
    pub fn whole_body(&self) -> Vec<u8> {
        whole(&self.body)
    }
}

/// All data of a body.
#[must_use]
pub fn whole(chunks: &[Chunk]) -> Vec<u8> {
    chunks
        .iter()
        .filter_map(Chunk::data)
        .flatten()
        .copied()
        .collect()
}

/// One header, or a series of them.
#[derive(Debug, Clone, Deserialize)]
#[serde(
    untagged,
    expecting = "[name, value] or {name: \"x-{i}\", value: v, times: n}"
)]
pub enum HeaderItem {
    /// `[name, value]`
    Pair(Bytes, Bytes),
    /// A series; `{i}` in the name is its number.
    Series(Series),
}

/// A series of headers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Series {
    /// The name, with `{i}`.
    pub name: String,
    /// The value of each.
    pub value: Bytes,
    /// How many.
    pub times: usize,
}

/// Header lines as they go over the wire.
pub type Lines = Vec<(Vec<u8>, Vec<u8>)>;

/// Writes the series out.
#[must_use]
pub fn lines(items: &[HeaderItem]) -> Lines {
    let mut lines = Lines::new();
    for item in items {
        match item {
            HeaderItem::Pair(name, value) => lines.push((name.0.clone(), value.0.clone())),
            HeaderItem::Series(series) => lines.extend((0..series.times).map(|i| {
                (
                    series.name.replace("{i}", &i.to_string()).into_bytes(),
                    series.value.0.clone(),
                )
            })),
        }
    }
    lines
}

/// A piece of a body.
#[derive(Debug, Clone, Deserialize)]
#[serde(
    untagged,
    expecting = "a text, {bytes:}, {repeat:, times:}, {pause: 10ms} or {cut: true}"
)]
pub enum Chunk {
    /// Bytes.
    Data(Bytes),
    /// A (real) wait; an engine without time ignores it.
    Pause {
        /// How long.
        pause: Span,
    },
    /// Only in an upstream's answer: the connection ends here.
    Cut {
        /// `true`
        cut: Yes,
    },
}

impl Chunk {
    /// The bytes, if it has any.
    #[must_use]
    pub fn data(&self) -> Option<&[u8]> {
        if let Self::Data(bytes) = self {
            Some(&bytes.0)
        } else {
            None
        }
    }
}

/// An upstream's answer; by default 200 with the body `ok`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: Vec<HeaderItem>,
    /// The body.
    pub body: Vec<Chunk>,
    /// The trailers.
    pub trailers: Vec<HeaderItem>,
    /// HTTP/1: chunked even without trailers.
    pub chunked: bool,
    /// Before the first byte (real time).
    pub delay: Span,
}

impl Default for Answer {
    fn default() -> Self {
        Self {
            status: 200,
            headers: vec![HeaderItem::Pair("content-type".into(), "text/plain".into())],
            body: vec![Chunk::Data("ok".into())],
            trailers: Vec::new(),
            chunked: false,
            delay: Span(0),
        }
    }
}

/// What must be seen.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    /// The status; 0 = the connection ended without an answer.
    pub status: Option<u16>,
    /// The answer is cut before its end; without this it must not be.
    pub cut: Option<Yes>,
    /// The answer's headers by (lower-case) name.
    pub headers: BTreeMap<String, Matcher>,
    /// The answer's body.
    pub body: Option<BodyMatcher>,
    /// The answer's trailers.
    pub trailers: BTreeMap<String, Matcher>,
    /// What the upstream saw.
    pub upstream: Option<ExpectUpstream>,
    /// `%RESPONSE_CODE_DETAILS%`
    pub details: Option<Matcher>,
    /// Filter state by key, as the access log shows it (without Envoy's `wasm.` before it).
    pub state: BTreeMap<String, Matcher>,
    /// Increase of counters during the step, all repetitions together: `name{label=value,...}`. Series that have more labels are
    /// summed up.
    pub metrics: BTreeMap<String, i64>,
    /// Gauges after the step.
    pub gauges: BTreeMap<String, i64>,
    /// Log lines of the module during the step, joined by newlines.
    pub log: Option<Matcher>,
    /// What the rate limit service was asked during the last repetition.
    pub ratelimit: Option<ExpectRateLimit>,
    /// How many requests came below `/call/` during the last repetition.
    pub calls: Option<usize>,
}

impl Expect {
    /// Whether nothing is expected at all: such a step could not fail.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.status.is_none()
            && self.cut.is_none()
            && self.headers.is_empty()
            && self.body.is_none()
            && self.trailers.is_empty()
            && self.upstream.is_none()
            && self.details.is_none()
            && self.state.is_empty()
            && self.metrics.is_empty()
            && self.gauges.is_empty()
            && self.log.is_none()
            && self.ratelimit.is_none()
            && self.calls.is_none()
    }
}

/// What the upstream must have seen. Without `reached: false` it must have seen exactly one request.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExpectUpstream {
    /// `false`: not one byte.
    pub reached: Option<bool>,
    /// `stable` or `canary`.
    pub name: Option<String>,
    /// The method.
    pub method: Option<Matcher>,
    /// Path and query.
    pub path: Option<Matcher>,
    /// Headers by (lower-case) name.
    pub headers: BTreeMap<String, Matcher>,
    /// The body.
    pub body: Option<BodyMatcher>,
    /// The trailers.
    pub trailers: BTreeMap<String, Matcher>,
}

/// What the rate limit service must have been asked.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExpectRateLimit {
    /// How often.
    pub asks: Option<usize>,
    /// `hits_addend` of the last ask (its descriptor's, else the request's).
    pub hits: Option<u64>,
    /// The domain of the last ask.
    pub domain: Option<Matcher>,
    /// Entries of the first descriptor of the last ask, as `key=value` joined by commas.
    pub entries: Option<Matcher>,
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
