//! What is asked, and what the answers mean.

use super::*;

#[test]
fn the_service_sees_a_name_of_fixed_length() {
    let mut fleet = Fleet::new(r#", "domain": "shop""#);
    fleet.ticket(10);
    fleet.serve();
    let name = fleet.subject.namer.name(None, b"acme");
    assert_eq!(
        fleet.messages,
        [crate::fleet::proto::request("shop", "minute", &name, 1)]
    );
    assert!(!fleet.messages[0].windows(4).any(|w| w == b"acme"));
}

#[test]
fn who_waits_is_not_refused_while_a_lease_with_room_is_on_its_way() {
    let fleet = Fleet::new("");
    let (world, dispenser, place) = (&*fleet.world, &fleet.dispenser, fleet.place());
    let now = world.now().0;
    let terms = Fleet::quota(4).terms(&Clock::default(), now);
    let prefetch = |lease: &mut Lease| lease.ask(&terms, 0, now, &Clock::default(), SECOND);
    let ask = dispenser.change(world, place, 8, prefetch).unwrap();
    dispenser.send(world, place, terms, ask, "name", false);
    let ticket = fleet.ticket(4);
    let calls = world.take_background();
    let [(prefetch, _), (awaited, _)] = calls[..] else {
        panic!("{calls:?}")
    };
    // The later question is answered first, and it is beyond the limit.
    fleet.reply(awaited, TestReply::new(Ended::Grpc(0), counted(5, 40)));
    assert!(matches!(fleet.poll(ticket), Outcome::Waiting(_)));
    fleet.reply(prefetch, TestReply::new(Ended::Grpc(0), counted(4, 40)));
    assert!(passed(fleet.poll(ticket)));
    assert!(matches!(fleet.take(4), Outcome::Refused { .. }));
}

#[test]
fn replies_of_others_are_left_alone() {
    let fleet = Fleet::new("");
    let reply = TestReply::new(Ended::Grpc(0), b"");
    assert!(!fleet.dispenser.on_reply(&*fleet.world, CallId(77), &reply));
}

#[test]
fn units_are_asked_for_by_their_word() {
    let fleet = Fleet::new("");
    let place = fleet.place();
    let quota = Quota {
        period: Period::Calendar(START, START + 30 * 86_400 * SECOND),
        bucket: None,
        ..Fleet::quota(5)
    };
    let taken = fleet
        .dispenser
        .take(&*fleet.world, &fleet.subject, place, b"acme", &quota);
    assert!(matches!(taken, Outcome::Waiting(_)));
    let calls = fleet.world.take_background();
    let Call::Grpc { message, .. } = &calls[0].1 else {
        panic!()
    };
    let unit = Period::Calendar(START, START + 30 * 86_400 * SECOND)
        .frame(START)
        .unit;
    assert!(unit > Unit::Week);
    assert!(
        message
            .windows(unit.word().len())
            .any(|w| w == unit.word().as_bytes())
    );
}

/// A key that is used all the time, and has a lease.
fn busy() -> Fleet {
    let mut fleet = Fleet::new("");
    for _ in 0..3_000 {
        fleet.world.advance(Duration::from_millis(1));
        fleet.take(10_000);
        fleet.serve();
    }
    fleet
}

#[test]
fn a_lease_is_renewed_ahead_so_that_nobody_waits() {
    let mut fleet = busy();
    let mut asked = 0;
    for _ in 0..1_000 {
        fleet.world.advance(Duration::from_millis(1));
        assert!(passed(fleet.take(10_000)));
        asked += fleet.serve();
    }
    assert!((3..100).contains(&asked), "{asked}");
}

#[test]
fn nothing_is_asked_ahead_while_the_service_is_away() {
    let fleet = busy();
    let take = || {
        fleet.world.advance(Duration::from_millis(1));
        assert!(passed(fleet.take(10_000)));
        fleet.fail_all(Ended::Grpc(14))
    };
    // So many failures in a row open the breaker.
    let mut failures = 0;
    while failures < 3 {
        failures += take();
    }
    // The lease is still good for these.
    assert_eq!((0..10).map(|_| take()).sum::<usize>(), 0);
}
