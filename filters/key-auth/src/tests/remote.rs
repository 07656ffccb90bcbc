//! A key set that is fetched: who fetches, what is served when, and what a source that fails changes.

mod fetches;
mod refused;
mod requests;
mod workers;

use super::build;
use crate::{Digest, KeyAuth};
use tollgate_core::drive::{Drive, Step};
use tollgate_core::metrics::stat_name;
use tollgate_core::testing::{TestReply, TestWorld};
use tollgate_core::time::Duration;
use tollgate_core::world::{Call, CallId, Outcome};
use tollgate_core::{Exchange, Headers, LocalReply, Metrics, Policy, UnixNanos};

const REMOTE: &str = "ps_live_remote-0123456789abcdef";
const OTHER: &str = "ps_live_other-0123456789abcdef";

const SOURCE: &str = r#""remote_keys": {"cluster": "keys", "path": "/live.txt"}"#;

fn hex(key: &str) -> String {
    let digest = Digest::of(key.as_bytes());
    digest.bytes().iter().map(|b| format!("{b:02x}")).collect()
}

fn set(lines: &[String]) -> String {
    let mut text = "tollgate-keys 1\n".to_owned();
    for line in lines {
        text.push_str(line);
        text.push('\n');
    }
    text
}

fn one(key: &str) -> String {
    set(&[format!("partner r1 {} groups=gold", hex(key))])
}

/// Workers of one proxy: they share the world, and each has its own policy.
struct Proxy {
    world: TestWorld,
    workers: Vec<KeyAuth>,
    metrics: Metrics,
}

enum Became {
    Passed(Box<Exchange>),
    Refused(LocalReply),
    Held(Box<(Drive<KeyAuth>, Exchange)>),
}

impl Became {
    fn details(&self) -> &str {
        match self {
            Self::Passed(_) => "passed",
            Self::Refused(reply) => &reply.details,
            Self::Held(_) => "held",
        }
    }

    fn header(&self, name: &str) -> Option<String> {
        let Self::Passed(exchange) = self else {
            panic!("{}", self.details());
        };
        let value = exchange.request.sole(name).unwrap();
        value.map(|v| String::from_utf8_lossy(v).into_owned())
    }
}

impl Proxy {
    fn new(workers: usize, json: &str) -> Self {
        let world = TestWorld::at(UnixNanos::parse(super::NOON).unwrap());
        let mut proxy = Self {
            world,
            workers: Vec::new(),
            metrics: Metrics::default(),
        };
        for _ in 0..workers {
            proxy.start(json);
        }
        proxy
    }

    fn start(&mut self, json: &str) {
        let (built, report) = build(json, &[("TOKEN", "secret-of-the-source")]);
        let Some((policy, metrics)) = built else {
            panic!("refused: {:?}", report.errors());
        };
        policy.on_start(&self.world);
        self.metrics = metrics;
        self.workers.push(policy);
    }

    fn tick(&self) -> Vec<(CallId, Call)> {
        for worker in &self.workers {
            worker.on_tick(&self.world);
        }
        self.world.take_background()
    }

    /// Ticks until nobody is busy.
    fn settle(&self) {
        for _ in 0..2000 {
            assert_eq!(self.tick(), []);
            if !self.workers.iter().any(Policy::is_busy) {
                return;
            }
        }
        panic!("busy for ever");
    }

    fn reply(&self, id: CallId, reply: &TestReply) {
        for worker in &self.workers {
            worker.on_background_reply(&self.world, id, reply);
        }
    }

    /// Ticks, demands one fetch, and answers it.
    fn fetch(&self, reply: &TestReply) -> Call {
        let mut sent = self.tick();
        assert_eq!(sent.len(), 1, "one fetch");
        let (id, call) = sent.remove(0);
        assert_eq!(self.tick(), [], "one fetch at a time");
        self.reply(id, reply);
        self.settle();
        call
    }

    fn later(&self, secs: u64) {
        self.world.advance(Duration::from_secs(secs));
    }

    fn send(&self, worker: usize, key: &str) -> Became {
        let request = Headers::from_pairs([
            (":method", "GET"),
            (":path", "/"),
            (":authority", "api.example.test"),
            ("x-api-key", key),
        ]);
        let mut exchange = Exchange::new(request, true);
        let mut drive = Drive::default();
        let step = drive.request_headers(&self.workers[worker], &mut exchange, &self.world);
        match step {
            Step::Forward => Became::Passed(Box::new(exchange)),
            Step::Reply(reply) => Became::Refused(*reply),
            Step::Hold => Became::Held(Box::new((drive, exchange))),
        }
    }

    fn details(&self, key: &str) -> Vec<String> {
        (0..self.workers.len())
            .map(|w| self.send(w, key).details().to_owned())
            .collect()
    }

    fn fetches(&self, outcome: &str) -> u64 {
        let name = stat_name("tollgate_key_set_fetches_total", &[("outcome", outcome)]);
        self.world.metric(&self.metrics, &name)
    }

    fn number(&self, name: &str) -> u64 {
        self.world.metric(&self.metrics, name)
    }
}

fn ok(body: impl Into<Vec<u8>>) -> TestReply {
    TestReply::new(Outcome::Http(200), body)
}

fn with_etag(body: &str, etag: &str) -> TestReply {
    let mut reply = ok(body);
    reply.headers.push(("etag".to_owned(), etag.into()));
    reply
}

fn header(call: &Call, name: &str) -> Option<String> {
    let Call::Http { headers, .. } = call else {
        panic!("not HTTP");
    };
    let found = headers.iter().find(|(n, _)| n == name);
    found.map(|(_, v)| String::from_utf8(v.clone()).unwrap())
}

fn alone() -> String {
    format!("{{{SOURCE}}}")
}
