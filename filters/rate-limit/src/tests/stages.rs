use super::*;
use crate::{EarlyLimits, Limits};
use std::rc::Rc;
use tollgate_core::{Consumer, Flow, Then, World};

const BOTH: &str = r#"{"limits": [
    {"name": "consumer", "key": ["consumer"], "rules": [{"buckets": [{"max_tokens": 2, "tokens_per_fill": 2, "fill_interval": "1m"}]}]},
    {"name": "address", "key": ["client_address"], "rules": [{"buckets": [{"max_tokens": 5, "tokens_per_fill": 5, "fill_interval": "1m"}]}]}]}"#;

/// Accepts everybody as `acme`, except for `/401`.
struct Auth;

impl Policy for Auth {
    type Stream = ();

    fn on_request_headers(&self, _: &mut (), exchange: &mut Exchange, _: &dyn World) -> Flow {
        if exchange.path() == b"/401" {
            let status = tollgate_core::flow::GrpcStatus::UNAUTHENTICATED;
            return LocalReply::empty(401, "tollgate_key_missing", status).into();
        }
        let consumer = Consumer {
            id: "acme".into(),
            ..Consumer::default()
        };
        exchange.facts.set_consumer(Some(consumer.into()));
        Flow::Continue
    }
}

type Chain = Then<EarlyLimits, Then<Auth, Limits>>;

fn chain(json: &str) -> Proxy<Chain> {
    let single = Proxy::new(json);
    let limits = Rc::new(single.policy);
    Proxy {
        world: single.world,
        policy: Then(EarlyLimits(Rc::clone(&limits)), Then(Auth, Limits(limits))),
        metrics: single.metrics,
    }
}

#[test]
fn both_stages_share_one_set_of_headers() {
    let proxy = chain(BOTH);
    let seen = proxy.get("/");
    assert_eq!(seen.number("x-ratelimit-limit"), 2);
    assert_eq!(seen.number("x-ratelimit-remaining"), 1);
    assert_eq!(
        seen.header("ratelimit"),
        Some(r#""address";r=4;t=12, "consumer";r=1;t=30"#)
    );
    assert_eq!(
        seen.header("ratelimit-policy"),
        Some(r#""address";q=5;w=60, "consumer";q=2;w=60"#)
    );
}

#[test]
fn guessing_keys_is_limited_by_address() {
    let proxy = chain(BOTH);
    for left in (0..5).rev() {
        let seen = proxy.get("/401");
        assert_eq!(seen.status, 401);
        assert_eq!(seen.number("x-ratelimit-remaining"), left);
        assert_eq!(seen.number("x-ratelimit-limit"), 5);
    }
    let refused = proxy.get("/401");
    assert_eq!((refused.status, refused.number("retry-after")), (429, 12));
    // Before key auth, so nobody was looked up and the consumer's limit is not charged.
    assert_eq!(proxy.decisions("consumer", "allowed"), 0);
    assert_eq!(proxy.get("/").status, 429);
}

#[test]
fn the_late_stage_gives_back_what_the_early_one_took() {
    let proxy = chain(BOTH);
    assert_eq!(proxy.admitted(20, "/"), 2);
    let refused = proxy.get("/");
    assert_eq!(
        refused.header("ratelimit"),
        Some(r#""address";r=3;t=12, "consumer";r=0;t=30"#)
    );
    for _ in 0..3 {
        assert_eq!(proxy.get("/401").status, 401);
    }
    assert_eq!(proxy.get("/401").status, 429);
}

#[test]
fn one_place_decides_the_same_as_two() {
    let proxy = Proxy::new(BOTH);
    let seen = proxy.get_as("/", "acme", "");
    assert_eq!(
        seen.header("ratelimit"),
        Some(r#""address";r=4;t=12, "consumer";r=1;t=30"#)
    );
}

#[test]
fn limits_of_one_stage_only_work_in_the_chain() {
    for (json, limit) in [
        (BOTH.replace("client_address", "consumer"), 2),
        (BOTH.replace("\"consumer\"]", "\"client_address\"]"), 2),
    ] {
        let proxy = chain(&json);
        assert_eq!(proxy.get("/").number("x-ratelimit-limit"), limit);
        assert_eq!(proxy.admitted(9, "/"), 1);
    }
}
