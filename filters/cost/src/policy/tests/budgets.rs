use super::*;

#[test]
fn a_budget_that_is_used_up_refuses_with_402() {
    let b = bench(&[CHAT, BUDGETS].concat());
    for _ in 0..3 {
        b.start("/api/x", "ann").response("200", &[], true);
    }
    let reply = b.refused("/api/x", Some("ann"));
    assert_eq!(reply.status, 402);
    assert_eq!(reply.details, "tollgate_budget_exhausted");
    assert_eq!(text(&reply, "retry-after").as_deref(), Some("43200"));
    assert_eq!(text(&reply, "x-budget-remaining").as_deref(), Some("0.1"));
    let json = json_body(&reply);
    assert_eq!(json["type"], "urn:tollgate:problem:budget-exhausted");
    assert_eq!(json["budget"], "dev");
    assert_eq!(json["period"], "daily");
    assert_eq!(json["remaining"], "0.1");
    assert_eq!(json["estimate"], "0.3");
    assert_eq!(json["resets_at"], "2026-11-22T00:00:00Z");
    let labels = [
        ("policy", "cost"),
        ("reason", "budget_exhausted"),
        ("budget", "dev"),
    ];
    assert_eq!(b.count("tollgate_decisions_total", &labels), 1);
    // A cheaper call still fits, another consumer has its own budget, and the next day is a new one.
    b.start("/v1/chat/x", "ann");
    b.start("/api/x", "bob");
    b.world.advance(Duration::from_secs(43_200));
    b.start("/api/x", "ann");
}

#[test]
fn a_refusal_is_in_the_access_log() {
    let b = bench(
        r#""prices": [{"base": "2"}], "budgets": [{"name": "dev", "daily": "1", "status": 429}]"#,
    );
    let (mut run, step) = b.request("/", Some("ann"));
    assert!(matches!(step, Step::Reply(reply) if reply.status == 429));
    // The proxy shows its local reply to the filter, too.
    run.response("429", &[], true);
    let log = run.end();
    assert_eq!(log.get("tollgate.budget").map(String::as_str), Some("dev"));
    assert_eq!(log.get("tollgate.cost"), None);
}

#[test]
fn what_is_reserved_counts_against_the_budget() {
    let b = bench(
        r#""prices": [{"per_token": {"output": "0.001"}, "estimate": {"output": 400}}], "budgets": [{"name": "dev", "daily": "1.00"}]"#,
    );
    let mut first = b.start("/", "ann");
    let mut second = b.start("/", "ann");
    let _ = b.refused("/", Some("ann"));
    first.held(&usage(0, 100));
    assert_eq!(first.shown("x-budget-remaining").as_deref(), Some("0.5"));
    let mut third = b.start("/", "ann");
    let _ = b.refused("/", Some("ann"));
    // Beyond its estimate: the one way to exceed a budget, by what it really cost.
    second.held(&usage(0, 800));
    assert_eq!(second.shown("x-budget-remaining").as_deref(), Some("0"));
    third.end();
    let _ = b.refused("/", Some("ann"));
}

#[test]
fn a_reload_keeps_what_was_spent() {
    let old = bench(&[CHAT, BUDGETS].concat());
    old.start("/api/x", "ann").response("200", &[], true);
    old.start("/api/x", "ann").response("200", &[], true);
    let (cost, metrics, _) = compile(
        r#"{"prices": [{"base": "0.30"}], "budgets": [{"name": "new", "daily": "9"}, {"name": "dev", "daily": "0.80"}]}"#,
    );
    let new = Bench {
        cost: cost.unwrap(),
        world: old.world,
        metrics,
    };
    assert_eq!(
        json_body(&new.refused("/x", Some("ann")))["remaining"],
        "0.2"
    );
}

#[test]
fn budgets_need_somebody_to_charge() {
    let budget = r#", "budgets": [{"name": "dev", "groups": ["dev"], "daily": "1.00"}]"#;
    let b = bench(&[CHAT, budget].concat());
    let reply = b.refused("/api/x", None);
    assert_eq!(
        (reply.status, &*reply.details),
        (403, "tollgate_cost_consumer_missing")
    );
    assert_eq!(b.reason("consumer_missing"), 1);
    // What has no price needs nobody; nor does a price without budgets, or one that is waived.
    assert_eq!(b.request("/other", None).1, Step::Forward);
    assert_eq!(bench(CHAT).request("/api/x", None).1, Step::Forward);
    let b = bench(&[CHAT, BUDGETS].concat());
    assert_eq!(b.request("/api/x", None).1, Step::Forward);
    assert_eq!(b.world.keys(), 0);
}

