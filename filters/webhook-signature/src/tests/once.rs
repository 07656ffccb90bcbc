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

struct Open {
    exchange: Exchange,
    drive: Drive<WebhookSignature>,
    step: Step,
}

impl Bench {
    fn begin(&self, body: &[u8]) -> Open {
        let all = [
            (":method".to_owned(), b"POST".to_vec()),
            (":path".to_owned(), b"/h".to_vec()),
        ];
        let all = all.into_iter().chain(x_signature(body));
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
