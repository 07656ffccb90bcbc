//! Limits of the whole fleet in mode `ticket`: several proxies and a model of the service.

use super::*;
use tollgate_core::World;
use tollgate_core::testing::TestReply;
use tollgate_core::world::{Call, CallId, Outcome};
use tollgate_state::fleet::testing::FakeService;

fn config(limit: &str, fleet: &str) -> String {
    with_bucket(limit, fleet, 100, "1m")
}

fn with_bucket(limit: &str, fleet: &str, max: u64, interval: &str) -> String {
    format!(
        r#"{{"fleet": {{"cluster": "ratelimit", "key": {{"env": "FLEET_KEY"}}{fleet}}}, "limits": [
            {{"name": "api", "scope": "global", "key": [{{"header": "x-tenant"}}]{limit}, "rules": [
                {{"buckets": [{{"max_tokens": {max}, "tokens_per_fill": {max}, "fill_interval": "{interval}"}}]}}]}}]}}"#
    )
}

type Under = (Exchange, Drive<RateLimit>, Step);

impl Proxy<RateLimit> {
    fn begin(&self, tenant: &str) -> Under {
        let mut exchange = self.exchange("/", &[("x-tenant", tenant)]);
        let mut drive = Drive::default();
        let step = drive.request_headers(&self.policy, &mut exchange, &self.world);
        (exchange, drive, step)
    }

    fn wake(&self, under: &mut Under) {
        if under.1.waits_for_wake() {
            under.2 = under
                .1
                .wake(&self.policy, &mut under.0, &self.world, &[][..]);
        }
    }

    fn end(&self, mut under: Under) -> Seen {
        under
            .1
            .response_headers(&self.policy, &mut under.0, &self.world, true);
        let seen = match &under.2 {
            Step::Reply(reply) => Seen::reply(reply),
            Step::Forward => Seen::answer(&mut under.0),
            Step::Hold => panic!("held"),
        };
        under.1.log(&self.policy, &mut under.0, &self.world);
        seen
    }

    /// The service answers what was asked.
    fn serve(&self, service: &mut FakeService) -> usize {
        let calls = self.world.take_background();
        for (id, call) in &calls {
            let Call::Grpc { message, .. } = call else {
                panic!("{call:?}")
            };
            let body = service.answer(message, self.world.now().0);
            self.answer(*id, TestReply::new(Outcome::Grpc(0), body));
        }
        calls.len()
    }

    fn answer(&self, id: CallId, reply: TestReply) {
        self.policy.on_background_reply(&self.world, id, &reply);
    }

    fn fail(&self, status: u32) {
        for (id, _) in self.world.take_background() {
            self.answer(id, TestReply::new(Outcome::Grpc(status), b""));
        }
    }

    fn ask(&self, service: &mut FakeService, tenant: &str) -> Seen {
        let mut under = self.begin(tenant);
        for _ in 0..5 {
            self.serve(service);
            self.wake(&mut under);
        }
        self.end(under)
    }

    fn ask_in_vain(&self, status: u32) -> Seen {
        let mut under = self.begin("a");
        self.fail(status);
        self.wake(&mut under);
        self.end(under)
    }

    fn requests(&self, reason: &str) -> u64 {
        let labels = [("policy", "rate_limit"), ("reason", reason)];
        let stat = stat_name("tollgate_fleet_requests_total", &labels);
        self.world.metric(&self.metrics, &stat)
    }
}

#[test]
fn three_proxies_admit_the_limit_and_not_one_more() {
    let mut service = FakeService::default();
    let proxies: Vec<_> = (0..3).map(|_| Proxy::new(&config("", ""))).collect();
    let mut admitted = 0;
    for i in 0..300_usize {
        let proxy = &proxies[i % 3];
        proxy.advance("20ms");
        admitted += u32::from(proxy.ask(&mut service, "a").status == 200);
    }
    assert_eq!(admitted, 100);
    let limited: u64 = proxies.iter().map(|p| p.decisions("api", "limited")).sum();
    assert_eq!(limited, 200);
    // Each knows, and nobody asks.
    let asks = service.asks;
    for proxy in &proxies {
        let seen = proxy.ask(&mut service, "a");
        assert_eq!(
            (seen.status, seen.number("x-ratelimit-remaining")),
            (429, 0)
        );
        assert_eq!(seen.number("retry-after"), seen.number("x-ratelimit-reset"));
    }
    assert_eq!(service.asks, asks);
    // Another tenant has another counter.
    assert_eq!(proxies[0].ask(&mut service, "b").status, 200);
}

