use super::*;

#[test]
fn a_held_answer_tells_its_exact_cost() {
    let b = bench(&[CHAT, BUDGETS].concat());
    let mut run = b.start("/v1/chat/completions", "ann");
    assert_eq!(
        run.exchange.request.first("accept-encoding"),
        Some(&b"identity"[..])
    );
    run.held(&usage(19, 10));
    // 0.002 + 19 x 0.00001 + 10 x 0.00002
    assert_eq!(run.shown("x-request-cost").as_deref(), Some("0.00239"));
    assert_eq!(run.shown("x-request-cost-estimate"), None);
    assert_eq!(run.shown("x-budget-remaining").as_deref(), Some("0.99761"));
    let log = run.end();
    assert_eq!(log["tollgate.cost"], "0.00239");
    assert_eq!(log["tollgate.price"], "chat");
    assert_eq!(log["tollgate.tokens"], "19,10");
    assert_eq!(b.reason("usage"), 1);
    assert_eq!(
        b.count("tollgate_cost_pico_total", &[("price", "chat")]),
        2_390_000_000
    );
    assert_eq!(
        b.count(
            "tollgate_tokens_total",
            &[("price", "chat"), ("kind", "output")]
        ),
        10
    );
    assert_eq!(
        b.count("tollgate_priced_requests_total", &[("price", "chat")]),
        1
    );
}

#[test]
fn a_request_without_a_price_is_left_alone() {
    let b = bench(&[CHAT, BUDGETS].concat());
    let mut run = b.start("/other", "ann");
    assert_eq!(
        run.exchange.request.first("accept-encoding"),
        Some(&b"gzip"[..])
    );
    assert_eq!(run.drive.reads_response(&b.cost), ResponseRead::Nothing);
    assert_eq!(run.json(None), ResponseStep::Forward);
    assert_eq!(run.shown("x-request-cost"), None);
    assert!(run.end().is_empty());
    assert_eq!(b.reason("unpriced"), 1);
    assert_eq!(b.world.keys(), 0);
}

#[test]
fn a_stream_is_never_held_and_is_settled_by_its_last_event() {
    let b = bench(&[CHAT, BUDGETS].concat());
    let mut run = b.start("/v1/chat/completions", "ann");
    let step = run.response("200", &[("content-type", "text/event-stream")], false);
    assert_eq!(step, ResponseStep::Observe);
    // 0.002 + 1000 x 0.00001 + 500 x 0.00002, reserved
    assert_eq!(
        run.shown("x-request-cost-estimate").as_deref(),
        Some("0.022")
    );
    assert_eq!(run.shown("x-request-cost"), None);
    assert_eq!(run.shown("x-budget-remaining").as_deref(), Some("0.978"));
    let last = format!("data: {}\n\ndata: [DONE]\n\n", usage(100, 50));
    assert_eq!(
        run.body(b"data: {\"choices\":[], \"usage\":null}\n\n", false),
        ResponseStep::Observe
    );
    assert_eq!(run.body(last.as_bytes(), false), ResponseStep::Observe);
    assert_eq!(run.body(b"", true), ResponseStep::Forward);
    assert_eq!(run.end()["tollgate.cost"], "0.004");
    let mut next = b.start("/v1/chat/completions", "ann");
    next.held(&usage(0, 0));
    assert_eq!(next.shown("x-budget-remaining").as_deref(), Some("0.994"));
}

#[test]
fn a_stream_that_breaks_off_is_settled_by_what_it_reported() {
    let b = bench(&[CHAT, BUDGETS].concat());
    let mut run = b.start("/v1/chat/completions", "ann");
    run.response("200", &[("content-type", "text/event-stream")], false);
    run.body(format!("data: {}\n\n", usage(100, 50)).as_bytes(), false);
    assert_eq!(run.end()["tollgate.cost"], "0.004");
    assert_eq!(b.reason("usage"), 1);
    let mut run = b.start("/v1/chat/completions", "ann");
    run.response("200", &[("content-type", "text/event-stream")], false);
    assert_eq!(run.end()["tollgate.cost"], "0.022");
    assert_eq!(b.reason("no_answer"), 1);
}

#[test]
fn a_long_answer_is_let_go_with_an_estimate() {
    let b = bench(CHAT);
    let mut run = b.start("/v1/chat/completions", "ann");
    assert_eq!(run.json(Some(262_145)), ResponseStep::Observe);
    assert_eq!(
        run.shown("x-request-cost-estimate").as_deref(),
        Some("0.022")
    );
    let mut run = b.start("/v1/chat/completions", "ann");
    assert_eq!(run.json(Some(262_144)), ResponseStep::Hold);

    // No content-length: held until it turns out to be long.
    let body = format!(
        r#"{{"pad":"{}",{}"#,
        "x".repeat(300_000),
        usage(19, 10).trim_start_matches('{')
    );
    let mut run = b.start("/v1/chat/completions", "ann");
    assert_eq!(run.json(None), ResponseStep::Hold);
    assert_eq!(
        run.body(&body.as_bytes()[..200_000], false),
        ResponseStep::Hold
    );
    assert_eq!(
        run.body(&body.as_bytes()[..290_000], false),
        ResponseStep::Observe
    );
    assert_eq!(
        run.shown("x-request-cost-estimate").as_deref(),
        Some("0.022")
    );
    assert_eq!(
        run.body(&body.as_bytes()[290_000..], true),
        ResponseStep::Forward
    );
    assert_eq!(run.shown("x-request-cost"), None);
    assert_eq!(run.end()["tollgate.cost"], "0.00239");
}

