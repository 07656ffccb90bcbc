//! Ramps, read with a moved clock.

use super::{FIVE_PERCENT, Rig, at, one};
use proptest::prelude::*;
use tollgate_core::policy::Policy;
use tollgate_core::time::{Duration, UnixNanos};

fn ramp(fields: &str) -> String {
    one(&format!(
        r#"{FIVE_PERCENT}, "ramp": {{"variant": "canary", "start": "2026-12-01T09:00:00Z", {fields}}}"#
    ))
}

const STEPS: &str =
    r#""steps": [{"weight": 1, "for": "10m"}, {"weight": 25, "for": "1h"}, {"weight": 100.0}]"#;

/// The weight in basis points, as the gauge shows it.
fn weight(rig: &Rig, time: &str) -> u64 {
    rig.world.set_now(at(time));
    rig.canary.on_tick(&rig.world);
    let name = "tollgate_ramp_weight_basis_pointsflag=.=checkout-v2;.;variant=.=canary;.;";
    rig.world.metric(&rig.metrics, name)
}

#[test]
fn steps_follow_the_clock() {
    let rig = Rig::new(&ramp(STEPS));
    for (time, expected) in [
        ("2026-11-30T00:00:00Z", 0),
        ("2026-12-01T08:59:59.999999999Z", 0),
        ("2026-12-01T09:00:00Z", 100),
        ("2026-12-01T09:09:59.999999999Z", 100),
        ("2026-12-01T09:10:00Z", 2_500),
        ("2026-12-01T10:09:59Z", 2_500),
        ("2026-12-01T10:10:00Z", 10_000),
        ("2030-01-01", 10_000),
        ("2026-12-01T09:10:00Z", 2_500),
    ] {
        assert_eq!(weight(&rig, time), expected, "{time}");
    }
}

#[test]
fn users_join_by_their_bucket() {
    let rig = Rig::new(&ramp(STEPS));
    // Buckets 141, 539 and 8,181.
    let on_canary = |time: &str| {
        rig.world.set_now(at(time));
        ["user-42", "alice", "user-1"].map(|u| rig.user(u).0 == "checkout-v2:canary")
    };
    assert_eq!(on_canary("2026-12-01T08:00:00Z"), [false, false, false]);
    assert_eq!(on_canary("2026-12-01T09:00:00Z"), [false, false, false]);
    assert_eq!(on_canary("2026-12-01T09:10:00Z"), [true, true, false]);
    assert_eq!(on_canary("2026-12-01T10:10:00Z"), [true, true, true]);
}

#[test]
fn blue_green_is_one_step_and_back() {
    let steps = r#""steps": [{"weight": 100, "for": "2h"}, {"weight": 0}]"#;
    let rig = Rig::new(&ramp(steps));
    assert_eq!(weight(&rig, "2026-12-01T08:59:59Z"), 0);
    assert_eq!(weight(&rig, "2026-12-01T09:00:00Z"), 10_000);
    assert_eq!(weight(&rig, "2026-12-01T11:00:00Z"), 0);
    let warnings = super::compiled(&ramp(steps)).report.warnings();
    let warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "experiments[0].ramp.steps[1]: is less than a step before: those who came last leave again"
        ]
    );
}

