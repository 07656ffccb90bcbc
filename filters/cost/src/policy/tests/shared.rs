//! Budgets with `scope: global`: several proxies and a model of the fleet's service.

use super::*;
use tollgate_core::testing::TestReply;
use tollgate_core::world::{Call, Outcome};
use tollgate_state::fleet::testing::FakeService;

const FLEET: &str = r#""fleet": {"cluster": "ratelimit", "key": {"env": "FLEET_KEY"}}, "#;

fn proxy(more: &str) -> Bench {
    bench(&format!(
        r#"{FLEET}"prices": [{{"name": "api", "match": {{"path": {{"prefix": "/api/"}}}}, "base": "0.01"}},
            {{"name": "chat", "match": {{"path": {{"prefix": "/v1/chat"}}}}, "per_token": {{"input": "0.001", "output": "0.001"}}, "estimate": {{"input": 100, "output": 0}}}}],
          "budgets": [{{"name": "dev", "groups": ["dev"], "daily": "1.00", "scope": "global"{more}}}]"#
    ))
}

impl Bench {
    fn serve(&self, service: &mut FakeService) {
        for (id, call) in self.world.take_background() {
            let Call::Grpc { message, .. } = call else {
                panic!("{call:?}")
            };
            let body = service.answer(&message, self.world.now().0);
            let reply = TestReply::new(Outcome::Grpc(0), body);
            self.cost.on_background_reply(&self.world, id, &reply);
        }
    }

    fn call(&self, service: &mut FakeService, path: &str) -> (Run<'_>, Step) {
        let (mut run, mut step) = self.request(path, Some("acme"));
        for _ in 0..4 {
            self.serve(service);
            if step == Step::Hold {
                step = run
                    .drive
                    .wake(&self.cost, &mut run.exchange, &self.world, &[][..]);
            }
        }
        (run, step)
    }

    fn pays(&self, service: &mut FakeService) -> bool {
        self.world.advance(Duration::from_millis(50));
        let (mut run, step) = self.call(service, "/api/x");
        match step {
            Step::Forward => {
                run.response("200", &[], true);
                run.end();
                true
            }
            Step::Reply(reply) => {
                assert_eq!(reply.details, "tollgate_budget_exhausted");
                run.end();
                false
            }
            Step::Hold => panic!("held"),
        }
    }
}

#[test]
fn three_proxies_spend_one_budget_of_one_dollar() {
    let mut service = FakeService::default();
    let proxies: Vec<_> = (0..3).map(|_| proxy("")).collect();
    let passed = (0..240_usize).filter(|i| proxies[i % 3].pays(&mut service));
    assert_eq!(passed.count(), 100);
    let asks = service.asks;
    assert!(!proxies[0].pays(&mut service));
    assert_eq!(service.asks, asks);
}

#[test]
fn what_a_call_did_not_cost_is_spent_by_the_next() {
    let mut service = FakeService::default();
    let proxy = proxy("");
    for _ in 0..50 {
        proxy.world.advance(Duration::from_millis(50));
        let (mut run, step) = proxy.call(&mut service, "/v1/chat");
        assert_eq!(step, Step::Forward);
        // Estimated at 0.10, cost 0.01.
        run.json(None);
        let answer = br#"{"usage":{"prompt_tokens":10,"completion_tokens":0}}"#;
        run.body(answer, true);
        run.end();
    }
    assert!(proxy.pays(&mut service));
}

#[test]
fn without_an_answer_a_budget_does_as_configured() {
    let fail = |bench: &Bench| {
        let (mut run, step) = bench.request("/api/x", Some("acme"));
        assert_eq!(step, Step::Hold);
        for (id, _) in bench.world.take_background() {
            let reply = TestReply::new(Outcome::Grpc(14), b"");
            bench.cost.on_background_reply(&bench.world, id, &reply);
        }
        let step = run
            .drive
            .wake(&bench.cost, &mut run.exchange, &bench.world, &[][..]);
        run.end();
        step
    };
    let deny = proxy("");
    let Step::Reply(reply) = fail(&deny) else {
        panic!("not refused")
    };
    assert_eq!(
        (reply.status, &*reply.details),
        (503, "tollgate_budget_service_unavailable")
    );
    assert_eq!(deny.reason("budget_unavailable"), 1);
    let allow = proxy(r#", "failure_mode": "allow""#);
    assert_eq!(fail(&allow), Step::Forward);
    // It is owed: 99 more, and no other.
    let mut service = FakeService::default();
    let passed = (0..120).filter(|_| allow.pays(&mut service)).count();
    assert_eq!(passed, 99);
    let local = proxy(r#", "failure_mode": "local""#);
    assert_eq!(fail(&local), Step::Forward);
}

#[test]
fn a_client_that_leaves_while_it_waits_pays_nothing() {
    let mut service = FakeService::default();
    let proxy = proxy("");
    for _ in 0..10 {
        let (mut run, step) = proxy.request("/api/x", Some("acme"));
        assert_eq!(step, Step::Hold);
        run.end();
    }
    let passed = (0..120).filter(|_| proxy.pays(&mut service)).count();
    assert_eq!(passed, 100);
}

#[test]
fn a_global_budget_needs_a_fleet() {
    let (_, _, errors) = compile(
        r#"{"prices": [{"match": {"path": {"prefix": "/"}}, "base": "0.01"}],
            "budgets": [{"name": "dev", "daily": "1.00", "scope": "global"}, {"name": "b", "daily": "1.00", "failure_mode": "deny"}]}"#,
    );
    assert!(
        errors
            .iter()
            .any(|e| e.contains("budgets[1].failure_mode: has a meaning only with scope: global")),
        "{errors:?}"
    );
    let (_, _, errors) = compile(
        r#"{"prices": [{"match": {"path": {"prefix": "/"}}, "base": "0.01"}],
            "budgets": [{"name": "dev", "daily": "1.00", "scope": "global"}]}"#,
    );
    assert!(
        errors.iter().any(|e| e.contains("needs the section fleet")),
        "{errors:?}"
    );
}
