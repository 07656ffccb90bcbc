use super::*;
use crate::budgets::Budgets;
use tollgate_core::Metrics;
use tollgate_core::UnixNanos;
use tollgate_core::config::{Report, parse};
use tollgate_core::testing::TestWorld;

fn ledger(json: &str) -> Ledger {
    let report = Report::default();
    let root = parse(json, &report).unwrap();
    let ledger = Ledger::compile(root.value(&report), &|_| None);
    assert!(report.is_ok(), "{:?}", report.errors());
    ledger.unwrap()
}

struct Bench {
    ledger: Ledger,
    meters: Meters,
    world: TestWorld,
    metrics: Metrics,
}

fn bench(json: &str) -> Bench {
    let mut metrics = Metrics::default();
    let meters = Meters::register(&mut metrics, &[], &Budgets::default(), &[]);
    let world = TestWorld::at(UnixNanos::parse("2026-11-21T12:00:00Z").unwrap());
    let ledger = ledger(json);
    ledger.start(&world);
    Bench {
        ledger,
        meters,
        world,
        metrics,
    }
}

impl Bench {
    fn enter(&self, pico: u64) {
        let outcome = crate::call::Outcome {
            cost: tollgate_core::Money::from_pico(pico),
            price: 0,
            reason: crate::meters::Reason::Flat,
            told: Some(Box::new(crate::call::Told {
                usage: None,
                model: Some(b"m\xff\"".to_vec()),
            })),
        };
        let estimate = tollgate_core::Money::from_pico(7);
        let call = crate::call::Call::new(0, estimate, crate::call::Needs::default());
        let entry = Entry {
            outcome: &outcome,
            call: &call,
            consumer: None,
            price: Some("p"),
            currency: "USD",
        };
        let headers = [
            (":method", "GET"),
            (":path", "/a?key=1"),
            ("x-request-id", "r1"),
        ];
        let exchange = Exchange::new(tollgate_core::Headers::from_pairs(headers), true);
        self.ledger
            .enter(&entry, &exchange, &self.meters, &self.world);
    }

    /// The batch that was sent on this tick: its call and the picounits in it.
    fn tick(&self) -> Option<(CallId, Vec<(String, u64)>)> {
        self.ledger.tick(&self.meters, &self.world);
        let mut sent = self.world.take_background();
        assert!(sent.len() <= 1, "one batch at a time");
        let (id, call) = sent.pop()?;
        let Call::Http { body, .. } = call else {
            panic!("not HTTP")
        };
        Some((id, read(&body)))
    }

    fn answer(&self, id: CallId, status: u16) {
        let outcome = Outcome::Http(status);
        self.ledger.answered(id, outcome, &self.meters, &self.world);
    }

    fn logged(&self) -> Vec<(String, u64)> {
        let logs = self.world.take_logs();
        let lines = logs
            .iter()
            .map(|(_, line)| line.strip_prefix("cost ledger event ").unwrap());
        lines
            .map(|json| read(format!("[{json}]").as_bytes()).remove(0))
            .collect()
    }

    fn events(&self, outcome: &str) -> u64 {
        let labels = [("outcome", outcome)];
        let stat = tollgate_core::metrics::stat_name("tollgate_ledger_events_total", &labels);
        self.world.metric(&self.metrics, &stat)
    }
}

fn read(body: &[u8]) -> Vec<(String, u64)> {
    let events: Vec<serde_json::Value> = serde_json::from_slice(body).unwrap();
    let one = |e: &serde_json::Value| {
        let pico = e["data"]["cost_pico"].as_str().unwrap().parse().unwrap();
        (e["id"].as_str().unwrap().to_owned(), pico)
    };
    events.iter().map(one).collect()
}

#[test]
fn an_event_is_a_cloud_event_with_everything_about_the_call() {
    let b = bench(
        r#"{"cluster": "c", "path": "/e", "authority": "billing.test", "source": "//gw/1", "timeout": "2s"}"#,
    );
    b.enter(2_390_000_000);
    b.ledger.tick(&b.meters, &b.world);
    let (_, call) = b.world.take_background().remove(0);
    let Call::Http {
        cluster,
        headers,
        body,
        timeout_ms,
    } = call
    else {
        panic!("not HTTP")
    };
    assert_eq!((cluster.as_str(), timeout_ms), ("c", 2000));
    let header = |name: &str| {
        headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| String::from_utf8_lossy(v).into_owned())
    };
    assert_eq!(header(":method").as_deref(), Some("POST"));
    assert_eq!(header(":path").as_deref(), Some("/e"));
    assert_eq!(header(":authority").as_deref(), Some("billing.test"));
    assert_eq!(
        header("content-type").as_deref(),
        Some("application/cloudevents-batch+json; charset=UTF-8")
    );
    let mut events: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let id = events[0]["id"].take();
    assert_eq!(id.as_str().unwrap().len(), 34);
    assert_eq!(
        events,
        serde_json::json!([{
            "specversion": "1.0", "id": null, "source": "//gw/1", "type": "tollgate.cost.settled.v1",
            "time": "2026-11-21T12:00:00Z", "datacontenttype": "application/json",
            "data": {
                "currency": "USD", "cost": "0.00239", "cost_pico": "2390000000", "estimate": "0.000000000007",
                "price": "p", "model": "m\u{fffd}\"", "reason": "flat", "method": "GET", "path": "/a",
                "request_id": "r1"
            }
        }])
    );
}

