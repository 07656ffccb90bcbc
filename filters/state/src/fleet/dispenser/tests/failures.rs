//! The service does not answer, or not as it should.

use super::*;

#[test]
fn a_failed_question_ends_the_waiting_of_all() {
    for (outcome, reason, failure) in [
        (Ended::Grpc(14), "unavailable", Failure::Unavailable),
        (Ended::Grpc(2), "error", Failure::Error),
        (Ended::Refused, "unknown_cluster", Failure::UnknownCluster),
    ] {
        let fleet = Fleet::new("");
        let tickets = [fleet.ticket(10), fleet.ticket(10)];
        assert_eq!(fleet.fail_all(outcome), 1);
        for ticket in tickets {
            assert_eq!(fleet.poll(ticket), Outcome::Failed(failure));
        }
        assert_eq!((fleet.asks(reason), fleet.requests(reason)), (1, 2));
    }
}

#[test]
fn an_answer_without_our_limit_is_a_wrong_configuration_and_not_ok() {
    for body in [
        &b"\x08\x01"[..],
        b"\x08\x01\x12\x08\x08\x01\x12\x04\x08\x3c\x10\x02",
    ] {
        let fleet = Fleet::new("");
        let ticket = fleet.ticket(10);
        let [(id, _)] = fleet.world.take_background()[..] else {
            panic!("one call")
        };
        fleet.reply(id, TestReply::new(Ended::Grpc(0), body));
        assert_eq!(fleet.poll(ticket), Outcome::Failed(Failure::UnknownLimit));
        assert_eq!(fleet.asks("unknown_limit"), 1);
        let logs = fleet.world.take_logs();
        assert!(
            logs[0]
                .1
                .contains("no limit for domain tollgate and descriptor minute"),
            "{logs:?}"
        );
        assert!(
            logs[0].1.contains("requests_per_unit: 4294967295"),
            "{logs:?}"
        );
    }
}

#[test]
fn three_failures_open_the_breaker_and_one_probe_closes_it() {
    let mut fleet = Fleet::new("");
    for _ in 0..3 {
        let ticket = fleet.ticket(10);
        fleet.fail_all(Ended::Grpc(14));
        assert!(matches!(
            fleet.poll(ticket),
            Outcome::Failed(Failure::Unavailable)
        ));
    }
    assert_eq!(fleet.take(10), Outcome::Failed(Failure::BreakerOpen));
    assert_eq!(fleet.requests("breaker_open"), 1);
    assert!(fleet.world.take_background().is_empty());
    fleet.world.advance(Duration::from_millis(320));
    let probe = fleet.ticket(10);
    let other = fleet.ticket(10);
    // One probe; it asks for a spare hit, which serves the other.
    assert_eq!(fleet.serve(), 1);
    assert!(passed(fleet.poll(probe)) && passed(fleet.poll(other)));
    let logs = fleet.world.take_logs();
    assert!(
        logs[0].1.contains("does not answer (unavailable)"),
        "{logs:?}"
    );
    assert!(logs[1].1.contains("answers again"), "{logs:?}");
}

#[test]
fn a_worker_without_requests_does_not_report_an_outage_for_ever() {
    let mut fleet = Fleet::new("");
    for _ in 0..3 {
        let _ = fleet.ticket(10);
        fleet.fail_all(Ended::Grpc(14));
    }
    let stat = stat_name("tollgate_fleet_breaker_open", &[("policy", "rate_limit")]);
    let shown = |fleet: &Fleet| fleet.world.metric(&fleet.metrics, &stat);
    assert_eq!(shown(&fleet), 1);
    // Open for at most 313 ms, then half a minute.
    fleet.world.advance(Duration::from_millis(30_180));
    fleet.dispenser.service.tick(&*fleet.world);
    assert_eq!(shown(&fleet), 1);
    fleet.world.advance(Duration::from_millis(140));
    fleet.dispenser.service.tick(&*fleet.world);
    assert_eq!(shown(&fleet), 0);
    let ticket = fleet.ticket(10);
    assert_eq!(fleet.serve(), 1);
    assert!(passed(fleet.poll(ticket)));
}

#[test]
fn a_store_under_contention_is_a_failure_and_no_admission() {
    let fleet = Fleet::new("");
    fleet.world.conflicts.set(u32::MAX);
    assert_eq!(fleet.take(10), Outcome::Failed(Failure::Contended));
    assert_eq!(fleet.requests("contended"), 1);
}
