//! A window ends, a limit changes.

use super::*;
use tollgate_core::UnixNanos;

#[test]
fn the_top_survives_the_border_of_the_services_year_in_december() {
    let at = |t: &str| UnixNanos::parse(t).unwrap().0;
    let (mut service, mut proxy) = (Service::default(), Proxy::new(0));
    let december = Frame::calendar(at("2026-12-01"), at("2027-01-01"));
    assert_eq!(december.unit, Unit::Year);
    let terms = Proxy::terms(1_000, 1, december);
    let before = at("2026-12-17T23:59:00Z");
    for i in 0..700 {
        assert!(proxy.request(&mut service, &terms, before + i * 50 * MS));
    }
    let after = at("2026-12-18T00:01:00Z");
    let passed = (0..1_000)
        .filter(|i| proxy.request(&mut service, &terms, after + i * 50 * MS))
        .count();
    // The counter began again at 0 and was lifted over what December had spent.
    assert_eq!(passed, 300);
    let counters: Vec<_> = service.counters.values().copied().collect();
    assert!(counters.iter().all(|n| *n >= 700), "{counters:?}");
    let january = Frame::calendar(at("2027-01-01"), at("2027-02-01"));
    let terms = Proxy::terms(1_000, 1, january);
    assert!(proxy.request(&mut service, &terms, at("2027-01-01T00:00:01Z")));
}

#[test]
fn a_raised_limit_counts_on_and_a_lowered_one_ends_what_was_held() {
    let (mut service, mut proxy) = (Service::default(), Proxy::new(0));
    let frame = unit(Unit::Hour);
    for i in 0..5 {
        assert_eq!(
            proxy.request(&mut service, &Proxy::terms(4, 1, frame), START + i),
            i < 4
        );
    }
    assert!(proxy.request(&mut service, &Proxy::terms(5_000, 1, frame), START + 10));
    for i in 0..200 {
        assert!(proxy.request(
            &mut service,
            &Proxy::terms(5_000, 1, frame),
            START + i * 10 * MS
        ));
    }
    assert!(proxy.lease.tokens() > 0);
    assert!(!proxy.request(
        &mut service,
        &Proxy::terms(100, 1, frame),
        START + 3 * SECOND
    ));
}

#[test]
fn a_clock_that_is_learnt_better_at_a_border_does_not_end_the_new_window() {
    let (mut service, mut proxy) = (Service::default(), Proxy::new(0));
    let windows = Windows::of(10 * SECOND).unwrap();
    let at = |n: u64| Proxy::terms(1_000, 1, Frame::of(windows, START + n * 10 * SECOND));
    let (old, new) = (at(0), at(1));
    for i in 0..50 {
        assert!(proxy.request(&mut service, &old, START + 5 * SECOND + i * 10 * MS));
    }
    let border = START + 10 * SECOND;
    for i in 0..50 {
        assert!(proxy.request(&mut service, &new, border + i * MS));
    }
    let held = proxy.lease.tokens();
    assert!(held > 0);
    // For a moment the clock seems to be behind: the request belongs to the window that has begun.
    proxy.lease.take_events();
    assert!(proxy.request(&mut service, &old, border + 51 * MS));
    assert_eq!(proxy.lease.take_events().expired, 0);
    assert_eq!(
        proxy.lease.top(),
        service.counters[&(new.frame.label(), border / Unit::Minute.nanos())]
    );
    // One that was set back is believed.
    proxy.lease.take(
        &Proxy::terms(1_000, 1, Frame::of(windows, START - 60 * SECOND)),
        START - 60 * SECOND,
        &proxy.clock,
    );
    assert!(proxy.lease.take_events().expired > 0);
}
