//! The replay guard and the streaming mode: exchanges that overlap, break off, or come again.

use super::*;
use tollgate_core::Duration;

const GUARDED: &str = r#"{"name": "g", "scheme": "x-signature", "secrets": [{"env": "SECRET"}], "replay": {"window": "10m"}}"#;

impl Bench {
    fn open(&self, body: &[u8]) -> Open {
        self.open_at("/h", x_signature(body), body)
    }

    fn answer(&self, open: &mut Open, status: u16) {
        assert_eq!(
            open.drive.reads_response(&self.policy),
            ResponseRead::Status
        );
        open.exchange.status = Some(status);
        open.drive
            .response_headers(&self.policy, &mut open.exchange, &self.world, true);
    }

    fn end(&self, mut open: Open) {
        open.drive
            .log(&self.policy, &mut open.exchange, &self.world);
    }

    fn outcomes(&self) -> Vec<(&'static str, u64)> {
        [
            "first",
            "delivered",
            "in_flight",
            "full",
            "settled",
            "released",
            "lost",
        ]
        .into_iter()
        .map(|o| {
            (
                o,
                self.metric(
                    "tollgate_webhook_replay_total",
                    &[("rule", "g"), ("outcome", o)],
                ),
            )
        })
        .filter(|(_, n)| *n > 0)
        .collect()
    }
}

fn status(step: &Step) -> u16 {
    match step {
        Step::Forward => 0,
        Step::Hold => 1,
        Step::Reply(reply) => reply.status,
    }
}

#[test]
fn the_same_delivery_at_once_is_a_conflict_until_the_first_has_ended() {
    let b = bench(GUARDED);
    let mut first = b.open(b"a");
    assert_eq!(status(&first.step), 0);
    assert_eq!(status(&b.open(b"a").step), 409);
    assert_eq!(status(&b.open(b"b").step), 0);
    b.answer(&mut first, 204);
    assert_eq!(status(&b.open(b"a").step), 200);
    b.end(first);
    assert_eq!(status(&b.open(b"a").step), 200);
    assert_eq!(
        b.outcomes(),
        [
            ("first", 2),
            ("delivered", 2),
            ("in_flight", 1),
            ("settled", 1)
        ]
    );
    assert_eq!(
        (b.reasons("g", "delivered"), b.reasons("g", "in_flight")),
        (2, 1)
    );
}

#[test]
fn an_exchange_without_an_answer_releases_its_delivery() {
    let b = bench(GUARDED);
    let first = b.open(b"a");
    b.end(first);
    assert_eq!(b.outcomes(), [("first", 1), ("released", 1)]);
    assert_eq!(status(&b.open(b"a").step), 0);
}

#[test]
fn a_worker_that_dies_blocks_a_delivery_only_for_a_while() {
    let b = bench(GUARDED);
    drop(b.open(b"a"));
    b.world.advance(Duration::from_secs(59));
    assert_eq!(status(&b.open(b"a").step), 409);
    b.world.advance(Duration::from_secs(1));
    assert_eq!(status(&b.open(b"a").step), 0);
}

#[test]
fn what_cannot_be_noted_is_counted() {
    let b = bench(GUARDED);
    let mut first = b.open(b"a");
    b.world.conflicts.set(8);
    b.answer(&mut first, 200);
    b.end(first);
    assert_eq!(b.outcomes(), [("first", 1), ("lost", 1)]);
    // Nobody can tell whether it came before: by rule.
    b.world.conflicts.set(8);
    assert_eq!(status(&b.open(b"b").step), 503);
    assert_eq!(b.reasons("g", "replay_full"), 1);
    let b = bench(&GUARDED.replace("\"10m\"", "\"10m\", \"on_full\": \"pass\""));
    b.world.conflicts.set(8);
    let open = b.open(b"b");
    assert_eq!(status(&open.step), 0);
    assert_eq!(open.drive.reads_response(&b.policy), ResponseRead::Nothing);
    assert_eq!(b.outcomes(), [("full", 1)]);
}

#[test]
fn without_a_guard_no_answer_is_read() {
    let b = bench(X);
    let open = b.open(b"a");
    assert_eq!(status(&open.step), 0);
    assert_eq!(open.drive.reads_response(&b.policy), ResponseRead::Nothing);
    assert_eq!(b.world.keys(), 0);
}

