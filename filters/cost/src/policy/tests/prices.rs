use super::*;

#[test]
fn what_is_known_at_once_is_what_would_be_found_out() {
    let prices = [
        (true, r#""base": "0.30""#),
        (true, r#""base": "0""#),
        (true, r#""base": "1", "free_status": []"#),
        (
            true,
            r#""per_token": {"input": "0.1"}, "estimate": {"input": 7}"#,
        ),
        (
            true,
            r#""per_unit": [{"header": "n", "price": "0.5"}], "estimate": {"units": 3}"#,
        ),
        (
            true,
            r#""per_kib": {"response": "0.1"}, "estimate": {"response_kib": 3}"#,
        ),
        (false, r#""per_kib": {"request": "0.1"}"#),
        (
            false,
            r#""per_second": "0.1", "estimate": {"duration": "2s"}"#,
        ),
        (false, r#""base": "1", "model": "small""#),
        (false, r#""base": "1", "checks": {"max_messages": 3}"#),
    ];
    for (expected, price) in prices {
        for more in [
            "",
            r#", "multipliers": [{"groups": ["dev"], "factor": "2"}]"#,
        ] {
            let b = bench(&format!(r#""prices": [{{{price}}}]{more}"#));
            let (run, _) = b.request("/", Some("ann"));
            let mut exchange = run.exchange;
            let found = b.cost.candidates(&mut exchange, &b.world);
            let mut stream = Stream::default();
            let is_known = b.cost.knows_price(&found, &mut stream);
            assert_eq!(is_known, expected && more.is_empty(), "{price}{more}");
            if !is_known {
                continue;
            }
            let at_once = stream.call;
            let found_out = b.cost.price(found, None, &mut exchange, &b.world);
            let found_out = found_out.unwrap().unwrap();
            assert_eq!(at_once.costliest, found_out.costliest);
            assert_eq!(at_once.estimate, found_out.estimate, "{price}");
            assert_eq!(at_once.needs, found_out.needs);
            let details = found_out.details.unwrap();
            assert_eq!(details.started, None, "{price}");
            assert_eq!(details.request_bytes, None, "{price}");
        }
    }
}

#[test]
fn the_short_way_to_a_rule_leads_to_the_same_one() {
    let always = [
        r#"{"match": {"path": {"prefix": "/free"}}, "base": "0"}"#,
        r#"{"match": {"path": {"prefix": "/v1"}}, "base": "1", "model": "a"}"#,
        r#"{"match": {"path": {"prefix": "/v1/chat"}}, "base": "2"}"#,
        r#"{"match": {"path": {"prefix": "/v1"}}, "base": "3", "model": "b"}"#,
        r#"{"match": {"path": {"prefix": "/api"}}, "base": "4"}"#,
        r#"{"match": {"path": {"prefix": "/api"}}, "base": "5"}"#,
    ];
    let varying = [
        r#"{"groups": ["ops"], "base": "6"}"#,
        r#"{"groups": ["dev"], "match": {"path": {"prefix": "/v1"}}, "base": "7"}"#,
        r#"{"effective_until": "2026-11-21T11:00:00Z", "base": "8"}"#,
    ];
    let all: Vec<&str> = varying.into_iter().chain(always).collect();
    let expected = [
        ("/free/a", vec![0_usize], vec![3]),
        ("/free/../api", vec![], vec![]),
        ("/v1/other", vec![1, 3], vec![1]),
        ("/v1/chat", vec![1, 2], vec![1]),
        ("/api/a", vec![4], vec![7]),
        ("/nothing", vec![], vec![]),
    ];
    for (path, when_always, when_varying) in expected {
        for (prices, found) in [(&always[..], when_always), (&all, when_varying)] {
            let b = bench(&format!(r#""prices": [{}]"#, prices.join(", ")));
            let (run, _) = b.request(path, Some("ann"));
            let mut exchange = run.exchange;
            let short = b.cost.candidates(&mut exchange, &b.world);
            let long = b.cost.candidates_now(None, &mut exchange, &b.world);
            assert_eq!(short.as_slice(), found, "{path}");
            assert_eq!(long.as_slice(), found, "{path}");
        }
    }
}

#[test]
fn seconds_are_counted_to_the_nanosecond_up_to_the_end_of_the_answer() {
    let b = bench(
        r#""prices": [{"name": "time", "per_second": "0.001", "base": "1", "estimate": {"duration": "2s"}}]"#,
    );
    let mut run = b.start("/", "ann");
    b.world.advance(Duration::from_millis(1_500));
    assert_eq!(
        run.response("200", &[("content-type", "text/event-stream")], false),
        ResponseStep::Observe
    );
    assert_eq!(
        run.shown("x-request-cost-estimate").as_deref(),
        Some("1.002")
    );
    b.world.advance(Duration(1));
    run.body(b"data: x\n\n", false);
    b.world.advance(Duration(1));
    run.body(b"", true);
    b.world.advance(Duration::from_secs(60));
    // 1 + 1.500000002 x 0.001
    assert_eq!(run.end()["tollgate.cost"], "1.001500000002");
    assert_eq!(b.reason("measured"), 1);

    let mut run = b.start("/", "ann");
    b.world.advance(Duration::from_secs(3));
    assert_eq!(
        run.end()["tollgate.cost"],
        "1.003",
        "without an answer it took what it took"
    );

    let mut run = b.start("/", "ann");
    b.world.set_now(UnixNanos(0));
    assert_eq!(
        run.end()["tollgate.cost"],
        "1",
        "a clock that was set back costs nothing"
    );
}

#[test]
fn an_answer_whose_units_are_in_its_headers_need_not_be_held() {
    let b = bench(
        r#""prices": [{"per_unit": [{"header": "x-units", "price": "0.5"}], "on_missing_usage": "base"}]"#,
    );
    let mut run = b.start("/", "ann");
    assert_eq!(
        run.response("200", &[("x-units", "3")], false),
        ResponseStep::Forward
    );
    assert_eq!(run.shown("x-request-cost").as_deref(), Some("1.5"));
    let mut run = b.start("/", "ann");
    run.response("200", &[("x-units", "999999999999999999")], false);
    assert_eq!(
        run.shown("x-request-cost").as_deref(),
        Some("0"),
        "no such number of units"
    );
    assert_eq!(b.reason("usage_missing"), 1);
    let mut run = b.start("/", "ann");
    assert_eq!(run.end()["tollgate.cost"], "0");
    assert_eq!(b.reason("no_answer"), 1);
}

#[test]
fn a_call_is_priced_by_the_rule_that_was_valid_when_it_began() {
    let b = bench(
        r#""prices": [{"name": "old", "effective_until": "2026-11-21T12:00:01Z", "base": "1"},
                      {"name": "new", "effective_from": "2026-11-21T12:00:01Z", "base": "2"}]"#,
    );
    let mut run = b.start("/", "ann");
    b.world.advance(Duration::from_secs(5));
    assert_eq!(run.json(None), ResponseStep::Forward);
    assert_eq!(run.end()["tollgate.price"], "old");
    assert_eq!(b.start("/", "ann").end()["tollgate.price"], "new");
}

#[test]
fn usage_that_costs_more_than_fits_a_number_is_taken_for_missing() {
    let b = bench(r#""prices": [{"per_token": {"input": "1"}, "estimate": {"input": 3}}]"#);
    let mut run = b.start("/", "ann");
    run.held(&usage(900_000_000, 0));
    assert_eq!(run.shown("x-request-cost").as_deref(), Some("3"));
    assert_eq!(b.reason("usage_missing"), 1);
}
