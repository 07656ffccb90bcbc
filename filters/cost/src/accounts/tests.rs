use super::*;
use crate::budgets::Budgets;
use proptest::prelude::*;
use std::cell::Cell;
use std::fmt;
use tollgate_core::metrics::MetricId;
use tollgate_core::testing::TestWorld;
use tollgate_core::world::{
    Attribute, Call, CallId, CallRefused, Conflict, Expect, Meter, Store, Version,
};
use tollgate_core::{Metrics, UnixNanos};
use tollgate_state::budget::Tag;
use tollgate_state::window::{Period, Window, Zone};

const KEY: &str = "budget/ann";

/// One worker's view of a world in which another worker charges the same account right before
/// this one's writes, as often as the plan says.
struct Raced {
    world: TestWorld,
    plan: RefCell<Vec<bool>>,
    limit: Money,
    admitted: Cell<u64>,
}

impl Raced {
    fn other_worker_charges(&self) {
        let mut bytes = Vec::new();
        let version = self.world.load(KEY, &mut bytes);
        let mut account = Account::decode(&bytes).unwrap_or_default();
        if account
            .charge(&mut [line(self.limit)], Charge::Spent(Money::from_pico(3)))
            .is_ok()
        {
            account.encode(&mut bytes);
            let expect = version.map_or(Expect::Absent, Expect::Unchanged);
            assert_eq!(self.world.store(KEY, &bytes, expect), Ok(()));
            self.admitted.set(self.admitted.get() + 3);
        }
    }
}

impl Store for Raced {
    fn load(&self, key: &str, out: &mut Vec<u8>) -> Option<Version> {
        self.world.load(key, out)
    }

    fn store(&self, key: &str, value: &[u8], expect: Expect) -> Result<(), Conflict> {
        let raced = self.plan.borrow_mut().pop().unwrap_or(false);
        if raced {
            self.other_worker_charges();
        }
        self.world.store(key, value, expect)
    }
}

impl Meter for Raced {
    fn count(&self, metric: MetricId, by: u64) {
        self.world.count(metric, by);
    }
    fn gauge(&self, metric: MetricId, value: u64) {
        self.world.gauge(metric, value);
    }
    fn observe(&self, metric: MetricId, value: u64) {
        self.world.observe(metric, value);
    }
}

impl World for Raced {
    fn now(&self) -> UnixNanos {
        self.world.now()
    }
    fn call(&self, call: &Call) -> Result<(), CallRefused> {
        self.world.call(call)
    }
    fn call_in_background(&self, call: Call) -> CallId {
        self.world.call_in_background(call)
    }
    fn attribute(&self, attribute: Attribute) -> Option<Vec<u8>> {
        self.world.attribute(attribute)
    }
    fn random(&self) -> u64 {
        self.world.random()
    }
    fn log(&self, level: Level, message: fmt::Arguments<'_>) {
        self.world.log(level, message);
    }
}

fn line(limit: Money) -> Line {
    Line {
        tag: Tag::new("dev", Period::Day),
        limit,
        soft: false,
        window: Window::of(UnixNanos::from_secs(1_795_237_200), Period::Day, Zone::Utc),
    }
}

proptest! {
    #[test]
    fn two_workers_never_admit_more_than_the_budget_and_lose_nothing(
        limit in 0_u64..300,
        calls in prop::collection::vec((1_u64..20, 0_u64..30), 1..30),
        plan in prop::collection::vec(any::<bool>(), 0..80),
    ) {
        let limit = Money::from_pico(limit);
        let world = Raced { world: TestWorld::default(), plan: RefCell::new(plan), limit, admitted: Cell::new(0) };
        let meters = Meters::register(&mut Metrics::default(), &[], &Budgets::default(), &[]);
        let accounts = Accounts::default();
        let budgets = Budgets::default();
        let (mut mine, mut beyond) = (0_u64, 0_u64);
        for (estimate, cost) in calls {
            let charge = Charge::Reserved(Money::from_pico(estimate));
            let Ok((hold, _)) = accounts.charge(&[Rc::new(Part::new(KEY.to_owned(), vec![line(limit)]))], charge, &budgets, &meters, &world) else {
                continue;
            };
            accounts.settle(hold, Money::from_pico(cost), &budgets, &meters, &world);
            mine += cost;
            beyond += cost.saturating_sub(estimate);
        }
        world.plan.borrow_mut().clear();
        accounts.retry(&budgets, &meters, &world);
        let mut bytes = Vec::new();
        world.load(KEY, &mut bytes);
        let account = if bytes.is_empty() { Account::default() } else { Account::decode(&bytes).unwrap() };
        let (spent, reserved) = account.spent_and_reserved(&line(limit));
        prop_assert_eq!(spent.pico(), mine + world.admitted.get());
        prop_assert_eq!(reserved, Money::ZERO);
        prop_assert!(spent.pico() <= limit.pico() + beyond);
    }
}
