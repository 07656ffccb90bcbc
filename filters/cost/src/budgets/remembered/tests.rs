use super::*;
use proptest::prelude::*;
use tollgate_core::config::{Report, parse};

/// 2026-10-31T22:00:00Z: shortly before a month ends, and summer time in New York.
const EVENING: u64 = 1_793_484_000;

const BUDGETS: &str = r#"{"budgets": [
    {"name": "all", "key": ["constant"], "monthly": "100", "daily": "10"},
    {"name": "each", "daily": "1", "time_zone": "Europe/Berlin"},
    {"name": "some", "consumers": ["ann", "svc-Aa"], "per_minute": "0.1"},
    {"name": "team", "key": ["group"], "groups": ["dev", "ops"], "monthly": "50", "time_zone": "America/New_York"},
    {"name": "single", "groups": ["dev"], "per_request": "1"}]}"#;

fn budgets(json: &str) -> Budgets {
    let report = Report::default();
    let root = parse(json, &report).unwrap();
    let section = root.value(&report).section().unwrap();
    let budgets = Budgets::compile(&section).unwrap();
    assert!(report.errors().is_empty());
    budgets
}

fn consumer(id: &str, groups: &[&str]) -> Consumer {
    Consumer {
        id: id.into(),
        groups: groups.iter().map(|g| Rc::from(*g)).collect(),
        key_id: None,
    }
}

/// The second and the third share a place; so do the fourth and the fifth, who are called the same.
fn consumers() -> Vec<Option<Consumer>> {
    vec![
        None,
        Some(consumer("svc-Aa", &["dev"])),
        Some(consumer("svc-BB", &["ops", "dev"])),
        Some(consumer("ann", &[])),
        Some(consumer("ann", &["ops"])),
        Some(consumer("", &["dev"])),
    ]
}

#[test]
fn consumers_share_places_in_these_tests() {
    let places: Vec<_> = consumers().iter().map(|c| place(c.as_ref())).collect();
    assert_eq!(places[1], places[2]);
    assert_eq!(places[3], places[4]);
    assert_eq!(places[0], places[5]);
    assert_ne!(places[1], places[3]);
}

#[test]
fn nothing_is_worked_out_twice_in_a_window() {
    let budgets = budgets(BUDGETS);
    let mut remembered = Remembered::default();
    let minute = UnixNanos::from_secs(EVENING);
    let ann = consumer("ann", &["dev"]);
    let first = remembered.parts(&budgets, Some(&ann), minute).to_vec();
    assert_eq!(first.len(), 3);
    // A separate filter makes new texts of what key auth says, for each request.
    let again = consumer("ann", &["dev"]);
    let last = UnixNanos::from_secs(EVENING + 59);
    let second = remembered.parts(&budgets, Some(&again), last).to_vec();
    assert!(first.iter().zip(&second).all(|(a, b)| Rc::ptr_eq(a, b)));
    let next = UnixNanos::from_secs(EVENING + 60);
    let third = remembered.parts(&budgets, Some(&ann), next);
    assert!(first.iter().zip(third).all(|(a, b)| !Rc::ptr_eq(a, b)));
}

#[test]
fn who_has_no_budget_is_remembered_for_ever() {
    let budgets = budgets(r#"{"budgets": [{"name": "b", "consumers": ["ann"], "daily": "1"}]}"#);
    let mut remembered = Remembered::default();
    let parts = remembered.parts(&budgets, None, UnixNanos(0));
    assert!(parts.is_empty());
    assert!(remembered.0[0].during.contains(UnixNanos(u64::MAX - 1)));
}

proptest! {
    #[test]
    fn what_is_remembered_is_what_would_be_worked_out(
        requests in prop::collection::vec((0_usize..6, prop_oneof![
            0_u64..300,
            0_u64..400_000,
            0_u64..40_000_000,
        ]), 1..60),
    ) {
        let budgets = budgets(BUDGETS);
        let consumers = consumers();
        let mut remembered = Remembered::default();
        for (who, seconds) in requests {
            let now = UnixNanos::from_secs(EVENING - 150 + seconds);
            let who = consumers[who].as_ref();
            let expected = budgets.parts(who, now);
            let parts: Vec<_> = remembered.parts(&budgets, who, now).iter().map(|p| (**p).clone()).collect();
            prop_assert_eq!(parts, expected);
        }
    }
}