#[test]
fn headers_show_the_fleet_where_it_is_closer_than_the_own_bucket() {
    let mut service = FakeService::default();
    let (one, other) = (Proxy::new(&config("", "")), Proxy::new(&config("", "")));
    for i in 1..=60 {
        let seen = one.ask(&mut service, "a");
        assert_eq!(seen.number("x-ratelimit-remaining"), 100 - i, "{i}");
    }
    let seen = other.ask(&mut service, "a");
    assert!(seen.number("x-ratelimit-remaining") <= 39);
    assert_eq!(seen.number("x-ratelimit-limit"), 100);
}

#[test]
fn the_own_bucket_refuses_without_a_question() {
    let mut service = FakeService::default();
    // At once 5, in a minute 60.
    let json = config("", "").replace(
        r#""max_tokens": 100, "tokens_per_fill": 100"#,
        r#""max_tokens": 5, "tokens_per_fill": 60"#,
    );
    let proxy = Proxy::new(&json);
    for _ in 0..5 {
        assert_eq!(proxy.ask(&mut service, "a").status, 200);
    }
    let asks = service.asks;
    let seen = proxy.ask(&mut service, "a");
    assert_eq!((seen.status, seen.number("retry-after")), (429, 1));
    assert_eq!(service.asks, asks);
    proxy.advance("1s");
    assert_eq!(proxy.ask(&mut service, "a").status, 200);
}

