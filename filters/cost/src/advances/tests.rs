use crate::accounts::{Accounts, Hold, Refusal, Standing};
use crate::budgets::{Budgets, Part};
use crate::meters::Meters;
use proptest::prelude::*;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use tollgate_core::testing::TestWorld;
use tollgate_core::world::Store;
use tollgate_core::{Metrics, Money, UnixNanos};
use tollgate_state::budget::{Account, Charge, Line, Tag};
use tollgate_state::window::{Period, Window, Zone};

const KEY: &str = "budget/ann";
const NOON: u64 = 1_795_262_400;
const DAY: u64 = 86_400;

struct Worker<'w> {
    accounts: Accounts,
    budgets: Budgets,
    meters: Meters,
    world: &'w TestWorld,
    limit: Money,
    day: u64,
    part: RefCell<Rc<Part>>,
    charges: Cell<u32>,
}

impl<'w> Worker<'w> {
    fn new(world: &'w TestWorld, limit: u64) -> Self {
        Self {
            accounts: Accounts::default(),
            budgets: Budgets::default(),
            meters: Meters::register(&mut Metrics::default(), &[], &Budgets::default(), &[]),
            world,
            limit: Money::from_pico(limit),
            day: 0,
            part: RefCell::new(Rc::new(Part::new(String::new(), Vec::new()))),
            charges: Cell::new(0),
        }
    }

    fn charge(&self, charge: Charge) -> Result<(Hold, Standing), Refusal> {
        let fresh = Part::new(KEY.to_owned(), vec![line(self.limit, self.day)]);
        let mut part = self.part.borrow_mut();
        // Every other call has the part of the one before it, as if it was remembered.
        let is_second = self.charges.replace(self.charges.get() + 1) % 2 == 1;
        if !is_second || **part != fresh {
            *part = Rc::new(fresh);
        }
        let parts = std::slice::from_ref(&*part);
        self.accounts
            .charge(parts, charge, &self.budgets, &self.meters, self.world)
    }

    fn spend(&self, cost: u64) -> Option<(Hold, u64)> {
        let (hold, standing) = self.charge(Charge::Spent(Money::from_pico(cost))).ok()?;
        Some((hold, standing.remaining.pico()))
    }

    fn settle(&self, hold: Hold, cost: u64) {
        let cost = Money::from_pico(cost);
        let settled = self
            .accounts
            .settle(hold, cost, &self.budgets, &self.meters, self.world);
        assert!(settled.is_some(), "nobody else writes in the meantime");
    }

    fn tick(&self) {
        self.accounts.tick(&self.budgets, &self.meters, self.world);
    }

    fn stop(&self) {
        self.accounts.stop(&self.budgets, &self.meters, self.world);
    }

    /// What it says of itself: spent and reserved.
    fn reads(&self) -> (u64, u64) {
        amounts(
            &self.accounts.read(KEY, &self.meters, self.world),
            &line(self.limit, self.day),
        )
    }
}

fn line(limit: Money, day: u64) -> Line {
    Line {
        tag: Tag::new("dev", Period::Day),
        limit,
        soft: false,
        window: Window::of(
            UnixNanos::from_secs(NOON + day * DAY),
            Period::Day,
            Zone::Utc,
        ),
    }
}

fn amounts(account: &Account, line: &Line) -> (u64, u64) {
    let (spent, reserved) = account.spent_and_reserved(line);
    (spent.pico(), reserved.pico())
}

/// Spent and reserved, as it lies in the shared state.
fn stored(world: &TestWorld, limit: u64, day: u64) -> (u64, u64) {
    let mut bytes = Vec::new();
    world.load(KEY, &mut bytes);
    let account = Account::decode(&bytes).unwrap_or_default();
    amounts(&account, &line(Money::from_pico(limit), day))
}

#[test]
fn a_busy_account_is_charged_without_a_trip() {
    let world = TestWorld::default();
    let worker = Worker::new(&world, 10_000_000);
    for call in 1..=5 {
        assert_eq!(
            worker.spend(10).map(|(_, left)| left),
            Some(10_000_000 - 10 * call)
        );
    }
    // Four charges make it busy; the fifth took four times what was spent.
    assert_eq!(stored(&world, 10_000_000, 0), (50, 160));
    for call in 6..=21 {
        assert_eq!(
            worker.spend(10).map(|(_, left)| left),
            Some(10_000_000 - 10 * call)
        );
        assert_eq!(stored(&world, 10_000_000, 0), (50, 160));
    }
    assert_eq!(worker.reads(), (210, 0));
    worker.spend(10);
    assert_eq!(stored(&world, 10_000_000, 0), (220, 840));
}

#[test]
fn a_tick_books_what_was_paid_and_an_idle_advance_goes_back() {
    let world = TestWorld::default();
    let worker = Worker::new(&world, 10_000_000);
    for _ in 0..8 {
        worker.spend(10);
    }
    assert_eq!(stored(&world, 10_000_000, 0), (50, 160));
    worker.tick();
    assert_eq!(stored(&world, 10_000_000, 0), (80, 130));
    worker.tick();
    assert_eq!(stored(&world, 10_000_000, 0), (80, 0));
}

