//! What must be seen.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::matcher::{BodyMatcher, Matcher, Yes};

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