#[test]
fn without_an_answer_the_limit_does_as_configured() {
    for status in [14, 2] {
        let deny = Proxy::new(&config(r#", "failure_mode": "deny""#, ""));
        let seen = deny.ask_in_vain(status);
        assert_eq!((seen.status, seen.number("retry-after")), (503, 1));
        assert_eq!(
            seen.details.as_deref(),
            Some("tollgate_rate_limit_service_unavailable")
        );
        assert_eq!(deny.decisions("api", "service_failed"), 1);

        let allow = Proxy::new(&config(r#", "failure_mode": "allow""#, ""));
        for _ in 0..100 {
            assert_eq!(allow.ask_in_vain(status).status, 200);
        }
        // ... but never more than one proxy alone would admit.
        assert_eq!(allow.ask_in_vain(status).status, 429);

        let local = Proxy::new(&config("", r#", "expected_proxies": 4"#));
        let admitted = (0..100).filter(|_| local.ask_in_vain(status).status == 200);
        assert_eq!(admitted.count(), 25);
    }
}

#[test]
fn a_service_that_hangs_holds_nobody_longer_than_the_timeout() {
    let proxy = Proxy::new(&config("", r#", "timeout": "50ms", "expected_proxies": 2"#));
    let mut under = proxy.begin("a");
    assert_eq!(under.2, Step::Hold);
    proxy.advance("40ms");
    proxy.wake(&mut under);
    assert_eq!(under.2, Step::Hold);
    proxy.advance("10ms");
    proxy.wake(&mut under);
    assert_eq!(proxy.end(under).status, 200);
    assert_eq!(proxy.requests("timeout"), 1);
}

#[test]
fn a_client_that_leaves_while_it_waits_takes_nothing() {
    let mut service = FakeService::default();
    let proxy = Proxy::new(&with_bucket("", "", 2, "1m"));
    for _ in 0..5 {
        let mut under = proxy.begin("a");
        assert_eq!(under.2, Step::Hold);
        under.1.log(&proxy.policy, &mut under.0, &proxy.world);
    }
    assert_eq!(proxy.ask(&mut service, "a").status, 200);
    assert_eq!(proxy.ask(&mut service, "a").status, 200);
    assert_eq!(proxy.ask(&mut service, "a").status, 429);
}

#[test]
fn what_a_later_limit_refuses_goes_back_into_the_lease() {
    let mut service = FakeService::default();
    let json = config("", "").replace(
        r#"{"name": "api""#,
        r#"{"name": "first", "scope": "global", "key": [{"header": "x-tenant"}], "rules": [
            {"buckets": [{"max_tokens": 900, "tokens_per_fill": 900, "fill_interval": "1h"}]}]}, {"name": "api""#,
    );
    let json = json.replace(
        r#""scope": "global", "key": [{"header": "x-tenant"}], "rules": [
                {"buckets": [{"max_tokens": 100, "tokens_per_fill": 100, "fill_interval": "1m"}]}"#,
        r#""key": [{"header": "x-tenant"}], "rules": [
                {"buckets": [{"max_tokens": 1, "tokens_per_fill": 1, "fill_interval": "1h"}]}"#,
    );
    let proxy = Proxy::new(&json);
    assert_eq!(proxy.ask(&mut service, "a").status, 200);
    for _ in 0..50 {
        assert_eq!(proxy.ask(&mut service, "a").status, 429);
    }
    // 51 requests wanted a hit; one kept it.
    assert!(service.hits < 25, "{}", service.hits);
}

#[test]
fn several_wait_for_one_answer() {
    let mut service = FakeService::default();
    let proxy = Proxy::new(&config("", ""));
    let mut all: Vec<_> = (0..40).map(|_| proxy.begin("a")).collect();
    for _ in 0..3 {
        proxy.serve(&mut service);
        for under in &mut all {
            proxy.wake(under);
        }
    }
    assert!(service.asks <= 3, "{}", service.asks);
    let admitted = all
        .into_iter()
        .filter(|_| true)
        .map(|u| proxy.end(u).status);
    assert_eq!(admitted.filter(|s| *s == 200).count(), 40);
    assert_eq!(proxy.requests("waited"), 40);
}

#[test]
fn shadow_refuses_nothing() {
    let mut service = FakeService::default();
    let proxy = Proxy::new(&with_bucket(
        r#", "mode": "shadow", "failure_mode": "deny""#,
        "",
        1,
        "1m",
    ));
    for _ in 0..3 {
        assert_eq!(proxy.ask(&mut service, "a").status, 200);
    }
    assert_eq!(proxy.decisions("api", "shadow_limited"), 2);
    let other = Proxy::new(&with_bucket(
        r#", "mode": "shadow", "failure_mode": "deny""#,
        "",
        1,
        "1m",
    ));
    assert_eq!(other.ask_in_vain(14).status, 200);
}

#[test]
fn intervals_that_the_service_cannot_count_name_their_neighbours() {
    let of = |max, interval| errors(&with_bucket("", "", max, interval));
    for interval in ["1s", "10s", "1m", "90s", "5m", "1h", "1d", "7d", "30d"] {
        assert_eq!(of(10, interval), [""; 0], "{interval}");
    }
    assert_eq!(
        of(10, "7s"),
        [
            "limits[0].rules: a bucket of 10 tokens and 10 per 7s is full after 7s, which is no window that the rate limit \
          service can count; the nearest are 6s and 10s"
        ]
    );
    assert_eq!(
        of(10, "500ms"),
        [
            "limits[0].rules: a bucket of 10 tokens and 10 per 500ms is full after 500ms, which is no window that the rate \
          limit service can count; the nearest are 1s"
        ]
    );
    let burst = config("", "").replace(
        r#""max_tokens": 100, "tokens_per_fill": 100"#,
        r#""max_tokens": 100, "tokens_per_fill": 10"#,
    );
    assert_eq!(errors(&burst), [""; 0]);
}

#[test]
fn smooth_is_for_tickets_only() {
    assert_eq!(errors(&config(r#", "smooth": 5"#, "")), [""; 0]);
    let classic = errors(&config(
        r#", "smooth": 5, "descriptor": "api""#,
        r#", "mode": "classic""#,
    ));
    assert_eq!(
        classic,
        ["limits[0].smooth: has a meaning only with scope: global and fleet.mode: ticket"]
    );
}

#[test]
fn rules_may_have_buckets_of_their_own() {
    let rules = r#"{"match": {"path": {"prefix": "/few"}}, "buckets": [{"max_tokens": 2, "tokens_per_fill": 2, "fill_interval": "1m"}]},
                {"buckets""#;
    let proxy = Proxy::new(&config("", "").replacen(r#"{"buckets""#, rules, 1));
    let mut service = FakeService::default();
    let few = |service: &mut FakeService| {
        let mut exchange = proxy.exchange("/few", &[("x-tenant", "a")]);
        let mut drive = Drive::default();
        let step = drive.request_headers(&proxy.policy, &mut exchange, &proxy.world);
        let mut under = (exchange, drive, step);
        for _ in 0..3 {
            proxy.serve(service);
            proxy.wake(&mut under);
        }
        proxy.end(under).status
    };
    assert_eq!(
        [few(&mut service), few(&mut service), few(&mut service)],
        [200, 200, 429]
    );
    assert_eq!(proxy.ask(&mut service, "a").status, 200);
}
