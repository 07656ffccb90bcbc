use super::*;
use crate::window::{Period, Zone};
use proptest::prelude::*;

fn at(text: &str) -> UnixNanos {
    UnixNanos::parse(text).unwrap()
}

fn money(text: &str) -> Money {
    Money::parse(text).unwrap()
}

fn line(name: &str, period: Period, limit: &str, now: &str) -> Line {
    Line {
        tag: Tag::new(name, period),
        limit: money(limit),
        soft: false,
        window: Window::of(at(now), period, Zone::Utc),
    }
}

fn daily(limit: &str, now: &str) -> [Line; 1] {
    [line("dev", Period::Day, limit, now)]
}

#[test]
fn an_estimate_is_reserved_and_the_true_cost_is_spent() {
    let mut account = Account::default();
    let mut lines = daily("1.00", "2026-11-21T12:00:00Z");
    let charge = Charge::Reserved(money("0.30"));
    assert_eq!(account.charge(&mut lines, charge), Ok(money("0.70")));
    assert_eq!(
        account.spent_and_reserved(&lines[0]),
        (Money::ZERO, money("0.30"))
    );
    assert_eq!(account.settle(&lines, charge, money("0.25")), money("0.75"));
    assert_eq!(
        account.spent_and_reserved(&lines[0]),
        (money("0.25"), Money::ZERO)
    );
}

#[test]
fn a_budget_is_used_to_the_last_pico_and_no_further() {
    let mut account = Account::default();
    let mut lines = daily("1.00", "2026-11-21T12:00:00Z");
    let most = Charge::Spent(money("0.999999999999"));
    assert_eq!(
        account.charge(&mut lines, most),
        Ok(money("0.000000000001"))
    );
    let refused = account.charge(&mut lines, Charge::Spent(Money::from_pico(2)));
    assert_eq!(
        refused,
        Err(Exhausted {
            line: 0,
            resets_at: at("2026-11-22"),
            remaining: Money::from_pico(1)
        })
    );
    assert_eq!(
        account.charge(&mut lines, Charge::Spent(Money::from_pico(1))),
        Ok(Money::ZERO)
    );
}

#[test]
fn several_budgets_are_charged_all_or_none() {
    let now = "2026-11-21T12:00:00Z";
    let mut account = Account::default();
    let mut lines = [
        line("dev", Period::Day, "1.00", now),
        line("dev", Period::Month, "0.50", now),
    ];
    let refused = account
        .charge(&mut lines, Charge::Reserved(money("0.60")))
        .unwrap_err();
    assert_eq!((refused.line, refused.resets_at), (1, at("2026-12-01")));
    assert_eq!(
        account.spent_and_reserved(&lines[0]),
        (Money::ZERO, Money::ZERO)
    );
    // Both refuse: the one that resets last is named, an earlier retry would be in vain.
    let refused = account.charge(&mut lines, Charge::Reserved(money("1.10")));
    assert_eq!(refused.unwrap_err().line, 1);
}

#[test]
fn a_new_day_starts_at_zero_and_a_new_month_does_not_come_with_it() {
    let mut account = Account::default();
    let lines = |now| {
        [
            line("dev", Period::Day, "1.00", now),
            line("dev", Period::Month, "10.00", now),
        ]
    };
    let mut today = lines("2026-11-21T23:59:59Z");
    account
        .charge(&mut today, Charge::Spent(money("0.90")))
        .unwrap();
    let mut tomorrow = lines("2026-11-22T00:00:00Z");
    assert_eq!(
        account.charge(&mut tomorrow, Charge::Spent(money("0.20"))),
        Ok(money("0.80"))
    );
    assert_eq!(account.spent_and_reserved(&tomorrow[1]).0, money("1.10"));
}

#[test]
fn a_call_over_midnight_belongs_to_the_day_in_which_it_began() {
    let mut account = Account::default();
    let mut before = daily("1.00", "2026-11-21T23:59:59Z");
    let charge = Charge::Reserved(money("0.50"));
    account.charge(&mut before, charge).unwrap();
    let mut after = daily("1.00", "2026-11-22T00:00:01Z");
    account
        .charge(&mut after, Charge::Spent(money("0.10")))
        .unwrap();
    account.settle(&before, charge, money("0.70"));
    assert_eq!(
        account.spent_and_reserved(&after[0]),
        (money("0.10"), Money::ZERO)
    );
}

#[test]
fn a_clock_that_steps_back_over_midnight_forgets_nothing() {
    let mut account = Account::default();
    let mut after = daily("1.00", "2026-11-22T00:00:00Z");
    account
        .charge(&mut after, Charge::Spent(money("0.80")))
        .unwrap();
    let mut before = daily("1.00", "2026-11-21T23:59:59Z");
    let charge = Charge::Reserved(money("0.20"));
    assert_eq!(account.charge(&mut before, charge), Ok(Money::ZERO));
    // The line now names the window that was charged, so that settling finds it.
    assert_eq!(before[0].window.start, at("2026-11-22"));
    account.settle(&before, charge, money("0.10"));
    assert_eq!(
        account.spent_and_reserved(&after[0]),
        (money("0.90"), Money::ZERO)
    );
}

#[test]
fn a_clock_that_was_years_ahead_locks_nobody_out() {
    let mut account = Account::default();
    let mut wrong = daily("1.00", "2031-01-01T00:00:00Z");
    account
        .charge(&mut wrong, Charge::Spent(money("1.00")))
        .unwrap();
    let mut right = daily("1.00", "2026-11-21T12:00:00Z");
    assert_eq!(
        account.charge(&mut right, Charge::Spent(money("0.10"))),
        Ok(money("0.90"))
    );
}

