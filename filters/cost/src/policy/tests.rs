use super::*;
use std::collections::BTreeMap;
use tollgate_core::config::{Compile, Report, parse};
use tollgate_core::drive::{Drive, ResponseStep, Step};
use tollgate_core::flow::LocalReply;
use tollgate_core::testing::TestWorld;
use tollgate_core::world::{Attribute, Expect, Store};
use tollgate_core::{Consumer, Duration, Headers, Metrics, UnixNanos};

const CHAT: &str = r#"
  "prices": [{"name": "chat", "match": {"path": {"prefix": "/v1/chat"}}, "base": "0.0020",
              "per_token": {"input": "0.00001", "output": "0.00002"}, "estimate": {"input": 1000, "output": 500}},
             {"name": "api", "match": {"path": {"prefix": "/api/"}}, "base": "0.30"}]"#;
const BUDGETS: &str = r#", "budgets": [{"name": "dev", "groups": ["dev"], "daily": "1.00"}], "on_missing_consumer": "pass""#;

struct Bench {
    cost: Cost,
    world: TestWorld,
    metrics: Metrics,
}

fn compile(json: &str) -> (Option<Cost>, Metrics, Vec<String>) {
    let report = Report::default();
    let mut metrics = Metrics::default();
    let root = parse(json, &report).unwrap();
    let section = root.value(&report).section().unwrap();
    let cost = crate::compile(section, &mut Compile::new(&|_| None, &mut metrics));
    let errors = report.errors().iter().map(ToString::to_string).collect();
    (cost, metrics, errors)
}

fn bench(body: &str) -> Bench {
    let (cost, metrics, errors) = compile(&format!("{{{body}}}"));
    assert_eq!(errors, Vec::<String>::new());
    Bench {
        cost: cost.unwrap(),
        world: TestWorld::at(UnixNanos::parse("2026-11-21T12:00:00Z").unwrap()),
        metrics,
    }
}

/// One exchange, from the outside.
struct Run<'b> {
    bench: &'b Bench,
    exchange: Exchange,
    drive: Drive<Cost>,
}

impl Bench {
    fn request(&self, path: &str, consumer: Option<&str>) -> (Run<'_>, Step) {
        let headers = Headers::from_pairs([
            (":method", "POST"),
            (":path", path),
            ("accept-encoding", "gzip"),
        ]);
        let mut exchange = Exchange::new(headers, false);
        exchange.facts.set_consumer(consumer.map(|id| Consumer {
            id: id.into(),
            groups: [std::rc::Rc::from("dev")].into(),
            key_id: None,
        }));
        let mut drive = Drive::default();
        let step = drive.request_headers(&self.cost, &mut exchange, &self.world);
        (
            Run {
                bench: self,
                exchange,
                drive,
            },
            step,
        )
    }

    fn start(&self, path: &str, consumer: &str) -> Run<'_> {
        let (run, step) = self.request(path, Some(consumer));
        assert_eq!(step, Step::Forward);
        run
    }

    fn refused(&self, path: &str, consumer: Option<&str>) -> LocalReply {
        let (mut run, step) = self.request(path, consumer);
        let Step::Reply(reply) = step else {
            panic!("not refused")
        };
        run.end();
        *reply
    }

    fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let stat = tollgate_core::metrics::stat_name(name, labels);
        self.world.metric(&self.metrics, &stat)
    }

    fn reason(&self, reason: &str) -> u64 {
        self.count(
            "tollgate_decisions_total",
            &[("policy", "cost"), ("reason", reason)],
        )
    }
}

impl Run<'_> {
    fn response(&mut self, status: &str, headers: &[(&str, &str)], end: bool) -> ResponseStep {
        let all = [(":status", status)]
            .into_iter()
            .chain(headers.iter().copied());
        let reads = self.drive.reads_response(&self.bench.cost);
        if reads >= ResponseRead::Status {
            self.exchange.status = status.parse().ok();
        }
        if reads == ResponseRead::Headers {
            self.exchange.response = Headers::from_pairs(all);
        }
        self.drive
            .response_headers(&self.bench.cost, &mut self.exchange, &self.bench.world, end)
    }

    fn json(&mut self, length: Option<usize>) -> ResponseStep {
        let length = length.map(|n| n.to_string());
        let mut headers = vec![("content-type", "application/json; charset=utf-8")];
        headers.extend(length.as_deref().map(|n| ("content-length", n)));
        self.response("200", &headers, false)
    }

    fn body(&mut self, body: &[u8], end: bool) -> ResponseStep {
        let (cost, world) = (&self.bench.cost, &self.bench.world);
        self.drive
            .response_body(cost, &mut self.exchange, world, body, body.len(), end)
    }

    /// The whole answer, cut in the middle, as the proxy shows a held one: cumulative.
    fn held(&mut self, body: &str) {
        assert_eq!(self.json(Some(body.len())), ResponseStep::Hold);
        let bytes = body.as_bytes();
        assert_eq!(
            self.body(&bytes[..bytes.len() / 2], false),
            ResponseStep::Hold
        );
        assert_eq!(self.body(bytes, true), ResponseStep::Forward);
    }

    fn shown(&self, name: &str) -> Option<String> {
        let value = self.exchange.response.first(name)?;
        Some(String::from_utf8_lossy(value).into_owned())
    }

    /// Ends the exchange; what is in the access log.
    fn end(&mut self) -> BTreeMap<&'static str, String> {
        self.drive
            .log(&self.bench.cost, &mut self.exchange, &self.bench.world);
        let published = self.exchange.facts.take_published();
        published
            .into_iter()
            .map(|(n, v)| (n, String::from_utf8(v).unwrap()))
            .collect()
    }
}