/// Once a copy of a request with two signatures passed again when one of them was taken out.
#[test]
fn a_signature_less_is_not_another_delivery() {
    let b = bench(
        r#"{"name": "g", "scheme": "pagerduty", "replay": {"window": "10m"},
            "secrets": [{"id": "new", "value": "another-secret-0123"}, {"id": "old", "env": "SECRET"}]}"#,
    );
    let scheme = preset("pagerduty").unwrap();
    let value = |secret: &[u8]| signed(&scheme, secret, b"{}", NOW).remove(0).1;
    let (new, old) = (value(b"another-secret-0123"), value(SECRET.as_bytes()));
    let send = |value: &[u8]| {
        let headers = [
            ("x-pagerduty-signature", value),
            (":method", b"POST"),
            (":path", b"/h"),
        ];
        let mut exchange = Exchange::new(Headers::from_pairs(headers), false);
        let mut drive = Drive::<WebhookSignature>::default();
        drive.request_headers(&b.policy, &mut exchange, &b.world);
        let step = drive.request_body(&b.policy, &mut exchange, &b.world, &b"{}"[..], 2, true);
        exchange.status = Some(200);
        drive.response_headers(&b.policy, &mut exchange, &b.world, true);
        status(&step)
    };
    assert_eq!(send(&[&new[..], b",", &old].concat()), 0);
    assert_eq!(send(&old), 200);
    assert_eq!(send(&new), 200);
    assert_eq!(
        b.outcomes(),
        [("first", 1), ("delivered", 2), ("settled", 1)]
    );
}

/// An id that is not signed may be anything: it must not make a copy look new.
#[test]
fn an_unsigned_id_in_the_body_is_not_looked_at() {
    let b = bench(
        r#"{"name": "g", "replay": {"window": "10m"}, "secrets": [{"env": "SECRET"}],
            "scheme": {"signature": {"json_pointer": "/s"}, "encoding": "hex", "algorithm": "hmac-sha256",
                "payload": "{json:/token}", "unsigned_body": true, "id": {"json_pointer": "/id"}}}"#,
    );
    let mac = b.policy.rules[0].secrets[0].key.start(&[]);
    let mut mac = mac;
    mac.update(b"t");
    let mac = crate::encoding::encode_hex(&mac.tag().unwrap());
    for (id, expected) in [("1", 0), ("2", 200)] {
        let body = format!(r#"{{"s": "{mac}", "token": "t", "id": "{id}"}}"#);
        let mut open = b.open(body.as_bytes());
        assert_eq!(status(&open.step), expected, "{id}");
        open.exchange.status = Some(200);
        open.drive
            .response_headers(&b.policy, &mut open.exchange, &b.world, true);
    }
}

#[test]
fn another_rule_or_another_signed_text_is_another_delivery() {
    let b = bench(GUARDED);
    let rule = &b.policy.rules[0];
    let replay = rule.replay.as_ref().unwrap();
    // printf 'g\0id' | sha256sum: the same on every proxy, whatever language the other side speaks.
    assert_eq!(
        crate::encoding::encode_hex(&replay.delivery(b"id")),
        "6da31c3bab35926ea58bded1c16cfddf18ed55e4d85cbe0ff44d0fa8e3a22e3d"
    );
}

#[test]
fn a_window_shorter_than_the_timestamps_is_warned_about() {
    let warnings = |window: &str| {
        let report = Report::default();
        let mut metrics = Metrics::default();
        let text = format!(
            r#"{{"rules": [{{"scheme": "stripe", "secrets": [{{"env": "SECRET"}}], "replay": {{"window": "{window}"}}}}]}}"#
        );
        let root = parse(&text, &report).unwrap();
        let env = |_: &str| Some(SECRET.to_owned());
        compile(
            root.value(&report).section().unwrap(),
            &mut Compile::new(&env, &mut metrics),
        )
        .unwrap();
        report
            .warnings()
            .iter()
            .filter(|w| w.path == "rules[0].replay")
            .count()
    };
    assert_eq!((warnings("599s"), warnings("600s")), (1, 0));
}

#[test]
fn streaming_releases_the_headers_and_says_pending() {
    let report = Report::default();
    let mut metrics = Metrics::default();
    let root = parse(&format!(r#"{{"hold": "body", "rules": [{X}]}}"#), &report).unwrap();
    let env = |_: &str| Some(SECRET.to_owned());
    let mut cx = Compile::new(&env, &mut metrics);
    cx.alone = true;
    let policy = compile(root.value(&report).section().unwrap(), &mut cx).unwrap();
    let b = Bench {
        policy,
        metrics,
        world: TestWorld::at(NOW),
    };
    let open = b.open(b"a");
    assert_eq!(status(&open.step), 0);
    assert!(open.exchange.headers_released);
    let verdict = open.exchange.request.sole("x-webhook-verified");
    assert_eq!(verdict, Ok(Some(&b"pending"[..])));
    // Nothing that is held: no signature, or no body.
    let (seen, exchange) = b.send_to("/h", &[], Some(b"a"));
    assert_eq!(seen, refused(401, "missing", false));
    assert!(!exchange.headers_released);
}
