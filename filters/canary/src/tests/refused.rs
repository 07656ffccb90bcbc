//! Configurations that are refused, each with all its errors.

use super::{FIVE_PERCENT, compiled, errors, one};
use proptest::prelude::*;

/// The errors of one experiment with these fields, without the start of their path.
fn of(fields: &str) -> Vec<String> {
    let all = errors(&one(fields));
    let short = |e: &String| {
        e.replace("experiments[0].", "")
            .replace("experiments[0]: ", "")
    };
    all.iter().map(short).collect()
}

#[test]
fn the_smallest_configuration_is_accepted() {
    let json = r#"{"experiments": [{"flag": "f", "sticky_key": ["consumer"], "route_header": "x-variant",
        "variants": [{"name": "stable", "weight": 95.0}, {"name": "canary", "weight": "5"}]}]}"#;
    let compiled = compiled(json);
    assert_eq!(compiled.report.errors(), []);
    assert!(compiled.canary.is_some());
    assert_eq!(errors(r#"{"experiments": []}"#), Vec::<String>::new());
}

#[test]
fn all_errors_are_told_at_once() {
    let json = r#"{"experiment": [], "experiments": [
        {"flag": "a:b", "variants": [{"name": "stable", "weight": 95}, {"name": "canary", "weight": 4.99}],
         "sticky_key": ["user"], "route_header": "x variant", "rollback": {}, "enabled": 1},
        {"flag": "f", "variants": [{"name": "stable"}, {"name": "stable"}], "route_header": "x-v"},
        {"flag": "f", "variants": "x"}]}"#;
    assert_eq!(
        errors(json),
        [
            "experiments[0].flag: must not have a colon",
            "experiments[0].enabled: must be true or false, not a number",
            "experiments[0].variants: the weights must add up to 100",
            "experiments[0].sticky_key[0]: must be one of consumer, client_address",
            "experiments[0].route_header: must be a header name",
            "experiments[0].rollback: needs a rule: error_rate, latency_p50, latency_p90, latency_p95, latency_p99 or conversion_rate",
            "experiments[1].variants[1].name: is the name of another variant, too",
            "experiments[2].flag: is the flag of another experiment, too",
            "experiments[2].variants: must be a list, not a string",
            "experiments[2].route_header: is missing",
            "experiment: unknown field; known here: decision_log, enabled, experiments, marker",
        ]
    );
    assert!(compiled(json).canary.is_none());
    assert_eq!(errors("{}"), ["experiments: is missing"]);
}

