use super::*;

#[test]
fn an_error_costs_nothing_unless_the_rule_says_so() {
    let b = bench(&[CHAT, BUDGETS].concat());
    for (path, status) in [("/api/x", "503"), ("/api/x", "404"), ("/v1/chat/x", "500")] {
        let mut run = b.start(path, "ann");
        assert_eq!(
            run.response(status, &[("content-type", "application/json")], false),
            ResponseStep::Forward
        );
        assert_eq!(run.shown("x-request-cost").as_deref(), Some("0"));
        assert_eq!(run.shown("x-budget-remaining").as_deref(), Some("1"));
        assert_eq!(run.end()["tollgate.cost"], "0");
    }
    assert_eq!(b.reason("free_status"), 3);

    let b = bench(r#""prices": [{"base": "0.30", "free_status": ["5xx", 404, "409"]}]"#);
    for (status, cost) in [
        ("400", "0.3"),
        ("404", "0"),
        ("409", "0"),
        ("599", "0"),
        ("200", "0.3"),
    ] {
        let mut run = b.start("/", "ann");
        run.response(status, &[], true);
        assert_eq!(
            run.shown("x-request-cost").as_deref(),
            Some(cost),
            "{status}"
        );
    }
    let b = bench(r#""prices": [{"base": "0.30", "free_status": []}]"#);
    let mut run = b.start("/", "ann");
    assert_eq!(run.drive.reads_response(&b.cost), ResponseRead::Nothing);
    run.response("500", &[], true);
    assert_eq!(run.shown("x-request-cost").as_deref(), Some("0.3"));
}

#[test]
fn an_answer_without_usage_is_not_free() {
    let with = |more: &str| {
        bench(&format!(
            r#""prices": [{{"base": "0.002", "per_token": {{"output": "0.001"}}, "estimate": {{"output": 10}}{more}}}]"#
        ))
    };
    for (more, cost) in [
        ("", "0.012"),
        (r#", "on_missing_usage": "estimate""#, "0.012"),
        (r#", "on_missing_usage": "base""#, "0.002"),
        (
            r#", "on_missing_usage": "max", "max_usage": {"output": 4000}"#,
            "4.002",
        ),
    ] {
        let b = with(more);
        let mut run = b.start("/", "ann");
        run.held(r#"{"ok": true}"#);
        assert_eq!(run.shown("x-request-cost").as_deref(), Some(cost));
        // Not JSON, compressed, no body, not what it says it is.
        let mut run = b.start("/", "ann");
        assert_eq!(
            run.response("200", &[("content-type", "text/html")], false),
            ResponseStep::Forward
        );
        assert_eq!(run.shown("x-request-cost").as_deref(), Some(cost));
        let mut run = b.start("/", "ann");
        let gzip = [
            ("content-type", "application/json"),
            ("content-encoding", "gzip"),
        ];
        assert_eq!(run.response("200", &gzip, false), ResponseStep::Forward);
        assert_eq!(run.shown("x-request-cost").as_deref(), Some(cost));
        let mut run = b.start("/", "ann");
        run.response("204", &[], true);
        assert_eq!(run.shown("x-request-cost").as_deref(), Some(cost));
        let mut run = b.start("/", "ann");
        assert_eq!(run.json(None), ResponseStep::Hold);
        assert_eq!(run.body(b"<html>", false), ResponseStep::Forward);
        assert_eq!(run.shown("x-request-cost").as_deref(), Some(cost));
        assert_eq!(b.reason("usage_missing"), 5);
        // The client went away.
        assert_eq!(b.start("/", "ann").end()["tollgate.cost"], cost);
        assert_eq!(b.reason("no_answer"), 1);
    }
}

#[test]
fn a_reply_of_another_policy_releases_what_was_reserved() {
    let b = bench(&[CHAT, BUDGETS].concat());
    let mut run = b.start("/v1/chat/x", "ann");
    run.exchange.replied = Some("tollgate_other".to_owned());
    run.response("429", &[], true);
    assert_eq!(run.shown("x-request-cost"), None);
    assert_eq!(run.end()["tollgate.cost"], "0");
    assert_eq!(b.reason("replied"), 1);
    let mut run = b.start("/api/x", "ann");
    run.response("200", &[], true);
    assert_eq!(run.shown("x-budget-remaining").as_deref(), Some("0.7"));
}
