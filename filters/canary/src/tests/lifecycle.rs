//! Owner, age and expiry.

use super::{FIVE_PERCENT, Rig, at, compiled, one};
use tollgate_core::policy::Policy;
use tollgate_core::world::Level;

fn flag(fields: &str) -> String {
    one(FIVE_PERCENT).replace(r#""owner": "payments", "expires_at": "2027-02-18""#, fields)
}

fn expired(rig: &Rig, labels: &str) -> u64 {
    let name = format!("tollgate_flag_expiredflag=.=checkout-v2;.;{labels}");
    rig.world.metric(&rig.metrics, &name)
}

#[test]
fn an_expired_flag_is_reported_once_and_goes_on() {
    let rig = Rig::new(&flag(
        r#""owner": "payments", "team": "shop", "expires_at": "2027-02-18T00:00:00Z""#,
    ));
    let labels = "owner=.=payments;.;team=.=shop;.;";
    rig.world.set_now(at("2027-02-17T23:59:59Z"));
    rig.canary.on_start(&rig.world);
    assert_eq!((expired(&rig, labels), rig.world.take_logs()), (0, vec![]));
    rig.world.set_now(at("2027-02-18T00:00:00Z"));
    rig.canary.on_tick(&rig.world);
    rig.canary.on_tick(&rig.world);
    assert_eq!(expired(&rig, labels), 1);
    let line = "canary: flag checkout-v2, owner payments, team shop expired at 2027-02-18T00:00:00Z: \
                it goes on (on_expiry: keep); remove it";
    assert_eq!(rig.world.take_logs(), [(Level::Warn, line.to_owned())]);
    assert_eq!(
        rig.user("user-42"),
        ("checkout-v2:canary".into(), "percentage".into())
    );
}

#[test]
fn an_expired_flag_can_be_switched_off() {
    let rig = Rig::new(&flag(
        r#""owner": "payments", "expires_at": "2027-02-18", "on_expiry": "stable""#,
    ));
    assert_eq!(rig.user("user-42").1, "percentage");
    rig.world.set_now(at("2027-02-18"));
    rig.canary.on_start(&rig.world);
    assert_eq!(
        rig.user("user-42"),
        ("checkout-v2:stable".into(), "expired".into())
    );
    assert_eq!(rig.counted("checkout-v2", "stable", "expired"), 1);
    let logs = rig.world.take_logs();
    assert_eq!(logs.len(), 1);
    assert!(logs[0].1.contains("on_expiry: stable"), "{logs:?}");
}

#[test]
fn a_flag_lives_90_days_from_its_creation() {
    let rig = Rig::new(&flag(r#""owner": "payments", "created": "2026-11-20""#));
    // 11 days of November, 31, 31, and 17 of February: the 18th is over the line.
    for (time, value) in [("2027-02-17T23:59:59Z", 0), ("2027-02-18", 1)] {
        rig.world.set_now(at(time));
        rig.canary.on_tick(&rig.world);
        assert_eq!(expired(&rig, "owner=.=payments;.;"), value, "{time}");
    }
}

#[test]
fn a_flag_without_owner_or_date_is_warned_of() {
    let warnings = |fields: &str| -> Vec<String> {
        let compiled = compiled(&flag(fields));
        assert!(compiled.report.is_ok());
        compiled
            .report
            .warnings()
            .iter()
            .map(ToString::to_string)
            .collect()
    };
    let rest = "nobody will be reminded to remove the flag";
    assert_eq!(
        warnings(r#""team": "t""#),
        [format!(
            "experiments[0]: has no owner and expires_at: {rest}"
        )]
    );
    assert_eq!(
        warnings(r#""owner": "a""#),
        [format!("experiments[0]: has no expires_at: {rest}")]
    );
    assert_eq!(
        warnings(r#""created": "2026-11-20""#),
        [format!("experiments[0]: has no owner: {rest}")]
    );
    assert_eq!(
        warnings(r#""owner": "a", "created": "2026-11-20""#),
        Vec::<String>::new()
    );
}