#[test]
fn a_frozen_ramp_keeps_its_weight_and_goes_on_where_it_was() {
    let frozen = format!(r#"{STEPS}, "pauses": [{{"from": "2026-12-01T09:20:00Z"}}]"#);
    let rig = Rig::new(&ramp(&frozen));
    assert_eq!(weight(&rig, "2026-12-01T09:05:00Z"), 100);
    assert_eq!(weight(&rig, "2026-12-25T00:00:00Z"), 2_500);

    let resumed = format!(
        r#"{STEPS}, "pauses": [{{"from": "2026-12-01T09:20:00Z", "to": "2026-12-02T09:20:00Z"}}]"#
    );
    let rig = Rig::new(&ramp(&resumed));
    assert_eq!(weight(&rig, "2026-12-02T09:20:00Z"), 2_500);
    // 50 of the 60 minutes were left.
    assert_eq!(weight(&rig, "2026-12-02T10:09:59Z"), 2_500);
    assert_eq!(weight(&rig, "2026-12-02T10:10:00Z"), 10_000);
}

#[test]
fn a_paused_ramp_has_the_weight_of_the_pause() {
    let paused = format!(
        r#"{STEPS}, "pauses": [{{"from": "2026-12-01T08:00:00Z", "to": "2026-12-01T09:01:00Z"}},
            {{"from": "2026-12-01T09:20:00Z", "to": "2026-12-01T09:30:00Z", "weight": 0.5}},
            {{"from": "2026-12-01T12:00:00Z", "weight": 0}}]"#
    );
    let rig = Rig::new(&ramp(&paused));
    for (time, expected) in [
        ("2026-12-01T08:30:00Z", 0),
        // Begun, but frozen from before the start: no time has passed.
        ("2026-12-01T09:00:30Z", 100),
        ("2026-12-01T09:10:59Z", 100),
        ("2026-12-01T09:11:00Z", 2_500),
        ("2026-12-01T09:20:00Z", 50),
        ("2026-12-01T09:29:59Z", 50),
        ("2026-12-01T09:30:00Z", 2_500),
        // 1 minute before the second step, 10 in it.
        ("2026-12-01T10:20:59Z", 2_500),
        ("2026-12-01T10:21:00Z", 10_000),
        ("2026-12-01T12:00:00Z", 0),
    ] {
        assert_eq!(weight(&rig, time), expected, "{time}");
    }
}

#[test]
fn forced_headers_and_overrides_come_before_a_ramp() {
    let fields = format!(
        r#"{FIVE_PERCENT}, "ramp": {{"variant": "canary", "start": "2026-12-01T09:00:00Z", {STEPS}}},
            "force": [{{"header": "x-user-group", "exact": "canary-testers", "variant": "canary"}}],
            "overrides": {{"user-42": "stable"}}"#
    );
    let rig = Rig::new(&one(&fields));
    let tester = rig.request("/", &[("x-user-group", b"canary-testers")]);
    assert_eq!(tester.state(), ("checkout-v2:canary", "forced"));
    rig.world.set_now(at("2027-01-01"));
    let (variant, reason) = rig.user("user-42");
    assert_eq!((&*variant, &*reason), ("checkout-v2:stable", "override"));
}

#[test]
fn the_gauge_shows_no_weight_while_the_flag_is_off() {
    let on = ramp(STEPS);
    let off = on.replace(r#""owner""#, r#""enabled": false, "owner""#);
    let expired = on.replace(
        r#""expires_at": "2027-02-18""#,
        r#""expires_at": "2026-12-24", "on_expiry": "stable""#,
    );
    let time = "2026-12-25T00:00:00Z";
    assert_eq!(weight(&Rig::new(&on), time), 10_000);
    assert_eq!(weight(&Rig::new(&off), time), 0);
    assert_eq!(weight(&Rig::new(&expired), time), 0);
}

proptest! {
    #[test]
    fn a_rising_ramp_never_falls_whatever_the_pauses(
        mut weights in prop::collection::vec(0_u64..=100, 1..6),
        lengths in prop::collection::vec(1_u64..5_000, 5),
        mut pauses in prop::collection::vec(0_u64..20_000, 4),
        mut times in prop::collection::vec(0_u64..40_000, 2..20),
    ) {
        weights.sort_unstable();
        pauses.sort_unstable();
        pauses.dedup();
        times.sort_unstable();
        let last = weights.len() - 1;
        let steps: Vec<String> = weights.iter().zip(&lengths).enumerate().map(|(i, (weight, length))| {
            if i == last {
                format!(r#"{{"weight": {weight}}}"#)
            } else {
                format!(r#"{{"weight": {weight}, "for": "{length}s"}}"#)
            }
        }).collect();
        let start = at("2026-12-01T09:00:00Z");
        let moment = |secs: u64| start.plus(Duration::from_secs(secs)).to_string();
        let pauses: Vec<String> = pauses.chunks_exact(2)
            .map(|p| format!(r#"{{"from": "{}", "to": "{}"}}"#, moment(p[0]), moment(p[1])))
            .collect();
        let fields = format!(r#""steps": [{}], "pauses": [{}]"#, steps.join(","), pauses.join(","));
        let rig = Rig::new(&ramp(&fields));
        let mut before = 0;
        for secs in times {
            let now = UnixNanos(start.0 - 1_000_000_000).plus(Duration::from_secs(secs));
            let weight = weight(&rig, &now.to_string());
            prop_assert!(weight >= before);
            before = weight;
        }
    }
}
