//! Budgets.

use super::*;
use crate::fleet::dispenser::money::{Payment, Slip};
use crate::fleet::lease::purse::{Price, hit_value};

const PICO: u64 = 1_000_000_000_000;
const DAY: u64 = 86_400 * SECOND;

fn quota() -> Quota {
    let start = START - START % DAY;
    Quota {
        limit: PICO / hit_value(PICO),
        cost: 1,
        period: Period::Calendar(start, start + DAY),
        smooth: None,
        bucket: None,
    }
}

fn price(amount: u64) -> Price {
    Price {
        amount,
        value: hit_value(PICO),
    }
}

fn spend(fleet: &Fleet, amount: u64) -> Payment {
    let place = fleet.place();
    fleet.dispenser.spend(
        &*fleet.world,
        &fleet.subject,
        place,
        b"acme",
        &quota(),
        price(amount),
    )
}

impl Fleet {
    /// Answers with the counter of a day.
    fn serve_day(&mut self) -> usize {
        let calls = self.world.take_background();
        for (id, call) in &calls {
            let Call::Grpc { message, .. } = call else {
                panic!("{call:?}")
            };
            let asked = crate::fleet::proto::read_request(message).unwrap();
            let counter = self.counters.entry(asked.value.into_bytes()).or_default();
            *counter += asked.hits;
            let left = 86_400 - self.world.now().0 / SECOND % 86_400;
            let body = crate::fleet::proto::answer(true, Unit::Day, 4_294_967_295 - *counter, left);
            self.reply(*id, TestReply::new(Ended::Grpc(0), body));
        }
        calls.len()
    }

    fn pay(&mut self, amount: u64) -> Payment {
        let mut payment = spend(self, amount);
        for _ in 0..3 {
            self.serve_day();
            if let Payment::Waiting(slip) = payment {
                payment = self.dispenser.poll_payment(&*self.world, &quota(), slip);
            }
        }
        payment
    }

    /// A tenth is in the purse, and somebody waits for a half.
    fn waiting_with_a_purse(&mut self) -> Slip {
        let Payment::Paid { end, .. } = self.pay(PICO / 10) else {
            panic!()
        };
        let place = self.place();
        self.dispenser
            .settle(&*self.world, place, end, PICO / 10, 0);
        match spend(self, PICO / 2) {
            Payment::Waiting(slip) => slip,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_budget_is_spent_to_the_last_hit_and_not_beyond() {
    let mut fleet = Fleet::new("");
    let cost = PICO / 100;
    for i in 0..100 {
        fleet.world.advance(Duration::from_millis(500));
        assert!(matches!(fleet.pay(cost), Payment::Paid { .. }), "{i}");
    }
    let Payment::Refused { wait, left } = fleet.pay(cost) else {
        panic!("not refused")
    };
    assert!(wait > 0 && left == 0, "{wait} {left}");
    assert_eq!(spend(&fleet, 1), Payment::Refused { wait, left });
}

#[test]
fn what_was_not_spent_stays_in_the_purse() {
    let mut fleet = Fleet::new("");
    let Payment::Paid { end, .. } = fleet.pay(PICO / 2) else {
        panic!()
    };
    let place = fleet.place();
    assert!(
        fleet
            .dispenser
            .settle(&*fleet.world, place, end, PICO / 2, PICO / 10)
    );
    // Four tenths are there without a question.
    let Payment::Paid { .. } = spend(&fleet, PICO * 4 / 10) else {
        panic!()
    };
    assert!(fleet.world.take_background().is_empty());
}

#[test]
fn a_failed_question_puts_the_purse_back() {
    let mut fleet = Fleet::new("");
    let slip = fleet.waiting_with_a_purse();
    fleet.fail_all(Ended::Grpc(14));
    let failed = fleet.dispenser.poll_payment(&*fleet.world, &quota(), slip);
    assert_eq!(failed, Payment::Failed(Failure::Unavailable));
    assert!(matches!(spend(&fleet, PICO / 10), Payment::Paid { .. }));
}

#[test]
fn who_leaves_while_waiting_puts_the_purse_back_too() {
    let mut fleet = Fleet::new("");
    let slip = fleet.waiting_with_a_purse();
    fleet.dispenser.leave_payment(&*fleet.world, &quota(), slip);
    fleet.serve_day();
    assert!(matches!(spend(&fleet, PICO / 2), Payment::Paid { .. }));
    assert!(matches!(fleet.pay(PICO / 2), Payment::Paid { .. }));
    assert!(matches!(fleet.pay(PICO / 2), Payment::Refused { .. }));
}

#[test]
fn what_passes_unasked_is_owed() {
    let mut fleet = Fleet::new("");
    fleet
        .dispenser
        .owe(&*fleet.world, fleet.place(), &quota(), PICO / 2);
    assert!(matches!(
        fleet.pay(PICO * 6 / 10),
        Payment::Refused { .. } | Payment::Waiting(_)
    ));
    assert!(matches!(fleet.pay(PICO / 4), Payment::Paid { .. }));
}

#[test]
fn a_purse_is_filled_ahead_so_that_nobody_waits() {
    let mut fleet = Fleet::new("");
    let cost = PICO / 100_000;
    let mut asked = 0;
    for i in 0..2_000 {
        fleet.world.advance(Duration::from_millis(1));
        match spend(&fleet, cost) {
            Payment::Waiting(slip) if i < 500 => {
                fleet.serve_day();
                fleet.dispenser.poll_payment(&*fleet.world, &quota(), slip);
            }
            payment => assert!(matches!(payment, Payment::Paid { .. }), "{i}: {payment:?}"),
        }
        asked += fleet.serve_day();
    }
    assert!(asked >= 3, "{asked}");
}
