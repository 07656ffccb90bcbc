//! What carries a scenario out.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::model::{Answer, EngineKind, Lines, Request, Scenario, Services};
use crate::time::Instant;

/// A configuration was refused; what the filter said about it, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal(pub String);

/// Why a step could not be carried out at all (a bug of the engine or of the environment, never an expectation).
pub type Broken = String;

/// Drives one scenario at a time: [`Engine::start`], then steps, then [`Engine::finish`].
pub trait Engine {
    /// For people: `native`, `envoy 1.40.0`.
    fn name(&self) -> &str;

    /// Which scenarios it takes.
    fn kind(&self) -> EngineKind;

    /// Why it cannot run this scenario, if so (no module, an Envoy feature, ...): counted as skipped, loudly.
    fn skips(&self, _scenario: &Scenario) -> Option<String> {
        None
    }

    /// Sets the wall clock. Called before `start` and after each `advance`. With `frozen` it stands still.
    fn set_clock(&mut self, now: Instant, frozen: bool) -> Result<(), Broken>;

    /// Loads the configuration. The outer error is the engine's own.
    fn start(&mut self, scenario: &Scenario) -> Result<Result<(), Refusal>, Broken>;

    /// Replaces the configuration while running. A refused one leaves the old one in place.
    fn configure(
        &mut self,
        scenario: &Scenario,
        config: &Value,
    ) -> Result<Result<(), Refusal>, Broken>;

    /// What other services answer from now on.
    fn services(&mut self, services: &Services) -> Result<(), Broken>;

    /// One request through the filters to an upstream that answers `answer`. The request's signature headers are
    /// already among `headers`.
    ///
    /// The upstream is `canary` if the request that leaves the filters has `x-variant: canary`, else `stable` (see
    /// [`upstream_for`]).
    fn exchange(
        &mut self,
        request: &Request,
        headers: &Lines,
        answer: &Answer,
        wanted: &Wanted,
    ) -> Result<Observed, Broken>;

    /// All counters and gauges now.
    fn metrics(&mut self) -> Result<Vec<Metric>, Broken>;

    /// The module's log lines since `start` or the last call.
    fn log(&mut self) -> Result<Vec<String>, Broken>;

    /// Waits a little for what is batched: a tick natively, some milliseconds in Envoy. `false` = nothing more will come. Called
    /// again and again while an expectation of metrics or logs does not hold.
    fn settle(&mut self) -> bool;

    /// Waits until everything that past exchanges left batched has arrived, of whichever scenario: counters are compared
    /// from here on.
    fn quiesce(&mut self) {
        self.settle();
    }

    /// Ends the scenario; says what went wrong beyond its expectations (a trap, a panic in the log).
    fn finish(&mut self) -> Result<(), Broken>;
}

/// What an exchange must report beside the answer; reading the access log takes time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Details and filter state are looked at.
    pub access_log: bool,
    /// The keys of filter state that are looked at.
    pub state: Vec<String>,
}

/// The answer a client got.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    /// 0 = none, the connection ended.
    pub status: u16,
    /// Names in lower case.
    pub headers: Lines,
    /// The whole body, without framing.
    pub body: Vec<u8>,
    /// Names in lower case.
    pub trailers: Lines,
    /// The answer ended as it should (not cut).
    pub complete: bool,
}

/// A request as an upstream saw it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// `stable` or `canary`.
    pub name: String,
    /// The method.
    pub method: Vec<u8>,
    /// Path and query.
    pub path: Vec<u8>,
    /// Names in lower case.
    pub headers: Lines,
    /// The body.
    pub body: Vec<u8>,
    /// The trailers.
    pub trailers: Lines,
    /// The request ended as it should (not cut).
    pub complete: bool,
}

/// One ask of the rate limit service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// The domain.
    pub domain: String,
    /// The entries of its first descriptor.
    pub entries: Vec<(String, String)>,
    /// The hits asked for.
    pub hits: u64,
}

/// Everything seen during one exchange.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// What the client got.
    pub reply: Reply,
    /// The requests that upstreams saw, complete or not.
    pub upstream: Vec<Seen>,
    /// Bytes that upstreams received, parsed or not (0 if the engine has no bytes and no request came).
    pub upstream_bytes: u64,
    /// Requests below `/call/`.
    pub calls: usize,
    /// Asks of the rate limit service.
    pub ratelimit: Vec<Asked>,
    /// `%RESPONSE_CODE_DETAILS%`, if wanted.
    pub details: Option<Vec<u8>>,
    /// Filter state by key without `wasm.`, if wanted.
    pub state: BTreeMap<String, Vec<u8>>,
}

/// A counter or gauge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metric {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: i64,
}

/// Which upstream gets a request: the routing of the Envoy engine's listeners, for engines without routes.
#[must_use]
pub fn upstream_for(headers: &Lines) -> &'static str {
    let canary = headers
        .iter()
        .any(|(name, value)| name == b"x-variant" && value == b"canary");
    if canary { "canary" } else { "stable" }
}
