//! Answers: late, overtaken, after the counter was lost.

use super::*;
use proptest::prelude::*;

#[test]
fn a_lost_counter_costs_less_than_a_lease() {
    let (mut service, mut proxy) = (Service::default(), Proxy::new(0));
    let terms = Proxy::terms(10_000, 1, unit(Unit::Minute));
    let mut passed = 0_u64;
    for i in 0..40_000 {
        if i == 6_000 {
            service.lose();
        }
        passed += u64::from(proxy.request(&mut service, &terms, START + i * MS));
    }
    // Positions from before the loss are not spent again.
    assert_eq!(passed, 10_000);
}

#[test]
fn overtaking_answers_of_two_workers_are_no_loss() {
    let (mut service, mut proxy) = (Service::default(), Proxy::new(0));
    let terms = Proxy::terms(1_000, 1, unit(Unit::Minute));
    let first = proxy.lease.ask(&terms, 1, START, &proxy.clock, SECOND);
    let (after_first, left) = service.ask(terms.frame, first.hits, START);
    let second = proxy.lease.ask(&terms, 5, START, &proxy.clock, SECOND);
    let (after_second, _) = service.ask(terms.frame, second.hits, START);
    let granted = proxy.answer(&terms, &second, after_second, left, START + MS, &[1; 5]);
    assert_eq!(granted.served, 5);
    let granted = proxy.answer(&terms, &first, after_first, left, START + 2 * MS, &[1]);
    assert_eq!(granted.served, 1);
    assert!(!proxy.lease.take_events().regressed);
}

#[test]
fn an_answer_for_the_last_window_serves_who_waited_and_nobody_else() {
    let (mut service, mut proxy) = (Service::default(), Proxy::new(0));
    let terms = Proxy::terms(1_000, 1, unit(Unit::Minute));
    proxy.lease.batch = 50;
    for _ in 0..100 {
        proxy.lease.rates.add(START + 59 * SECOND, 1);
    }
    let before = START + 59 * SECOND + 999 * MS;
    let ask = proxy.lease.ask(&terms, 2, before, &proxy.clock, SECOND);
    let (after, left) = service.ask(terms.frame, ask.hits, before);
    let granted = proxy.answer(
        &terms,
        &ask,
        after,
        left,
        START + 60 * SECOND + 4 * MS,
        &[1, 1],
    );
    assert_eq!((granted.served, granted.refused), (2, None));
    assert_eq!(proxy.lease.tokens(), 0);
}

#[test]
fn over_all_positions_nothing_is_granted() {
    let (mut service, mut proxy) = (Service::default(), Proxy::new(0));
    let frame = unit(Unit::Minute);
    service.ask(frame, POSITIONS, START);
    assert!(!proxy.request(&mut service, &Proxy::terms(MAX_LIMIT, 1, frame), START));
    assert!(proxy.lease.exhausted > START);
}

#[test]
fn what_the_service_counts_after_a_window_is_not_spent_in_the_next() {
    let (mut service, mut proxy) = (Service::default(), Proxy::new(0));
    let windows = Windows::of(10 * SECOND).unwrap();
    let old = Proxy::terms(1_000, 1, Frame::of(windows, START));
    let border = START + 10 * SECOND;
    assert!(proxy.request(&mut service, &old, border - SECOND));
    proxy.lease.take_events();
    // The proxy does not know the border better than to a second; the service does.
    let granted = proxy.ask(&mut service, &old, border + MS, &[1, 1]);
    assert_eq!((granted.served, granted.refused), (0, None));
    assert_eq!(proxy.lease.take_events().late, 2);
    let new = Frame::of(windows, proxy.clock.surely(border + MS));
    assert_eq!(new.named, Some((border, border + 10 * SECOND)));
    let new = Proxy::terms(1_000, 1, new);
    assert_eq!(
        proxy.ask(&mut service, &new, border + MS, &[1, 1]).served,
        2
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Counters may be lost at any time: what one proxy alone spends stays within the limit.
    #[test]
    fn one_proxy_alone_never_pays_for_a_lost_counter(
        limit in 1_u64..2_000,
        requests in prop::collection::vec((0_u64..30_000_000, 1_u64..4, any::<u8>()), 50..1_000),
    ) {
        let (mut service, mut proxy) = (Service::default(), Proxy::new(0));
        let mut time = START;
        for (pause, cost, lost) in requests {
            time += pause;
            if lost < 4 {
                service.lose();
            }
            proxy.request(&mut service, &Proxy::terms(limit, cost.min(limit), unit(Unit::Minute)), time);
        }
        for (_, hits) in total(std::slice::from_ref(&proxy)) {
            prop_assert!(hits <= limit, "{hits} of {limit}");
        }
    }
}
