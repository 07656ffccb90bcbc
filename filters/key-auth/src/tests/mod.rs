//! Key auth as a whole: configuration in, requests through the real drive, answers and headers out.
#![allow(clippy::arithmetic_side_effects)]

mod answers;
mod configuration;
mod credentials;
mod forwarding;
mod hostile;
mod modes;
mod remote;
mod rotation;

use crate::{KeyAuth, compile};
use tollgate_core::config::{Compile, Report, parse};
use tollgate_core::drive::{Drive, Step};
use tollgate_core::exchange::StateName;
use tollgate_core::metrics::stat_name;
use tollgate_core::testing::TestWorld;
use tollgate_core::{Exchange, Headers, LocalReply, Metrics, UnixNanos};

/// The keys used in tests, all good at [`NOON`] unless their name says otherwise.
pub(super) const GOLD: &str = "ps_live_gold-0123456789abcdef";
pub(super) const BASIC: &str = "ps_live_basic-0123456789abcdef";
pub(super) const EXPIRED: &str = "ps_live_expired-0123456789abcdef";
pub(super) const EARLY: &str = "ps_live_early-0123456789abcdef";
pub(super) const REVOKED: &str = "ps_live_revoked-0123456789abcdef";
pub(super) const NOON: &str = "2026-11-21T12:00:00Z";

pub(super) const KEYS: &[&str] = &[GOLD, BASIC, EXPIRED, EARLY, REVOKED];

/// Consumers with those keys, and what else is written after them.
pub(super) fn config(more: &str) -> String {
    let sha = |key: &str| {
        let digest = crate::Digest::of(key.as_bytes());
        digest
            .bytes()
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect::<String>()
    };
    format!(
        r#"{{"consumers": [
          {{"id": "web-app", "groups": ["gold", "beta"], "scopes": ["read", "write"], "metadata": {{"tier": "one"}},
            "keys": [
              {{"id": "q4", "sha256": "{}", "not_before": "2026-10-01", "expires_at": "2027-01-01"}},
              {{"id": "q3", "sha256": "{}", "expires_at": "2026-11-21T12:00:00Z"}},
              {{"id": "next", "sha256": "{}", "not_before": "2026-11-21T12:00:00.000000001Z"}},
              {{"id": "lost", "sha256": "{}", "revoked": true, "expires_at": "2026-01-01"}}]}},
          {{"id": "mobile-app", "scopes": ["read"], "keys": [{{"id": "only", "sha256": "{}"}}]}}]
         {more}}}"#,
        sha(GOLD),
        sha(EXPIRED),
        sha(EARLY),
        sha(REVOKED),
        sha(BASIC),
    )
}

pub(super) struct Fixture {
    pub(super) policy: KeyAuth,
    pub(super) metrics: Metrics,
    pub(super) world: TestWorld,
}

/// What became of a request.
pub(super) struct Outcome {
    pub(super) exchange: Exchange,
    pub(super) reply: Option<LocalReply>,
    pub(super) state: Vec<(&'static str, Vec<u8>)>,
}

/// Errors and warnings of a configuration that may be wrong.
pub(super) fn check(json: &str, env: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
    let (built, report) = build(json, env);
    assert_eq!(built.is_some(), report.is_ok());
    let lines = |all: Vec<tollgate_core::config::ConfigError>| {
        all.iter().map(ToString::to_string).collect()
    };
    (lines(report.errors()), lines(report.warnings()))
}

fn build(json: &str, env: &[(&str, &str)]) -> (Option<(KeyAuth, Metrics)>, Report) {
    let report = Report::default();
    let mut metrics = Metrics::default();
    let lookup = |name: &str| {
        let found = env.iter().find(|(n, _)| *n == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    let root = parse(json, &report).unwrap_or_else(|| panic!("not JSON: {json}"));
    let mut cx = Compile::new(&lookup, &mut metrics);
    let policy = compile(root.value(&report).section().unwrap(), &mut cx);
    (policy.map(|p| (p, metrics)), report)
}

impl Fixture {
    pub(super) fn new(json: &str) -> Self {
        Self::with_env(json, &[])
    }

    pub(super) fn with_env(json: &str, env: &[(&str, &str)]) -> Self {
        let (built, report) = build(json, env);
        let Some((policy, metrics)) = built else {
            panic!("refused: {:?}", report.errors());
        };
        Self {
            policy,
            metrics,
            world: TestWorld::at(UnixNanos::parse(NOON).unwrap()),
        }
    }

    /// A GET without a body.
    pub(super) fn get(&self, path: &str, headers: &[(&str, &str)]) -> Outcome {
        let bytes: Vec<(&str, &[u8])> = headers.iter().map(|(n, v)| (*n, v.as_bytes())).collect();
        self.send("GET", path.as_bytes(), &bytes)
    }

    pub(super) fn send(&self, method: &str, path: &[u8], headers: &[(&str, &[u8])]) -> Outcome {
        let mut all: Vec<(&str, &[u8])> = vec![
            (":method", method.as_bytes()),
            (":path", path),
            (":authority", b"api.example.test"),
        ];
        all.extend_from_slice(headers);
        self.exchange(Exchange::new(Headers::from_pairs(all), true))
    }

    pub(super) fn exchange(&self, mut exchange: Exchange) -> Outcome {
        let mut drive = Drive::<KeyAuth>::default();
        let step = drive.request_headers(&self.policy, &mut exchange, &self.world);
        let reply = match step {
            Step::Forward => None,
            Step::Reply(reply) => Some(*reply),
            Step::Hold => panic!("held without a remote key set"),
        };
        drive.log(&self.policy, &mut exchange, &self.world);
        Outcome {
            state: exchange.facts.take_published(),
            reply,
            exchange,
        }
    }

    /// `tollgate_decisions_total` of this reason, without a rule.
    pub(super) fn decisions(&self, reason: &str) -> u64 {
        let labels = [("policy", "key_auth"), ("reason", reason)];
        self.metric("tollgate_decisions_total", &labels)
    }

    pub(super) fn metric(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        self.world.metric(&self.metrics, &stat_name(name, labels))
    }
}

impl Outcome {
    pub(super) fn header(&self, name: &str) -> Option<String> {
        let value = self.exchange.request.sole(name).unwrap();
        value.map(|v| String::from_utf8_lossy(v).into_owned())
    }

    pub(super) fn path(&self) -> String {
        self.header(":path").unwrap_or_default()
    }

    pub(super) fn details(&self) -> &str {
        self.reply.as_ref().map_or("passed", |r| &r.details)
    }

    pub(super) fn status(&self) -> u16 {
        self.reply.as_ref().map_or(200, |r| r.status)
    }

    pub(super) fn body(&self) -> String {
        let reply = self.reply.as_ref().unwrap();
        String::from_utf8(reply.body.clone()).unwrap()
    }

    /// The challenge of the reply.
    pub(super) fn challenge(&self) -> Option<String> {
        let reply = self.reply.as_ref().unwrap();
        let mut all = reply
            .headers
            .iter()
            .filter(|(n, _)| n == "www-authenticate");
        let one = all.next();
        assert!(all.next().is_none(), "one challenge header");
        one.map(|(_, v)| String::from_utf8(v.clone()).unwrap())
    }

    pub(super) fn state(&self, name: StateName) -> Option<String> {
        let value = self.state.iter().find(|(n, _)| *n == name.as_str());
        value.map(|(_, v)| String::from_utf8(v.clone()).unwrap())
    }
}
