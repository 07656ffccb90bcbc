//! While the service is away.

use super::*;

#[test]
fn alone_a_proxy_grants_its_share_of_what_was_left() {
    let (mut service, mut proxy) = (Service::default(), Proxy::new(0));
    let terms = Proxy::terms(1_000, 1, unit(Unit::Minute));
    // Never answered: one in ten.
    let mut fresh = Lease::default();
    let passed = (0..500).filter(|_| fresh.take_alone(&terms, 10, START, &proxy.clock).is_ok());
    assert_eq!(passed.count(), 100);
    // Half of the limit is spent, half of that by others.
    for i in 0..250 {
        service.ask(terms.frame, 1, START);
        assert!(proxy.request(&mut service, &terms, START + i * 20 * MS));
    }
    let now = START + 5 * SECOND;
    let held = proxy.lease.tokens();
    let passed = (0..500).filter(|_| proxy.lease.take_alone(&terms, 1, now, &proxy.clock).is_ok());
    let passed = passed.count() as u64;
    assert!((100..=260).contains(&passed), "{passed} besides {held}");
    let wait = proxy
        .lease
        .take_alone(&terms, 1, now, &proxy.clock)
        .unwrap_err();
    // Until the window is over: the share does not fill up.
    assert!((55..=56).contains(&wait.div_ceil(SECOND)), "{wait}");
    let now = START + 50 * SECOND;
    assert!(
        proxy
            .lease
            .take_alone(&terms, 1, now, &proxy.clock)
            .is_err()
    );
    // The next one has a share of its own.
    let now = START + 61 * SECOND;
    let passed =
        (0..1_000).filter(|_| proxy.lease.take_alone(&terms, 1, now, &proxy.clock).is_ok());
    let passed = passed.count() as u64;
    assert!((300..=700).contains(&passed), "{passed}");
}

#[test]
fn alone_not_even_one_request_passes_when_nothing_was_left() {
    let (service, mut proxy) = (Service::default(), Proxy::new(0));
    let terms = Proxy::terms(100, 1, unit(Unit::Minute));
    let mut service = service;
    service.ask(terms.frame, 99, START);
    assert!(proxy.request(&mut service, &terms, START));
    assert!(
        proxy
            .lease
            .take_alone(&terms, 1, START + MS, &proxy.clock)
            .is_err()
    );
    // With one left there is no share for ten proxies, but a request passes.
    let small = Proxy::terms(3, 1, unit(Unit::Minute));
    let mut fresh = Lease::default();
    let passed = (0..5).filter(|_| fresh.take_alone(&small, 10, START, &proxy.clock).is_ok());
    assert_eq!(passed.count(), 1);
}

#[test]
fn three_proxies_alone_spend_the_limit_once_however_long_the_service_is_away() {
    for frame_of in [10, 60].map(|secs| Windows::of(secs * SECOND).unwrap()) {
        let mut service = Service::default();
        let mut proxies: Vec<_> = (0..3).map(|_| Proxy::new(0)).collect();
        let limit = 300 * frame_of.length / SECOND;
        let mut windows = BTreeMap::<u64, u64>::new();
        let step = SECOND / 600;
        for i in 0..frame_of.length * 3 / step {
            let at = START + i * step;
            let proxy = &mut proxies[(i % 3) as usize];
            let frame = Frame::of(frame_of, proxy.clock.surely(at));
            let terms = Proxy::terms(limit, 1, frame);
            let away = i * step > frame_of.length / 4;
            let passed = if away {
                match proxy.lease.take(&terms, at, &proxy.clock) {
                    Take::Admitted { .. } => true,
                    Take::Unknown => proxy.lease.take_alone(&terms, 3, at, &proxy.clock).is_ok(),
                    _ => false,
                }
            } else {
                proxy.request(&mut service, &terms, at)
            };
            *windows.entry(at / frame_of.length).or_default() += u64::from(passed);
        }
        for (window, passed) in windows {
            let range = limit * 85 / 100..=limit * 105 / 100;
            assert!(range.contains(&passed), "{passed} of {limit} in {window}");
        }
    }
}

#[test]
fn what_passed_while_nobody_answered_is_asked_for_when_somebody_does() {
    let (mut service, mut proxy) = (Service::default(), Proxy::new(0));
    let terms = Proxy::terms(1_000, 1, unit(Unit::Minute));
    for i in 0..200 {
        assert!(proxy.request(&mut service, &terms, START + i * 10 * MS));
    }
    let held = proxy.lease.tokens();
    let mut alone = 0;
    for i in 0..5_000 {
        let now = START + 2 * SECOND + i * MS;
        alone += u64::from(proxy.lease.take_alone(&terms, 1, now, &proxy.clock).is_ok());
        if i % 100 == 0 {
            // Nobody answers.
            let ask = proxy.lease.ask(&terms, 1, now, &proxy.clock, SECOND);
            proxy.lease.failed(&ask);
        }
    }
    assert!(alone > 700, "{alone}");
    // The counter was lost besides.
    service.lose();
    let mut passed = 0;
    for i in 0..3_000 {
        passed += u64::from(proxy.request(&mut service, &terms, START + 8 * SECOND + i * 10 * MS));
    }
    let all = 200 + alone + passed;
    // No more than the limit and what the share gained meanwhile.
    assert!(
        all <= 1_000 + held.max(100),
        "{all}: {alone} alone, then {passed}"
    );
}
