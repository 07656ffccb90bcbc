//! Whole exchanges, from the outside.

mod answers;
mod budgets;
mod configuration;
mod errors;
mod models;
mod prices;
mod shared;

use super::*;
use std::collections::BTreeMap;
use tollgate_core::config::{Compile, Report, parse};
use tollgate_core::drive::{Drive, ResponseStep, Step};
use tollgate_core::flow::LocalReply;
use tollgate_core::testing::TestWorld;
use tollgate_core::world::{Attribute, Expect, Store};
use tollgate_core::{Consumer, Duration, Headers, Metrics, UnixNanos};

const CHAT: &str = r#"
  "prices": [{"name": "chat", "match": {"path": {"prefix": "/v1/chat"}}, "base": "0.0020",
              "per_token": {"input": "0.00001", "output": "0.00002"}, "estimate": {"input": 1000, "output": 500}},
             {"name": "api", "match": {"path": {"prefix": "/api/"}}, "base": "0.30"}]"#;
const BUDGETS: &str = r#", "budgets": [{"name": "dev", "groups": ["dev"], "daily": "1.00"}], "on_missing_consumer": "pass""#;

struct Bench {
    cost: Cost,
    world: TestWorld,
    metrics: Metrics,
}

fn environment(name: &str) -> Option<String> {
    (name == "FLEET_KEY").then(|| "0123456789abcdef-fleet".to_owned())
}

fn compile(json: &str) -> (Option<Cost>, Metrics, Vec<String>) {
    let report = Report::default();
    let mut metrics = Metrics::default();
    let root = parse(json, &report).unwrap();
    let section = root.value(&report).section().unwrap();
    let cost = crate::compile(section, &mut Compile::new(&environment, &mut metrics));
    let errors = report.errors().iter().map(ToString::to_string).collect();
    (cost, metrics, errors)
}

fn bench(body: &str) -> Bench {
    let (cost, metrics, errors) = compile(&format!("{{{body}}}"));
    assert_eq!(errors, Vec::<String>::new());
    Bench {
        cost: cost.unwrap(),
        world: TestWorld::at(UnixNanos::parse("2026-11-21T12:00:00Z").unwrap()),
        metrics,
    }
}

/// One exchange, from the outside.
struct Run<'b> {
    bench: &'b Bench,
    exchange: Exchange,
    drive: Drive<Cost>,
}

impl Bench {
    fn request(&self, path: &str, consumer: Option<&str>) -> (Run<'_>, Step) {
        let headers = Headers::from_pairs([
            (":method", "POST"),
            (":path", path),
            ("accept-encoding", "gzip"),
        ]);
        let mut exchange = Exchange::new(headers, false);
        exchange.facts.set_consumer(consumer.map(|id| {
            std::rc::Rc::new(Consumer {
                id: id.into(),
                groups: [std::rc::Rc::from("dev")].into(),
                key_id: None,
            })
        }));
        let mut drive = Drive::default();
        let step = drive.request_headers(&self.cost, &mut exchange, &self.world);
        (
            Run {
                bench: self,
                exchange,
                drive,
            },
            step,
        )
    }

    fn start(&self, path: &str, consumer: &str) -> Run<'_> {
        let (run, step) = self.request(path, Some(consumer));
        assert_eq!(step, Step::Forward);
        run
    }

    fn refused(&self, path: &str, consumer: Option<&str>) -> LocalReply {
        let (mut run, step) = self.request(path, consumer);
        let Step::Reply(reply) = step else {
            panic!("not refused")
        };
        run.end();
        *reply
    }

    fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let stat = tollgate_core::metrics::stat_name(name, labels);
        self.world.metric(&self.metrics, &stat)
    }

    fn reason(&self, reason: &str) -> u64 {
        self.count(
            "tollgate_decisions_total",
            &[("policy", "cost"), ("reason", reason)],
        )
    }
}

impl Run<'_> {
    fn response(&mut self, status: &str, headers: &[(&str, &str)], end: bool) -> ResponseStep {
        let all = [(":status", status)]
            .into_iter()
            .chain(headers.iter().copied());
        let reads = self.drive.reads_response(&self.bench.cost);
        if reads >= ResponseRead::Status {
            self.exchange.status = status.parse().ok();
        }
        if reads == ResponseRead::Headers {
            self.exchange.response = Headers::from_pairs(all);
        }
        self.drive
            .response_headers(&self.bench.cost, &mut self.exchange, &self.bench.world, end)
    }

    fn json(&mut self, length: Option<usize>) -> ResponseStep {
        let length = length.map(|n| n.to_string());
        let mut headers = vec![("content-type", "application/json; charset=utf-8")];
        headers.extend(length.as_deref().map(|n| ("content-length", n)));
        self.response("200", &headers, false)
    }

    fn body(&mut self, body: &[u8], end: bool) -> ResponseStep {
        let (cost, world) = (&self.bench.cost, &self.bench.world);
        self.drive
            .response_body(cost, &mut self.exchange, world, body, body.len(), end)
    }

    /// The whole answer, cut in the middle, as the proxy shows a held one: cumulative.
    fn held(&mut self, body: &str) {
        assert_eq!(self.json(Some(body.len())), ResponseStep::Hold);
        let bytes = body.as_bytes();
        assert_eq!(
            self.body(&bytes[..bytes.len() / 2], false),
            ResponseStep::Hold
        );
        assert_eq!(self.body(bytes, true), ResponseStep::Forward);
    }

    fn shown(&self, name: &str) -> Option<String> {
        let value = self.exchange.response.first(name)?;
        Some(String::from_utf8_lossy(value).into_owned())
    }

    /// Ends the exchange; what is in the access log.
    fn end(&mut self) -> BTreeMap<&'static str, String> {
        self.drive
            .log(&self.bench.cost, &mut self.exchange, &self.bench.world);
        let published = self.exchange.facts.take_published();
        published
            .into_iter()
            .map(|(n, v)| (n, String::from_utf8(v).unwrap()))
            .collect()
    }
}

fn usage(input: u64, output: u64) -> String {
    format!(
        r#"{{"model":"gpt-4","usage":{{"prompt_tokens":{input},"completion_tokens":{output}}}}}"#
    )
}

fn text(reply: &LocalReply, name: &str) -> Option<String> {
    let value = reply.headers.iter().find(|(n, _)| n == name)?;
    Some(String::from_utf8_lossy(&value.1).into_owned())
}

fn json_body(reply: &LocalReply) -> serde_json::Value {
    serde_json::from_slice(&reply.body).unwrap()
}