#[test]
fn a_worker_holds_a_ten_thousandth_of_a_budget_at_most() {
    let world = TestWorld::default();
    let worker = Worker::new(&world, 10_000_000);
    let mut most = 0;
    for _ in 0..2_000 {
        worker.spend(10);
        most = most.max(stored(&world, 10_000_000, 0).1);
    }
    assert_eq!(most, 1_000);
}

#[test]
fn small_budgets_rare_calls_and_estimates_take_no_advance() {
    let world = TestWorld::default();
    let small = Worker::new(&world, 799_999);
    for _ in 0..100 {
        small.spend(10);
    }
    assert_eq!(stored(&world, 799_999, 0), (1_000, 0));

    let world = TestWorld::default();
    let rare = Worker::new(&world, 10_000_000);
    for _ in 0..100 {
        for _ in 0..4 {
            rare.spend(10);
        }
        rare.tick();
    }
    assert_eq!(stored(&world, 10_000_000, 0), (4_000, 0));

    let world = TestWorld::default();
    let estimating = Worker::new(&world, 10_000_000);
    for _ in 0..100 {
        let held = estimating.charge(Charge::Reserved(Money::from_pico(10)));
        assert!(held.is_ok());
    }
    assert_eq!(stored(&world, 10_000_000, 0), (0, 1_000));
}

#[test]
fn a_call_that_turns_out_free_is_put_back_before_and_after_its_booking() {
    let world = TestWorld::default();
    let worker = Worker::new(&world, 10_000_000);
    for _ in 0..5 {
        worker.spend(10);
    }
    let (early, _) = worker.spend(10).unwrap();
    worker.settle(early, 0);
    assert_eq!(worker.reads(), (50, 0));
    assert_eq!(stored(&world, 10_000_000, 0), (50, 160));
    let (late, _) = worker.spend(10).unwrap();
    worker.tick();
    assert_eq!(stored(&world, 10_000_000, 0), (60, 150));
    worker.settle(late, 0);
    assert_eq!(stored(&world, 10_000_000, 0), (50, 0));
}

#[test]
fn an_advance_does_not_pay_for_another_day() {
    let world = TestWorld::default();
    let mut worker = Worker::new(&world, 10_000_000);
    for _ in 0..8 {
        worker.spend(10);
    }
    worker.day = 1;
    assert_eq!(worker.spend(10).map(|(_, left)| left), Some(9_999_990));
    worker.stop();
    assert_eq!(stored(&world, 10_000_000, 1), (10, 0));
}

#[test]
fn the_last_of_a_budget_is_spent_call_by_call_and_to_the_last() {
    let world = TestWorld::default();
    let workers = [
        Worker::new(&world, 1_000_000),
        Worker::new(&world, 1_000_000),
    ];
    let mut spent = 0;
    for round in 0.. {
        let before = spent;
        for worker in &workers {
            for _ in 0..50 {
                spent += worker.spend(7).map_or(0, |_| 7);
            }
        }
        assert!(spent <= 1_000_000);
        if spent == before {
            break;
        }
        if round % 10 == 0 {
            workers[0].tick();
            workers[1].tick();
        }
    }
    assert_eq!(spent, 1_000_000 / 7 * 7);
}

proptest! {
    #[test]
    fn workers_with_advances_never_exceed_a_budget_and_lose_nothing(
        limit in prop_oneof![1_u64..2_000, 100_000_u64..2_000_000],
        steps in prop::collection::vec((0_usize..3, 0_u8..24, 1_u64..4), 1..400),
    ) {
        let world = TestWorld::default();
        let mut workers: Vec<_> = (0..3).map(|_| Worker::new(&world, limit)).collect();
        let mut holds: Vec<Vec<(Hold, u64)>> = vec![Vec::new(), Vec::new(), Vec::new()];
        let mut truth = 0_u64;
        for (at, what, cost) in steps {
            let worker = &workers[at];
            match what {
                0 => worker.tick(),
                1 => {
                    // Replaced; its calls under way end under the old configuration, so first.
                    for (hold, _) in holds[at].drain(..) {
                        drop(hold);
                    }
                    worker.stop();
                    workers[at] = Worker::new(&world, limit);
                }
                2 => if let Some((hold, cost)) = holds[at].pop() {
                    worker.settle(hold, 0);
                    truth -= cost;
                },
                _ => if let Some((hold, _)) = worker.spend(cost) {
                    truth += cost;
                    holds[at].push((hold, cost));
                },
            }
            let (spent, reserved) = stored(&world, limit, 0);
            prop_assert!(spent + reserved <= limit);
            prop_assert!(truth <= limit);
        }
        for worker in &workers {
            worker.stop();
        }
        prop_assert_eq!(stored(&world, limit, 0), (truth, 0));
    }
}
