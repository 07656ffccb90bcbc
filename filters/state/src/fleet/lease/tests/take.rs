//! Whatever proxies, clocks and demand there are: all of the limit, and not one more.

use super::*;
use proptest::prelude::*;

#[test]
fn one_proxy_gets_the_whole_limit_and_not_one_more() {
    for limit in [1, 2, 60, 1_000, 100_000] {
        let (mut service, mut proxy) = (Service::default(), Proxy::new(0));
        let terms = Proxy::terms(limit, 1, unit(Unit::Minute));
        let passed = (0..limit * 2)
            .filter(|i| proxy.request(&mut service, &terms, START + i * 30 * SECOND / limit / 2))
            .count();
        assert_eq!(passed as u64, limit);
        assert!(proxy.asks <= limit.min(300), "{limit}: {}", proxy.asks);
    }
}

#[test]
fn what_is_spent_is_refused_without_a_question_until_the_window_ends() {
    let (mut service, mut proxy) = (Service::default(), Proxy::new(0));
    let terms = Proxy::terms(1, 1, unit(Unit::Minute));
    assert!(proxy.request(&mut service, &terms, START + 20 * SECOND));
    for i in 0..1_000 {
        assert!(!proxy.request(&mut service, &terms, START + 20 * SECOND + i * 39 * MS));
    }
    assert_eq!(proxy.asks, 1);
    let Take::Refused { wait } = proxy.lease.take(&terms, START + 21 * SECOND, &proxy.clock) else {
        panic!("not refused");
    };
    assert!((39 * SECOND..=40 * SECOND).contains(&wait), "{wait}");
    assert!(proxy.request(&mut service, &terms, START + 61 * SECOND));
}

#[test]
fn a_small_limit_of_a_large_fleet_loses_nothing() {
    let mut service = Service::default();
    let mut proxies: Vec<_> = (0..100).map(|_| Proxy::new(0)).collect();
    let terms = Proxy::terms(60, 1, unit(Unit::Minute));
    let mut passed = 0;
    for i in 0..240_usize {
        let at = START + i as u64 * 50 * MS;
        passed += u64::from(proxies[i * 37 % 100].request(&mut service, &terms, at));
    }
    assert_eq!(passed, 60);
}

#[test]
fn the_own_bucket_is_checked_first_and_charged_together() {
    let (mut service, mut proxy) = (Service::default(), Proxy::new(0));
    let bucket = Bucket::new(3, 3, 60 * SECOND).unwrap();
    let terms = Terms {
        bucket: Some((bucket, bucket.span(1))),
        ..Proxy::terms(1_000, 1, unit(Unit::Minute))
    };
    for _ in 0..3 {
        assert!(proxy.request(&mut service, &terms, START));
    }
    let asks = proxy.asks;
    let refused = proxy.lease.take(&terms, START, &proxy.clock);
    assert_eq!(refused, Take::Bucket { wait: 20 * SECOND });
    assert_eq!(proxy.asks, asks);
    proxy.lease.give_back(&terms, proxy.lease.end, 0, START);
    assert!(proxy.request(&mut service, &terms, START));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever proxies, clocks, costs, windows and demand: never more than the limit in a window.
    #[test]
    fn never_more_than_the_limit(
        limit in 1_u64..3_000,
        secs in prop::sample::select(vec![1_u64, 10, 60, 300]),
        offsets in prop::collection::vec(-5_000_000_000_i64..5_000_000_000, 1..6),
        service_offset in -5_000_000_000_i64..5_000_000_000,
        requests in prop::collection::vec((0_usize..6, 0_u64..200_000_000, 1_u64..5), 100..1_500),
    ) {
        let windows = Windows::of(secs * SECOND).unwrap();
        let mut service = Service { offset: service_offset, ..Service::default() };
        let mut proxies: Vec<_> = offsets.into_iter().map(Proxy::new).collect();
        let mut time = START;
        let count = proxies.len();
        for (i, pause, cost) in requests {
            time += pause / 4;
            let proxy = &mut proxies[i % count];
            let ours = time.saturating_add_signed(proxy.offset);
            let frame = Frame::of(windows, proxy.clock.service(ours));
            proxy.request(&mut service, &Proxy::terms(limit, cost.min(limit), frame), time);
        }
        for (end, hits) in total(&proxies) {
            prop_assert!(hits <= limit, "{hits} of {limit} in the window that ends at {end}");
        }
    }
}