#[test]
fn where_the_proxy_cannot_hold_the_estimate_is_shown() {
    let b = bench(CHAT);
    let mut run = b.start("/v1/chat/completions", "ann");
    run.exchange.can_hold_response = false;
    assert_eq!(run.json(Some(100)), ResponseStep::Observe);
    assert_eq!(
        run.shown("x-request-cost-estimate").as_deref(),
        Some("0.022")
    );

    let mut run = b.start("/v1/chat/completions", "ann");
    assert_eq!(run.json(Some(100)), ResponseStep::Hold);
    run.drive
        .release_response(&b.cost, &mut run.exchange, &b.world);
    assert_eq!(
        run.shown("x-request-cost-estimate").as_deref(),
        Some("0.022")
    );
    assert_eq!(
        run.body(usage(19, 10).as_bytes(), true),
        ResponseStep::Forward
    );
    assert_eq!(run.shown("x-request-cost"), None);
    assert_eq!(run.end()["tollgate.cost"], "0.00239");
}

#[test]
fn a_flat_price_is_shown_at_once_and_takes_one_trip() {
    let b = bench(&[CHAT, BUDGETS].concat());
    let mut run = b.start("/api/x", "ann");
    assert_eq!(
        run.exchange.request.first("accept-encoding"),
        Some(&b"gzip"[..])
    );
    // Any further write would fail and be seen in the fault counter.
    b.world.conflicts.set(u32::MAX);
    assert_eq!(run.json(Some(5)), ResponseStep::Forward);
    assert_eq!(run.shown("x-request-cost").as_deref(), Some("0.3"));
    assert_eq!(run.shown("x-budget-remaining").as_deref(), Some("0.7"));
    assert_eq!(run.end()["tollgate.cost"], "0.3");
    assert_eq!(b.reason("flat"), 1);
    assert_eq!(
        b.count(
            "tollgate_budget_faults_total",
            &[("reason", "settle_deferred")]
        ),
        0
    );
}

#[test]
fn headers_can_be_renamed_and_left_out() {
    let b = bench(
        &[
            CHAT,
            r#", "headers": {"cost": "X-Price", "remaining": false}"#,
            BUDGETS,
        ]
        .concat(),
    );
    let mut run = b.start("/api/x", "ann");
    run.response("200", &[], true);
    assert_eq!(run.shown("x-price").as_deref(), Some("0.3"));
    assert_eq!(run.shown("x-budget-remaining"), None);
    // Nobody is told the exact cost: nothing to hold an answer for.
    let b = bench(&[CHAT, r#", "headers": {"cost": false}"#].concat());
    assert_eq!(
        b.start("/v1/chat/x", "ann").json(Some(10)),
        ResponseStep::Observe
    );
    let b = bench(&[CHAT, r#", "hold_response_bytes": 0"#].concat());
    assert_eq!(
        b.start("/v1/chat/x", "ann").json(Some(10)),
        ResponseStep::Observe
    );
}

#[test]
fn a_cost_header_of_the_upstream_is_not_passed_off_as_ours() {
    let b = bench(CHAT);
    let mut run = b.start("/v1/chat/x", "ann");
    run.response(
        "200",
        &[
            ("content-type", "text/event-stream"),
            ("x-request-cost", "0"),
        ],
        false,
    );
    assert_eq!(run.shown("x-request-cost"), None);
}

#[test]
fn odd_bytes_in_headers_are_no_matter() {
    let b = bench(&[CHAT, BUDGETS].concat());
    let headers = Headers::from_pairs([
        (":path", &b"/v1/chat/\xff?\xff"[..]),
        ("accept-encoding", b"\xff"),
        ("accept-encoding", b"gzip"),
    ]);
    let mut exchange = Exchange::new(headers, true);
    let mut drive = Drive::<Cost>::default();
    drive.request_headers(&b.cost, &mut exchange, &b.world);
    let all: Vec<&[u8]> = exchange.request.get_all("accept-encoding").collect();
    assert_eq!(all, [b"identity"]);
    exchange.response = Headers::from_pairs([
        (":status", &b"\xff"[..]),
        ("content-type", b"\xff"),
        ("content-length", b"\xff"),
    ]);
    drive.response_headers(&b.cost, &mut exchange, &b.world, false);
    assert_eq!(
        exchange.response.first("x-request-cost"),
        Some(&b"0.022"[..])
    );
}