#[test]
fn a_lower_limit_after_a_reload_keeps_what_was_spent() {
    let mut account = Account::default();
    let now = "2026-11-21T12:00:00Z";
    account
        .charge(&mut daily("1.00", now), Charge::Spent(money("0.80")))
        .unwrap();
    let mut lower = daily("0.50", now);
    assert_eq!(account.remaining(&lower), Money::ZERO);
    assert!(
        account
            .charge(&mut lower, Charge::Spent(Money::from_pico(1)))
            .is_err()
    );
}

#[test]
fn an_amount_that_does_not_fit_a_number_is_refused_not_wrapped() {
    let mut account = Account::default();
    let mut lines = [Line {
        limit: Money::MAX,
        ..daily("0", "2026-11-21")[0]
    }];
    account
        .charge(&mut lines, Charge::Spent(Money::MAX))
        .unwrap();
    assert!(
        account
            .charge(&mut lines, Charge::Spent(Money::from_pico(1)))
            .is_err()
    );
}

#[test]
fn other_versions_and_sizes_are_malformed() {
    let mut account = Account::default();
    account
        .charge(
            &mut daily("1.00", "2026-11-21"),
            Charge::Spent(money("0.10")),
        )
        .unwrap();
    let mut good = Vec::new();
    account.encode(&mut good);
    assert_eq!(Account::decode(&good), Ok(account));
    assert_eq!(good.len(), 46);
    for end in 0..good.len() {
        assert_eq!(Account::decode(&good[..end]), Err(Malformed));
    }
    let longer = [&good[..], &[0]].concat();
    assert_eq!(Account::decode(&longer), Err(Malformed));
    let mut version = good.clone();
    version[4] = 2;
    assert_eq!(Account::decode(&version), Err(Malformed));
    let mut count = good.clone();
    count[5] = 2;
    assert_eq!(Account::decode(&count), Err(Malformed));
}

#[test]
fn budgets_that_left_the_configuration_do_not_pile_up() {
    let mut account = Account::default();
    for i in 0..200 {
        let now = "2026-11-21T12:00:00Z";
        let mut lines = [line(&format!("b{i}"), Period::Month, "1.00", now)];
        account
            .charge(&mut lines, Charge::Spent(money("0.10")))
            .unwrap();
        assert_eq!(account.spent_and_reserved(&lines[0]).0, money("0.10"));
    }
    assert_eq!(account.entries.len(), MAX_LINES);
    let mut later = [line("b0", Period::Month, "1.00", "2026-12-01T00:00:00Z")];
    account
        .charge(&mut later, Charge::Spent(money("0.10")))
        .unwrap();
    assert_eq!(account.entries.len(), 1);
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        let _ = Account::decode(&bytes);
    }

    #[test]
    fn what_reads_is_written_the_same(entries in prop::collection::vec(any::<[u64; 5]>(), 0..=MAX_LINES)) {
        let mut bytes = b"TGBU\x01".to_vec();
        bytes.push(u8::try_from(entries.len()).unwrap());
        for n in entries.iter().flatten() {
            bytes.extend_from_slice(&n.to_le_bytes());
        }
        let mut again = Vec::new();
        Account::decode(&bytes).unwrap().encode(&mut again);
        prop_assert_eq!(again, bytes);
    }

    /// Calls start, end and overlap in any order, through the record's bytes each time.
    #[test]
    fn what_was_settled_is_what_is_spent(
        limit in 0_u64..2_000,
        steps in prop::collection::vec((0_u64..300, 0_u64..400, any::<bool>(), any::<bool>()), 1..60),
    ) {
        let mut bytes = Vec::new();
        Account::default().encode(&mut bytes);
        let mut lines = daily("0", "2026-11-21");
        lines[0].limit = Money::from_pico(limit);
        let mut running: Vec<(Charge, Money)> = Vec::new();
        let (mut settled, mut estimates, mut beyond) = (0_u64, 0_u64, 0_u64);
        for (estimate, cost, at_once, finish) in steps {
            let mut account = Account::decode(&bytes).unwrap();
            let (charge, cost) = if at_once {
                (Charge::Spent(Money::from_pico(estimate)), Money::from_pico(estimate))
            } else {
                (Charge::Reserved(Money::from_pico(estimate)), Money::from_pico(cost))
            };
            if account.charge(&mut lines, charge).is_ok() {
                let (spent, reserved) = account.spent_and_reserved(&lines[0]);
                // The heart of it: an admission never goes above the limit.
                prop_assert!(spent.pico() + reserved.pico() <= limit);
                estimates += estimate;
                running.push((charge, cost));
            } else {
                let (spent, reserved) = account.spent_and_reserved(&lines[0]);
                prop_assert!(spent.pico() + reserved.pico() + estimate > limit);
            }
            if finish && !running.is_empty() {
                let (charge, cost) = running.remove(0);
                account.settle(&lines, charge, cost);
                settled += cost.pico();
                estimates -= charge.amount().pico();
                beyond += cost.pico().saturating_sub(charge.amount().pico());
            }
            account.encode(&mut bytes);
            let (spent, reserved) = account.spent_and_reserved(&lines[0]);
            prop_assert_eq!(spent.pico() + reserved.pico(), settled + estimates);
            prop_assert!(spent.pico() + reserved.pico() <= limit + beyond);
        }
        let mut account = Account::decode(&bytes).unwrap();
        for (charge, cost) in running {
            account.settle(&lines, charge, cost);
            settled += cost.pico();
        }
        prop_assert_eq!(account.spent_and_reserved(&lines[0]), (Money::from_pico(settled), Money::ZERO));
    }
}
