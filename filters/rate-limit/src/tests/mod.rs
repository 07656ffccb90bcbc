//! The policy as a proxy sees it: configuration in, requests through `Drive`, answers out.

mod config;
mod documented;
mod fleet;
mod leases;
mod local;
mod options;
mod stages;
mod ticket;

use crate::{RateLimit, compile};
use std::collections::BTreeMap;
use tollgate_core::config::{Compile, Report, parse};
use tollgate_core::drive::{Drive, Step};
use tollgate_core::flow::LocalReply;
use tollgate_core::metrics::stat_name;
use tollgate_core::testing::TestWorld;
use tollgate_core::time::Duration;
use tollgate_core::world::Attribute;
use tollgate_core::{Exchange, Headers, Metrics, Policy, UnixNanos};

const FLEET_KEY: &str = "0123456789abcdef-fleet";

fn try_compile(json: &str) -> (Option<RateLimit>, Metrics, Report) {
    let report = Report::default();
    let mut metrics = Metrics::default();
    let env = |name: &str| match name {
        "FLEET_KEY" => Some(FLEET_KEY.to_owned()),
        "SHORT" => Some("short".to_owned()),
        _ => None,
    };
    let policy = parse(json, &report).and_then(|root| {
        let mut cx = Compile::new(&env, &mut metrics);
        compile(root.value(&report).section()?, &mut cx)
    });
    (policy, metrics, report)
}

fn errors(json: &str) -> Vec<String> {
    let (_, _, report) = try_compile(json);
    report.errors().iter().map(ToString::to_string).collect()
}

/// What a client saw.
#[derive(Debug, PartialEq)]
struct Seen {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
    details: Option<String>,
}

impl Seen {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    fn number(&self, name: &str) -> u64 {
        self.header(name).unwrap().parse().unwrap()
    }

    fn reply(reply: &LocalReply) -> Self {
        let headers = reply
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8(value.clone()).unwrap()));
        Self {
            status: reply.status,
            headers: headers.collect(),
            body: String::from_utf8(reply.body.clone()).unwrap(),
            details: Some(reply.details.to_string()),
        }
    }

    fn answer(exchange: &mut Exchange) -> Self {
        let headers = exchange.response.iter().map(|(name, value)| {
            (
                String::from_utf8(name.to_vec()).unwrap(),
                String::from_utf8(value.to_vec()).unwrap(),
            )
        });
        Self {
            status: 200,
            headers: headers.collect(),
            body: String::new(),
            details: None,
        }
    }
}

/// A proxy with one policy (or chain).
struct Proxy<P> {
    world: TestWorld,
    policy: P,
    metrics: Metrics,
}

impl Proxy<RateLimit> {
    fn new(json: &str) -> Self {
        let (policy, metrics, report) = try_compile(json);
        assert_eq!(report.errors(), []);
        let proxy = Self {
            world: TestWorld::at(UnixNanos::from_secs(1_795_000_000)),
            policy: policy.unwrap(),
            metrics,
        };
        proxy
            .world
            .set_attribute(Attribute::SourceAddress, "10.0.0.1:5000");
        proxy.policy.on_start(&proxy.world);
        proxy
    }
}

impl<P: Policy> Proxy<P> {
    fn exchange(&self, path: &str, headers: &[(&str, &str)]) -> Exchange {
        let pseudo = [
            (":method", "GET"),
            (":authority", "api.example.com"),
            (":path", path),
        ];
        let all = pseudo.iter().chain(headers).copied();
        Exchange::new(Headers::from_pairs(all), true)
    }

    fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Seen {
        let mut exchange = self.exchange(path, headers);
        let mut drive = Drive::<P>::default();
        let step = drive.request_headers(&self.policy, &mut exchange, &self.world);
        let seen = match step {
            Step::Reply(reply) => {
                drive.response_headers(&self.policy, &mut exchange, &self.world, true);
                let mut seen = Seen::reply(&reply);
                seen.headers.extend(Seen::answer(&mut exchange).headers);
                seen
            }
            Step::Forward => {
                drive.response_headers(&self.policy, &mut exchange, &self.world, true);
                Seen::answer(&mut exchange)
            }
            Step::Hold => panic!("held"),
        };
        drive.log(&self.policy, &mut exchange, &self.world);
        seen
    }

    fn get(&self, path: &str) -> Seen {
        self.get_with(path, &[])
    }

    /// As a consumer that a key-auth filter before this one has accepted.
    fn get_as(&self, path: &str, consumer: &str, groups: &str) -> Seen {
        let leave = |name, value: &str| {
            self.world
                .set_attribute(Attribute::FilterState(name), value);
        };
        leave("tollgate.consumer", consumer);
        leave("tollgate.groups", groups);
        let seen = self.get(path);
        leave("tollgate.consumer", "");
        leave("tollgate.groups", "");
        seen
    }

    /// How many of so many requests at once pass.
    fn admitted(&self, requests: usize, path: &str) -> usize {
        (0..requests)
            .filter(|_| self.get(path).status == 200)
            .count()
    }

    fn advance(&self, text: &str) {
        self.world.advance(Duration::parse(text).unwrap());
    }

    fn decisions(&self, limit: &str, reason: &str) -> u64 {
        let labels = [
            ("policy", "rate_limit"),
            ("rule", limit),
            ("reason", reason),
        ];
        self.world.metric(
            &self.metrics,
            &stat_name("tollgate_decisions_total", &labels),
        )
    }

    fn counter(&self, name: &str, reason: &str) -> u64 {
        self.world
            .metric(&self.metrics, &stat_name(name, &[("reason", reason)]))
    }
}
