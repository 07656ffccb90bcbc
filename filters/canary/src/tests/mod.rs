//! The filter as a whole, driven as a proxy drives it.
#![allow(clippy::arithmetic_side_effects)]

mod decisions;
mod hash;
mod headers;
mod lifecycle;
mod outcomes;
mod ramps;
mod refused;
mod sessions;
mod shares;
#[cfg(not(target_arch = "wasm32"))]
mod simulated;

use crate::{Canary, compile};
use tollgate_core::config::{self, Compile, ConfigError, Report};
use tollgate_core::drive::{Drive, ResponseStep, Step};
use tollgate_core::exchange::Exchange;
use tollgate_core::headers::Headers;
use tollgate_core::metrics::{Metrics, stat_name};
use tollgate_core::testing::TestWorld;
use tollgate_core::time::UnixNanos;

/// What became of a configuration.
struct Compiled {
    canary: Option<Canary>,
    metrics: Metrics,
    report: Report,
}

fn compiled(json: &str) -> Compiled {
    let (report, mut metrics) = (Report::default(), Metrics::default());
    let root = config::parse(json, &report).unwrap();
    let section = root.value(&report).section().unwrap();
    let canary = compile(section, &mut Compile::new(&|_| None, &mut metrics));
    Compiled {
        canary,
        metrics,
        report,
    }
}

fn errors(json: &str) -> Vec<String> {
    let report = compiled(json).report;
    report.errors().iter().map(ConfigError::to_string).collect()
}

/// One experiment for everything, with these further fields.
fn one(fields: &str) -> String {
    format!(
        r#"{{"experiments": [{{"flag": "checkout-v2", "owner": "payments", "expires_at": "2027-02-18",
            "sticky_key": [{{"header": "x-user-id"}}], "route_header": "x-variant", {fields}}}]}}"#
    )
}

const FIVE_PERCENT: &str =
    r#""variants": [{"name": "stable", "weight": 95}, {"name": "canary", "weight": 5}]"#;

fn at(time: &str) -> UnixNanos {
    UnixNanos::parse(time).unwrap()
}

/// A filter in a world.
struct Rig {
    canary: Canary,
    metrics: Metrics,
    world: TestWorld,
}

/// What an upstream, a client and the access log see.
#[derive(Debug, PartialEq)]
struct Seen {
    request: Vec<(String, Vec<u8>)>,
    response: Vec<(String, Vec<u8>)>,
    variant: Option<String>,
    reason: Option<String>,
}

impl Seen {
    fn request_header(&self, name: &str) -> Vec<&[u8]> {
        let named = self.request.iter().filter(|(n, _)| n == name);
        named.map(|(_, v)| v.as_slice()).collect()
    }

    /// `flag:variant` and the reason.
    fn state(&self) -> (&str, &str) {
        (
            self.variant.as_deref().unwrap_or("-"),
            self.reason.as_deref().unwrap_or("-"),
        )
    }
}

impl Rig {
    fn new(json: &str) -> Self {
        let Compiled {
            canary,
            metrics,
            report,
        } = compiled(json);
        assert_eq!(report.errors(), []);
        let world = TestWorld::at(at("2026-11-21T12:00:00Z"));
        Self {
            canary: canary.unwrap(),
            metrics,
            world,
        }
    }

    fn request(&self, path: &str, headers: &[(&str, &[u8])]) -> Seen {
        let pseudo: [(&str, &[u8]); 3] = [
            (":method", b"GET"),
            (":path", path.as_bytes()),
            (":authority", b"shop.example.test"),
        ];
        let all = pseudo.iter().chain(headers).copied();
        let mut exchange = Exchange::new(Headers::from_pairs(all), true);
        let mut drive = Drive::default();
        let step = drive.request_headers(&self.canary, &mut exchange, &self.world);
        assert_eq!(step, Step::Forward);
        let step = drive.response_headers(&self.canary, &mut exchange, &self.world, true);
        assert_eq!(step, ResponseStep::Forward);
        drive.log(&self.canary, &mut exchange, &self.world);
        let published = exchange.facts.take_published();
        let state = |name: &str| {
            let found = published.iter().find(|(n, _)| *n == name);
            found.map(|(_, value)| String::from_utf8(value.clone()).unwrap())
        };
        let pairs = |headers: &Headers| {
            let text = |name: &[u8]| String::from_utf8(name.to_vec()).unwrap();
            headers.iter().map(|(n, v)| (text(n), v.to_vec())).collect()
        };
        Seen {
            request: pairs(&exchange.request),
            response: pairs(&exchange.response),
            variant: state("tollgate.variant"),
            reason: state("tollgate.variant_reason"),
        }
    }

    /// The state for one user.
    fn user(&self, id: &str) -> (String, String) {
        let seen = self.request("/", &[("x-user-id", id.as_bytes())]);
        let (variant, reason) = seen.state();
        (variant.to_owned(), reason.to_owned())
    }

    fn counted(&self, flag: &str, variant: &str, reason: &str) -> u64 {
        let labels = [
            ("policy", "canary"),
            ("flag", flag),
            ("variant", variant),
            ("reason", reason),
        ];
        self.world.metric(
            &self.metrics,
            &stat_name("tollgate_decisions_total", &labels),
        )
    }
}
