//! Keys that expire soon, and old ones that are still in use.

use super::{BASIC, EXPIRED, Fixture, GOLD, REVOKED};
use crate::Digest;
use tollgate_core::time::Duration;
use tollgate_core::world::Level;
use tollgate_core::{Policy, UnixNanos};

const DAY: u64 = 24 * 3600;

/// A key every 90 days, 24 hours of overlap.
fn quarters(more: &str) -> Fixture {
    let sha = |key: &str| -> String {
        let digest = Digest::of(key.as_bytes());
        digest.bytes().iter().map(|b| format!("{b:02x}")).collect()
    };
    let json = format!(
        r#"{{"consumers": [{{"id": "web-app", "keys": [
            {{"id": "2026-q3", "sha256": "{}", "not_before": "2026-07-03", "expires_at": "2026-10-02"}},
            {{"id": "2026-q4", "sha256": "{}", "not_before": "2026-10-01", "expires_at": "2026-12-30"}},
            {{"id": "2026-q5", "sha256": "{}", "not_before": "2026-10-01T12:00:00Z", "expires_at": "2027-12-30", "revoked": true}},
            {{"id": "dashboard", "sha256": "{}"}}]}}]{more}}}"#,
        sha(GOLD),
        sha(BASIC),
        sha(REVOKED),
        sha(EXPIRED),
    );
    let fixture = Fixture::new(&json);
    fixture
        .world
        .set_now(UnixNanos::parse("2026-09-01").unwrap());
    fixture.policy.on_start(&fixture.world);
    fixture
}

impl Fixture {
    fn use_key(&self, key: &str) {
        assert_eq!(self.get("/", &[("x-api-key", key)]).details(), "passed");
    }

    fn warnings(&self) -> Vec<String> {
        self.policy.on_tick(&self.world);
        let logs = self.world.take_logs().into_iter();
        logs.map(|(level, line)| {
            assert_eq!(level, Level::Warn);
            line
        })
        .collect()
    }

    fn old_uses(&self, key: &str) -> u64 {
        let labels = [("consumer", "web-app"), ("key", key)];
        self.metric("tollgate_old_key_uses_total", &labels)
    }
}

#[test]
fn a_key_is_named_when_it_comes_to_expire_within_the_time_and_once_a_day() {
    let fixture = quarters("");
    assert_eq!(fixture.warnings(), [""; 0]);
    assert_eq!(fixture.metric("tollgate_keys_expiring", &[]), 0);
    fixture
        .world
        .set_now(UnixNanos::parse("2026-09-18").unwrap());
    let line = "key_auth: keys that have expired or expire within 14d (1): web-app/2026-q3 2026-10-02T00:00:00Z";
    assert_eq!(fixture.warnings(), [line]);
    assert_eq!(fixture.metric("tollgate_keys_expiring", &[]), 1);
    fixture.world.advance(Duration::from_secs(DAY - 1));
    assert_eq!(fixture.warnings(), [""; 0]);
    fixture.world.advance(Duration::from_secs(60));
    assert_eq!(fixture.warnings(), [line]);
    fixture
        .world
        .set_now(UnixNanos::parse("2026-12-29").unwrap());
    let both = "key_auth: keys that have expired or expire within 14d (2): \
        web-app/2026-q3 2026-10-02T00:00:00Z, web-app/2026-q4 2026-12-30T00:00:00Z";
    assert_eq!(fixture.warnings(), [both]);
    assert_eq!(fixture.metric("tollgate_keys_expiring", &[]), 2);
}

#[test]
fn an_old_key_in_use_is_counted_and_named_by_its_id() {
    let fixture = quarters(r#", "warn_expiry": "1h""#);
    fixture.use_key(GOLD);
    fixture.use_key(EXPIRED);
    assert_eq!(fixture.warnings(), [""; 0]);
    // The new one works from here on.
    fixture
        .world
        .set_now(UnixNanos::parse("2026-10-01").unwrap());
    for key in [GOLD, GOLD, BASIC, EXPIRED] {
        fixture.use_key(key);
    }
    assert_eq!(fixture.old_uses("2026-q3"), 2);
    assert_eq!(
        (fixture.old_uses("2026-q4"), fixture.old_uses("dashboard")),
        (0, 0)
    );
    let line = "key_auth: old keys are still in use (1): web-app/2026-q3 2026-10-02T00:00:00Z";
    assert_eq!(fixture.warnings(), [line]);
    fixture.use_key(GOLD);
    assert_eq!(fixture.warnings(), [""; 0], "once an hour");
    fixture.world.advance(Duration::from_secs(3600));
    assert_eq!(fixture.warnings(), [line]);
    // A revoked key replaces nothing.
    fixture
        .world
        .set_now(UnixNanos::parse("2026-10-03").unwrap());
    fixture.use_key(BASIC);
    assert_eq!(fixture.old_uses("2026-q4"), 0);
}

#[test]
fn a_key_that_expires_soon_is_old_without_a_newer_one() {
    let fixture = quarters("");
    fixture
        .world
        .set_now(UnixNanos::parse("2026-12-20").unwrap());
    fixture.use_key(BASIC);
    assert_eq!(fixture.old_uses("2026-q4"), 1);
}

#[test]
fn many_keys_have_metrics_by_key_only_where_they_are_asked_for() {
    let keys = |count: u32| -> String {
        let key = |i: u32| {
            let digest = Digest::of(&i.to_le_bytes());
            let hex: String = digest.bytes().iter().map(|b| format!("{b:02x}")).collect();
            format!(r#"{{"id": "k{i}", "sha256": "{hex}", "expires_at": "2027-01-01"}}"#)
        };
        (0..count).map(key).collect::<Vec<_>>().join(",")
    };
    let by_key = |count, more: &str| {
        let json = format!(
            r#"{{"consumers": [{{"id": "a", "keys": [{}]}}]{more}}}"#,
            keys(count)
        );
        let fixture = Fixture::new(&json);
        fixture
            .metrics
            .iter()
            .filter(|m| m.name == "tollgate_old_key_uses_total")
            .count()
    };
    assert_eq!(by_key(1000, ""), 1000);
    assert_eq!(by_key(1001, ""), 0);
    assert_eq!(by_key(1001, r#", "metrics": {"key": true}"#), 1001);
}