#[test]
fn weights_are_percent_with_two_decimals() {
    let weights = |a: &str, b: &str| {
        of(&format!(
            r#""variants": [{{"name": "stable", "weight": {a}}}, {{"name": "b", "weight": {b}}}]"#
        ))
    };
    assert_eq!(weights("99.99", "0.01"), Vec::<String>::new());
    assert_eq!(weights("66.67", "33.33"), Vec::<String>::new());
    assert_eq!(weights("\"99.99\"", "\"0.01\""), Vec::<String>::new());
    let bad = "variants[1].weight: must be a number, not negative, in bounds and with no more decimals than are allowed here";
    assert_eq!(weights("99.999", "0.001").len(), 2);
    assert_eq!(weights("100", "-0"), Vec::<String>::new());
    assert_eq!(weights("100", "-1"), [bad]);
    assert_eq!(weights("100", "101"), [bad]);
    assert_eq!(
        weights("60", "39.99"),
        ["variants: the weights must add up to 100"]
    );
    assert_eq!(
        weights("60", "null"),
        ["variants: either every variant has a weight, or none has"]
    );
    assert_eq!(
        of(r#""variants": [{"name": "stable", "weight": 100}]"#),
        ["variants: needs 2 to 16 variants"]
    );
}

#[test]
fn the_default_variant_is_stable_or_named() {
    let two = r#""variants": [{"name": "blue", "weight": 50}, {"name": "green", "weight": 50}]"#;
    assert_eq!(
        of(two),
        ["default_variant is missing, and no variant is called stable"]
    );
    assert_eq!(
        of(&format!(r#"{two}, "default_variant": "blue""#)),
        Vec::<String>::new()
    );
    assert_eq!(
        of(&format!(r#"{two}, "default_variant": "red""#)),
        ["default_variant: is not the name of a variant"]
    );
}

#[test]
fn rules_name_variants_that_exist() {
    assert_eq!(
        of(&format!(
            r#"{FIVE_PERCENT}, "overrides": {{"user-1": "x", "": "canary", "u": 1}},
            "force": [{{"header": "a", "exact": "1", "variant": "x"}}, {{"header": "a", "exact": "1"}}, {{"header": ":path", "variant": "canary"}},
                {{"header": "a", "names_variant": false}}, {{"header": "a", "names_variant": true, "exact": "1"}}],
            "segments": [{{"variant": "x"}}, {{"groups": [], "headers": [{{"name": "b", "in": []}}], "variant": "canary"}}],
            "on_missing_key": {{"variant": "x"}}"#
        )),
        [
            "force[0].variant: is not the name of a variant",
            "force[1].variant: is missing",
            "force[2].header: must be a header name",
            "force[2]: needs exactly one of exact, prefix, regex, present",
            "force[3].names_variant: can only be true",
            "force[4].exact: unknown field; known here: header, names_variant",
            "overrides.user-1: is not the name of a variant",
            "overrides[\"\"]: a key must not be empty",
            "overrides.u: must be a string, not a number",
            "segments[0]: needs at least one of match, headers, groups",
            "segments[0].variant: is not the name of a variant",
            "segments[1].headers[0].in: must not be empty",
            "segments[1].groups: must not be empty",
            "on_missing_key.variant: is not the name of a variant",
        ]
    );
}

#[test]
fn a_key_must_come_from_somewhere() {
    let without = |fields: &str| {
        let json = one(fields).replace(r#""sticky_key": [{"header": "x-user-id"}],"#, "");
        errors(&json)
    };
    let missing = "experiments[0]: sticky_key is missing: it says which key is hashed (or set on_missing_key: random and no overrides)";
    assert_eq!(without(FIVE_PERCENT), [missing]);
    assert_eq!(
        without(&format!(r#"{FIVE_PERCENT}, "on_missing_key": "random""#)),
        Vec::<String>::new()
    );
    assert_eq!(
        without(&format!(
            r#"{FIVE_PERCENT}, "on_missing_key": "random", "overrides": {{"a": "canary"}}"#
        )),
        [missing]
    );
    let bare = r#""variants": [{"name": "stable"}, {"name": "canary"}]"#;
    assert_eq!(without(bare), Vec::<String>::new());
    assert_eq!(
        without(&format!(r#"{bare}, "on_missing_key": "random""#)),
        ["experiments[0].on_missing_key: random needs weights or a ramp"]
    );
    assert_eq!(
        of(&format!(r#"{FIVE_PERCENT}, "on_missing_key": "stabel""#)),
        ["on_missing_key: must be stable, random or {variant: NAME}"]
    );
}

#[test]
fn sources_of_keys_are_checked() {
    let source = |source: &str| {
        let json = one(FIVE_PERCENT).replace(r#"{"header": "x-user-id"}"#, source);
        errors(&json)
    };
    let at = "experiments[0].sticky_key";
    assert_eq!(
        source(r#"{"header": "a", "cookie": "b"}"#),
        [format!("{at}[0]: needs exactly one of header, cookie")]
    );
    assert_eq!(
        source(r#"{"cookie": "a=b"}"#),
        [format!("{at}[0].cookie: must be a cookie's name")]
    );
    assert_eq!(source(r#"{"query": "a"}"#).len(), 2);
    assert_eq!(
        source("1"),
        [format!(
            "{at}[0]: must be consumer, client_address, {{header: NAME}} or {{cookie: NAME}}"
        )]
    );
    assert_eq!(source(""), [format!("{at}: needs at least one source")]);
}

#[test]
fn ramps_are_checked() {
    let ramp = |fields: &str| of(&format!(r#"{FIVE_PERCENT}, "ramp": {{{fields}}}"#));
    let start = r#""variant": "canary", "start": "2026-12-01T09:00:00Z""#;
    assert_eq!(
        ramp(r#""variant": "stable", "start": "tomorrow", "steps": []"#),
        [
            "ramp.variant: must not be the default variant: that one gets what the ramp leaves",
            "ramp.start: must be a time such as 2026-12-31T00:00:00Z, or a date such as 2026-12-31",
            "ramp.steps: needs at least one step",
        ]
    );
    assert_eq!(
        ramp(&format!(
            r#"{start}, "steps": [{{"weight": 101, "for": "0s"}}, {{"weight": 5}}, {{"weight": 5, "for": "1h"}}]"#
        )),
        [
            "ramp.steps[0].weight: must be a number, not negative, in bounds and with no more decimals than are allowed here",
            "ramp.steps[0].for: must be longer than zero",
            "ramp.steps[1].for: is missing",
            "ramp.steps[2].for: the last step lasts: leave it out",
        ]
    );
    assert_eq!(
        ramp(&format!(
            r#"{start}, "steps": [{{"weight": 1, "for": "200000d"}}, {{"weight": 2, "for": "200000d"}}, {{"weight": 3}}]"#
        )),
        ["ramp.steps[1]: all steps together take too long"]
    );
    assert_eq!(
        ramp(&format!(
            r#"{start}, "steps": [{{"weight": 100}}], "pauses": [{{"from": "2026-12-03", "to": "2026-12-02"}},
                {{"from": "2026-12-04"}}, {{"from": "2026-12-05", "weight": "x"}}]"#
        )),
        [
            "ramp.pauses[0].to: must be later than from",
            "ramp.pauses[2].weight: must be a number, not negative, in bounds and with no more decimals than are allowed here",
            "ramp.pauses[2]: must begin when the pause before it has ended: in order of time, not overlapping",
        ]
    );
}

#[test]
fn headers_that_mean_something_else_are_refused() {
    let with = |header: &str| errors(&one(FIVE_PERCENT).replace("x-variant", header));
    for header in ["Host", "authorization", "cookie", "transfer-encoding"] {
        assert_eq!(
            with(header),
            [
                "experiments[0].route_header: must be a header of its own: this one has a meaning already"
            ],
            "{header}"
        );
    }
    assert_eq!(
        with(":path"),
        ["experiments[0].route_header: must be a header name"]
    );
}

#[test]
fn a_route_header_cannot_be_read_as_well() {
    let fields = format!(
        r#"{FIVE_PERCENT}, "force": [{{"header": "X-Variant", "names_variant": true}}],
        "segments": [{{"headers": [{{"name": "x-variant", "in": ["a"]}}], "variant": "canary"}}]"#
    );
    let json = one(&fields).replace(r#"{"header": "x-user-id"}"#, r#"{"header": "x-variant"}"#);
    let problem =
        "reads a route_header, or the marker: clients cannot send those, they are removed first";
    assert_eq!(
        errors(&json),
        [
            format!("experiments[0].force: {problem}"),
            format!("experiments[0].sticky_key: {problem}"),
            format!("experiments[0].segments: {problem}"),
        ]
    );
}

#[test]
fn one_response_header_cannot_tell_two_variants() {
    let experiment = |flag: &str, route: &str| {
        format!(
            r#"{{"flag": "{flag}", "sticky_key": ["consumer"], "route_header": "{route}", "response_header": "x-v", {FIVE_PERCENT}}}"#
        )
    };
    let two = |a: &str, b: &str| {
        errors(&format!(
            r#"{{"experiments": [{}, {}]}}"#,
            experiment("a", a),
            experiment("b", b)
        ))
    };
    assert_eq!(two("x-a", "x-a"), Vec::<String>::new());
    assert_eq!(
        two("x-a", "x-b"),
        [
            "experiments[1].response_header: is used by an experiment with another route_header: both may apply to one request"
        ]
    );
}

#[test]
fn lifecycle_fields_are_checked() {
    let json = one(FIVE_PERCENT).replace(
        r#""owner": "payments", "expires_at": "2027-02-18""#,
        r#""owner": "p q", "created": "2027-02-18", "expires_at": "2027-02-18", "on_expiry": "delete""#,
    );
    assert_eq!(
        errors(&json),
        [
            "experiments[0].owner: must be 1 to 128 characters out of A-Z a-z 0-9 . _ - / @ : +",
            "experiments[0].expires_at: must be later than created",
            "experiments[0].on_expiry: must be one of keep, stable",
        ]
    );
    let json =
        one(FIVE_PERCENT).replace(r#""expires_at": "2027-02-18""#, r#""on_expiry": "stable""#);
    assert_eq!(
        errors(&json),
        ["experiments[0].on_expiry: needs expires_at or created"]
    );
}

#[test]
fn only_decisions_that_can_happen_are_counted() {
    let names = |fields: &str| -> Vec<String> {
        let metrics = compiled(&one(fields)).metrics;
        metrics
            .iter()
            .map(|m| m.stat().to_owned())
            .filter(|n| n.starts_with("tollgate_d"))
            .collect()
    };
    let name = |variant: &str, reason: &str| {
        format!(
            "tollgate_decisions_totalpolicy=.=canary;.;flag=.=checkout-v2;.;variant=.={variant};.;reason=.={reason};.;"
        )
    };
    assert_eq!(
        names(FIVE_PERCENT),
        [
            name("stable", "percentage"),
            name("canary", "percentage"),
            name("stable", "missing_key")
        ]
    );
    assert_eq!(
        names(&format!(r#"{FIVE_PERCENT}, "enabled": false"#)),
        [name("stable", "kill_switch")]
    );
}

/// The fields of an experiment, each with a good value.
const FIELDS: [(&str, &str); 20] = [
    ("flag", r#""checkout-v2""#),
    ("enabled", "true"),
    ("match", r#"{"path": {"prefix": "/"}}"#),
    ("sticky_key", r#"["consumer", {"cookie": "session"}]"#),
    ("on_missing_key", r#"{"variant": "b"}"#),
    (
        "force",
        r#"[{"header": "x-t", "exact": "1", "variant": "b"}]"#,
    ),
    ("overrides", r#"{"user-1": "b"}"#),
    ("segments", r#"[{"groups": ["g"], "variant": "c"}]"#),
    (
        "variants",
        r#"[{"name": "a", "weight": 50}, {"name": "b", "weight": 30}, {"name": "c", "weight": 20}]"#,
    ),
    ("default_variant", r#""a""#),
    (
        "ramp",
        r#"{"variant": "b", "start": "2026-12-01", "steps": [{"weight": 1, "for": "1h"}, {"weight": 9}]}"#,
    ),
    ("route_header", r#""x-variant""#),
    ("response_header", r#""x-v""#),
    ("owner", r#""payments""#),
    ("team", r#""shop""#),
    ("created", r#""2026-11-20""#),
    ("expires_at", r#""2027-02-18""#),
    ("on_expiry", r#""stable""#),
    (
        "outcome",
        r#"{"errors": {"statuses": ["5xx", 429], "grpc": ["UNKNOWN", 14], "resets": false, "client_aborts": true},
            "conversion": {"header": "x-order", "exact": "1"}, "reasons": ["percentage"], "histogram": true}"#,
    ),
    (
        "rollback",
        r#"{"window": "10m", "min_samples": 500, "false_alarm": "1%", "cool_down": "1h", "response_header": "x-r",
            "error_rate": {"absolute": "5%", "relative": 2}, "latency_p99": {"relative": 1.5, "severity": "low"},
            "conversion_rate": {"absolute": 1, "relative": "0.95", "unless_stable": true}}"#,
    ),
];

const JUNK: [&str; 14] = [
    "null",
    "0",
    "-1.5",
    "1e300",
    "true",
    r#""""#,
    r#""x""#,
    "[]",
    "{}",
    "[1, null]",
    r#"[{}]"#,
    r#"{"variant": "b", "steps": [{"weight": 1}, {}], "pauses": [{}]}"#,
    r#"{"error_rate": {}, "latency_p99": {"absolute": "0s"}, "window": 7, "min_samples": 30, "cool_down": "1ns"}"#,
    r#"{"errors": {"statuses": ["6xx", 7, "599-500"], "grpc": [17, "X"]}, "conversion": {}, "reasons": ["expired"]}"#,
];

proptest! {
    #[test]
    fn what_is_not_compiled_is_explained(
        junk in prop::collection::vec((0..FIELDS.len(), 0..JUNK.len()), 0..5),
    ) {
        let fields: Vec<String> = FIELDS.iter().enumerate().map(|(i, (name, good))| {
            let bad = junk.iter().find(|(field, _)| *field == i);
            format!(r#""{name}": {}"#, bad.map_or(*good, |(_, j)| JUNK[*j]))
        }).collect();
        let compiled = compiled(&format!(r#"{{"experiments": [{{{}}}]}}"#, fields.join(",")));
        prop_assert_eq!(compiled.canary.is_none() && compiled.report.is_ok(), false);
        if junk.is_empty() {
            prop_assert_eq!(compiled.report.errors(), []);
        }
    }
}
