//! The policy as a whole, through the real hold logic.

mod config;
mod once;
mod properties;
mod replay;
mod scheme;
mod verdict;

use super::*;
use crate::sign::{Unsigned, sign};
use tollgate_core::config::{Report, parse};
use tollgate_core::drive::{Drive, Step};
use tollgate_core::metrics::stat_name;
use tollgate_core::testing::TestWorld;
use tollgate_core::{Headers, Metrics, UnixNanos};

const NOW: UnixNanos = UnixNanos::from_secs(1_700_000_000);
const SECRET: &str = "0123456789abcdef0123456789abcdef";

struct Bench {
    policy: WebhookSignature,
    metrics: Metrics,
    world: TestWorld,
}

/// One exchange that is held open by the test.
struct Open {
    exchange: Exchange,
    drive: Drive<WebhookSignature>,
    step: Step,
}

/// What happened to one request.
#[derive(Debug, PartialEq)]
enum Seen {
    /// Forwarded; the verdict header.
    Upstream(Option<String>),
    /// Status and details; whether body was read first.
    Reply(u16, String, bool),
}

fn load(config: &str) -> Result<Bench, Vec<String>> {
    let report = Report::default();
    let mut metrics = Metrics::default();
    let root = parse(config, &report).expect("JSON");
    let env = |name: &str| match name {
        "SECRET" => Some(format!("{SECRET}\n")),
        "FLEET_KEY" => Some("0123456789abcdef-fleet".to_owned()),
        _ => None,
    };
    let policy = compile(
        root.value(&report).section().unwrap(),
        &mut Compile::new(&env, &mut metrics),
    );
    let errors: Vec<String> = report.errors().iter().map(ToString::to_string).collect();
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(Bench {
        policy: policy.expect("no error, so there is a policy"),
        metrics,
        world: TestWorld::at(NOW),
    })
}

fn bench(rule: &str) -> Bench {
    load(&format!(r#"{{"rules": [{rule}]}}"#)).unwrap()
}

impl Bench {
    fn send(&self, headers: &[(&str, &[u8])], body: Option<&[u8]>) -> Seen {
        self.send_to("/hook", headers, body).0
    }

    fn send_to(
        &self,
        path: &str,
        headers: &[(&str, &[u8])],
        body: Option<&[u8]>,
    ) -> (Seen, Exchange) {
        let pairs = [(":method", &b"POST"[..]), (":path", path.as_bytes())];
        let all = pairs.into_iter().chain(headers.iter().copied());
        let mut exchange = Exchange::new(Headers::from_pairs(all), body.is_none());
        let mut drive = Drive::<WebhookSignature>::default();
        let mut step = drive.request_headers(&self.policy, &mut exchange, &self.world);
        let held = step == Step::Hold;
        let body = body.unwrap_or_default();
        for (size, end) in [
            (body.len() / 2, false),
            (body.len(), false),
            (body.len(), true),
        ] {
            if step == Step::Hold {
                step = drive.request_body(
                    &self.policy,
                    &mut exchange,
                    &self.world,
                    &body[..size],
                    size,
                    end,
                );
            }
        }
        let seen = match step {
            Step::Reply(reply) => {
                let json = String::from_utf8(reply.body.clone()).unwrap();
                assert!(json.contains("urn:tollgate:problem:webhook-"), "{json}");
                let challenge = reply.headers.iter().any(|(n, _)| n == "www-authenticate");
                assert_eq!(challenge, reply.status == 401);
                Seen::Reply(reply.status, reply.details.into_owned(), held)
            }
            Step::Hold => panic!("still held after the end"),
            Step::Forward => Seen::Upstream(
                exchange
                    .request
                    .sole("x-webhook-verified")
                    .unwrap()
                    .map(|v| String::from_utf8(v.to_vec()).unwrap()),
            ),
        };
        (seen, exchange)
    }

    /// Sends a request, body and all, and leaves it there.
    fn open_at(&self, path: &str, signature: Vec<(String, Vec<u8>)>, body: &[u8]) -> Open {
        let all = [
            (":method".to_owned(), b"POST".to_vec()),
            (":path".to_owned(), path.as_bytes().to_vec()),
        ];
        let all = all.into_iter().chain(signature);
        let mut exchange = Exchange::new(Headers::from_pairs(all), false);
        let mut drive = Drive::<WebhookSignature>::default();
        let (policy, world) = (&self.policy, &self.world);
        let mut step = drive.request_headers(policy, &mut exchange, world);
        if step == Step::Hold {
            step = drive.request_body(policy, &mut exchange, world, body, body.len(), true);
        }
        Open {
            exchange,
            drive,
            step,
        }
    }

    fn reasons(&self, rule: &str, reason: &str) -> u64 {
        let labels = [
            ("policy", "webhook_signature"),
            ("rule", rule),
            ("reason", reason),
        ];
        self.world.metric(
            &self.metrics,
            &stat_name("tollgate_decisions_total", &labels),
        )
    }

    fn metric(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        self.world.metric(&self.metrics, &stat_name(name, labels))
    }
}

fn signed(scheme: &Scheme, secret: &[u8], body: &[u8], at: UnixNanos) -> Vec<(String, Vec<u8>)> {
    let request = Unsigned {
        method: b"POST",
        path: b"/hook",
        url: b"https://hooks.example.com/hook",
        headers: &Headers::default(),
        id: b"msg_1",
        body,
        at,
    };
    sign(scheme, secret, &request).unwrap()
}

fn pairs(headers: &[(String, Vec<u8>)]) -> Vec<(&str, &[u8])> {
    headers
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_slice()))
        .collect()
}

/// Headers of a right x-signature request.
fn x_signature(body: &[u8]) -> Vec<(String, Vec<u8>)> {
    signed(
        &preset("x-signature").unwrap(),
        SECRET.as_bytes(),
        body,
        NOW,
    )
}

fn refused(status: u16, details: &str, after_body: bool) -> Seen {
    Seen::Reply(status, format!("tollgate_webhook_{details}"), after_body)
}

fn passed(verdict: &str) -> Seen {
    Seen::Upstream(Some(verdict.to_owned()))
}

const X: &str = r#"{"scheme": "x-signature", "secrets": [{"id": "a", "env": "SECRET"}]}"#;