#[test]
fn a_free_rule_needs_nobody_but_is_not_fooled_by_the_path() {
    let b = bench(
        r#""prices": [{"name": "free", "match": {"path": {"prefix": "/health"}}, "base": "0"}, {"name": "all", "base": "2"}],
           "budgets": [{"name": "dev", "daily": "1.00"}]"#,
    );
    assert_eq!(b.request("/health/x", None).1, Step::Forward);
    assert_eq!(b.refused("/health/../v1/chat", None).status, 403);
    assert_eq!(b.refused("/health/%2e%2e/v1/chat", Some("ann")).status, 402);
}

#[test]
fn the_consumer_of_a_key_auth_filter_loaded_before_is_charged() {
    let b = bench(
        r#""prices": [{"base": "0.60"}], "budgets": [{"name": "dev", "consumers": ["ann"], "daily": "1.00"}]"#,
    );
    b.world
        .set_attribute(Attribute::FilterState("tollgate.consumer"), "ann");
    let run = || {
        let headers = Headers::from_pairs([(":path", "/"), ("x-consumer-id", "bob")]);
        let mut exchange = Exchange::new(headers, true);
        let mut drive = Drive::<Cost>::default();
        let step = drive.request_headers(&b.cost, &mut exchange, &b.world);
        drive.log(&b.cost, &mut exchange, &b.world);
        step
    };
    assert_eq!(run(), Step::Forward);
    assert!(matches!(run(), Step::Reply(_)));
    let cost = b.count("tollgate_consumer_cost_pico_total", &[("consumer", "ann")]);
    assert_eq!(cost, 600_000_000_000);
}

#[test]
fn a_consumer_that_no_budget_names_is_not_limited() {
    let b = bench(
        r#""prices": [{"base": "2"}], "budgets": [{"name": "dev", "consumers": ["ann"], "daily": "1"}]"#,
    );
    let mut run = b.start("/", "bob");
    run.response("200", &[], true);
    assert_eq!(run.shown("x-request-cost").as_deref(), Some("2"));
    assert_eq!(run.shown("x-budget-remaining"), None);
    assert_eq!(b.refused("/", Some("ann")).status, 402);
}

#[test]
fn lost_races_are_tried_again_and_then_refused() {
    let b = bench(r#""prices": [{"base": "0.10"}], "budgets": [{"name": "dev", "daily": "1"}]"#);
    b.world.conflicts.set(31);
    b.start("/", "ann");
    b.world.conflicts.set(32);
    let reply = b.refused("/", Some("ann"));
    assert_eq!(
        (reply.status, &*reply.details),
        (503, "tollgate_budget_contended")
    );
    assert_eq!(text(&reply, "retry-after").as_deref(), Some("1"));
    assert_eq!(b.reason("budget_contended"), 1);
    let mut run = b.start("/", "ann");
    run.response("200", &[], true);
    assert_eq!(run.shown("x-budget-remaining").as_deref(), Some("0.8"));
}

#[test]
fn a_settlement_that_lost_every_race_is_made_up_on_a_tick() {
    let b = bench(&[CHAT, BUDGETS].concat());
    let mut run = b.start("/v1/chat/x", "ann");
    b.world.conflicts.set(40);
    run.held(&usage(19, 10));
    assert_eq!(run.shown("x-request-cost").as_deref(), Some("0.00239"));
    assert_eq!(run.shown("x-budget-remaining").as_deref(), Some("0.978"));
    assert_eq!(
        b.count(
            "tollgate_budget_faults_total",
            &[("reason", "settle_deferred")]
        ),
        1
    );
    b.cost.on_tick(&b.world);
    let mut run = b.start("/api/x", "ann");
    run.response("200", &[], true);
    assert_eq!(run.shown("x-budget-remaining").as_deref(), Some("0.69761"));
    b.cost.on_tick(&b.world);
    let mut run = b.start("/api/x", "ann");
    run.response("200", &[], true);
    assert_eq!(run.shown("x-budget-remaining").as_deref(), Some("0.39761"));
}

#[test]
fn a_record_of_another_version_is_discarded_with_a_warning() {
    let b = bench(&[CHAT, BUDGETS].concat());
    b.world
        .store("budget/ann", b"TGBU\x02\x00 whatever", Expect::Anything)
        .unwrap();
    let mut run = b.start("/api/x", "ann");
    run.response("200", &[], true);
    assert_eq!(run.shown("x-budget-remaining").as_deref(), Some("0.7"));
    assert_eq!(
        b.count(
            "tollgate_budget_faults_total",
            &[("reason", "record_discarded")]
        ),
        1
    );
    let logs = b.world.take_logs();
    assert_eq!(logs.len(), 1);
    assert!(logs[0].1.contains("another version"), "{logs:?}");
}
