//! A worker of a proxy, and a service that answers when it is told to.

#![allow(clippy::cast_possible_truncation)]

mod failures;
mod hand;
mod money;
mod question;
mod request;

use super::*;
use crate::fleet::unit::{Unit, Windows};
use tollgate_core::World;
use tollgate_core::config::{Compile, Report, parse};
use tollgate_core::metrics::{Metrics, stat_name};
use tollgate_core::testing::{TestReply, TestWorld};
use tollgate_core::time::SECOND;
use tollgate_core::world::{Call, Outcome as Ended};
use tollgate_core::{Duration, UnixNanos};

const START: u64 = 1_795_237_200 * SECOND;

struct Fleet {
    world: Rc<TestWorld>,
    metrics: Metrics,
    dispenser: Dispenser,
    subject: Subject,
    counters: BTreeMap<Vec<u8>, u64>,
    messages: Vec<Vec<u8>>,
}

fn varint(mut n: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while n >= 0x80 {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
    out
}

/// As envoyproxy/ratelimit answers for the counter of a minute.
fn counted(after: u64, left: u64) -> Vec<u8> {
    let limit = [&b"\x08"[..], &varint(4_294_967_295), b"\x10\x02"].concat();
    let over = after > 4_294_967_295;
    let code = if over { 2 } else { 1 };
    let mut status = vec![8, code, 0x12, limit.len() as u8];
    status.extend(&limit);
    status.push(0x18);
    status.extend(varint(4_294_967_295_u64.saturating_sub(after)));
    let duration = [&b"\x08"[..], &varint(left)].concat();
    status.extend([0x22, duration.len() as u8]);
    status.extend(duration);
    [&[8, code, 0x12, status.len() as u8][..], &status].concat()
}

impl Fleet {
    fn new(more: &str) -> Self {
        let text = format!(r#"{{"cluster": "ratelimit", "key": {{"env": "FLEET_KEY"}}{more}}}"#);
        let report = Report::default();
        let mut metrics = Metrics::default();
        let env = |_: &str| Some("0123456789abcdef-fleet".to_owned());
        let root = parse(&text, &report).unwrap();
        let mut cx = Compile::new(&env, &mut metrics);
        let service = Service::compile(root.value(&report), &mut cx, "rate_limit").unwrap();
        assert!(report.is_ok(), "{:?}", report.errors());
        let subject = Subject::new(&service, "limit", &Rc::from("api"), vec![60]);
        Self {
            world: Rc::new(TestWorld::at(UnixNanos(START))),
            metrics,
            dispenser: Dispenser::new(service),
            subject,
            counters: BTreeMap::new(),
            messages: Vec::new(),
        }
    }

    fn quota(limit: u64) -> Quota {
        let bucket = Bucket::new(limit, limit, 60 * SECOND).unwrap();
        Quota {
            limit,
            cost: 1,
            period: Period::Windows(Windows::of(60 * SECOND).unwrap()),
            smooth: None,
            bucket: Some((bucket, bucket.span(1))),
        }
    }

    fn take(&self, limit: u64) -> Outcome {
        let place = self.place();
        let quota = Self::quota(limit);
        self.dispenser
            .take(&*self.world, &self.subject, place, b"acme", &quota)
    }

    fn place(&self) -> Place {
        self.dispenser.place(&self.subject, Seed([1; 16]), b"acme")
    }

    fn ticket(&self, limit: u64) -> Ticket {
        match self.take(limit) {
            Outcome::Waiting(ticket) => ticket,
            other => panic!("{other:?}"),
        }
    }

    /// The service counts and answers what was asked.
    fn serve(&mut self) -> usize {
        let calls = self.world.take_background();
        for (id, call) in &calls {
            let Call::Grpc { message, .. } = call else {
                panic!("{call:?}")
            };
            // The last field is the number of hits.
            let at = message.iter().rposition(|b| *b == 0x18).unwrap();
            let mut hits = 0_u64;
            for (i, byte) in message[at + 1..].iter().enumerate() {
                hits |= u64::from(byte & 0x7f) << (7 * i);
            }
            self.messages.push(message.clone());
            let now = self.world.now().0;
            let counter = self.counters.entry(message[..at].to_vec()).or_default();
            *counter += hits;
            let body = counted(*counter, 60 - now / SECOND % 60);
            self.reply(*id, TestReply::new(Ended::Grpc(0), body));
        }
        calls.len()
    }

    fn reply(&self, id: CallId, reply: TestReply) {
        assert!(self.dispenser.on_reply(&*self.world, id, &reply));
    }

    fn fail_all(&self, outcome: Ended) -> usize {
        let calls = self.world.take_background();
        for (id, _) in &calls {
            self.reply(*id, TestReply::new(outcome, b""));
        }
        calls.len()
    }

    fn metric(&self, name: &str, reason: &str) -> u64 {
        let labels = [("policy", "rate_limit"), ("reason", reason)];
        self.world.metric(&self.metrics, &stat_name(name, &labels))
    }

    fn asks(&self, reason: &str) -> u64 {
        self.metric("tollgate_fleet_asks_total", reason)
    }

    fn requests(&self, reason: &str) -> u64 {
        self.metric("tollgate_fleet_requests_total", reason)
    }

    fn poll(&self, ticket: Ticket) -> Outcome {
        self.dispenser.poll(&*self.world, ticket)
    }
}

fn passed(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Admitted { .. })
}