fn usage(input: u64, output: u64) -> String {
    format!(
        r#"{{"model":"gpt-4","usage":{{"prompt_tokens":{input},"completion_tokens":{output}}}}}"#
    )
}

fn text(reply: &LocalReply, name: &str) -> Option<String> {
    let value = reply.headers.iter().find(|(n, _)| n == name)?;
    Some(String::from_utf8_lossy(&value.1).into_owned())
}

fn json_body(reply: &LocalReply) -> serde_json::Value {
    serde_json::from_slice(&reply.body).unwrap()
}

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

const MODELS: &str = r#""prices": [
  {"name": "mini", "model": "gpt-4-mini", "per_token": {"output": "0.0001"}},
  {"name": "four", "model": {"prefix": "gpt-4"}, "per_token": {"output": "0.01"}},
  {"name": "flat", "model": "image-1", "base": "0.05"}]"#;

#[test]
fn the_model_of_the_answer_chooses_the_rule() {
    let b = bench(MODELS);
    for (model, price, cost, reason) in [
        ("gpt-4-mini", "mini", "0.01", "usage"),
        ("gpt-4-0613", "four", "1", "usage"),
        ("image-1", "flat", "0.05", "flat"),
        ("unheard-of", "four", "1", "unknown_model"),
    ] {
        let before = b.reason(reason);
        let mut run = b.start("/", "ann");
        run.held(&usage(5, 100).replace("gpt-4", model));
        assert_eq!(
            run.shown("x-request-cost").as_deref(),
            Some(cost),
            "{model}"
        );
        assert_eq!(run.end()["tollgate.price"], price);
        assert_eq!(b.reason(reason), before + 1, "{model}");
    }
}

#[test]
fn breaking_off_or_hiding_the_model_does_not_make_a_call_cheaper() {
    let b = bench(&[MODELS, r#", "budgets": [{"name": "b", "daily": "100"}]"#].concat());
    // The estimate of 1000 output tokens at the highest price.
    let mut run = b.start("/", "ann");
    assert_eq!(run.end()["tollgate.cost"], "10");
    let mut run = b.start("/", "ann");
    run.held(r#"{"usage":{"prompt_tokens":5,"completion_tokens":100}}"#);
    assert_eq!(run.shown("x-request-cost").as_deref(), Some("1"));
    assert_eq!(run.shown("x-budget-remaining").as_deref(), Some("89"));
    assert_eq!(b.reason("unknown_model"), 1);
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

#[test]
fn all_mistakes_are_reported_at_once_with_their_place() {
    let (cost, _, errors) = compile(
        r#"{"currency": "usd", "hold_response_bytes": -1, "prise": 1, "on_missing_consumer": "maybe",
            "prices": [{"name": "a", "base": 0.002}, {"name": "a", "per_token": {"inptu": "1"}},
                       {"base": "1e3", "free_status": ["6xx", 99, "4x", true]},
                       {"base": "1", "estimate": {"input": 1}, "on_missing_usage": "free"},
                       {"per_token": {"input": "18000000"}}, {"per_token": {"input": "0.1"}, "on_missing_usage": "max"},
                       {"model": "", "base": "1"}, {}],
            "budgets": [{"name": "b"}, {"daily": "1.0.0", "time_zone": "Mars/Olympus", "status": 200, "key": ["path"]},
                        {"name": "c", "daily": "1", "consumers": []}, {"name": "d", "daily": "1"}, {"name": "d", "monthly": "1"}],
            "headers": {"cost": ":path", "remaining": true}}"#,
    );
    assert!(cost.is_none());
    let place = |e: &String| e.split(": ").next().unwrap_or_default().to_owned();
    let mut places: Vec<String> = errors.iter().map(place).collect();
    places.sort_unstable();
    places.dedup();
    assert_eq!(
        places,
        [
            "budgets[0]",
            "budgets[1].daily",
            "budgets[1].key",
            "budgets[1].name",
            "budgets[1].status",
            "budgets[1].time_zone",
            "budgets[2].consumers",
            "budgets[4]",
            "currency",
            "headers.cost",
            "headers.remaining",
            "hold_response_bytes",
            "on_missing_consumer",
            "prices[0].base",
            "prices[1].per_token",
            "prices[1].per_token.inptu",
            "prices[2].base",
            "prices[2].free_status[0]",
            "prices[2].free_status[1]",
            "prices[2].free_status[2]",
            "prices[2].free_status[3]",
            "prices[3].estimate",
            "prices[3].on_missing_usage",
            "prices[4]",
            "prices[5]",
            "prices[6].model",
            "prices[7]",
            "prise",
        ]
    );
}

#[test]
fn names_and_lists_must_be_what_they_seem() {
    let errors = |json: &str| compile(json).2;
    assert_eq!(errors("{}"), ["prices: is missing"]);
    assert_eq!(errors(r#"{"prices": []}"#), ["prices: must not be empty"]);
    assert_eq!(
        errors(r#"{"prices": [{"name": "a", "base": "1"}, {"name": "a", "base": "2"}]}"#),
        ["prices[1]: name is used twice"]
    );
    let many: Vec<String> = (0..17)
        .map(|i| format!(r#"{{"name": "b{i}", "daily": "1"}}"#))
        .collect();
    assert_eq!(
        errors(&format!(
            r#"{{"prices": [{{"base": "1"}}], "budgets": [{}]}}"#,
            many.join(",")
        )),
        ["at most 16 budgets are possible"]
    );
}