#[test]
fn what_was_not_taken_comes_again_the_same_after_growing_pauses() {
    let b = bench(r#"{"cluster": "c"}"#);
    b.enter(1);
    let (id, first) = b.tick().unwrap();
    assert_eq!(b.tick(), None, "one batch at a time");
    b.enter(2);
    b.answer(id, 503);
    let mut pauses = Vec::new();
    for _ in 0..12 {
        let mut waited = 0_u64;
        let (id, again) = loop {
            b.world.advance(Duration::from_millis(50));
            waited += 50;
            if let Some(sent) = b.tick() {
                break sent;
            }
        };
        assert_eq!(again[0], first[0], "the id is the same");
        assert_eq!(again.len(), 2);
        pauses.push(waited);
        b.answer(id, 500);
    }
    assert!((250..=350).contains(&pauses[0]), "{pauses:?}");
    assert!(pauses.windows(2).all(|w| w[1] >= w[0]), "{pauses:?}");
    assert!(pauses[11] <= 60_000 && pauses[11] >= 59_000, "{pauses:?}");
    b.world.advance(Duration::from_secs(61));
    let (id, _) = b.tick().unwrap();
    b.answer(id, 202);
    assert_eq!(
        (
            b.events("entered"),
            b.events("delivered"),
            b.events("logged")
        ),
        (2, 2, 0)
    );
    assert_eq!(b.tick(), None);
    assert!(b.logged().is_empty());
}

#[test]
fn batches_are_bounded_and_follow_one_another() {
    let b = bench(r#"{"cluster": "c", "batch_events": 3}"#);
    for n in 1..=7 {
        b.enter(n);
    }
    let (id, batch) = b.tick().unwrap();
    assert_eq!(batch.iter().map(|e| e.1).collect::<Vec<_>>(), [1, 2, 3]);
    b.answer(id, 200);
    // The answer brings the next one, no tick needed.
    let (id, _) = b.world.take_background().remove(0);
    b.answer(id, 413);
    b.world.advance(Duration::from_secs(1));
    let (id, batch) = b.tick().unwrap();
    assert_eq!(
        batch.iter().map(|e| e.1).collect::<Vec<_>>(),
        [4, 5],
        "413: smaller"
    );
    b.answer(CallId(999), 200);
    b.answer(id, 200);
    assert_eq!(b.events("delivered"), 5);
}

#[test]
fn what_does_not_fit_and_what_is_left_at_the_end_is_logged_in_the_same_form() {
    let b = bench(r#"{"cluster": "c", "queue_events": 2}"#);
    for n in 1..=3 {
        b.enter(n);
    }
    let full = b.logged();
    assert_eq!(full.iter().map(|e| e.1).collect::<Vec<_>>(), [3]);
    let (_, under_way) = b.tick().unwrap();
    b.ledger.stop(&b.meters, &b.world);
    assert_eq!(b.logged(), under_way, "nobody knows whether it arrived");
    assert_eq!(
        (
            b.events("entered"),
            b.events("delivered"),
            b.events("logged")
        ),
        (3, 0, 3)
    );
}

#[test]
fn a_reply_that_never_comes_does_not_stop_the_ledger() {
    let b = bench(r#"{"cluster": "c", "timeout": "1s"}"#);
    b.enter(1);
    let (late, first) = b.tick().unwrap();
    b.world.advance(Duration::from_secs(7));
    assert_eq!(b.tick(), None, "given up, and a pause");
    b.world.advance(Duration::from_secs(1));
    let (_, again) = b.tick().unwrap();
    assert_eq!(first, again);
    b.answer(late, 200);
    assert_eq!(
        b.events("delivered"),
        0,
        "an answer to a batch that is not under way"
    );
}

#[test]
fn a_clock_that_was_set_back_does_not_stop_the_ledger() {
    let b = bench(r#"{"cluster": "c"}"#);
    b.enter(1);
    let (id, _) = b.tick().unwrap();
    b.answer(id, 500);
    b.world
        .set_now(UnixNanos::parse("2026-11-20T12:00:00Z").unwrap());
    assert!(b.tick().is_some());
}

#[test]
fn with_log_all_every_event_is_in_the_log_once() {
    let b = bench(r#"{"log": "all"}"#);
    b.enter(5);
    assert_eq!(b.tick(), None, "nobody to send it to");
    assert_eq!(b.logged().len(), 1);
    b.ledger.stop(&b.meters, &b.world);
    assert!(b.logged().is_empty());
    let b = bench(r#"{"log": "all", "cluster": "c", "queue_events": 1}"#);
    b.enter(5);
    b.enter(6);
    b.ledger.stop(&b.meters, &b.world);
    assert_eq!(b.logged().len(), 2);
}
