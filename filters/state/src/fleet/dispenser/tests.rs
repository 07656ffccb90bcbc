#![allow(clippy::cast_possible_truncation)]

use super::*;
use crate::fleet::unit::{Unit, Windows};
use tollgate_core::World;
use tollgate_core::config::{Compile, Report, parse};
use tollgate_core::metrics::{Metrics, stat_name};
use tollgate_core::testing::{TestReply, TestWorld};
use tollgate_core::time::SECOND;
use tollgate_core::world::{Call, Outcome as Ended};
use tollgate_core::{Duration, UnixNanos};

const START: u64 = 1_795_237_200 * SECOND;

struct Fleet {
    world: Rc<TestWorld>,
    metrics: Metrics,
    dispenser: Dispenser,
    subject: Subject,
    counters: BTreeMap<Vec<u8>, u64>,
    messages: Vec<Vec<u8>>,
}

fn varint(mut n: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while n >= 0x80 {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
    out
}

/// As envoyproxy/ratelimit answers for the counter of a minute.
fn counted(after: u64, left: u64) -> Vec<u8> {
    let limit = [&b"\x08"[..], &varint(4_294_967_295), b"\x10\x02"].concat();
    let over = after > 4_294_967_295;
    let code = if over { 2 } else { 1 };
    let mut status = vec![8, code, 0x12, limit.len() as u8];
    status.extend(&limit);
    status.push(0x18);
    status.extend(varint(4_294_967_295_u64.saturating_sub(after)));
    let duration = [&b"\x08"[..], &varint(left)].concat();
    status.extend([0x22, duration.len() as u8]);
    status.extend(duration);
    [&[8, code, 0x12, status.len() as u8][..], &status].concat()
}

impl Fleet {
    fn new(more: &str) -> Self {
        let text = format!(r#"{{"cluster": "ratelimit", "key": {{"env": "FLEET_KEY"}}{more}}}"#);
        let report = Report::default();
        let mut metrics = Metrics::default();
        let env = |_: &str| Some("0123456789abcdef-fleet".to_owned());
        let root = parse(&text, &report).unwrap();
        let mut cx = Compile::new(&env, &mut metrics);
        let service = Service::compile(root.value(&report), &mut cx, "rate_limit").unwrap();
        assert!(report.is_ok(), "{:?}", report.errors());
        let subject = Subject::new(&service, "limit", &Rc::from("api"), vec![60]);
        Self {
            world: Rc::new(TestWorld::at(UnixNanos(START))),
            metrics,
            dispenser: Dispenser::new(service),
            subject,
            counters: BTreeMap::new(),
            messages: Vec::new(),
        }
    }

    fn quota(limit: u64) -> Quota {
        let bucket = Bucket::new(limit, limit, 60 * SECOND).unwrap();
        Quota {
            limit,
            cost: 1,
            period: Period::Windows(Windows::of(60 * SECOND).unwrap()),
            smooth: None,
            bucket: Some((bucket, bucket.span(1))),
        }
    }

    fn take(&self, limit: u64) -> Outcome {
        let place = self.place();
        let quota = Self::quota(limit);
        self.dispenser
            .take(&*self.world, &self.subject, place, b"acme", &quota)
    }

    fn place(&self) -> Place {
        self.dispenser.place(&self.subject, Seed([1; 16]), b"acme")
    }

    fn ticket(&self, limit: u64) -> Ticket {
        match self.take(limit) {
            Outcome::Waiting(ticket) => ticket,
            other => panic!("{other:?}"),
        }
    }

    /// The service counts and answers what was asked.
    fn serve(&mut self) -> usize {
        let calls = self.world.take_background();
        for (id, call) in &calls {
            let Call::Grpc { message, .. } = call else {
                panic!("{call:?}")
            };
            // The last field is the number of hits.
            let at = message.iter().rposition(|b| *b == 0x18).unwrap();
            let mut hits = 0_u64;
            for (i, byte) in message[at + 1..].iter().enumerate() {
                hits |= u64::from(byte & 0x7f) << (7 * i);
            }
            self.messages.push(message.clone());
            let now = self.world.now().0;
            let counter = self.counters.entry(message[..at].to_vec()).or_default();
            *counter += hits;
            let body = counted(*counter, 60 - now / SECOND % 60);
            self.reply(*id, TestReply::new(Ended::Grpc(0), body));
        }
        calls.len()
    }

    fn reply(&self, id: CallId, reply: TestReply) {
        assert!(self.dispenser.on_reply(&*self.world, id, &reply));
    }

    fn fail_all(&self, outcome: Ended) -> usize {
        let calls = self.world.take_background();
        for (id, _) in &calls {
            self.reply(*id, TestReply::new(outcome, b""));
        }
        calls.len()
    }

    fn metric(&self, name: &str, reason: &str) -> u64 {
        let labels = [("policy", "rate_limit"), ("reason", reason)];
        self.world.metric(&self.metrics, &stat_name(name, &labels))
    }

    fn asks(&self, reason: &str) -> u64 {
        self.metric("tollgate_fleet_asks_total", reason)
    }

    fn requests(&self, reason: &str) -> u64 {
        self.metric("tollgate_fleet_requests_total", reason)
    }

    fn poll(&self, ticket: Ticket) -> Outcome {
        self.dispenser.poll(&*self.world, ticket)
    }
}

fn passed(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Admitted { .. })
}

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
fn a_store_under_contention_is_a_failure_and_no_admission() {
    let fleet = Fleet::new("");
    fleet.world.conflicts.set(u32::MAX);
    assert_eq!(fleet.take(10), Outcome::Failed(Failure::Contended));
    assert_eq!(fleet.requests("contended"), 1);
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

mod payments {
    use super::*;
    use crate::fleet::dispenser::money::Payment;
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
                let body =
                    crate::fleet::proto::answer(true, Unit::Day, 4_294_967_295 - *counter, left);
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
        let Payment::Paid { end, .. } = fleet.pay(PICO / 10) else {
            panic!()
        };
        let place = fleet.place();
        fleet
            .dispenser
            .settle(&*fleet.world, place, end, PICO / 10, 0);
        let Payment::Waiting(slip) = spend(&fleet, PICO / 2) else {
            panic!()
        };
        fleet.fail_all(Ended::Grpc(14));
        let failed = fleet.dispenser.poll_payment(&*fleet.world, &quota(), slip);
        assert_eq!(failed, Payment::Failed(Failure::Unavailable));
        assert!(matches!(spend(&fleet, PICO / 10), Payment::Paid { .. }));
    }

    #[test]
    fn who_leaves_while_waiting_puts_the_purse_back_too() {
        let mut fleet = Fleet::new("");
        let Payment::Paid { end, .. } = fleet.pay(PICO / 10) else {
            panic!()
        };
        let place = fleet.place();
        fleet
            .dispenser
            .settle(&*fleet.world, place, end, PICO / 10, 0);
        let Payment::Waiting(slip) = spend(&fleet, PICO / 2) else {
            panic!()
        };
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
}

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
                    own + 64 >= before && own <= before + 64,
                    "{before} then {own}"
                );
            }
        }
    }
    // The window is over: whatever is in hand, the next request asks.
    fleet.world.set_now(UnixNanos(START + 60 * SECOND + 1_000));
    assert!(matches!(fleet.take(900_000), Outcome::Waiting(_)));
}
