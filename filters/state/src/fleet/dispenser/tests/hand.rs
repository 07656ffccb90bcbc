//! What a worker takes ahead.

use super::*;

/// A second worker of the same proxy.
fn worker_of(fleet: &Fleet) -> Fleet {
    let other = Fleet::new("");
    Fleet {
        world: Rc::clone(&fleet.world),
        ..other
    }
}

#[test]
fn most_requests_of_a_busy_key_are_served_out_of_the_hand() {
    let mut fleet = Fleet::new("");
    let mut passed_all = 0;
    let mut trips = 0;
    for i in 0..20_000_u64 {
        fleet.world.advance(Duration(100_000));
        // Whoever stores something loses a race first.
        fleet.world.conflicts.set(1);
        let outcome = fleet.take(1_000_000);
        if i >= 10_000 && fleet.world.conflicts.replace(0) == 0 {
            trips += 1;
        }
        fleet.serve();
        passed_all += u64::from(match outcome {
            Outcome::Waiting(ticket) => passed(fleet.poll(ticket)),
            outcome => passed(outcome),
        });
    }
    assert!(passed_all > 19_950, "{passed_all}");
    assert!(trips < 1_000, "{trips} of 10,000");
}

#[test]
fn hits_in_hand_come_back_and_none_is_spent_twice() {
    let mut fleet = Fleet::new("");
    let mut other = worker_of(&fleet);
    let limit = 6_000;
    let mut admitted = 0;
    let ask = |fleet: &mut Fleet, counters: &mut Fleet| {
        let outcome = fleet.take(limit);
        // Both ask the same service.
        std::mem::swap(&mut fleet.counters, &mut counters.counters);
        for _ in 0..3 {
            fleet.serve();
        }
        std::mem::swap(&mut fleet.counters, &mut counters.counters);
        match outcome {
            Outcome::Waiting(ticket) => passed(fleet.poll(ticket)),
            outcome => passed(outcome),
        }
    };
    let mut service = Fleet::new("");
    // Half of the limit quickly by both workers, then one goes away with hits in its hand.
    for i in 0..3_000 {
        fleet.world.advance(Duration(100_000));
        let worker = if i % 2 == 0 { &mut fleet } else { &mut other };
        admitted += u64::from(ask(worker, &mut service));
    }
    assert_eq!(admitted, 3_000);
    fleet.world.advance(Duration::from_millis(250));
    other.dispenser.tick(&*other.world);
    for _ in 0..9_000 {
        fleet.world.advance(Duration(100_000));
        admitted += u64::from(ask(&mut fleet, &mut service));
    }
    assert_eq!(admitted, limit);
}

#[test]
fn hits_in_hand_are_none_of_the_next_window_and_count_in_the_headers() {
    let mut fleet = Fleet::new("");
    let mut last = None;
    for i in 0..5_000_u64 {
        fleet.world.advance(Duration(200_000));
        let outcome = fleet.take(900_000);
        fleet.serve();
        if let Outcome::Admitted { shown, .. } = outcome {
            let own = shown.own.unwrap().remaining;
            // Each takes one, whether it comes out of the hand or not; the bucket gains three in 200 us.
            if let Some(before) = last.replace(own).filter(|_| i > 3_000) {
                assert!(
                    own + 100 >= before && own <= before + 100,
                    "{before} then {own}"
                );
            }
        }
    }
    // The window is over: whatever is in hand, the next request asks.
    fleet.world.set_now(UnixNanos(START + 60 * SECOND + 1_000));
    assert!(matches!(fleet.take(900_000), Outcome::Waiting(_)));
}
