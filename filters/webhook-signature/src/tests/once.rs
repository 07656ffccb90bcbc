//! `replay.scope: global`: several proxies and a model of the fleet's service.

use super::*;
use tollgate_core::world::{Call, CallAnswer};
use tollgate_state::fleet::testing::FakeService;

const FLEET: &str = r#""fleet": {"cluster": "ratelimit", "key": {"env": "FLEET_KEY"}}, "#;

fn rule(more: &str) -> String {
    format!(
        r#"{{"name": "g", "scheme": "x-signature", "secrets": [{{"env": "SECRET"}}], "replay": {{"window": "10m", "scope": "global"{more}}}}}"#
    )
}

fn proxy(more: &str) -> Bench {
    let config = format!(r#"{{{FLEET}"rules": [{}]}}"#, rule(more));
    load(&config).unwrap_or_else(|errors| panic!("{errors:?}"))
}

impl Bench {
    fn begin(&self, body: &[u8]) -> Open {
        self.begin_with(x_signature(body), body)
    }

    fn begin_with(&self, signature: Vec<(String, Vec<u8>)>, body: &[u8]) -> Open {
        self.open_at("/hook", signature, body)
    }

    /// Answers what the exchange is held for, until it is not.
    fn serve(&self, service: &mut FakeService, open: &mut Open) {
        for call in self.world.take_calls() {
            let Call::Grpc { message, .. } = call else {
                panic!("{call:?}")
            };
            let now = self.world.now().0;
            let message = service.answer(&message, now);
            let answer = CallAnswer::Grpc { status: 0, message };
            let (policy, world) = (&self.policy, &self.world);
            open.step = open
                .drive
                .call_answer(policy, &mut open.exchange, world, &answer, &[][..]);
            self.serve(service, open);
        }
    }

    fn finish(&self, service: &mut FakeService, mut open: Open, status: u16) {
        open.exchange.status = Some(status);
        open.drive
            .response_headers(&self.policy, &mut open.exchange, &self.world, true);
        open.drive
            .log(&self.policy, &mut open.exchange, &self.world);
        for (_, call) in self.world.take_background() {
            let Call::Grpc { message, .. } = call else {
                panic!("{call:?}")
            };
            service.answer(&message, self.world.now().0);
        }
    }
}

fn status(open: &Open) -> u16 {
    match &open.step {
        Step::Forward => 0,
        Step::Hold => 1,
        Step::Reply(reply) => reply.status,
    }
}

#[test]
fn over_three_proxies_each_delivery_is_let_through_once() {
    let mut service = FakeService::default();
    let proxies: Vec<_> = (0..3).map(|_| proxy("")).collect();
    let mut firsts = 0;
    for id in 0..50_u64 {
        let body = id.to_le_bytes();
        for copy in 0..8_usize {
            let proxy = &proxies[copy % 3];
            let mut open = proxy.begin(&body);
            proxy.serve(&mut service, &mut open);
            match status(&open) {
                0 => firsts += 1,
                409 => {}
                other => panic!("{other}"),
            }
        }
    }
    assert_eq!(firsts, 50);
}

/// Answers of (a first delivery, a copy of it elsewhere just before its time is over, the sender's next attempt), and the
/// questions that the first one took.
fn copies(scheme: &str, secret: &[u8], start: UnixNanos) -> ([u16; 3], u64) {
    let mut service = FakeService::default();
    let rule = rule("").replace("x-signature", scheme);
    let config = format!(r#"{{{FLEET}"rules": [{rule}]}}"#);
    let [one, other] =
        [(); 2].map(|()| load(&config).unwrap_or_else(|errors| panic!("{errors:?}")));
    let preset = preset(scheme).unwrap();
    let signature = |at| signed(&preset, secret, b"body", at);
    one.world.set_now(start);
    let mut open = one.begin_with(signature(start), b"body");
    one.serve(&mut service, &mut open);
    let first = status(&open);
    let asks = service.asks;
    one.finish(&mut service, open, 200);
    let later = UnixNanos(start.0.saturating_add(299_000_000_000));
    let mut at_other = |signed_at| {
        other.world.set_now(later);
        let mut open = other.begin_with(signature(signed_at), b"body");
        other.serve(&mut service, &mut open);
        status(&open)
    };
    ([first, at_other(start), at_other(later)], asks)
}

#[test]
fn a_signed_time_names_the_window_and_takes_one_question() {
    // Three minutes before a border of the service's days, weeks and years, and somewhere else.
    for start in [
        "2026-11-21T23:57:00Z",
        "2026-11-25T23:57:00Z",
        "2026-12-17T23:57:00Z",
        "2026-11-21T12:31:07Z",
    ] {
        let start = UnixNanos::parse(start).unwrap();
        // Attempts are told by what was signed, time included: a copy is stopped, the sender's next attempt is another one.
        assert_eq!(
            copies("stripe", SECRET.as_bytes(), start),
            ([0, 200, 0], 1),
            "{start:?}"
        );
    }
}

#[test]
fn a_signed_id_is_remembered_whatever_time_an_attempt_is_signed_with() {
    let secret = crate::encoding::Encoding::Base64
        .decode_up_to(SECRET.as_bytes(), 64)
        .unwrap();
    // The time of each attempt is another one, so it cannot say which window to look at.
    let start = UnixNanos::parse("2026-11-21T23:57:00Z").unwrap();
    assert_eq!(
        copies("standard-webhooks", &secret, start),
        ([0, 200, 200], 2)
    );
}

#[test]
fn what_one_proxy_delivered_the_others_know_and_what_failed_may_come_again() {
    let mut service = FakeService::default();
    let (one, other) = (proxy(""), proxy(""));
    let mut open = one.begin(b"a");
    one.serve(&mut service, &mut open);
    assert_eq!(status(&open), 0);
    one.finish(&mut service, open, 503);
    let mut again = other.begin(b"a");
    other.serve(&mut service, &mut again);
    assert_eq!(status(&again), 0);
    let mut early = one.begin(b"a");
    one.serve(&mut service, &mut early);
    assert_eq!(status(&early), 409);
    other.finish(&mut service, again, 204);
    for _ in 0..2 {
        let mut late = one.begin(b"a");
        one.serve(&mut service, &mut late);
        assert_eq!(status(&late), 200);
    }
    // The second time this proxy knew by itself.
    let asks = service.asks;
    one.serve(&mut service, &mut one.begin(b"a"));
    assert_eq!(service.asks, asks);
}

#[test]
fn without_an_answer_the_rule_does_as_configured() {
    let fail = |proxy: &Bench| {
        let mut open = proxy.begin(b"a");
        proxy.world.take_calls();
        let answer = CallAnswer::Grpc {
            status: 14,
            message: Vec::new(),
        };
        open.step = open.drive.call_answer(
            &proxy.policy,
            &mut open.exchange,
            &proxy.world,
            &answer,
            &[][..],
        );
        open
    };
    let deny = proxy("");
    let open = fail(&deny);
    let Step::Reply(reply) = &open.step else {
        panic!("{:?}", open.step)
    };
    assert_eq!(
        (reply.status, &*reply.details),
        (503, "tollgate_webhook_replay_unavailable")
    );
    assert_eq!(deny.reasons("g", "fleet_unavailable"), 1);
    // The claim here was released: the next attempt is asked for anew.
    assert_eq!(status(&deny.begin(b"a")), 1);
    let allow = proxy(r#", "failure_mode": "allow""#);
    assert_eq!(status(&fail(&allow)), 0);
    assert_eq!(status(&allow.begin(b"a")), 409);
}

#[test]
fn global_needs_a_fleet() {
    let config = format!(r#"{{"rules": [{}]}}"#, rule(""));
    let errors = load(&config).err().unwrap_or_default();
    assert_eq!(
        errors,
        [
            "rules[0].replay.scope: needs the section fleet, which names the rate limit service's cluster"
        ]
    );
    let local = format!(
        r#"{{{FLEET}"rules": [{}]}}"#,
        rule(r#", "failure_mode": "deny""#)
    )
    .replace("global", "local");
    let errors = load(&local).err().unwrap_or_default();
    assert_eq!(
        errors,
        ["rules[0].replay.failure_mode: has a meaning only with scope: global"]
    );
}
