//! Requests take hits, wait for them, and leave.

use super::*;

#[test]
fn who_comes_first_waits_and_who_comes_then_has_a_lease() {
    let mut fleet = Fleet::new("");
    let tickets: Vec<_> = (0..20).map(|_| fleet.ticket(10_000)).collect();
    // One question for all of them: the first asks for one, those behind it for the rest.
    assert_eq!(fleet.serve(), 1);
    assert!(passed(fleet.poll(tickets[0])));
    assert!(matches!(fleet.poll(tickets[1]), Outcome::Waiting(_)));
    assert_eq!(fleet.serve(), 1);
    assert!(tickets[1..].iter().all(|t| passed(fleet.poll(*t))));
    assert_eq!(
        (fleet.requests("waited"), fleet.requests("leased")),
        (20, 0)
    );
    for _ in 0..500 {
        fleet.world.advance(Duration::from_millis(1));
        let outcome = fleet.take(10_000);
        fleet.serve();
        if let Outcome::Waiting(ticket) = outcome {
            assert!(passed(fleet.poll(ticket)));
        }
    }
    assert!(
        fleet.requests("leased") >= 470,
        "{}",
        fleet.requests("leased")
    );
    assert!(fleet.messages.len() < 40, "{}", fleet.messages.len());
    assert_eq!(fleet.dispenser.held(), 0);
    assert!(fleet.dispenser.desks.borrow().is_empty());
    assert_eq!(fleet.world.keys(), 1);
}

#[test]
fn never_more_than_the_limit_and_then_no_question() {
    let mut fleet = Fleet::new("");
    let mut count = 0;
    for _ in 0..300 {
        fleet.world.advance(Duration::from_millis(5));
        let mut outcome = fleet.take(100);
        fleet.serve();
        if let Outcome::Waiting(ticket) = outcome {
            outcome = fleet.poll(ticket);
        }
        count += u32::from(passed(outcome));
    }
    // The own bucket has gained two more, the fleet has none left.
    assert_eq!(count, 100);
    assert!(fleet.requests("spent") > 0);
    assert_eq!(fleet.serve(), 0);
}

#[test]
fn nobody_waits_longer_than_the_deadline_and_the_late_answer_is_kept() {
    let mut fleet = Fleet::new(r#", "timeout": "50ms""#);
    let ticket = fleet.ticket(1_000);
    fleet.world.advance(Duration::from_millis(49));
    assert!(matches!(fleet.poll(ticket), Outcome::Waiting(_)));
    fleet.world.advance(Duration::from_millis(1));
    assert_eq!(fleet.poll(ticket), Outcome::Failed(Failure::Timeout));
    assert_eq!(fleet.requests("timeout"), 1);
    fleet.serve();
    assert!(passed(fleet.take(1_000)));
}

#[test]
fn so_many_wait_and_no_more() {
    let fleet = Fleet::new(r#", "max_held": 3"#);
    for _ in 0..3 {
        fleet.ticket(10);
    }
    assert_eq!(fleet.take(10), Outcome::Failed(Failure::TooManyHeld));
    assert_eq!(fleet.dispenser.held(), 3);
}

#[test]
fn who_leaves_while_waiting_gives_back_what_was_charged() {
    let mut fleet = Fleet::new("");
    let quota = Fleet::quota(2);
    for _ in 0..10 {
        let ticket = fleet.ticket(2);
        fleet.dispenser.leave(&*fleet.world, ticket, &quota);
    }
    assert_eq!(fleet.dispenser.held(), 0);
    // All ten waited for the same answer, which nobody needs now: it is the next one's.
    assert_eq!(fleet.serve(), 1);
    assert!(passed(fleet.take(2)));
    let ticket = fleet.ticket(2);
    fleet.serve();
    fleet.dispenser.leave(&*fleet.world, ticket, &quota);
    assert!(passed(fleet.take(2)));
}
