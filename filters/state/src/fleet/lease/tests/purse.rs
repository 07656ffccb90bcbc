//! Money out of a lease.

use super::*;
use crate::fleet::lease::purse::{Price, Spend, hit_value};
use proptest::prelude::*;

const PICO: u64 = 1_000_000_000_000;

#[test]
fn a_hit_is_the_smallest_power_of_ten_that_fits() {
    // Budget in whole currency units, value of a hit in picounits: the table of docs/fleet.md.
    for (most, value) in [
        (2, 1_000),
        (20, 10_000),
        (200, 100_000),
        (2_000, 1_000_000),
        (20_000, 10_000_000),
        (200_000, 100_000_000),
        (2_000_000, 1_000_000_000),
    ] {
        assert_eq!(hit_value(most * PICO), value, "{most}");
        assert_eq!(hit_value(most * PICO + value), value * 10, "{most}");
    }
    assert_eq!(hit_value(1), 1_000);
    assert!(u64::MAX / hit_value(u64::MAX) <= MAX_LIMIT);
}

struct Shop {
    proxy: Proxy,
    spent: u64,
    budget: u64,
}

impl Shop {
    fn new(budget: u64) -> Self {
        Self {
            proxy: Proxy::new(0),
            spent: 0,
            budget,
        }
    }

    fn terms(&self, frame: Frame) -> Terms {
        Proxy::terms(self.budget / hit_value(self.budget), 1, frame)
    }

    /// Reserves `estimate`, then costs `cost`. Whether it was let through.
    fn call(
        &mut self,
        service: &mut Service,
        frame: Frame,
        estimate: u64,
        cost: u64,
        time: u64,
    ) -> bool {
        let terms = self.terms(frame);
        let price = Price {
            amount: estimate,
            value: hit_value(self.budget),
        };
        let clock = self.proxy.clock;
        match self.proxy.lease.spend(&terms, price, time, &clock) {
            Spend::Paid { end, prefetch } => {
                if prefetch {
                    self.proxy.ask(service, &terms, time, &[]);
                }
                self.proxy.lease.settle(end, estimate, cost);
            }
            Spend::Refused { .. } => return false,
            Spend::Unknown(pending) => {
                let granted = self.proxy.ask(
                    service,
                    &Terms {
                        cost: pending.hits,
                        ..terms
                    },
                    time,
                    &[pending.hits],
                );
                if granted.served == 0 {
                    self.proxy.lease.put_back(&pending);
                    return false;
                }
                self.proxy.lease.pay(price, &pending, granted.end);
                self.proxy.lease.settle(granted.end, estimate, cost);
            }
        }
        self.spent += cost;
        true
    }
}

#[test]
fn three_proxies_spend_a_budget_of_one_unit_to_the_last_hit() {
    let mut service = Service::default();
    let mut shops: Vec<_> = (0..3).map(|_| Shop::new(PICO)).collect();
    let day = Frame::calendar(
        START - START % (86_400 * SECOND),
        START - START % (86_400 * SECOND) + 86_400 * SECOND,
    );
    let cost = PICO / 1_000;
    let mut passed = 0;
    for i in 0..3_000_u64 {
        let shop = &mut shops[(i % 3) as usize];
        passed += u64::from(shop.call(&mut service, day, cost, cost, START + i * 20 * MS));
    }
    let spent: u64 = shops.iter().map(|s| s.spent).sum();
    assert_eq!((passed, spent), (1_000, PICO));
}

#[test]
fn what_is_owed_is_paid_before_anything_else() {
    let (mut service, mut shop) = (Service::default(), Shop::new(PICO));
    let frame = unit(Unit::Day);
    // Nothing was expected, half the budget it was.
    assert!(shop.call(&mut service, frame, 1, PICO / 2, START));
    assert!(shop.proxy.lease.debt() > PICO / 3);
    assert!(shop.call(&mut service, frame, PICO / 4, PICO / 4, START + MS));
    assert_eq!(shop.proxy.lease.debt(), 0);
    assert!(!shop.call(&mut service, frame, PICO / 2, PICO / 2, START + 2 * MS));
    assert!(shop.call(&mut service, frame, PICO / 8, PICO / 8, START + 3 * MS));
}

#[test]
fn parts_of_a_hit_are_not_lost() {
    let (mut service, mut shop) = (Service::default(), Shop::new(PICO));
    let frame = unit(Unit::Day);
    // A tenth of a hit each.
    for i in 0..1_000 {
        assert!(shop.call(&mut service, frame, 100, 100, START + i * MS));
    }
    let highest = service.counters.values().copied().max().unwrap();
    assert!(highest <= 2_000, "{highest}");
    assert_eq!(shop.spent, 100_000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// With estimates that are not too low: never more than the budget, whatever they give back.
    #[test]
    fn a_budget_is_never_exceeded(
        budget in 1_000_000_u64..10_000_000_000_000_000,
        calls in prop::collection::vec((0_usize..4, 1_u64..200, 0_u64..=100, 0_u64..3_000), 10..400),
    ) {
        let mut service = Service::default();
        let mut shops: Vec<_> = (0..4).map(|_| Shop::new(budget)).collect();
        let mut time = START;
        for (i, part, percent, pause) in calls {
            time += pause * MS;
            let estimate = budget / 500 * part + 1;
            let cost = estimate / 100 * percent;
            shops[i].call(&mut service, unit(Unit::Month), estimate, cost, time);
        }
        let spent: u64 = shops.iter().map(|s| s.spent).sum();
        prop_assert!(spent <= budget, "{spent} of {budget}");
    }
}
