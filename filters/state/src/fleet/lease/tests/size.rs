//! How much is asked for at once.

use super::*;

#[test]
fn a_large_limit_takes_few_questions() {
    let (mut service, mut proxy) = (Service::default(), Proxy::new(0));
    let terms = Proxy::terms(1_000_000, 1, unit(Unit::Minute));
    for i in 0..200_000 {
        assert!(proxy.request(&mut service, &terms, START + i * 100_000));
    }
    assert!(proxy.asks < 300, "{}", proxy.asks);
}

#[test]
fn a_lost_counter_does_not_make_a_proxys_share_grow() {
    let (mut service, mut proxy) = (Service::default(), Proxy::new(0));
    let terms = Proxy::terms(100_000, 1, unit(Unit::Minute));
    let drive = |service: &mut Service, proxy: &mut Proxy, from: u64| {
        for i in from..from + 2_000 {
            service.ask(terms.frame, 3, START + i * MS);
            proxy.request(service, &terms, START + i * MS);
        }
    };
    drive(&mut service, &mut proxy, 0);
    let share = proxy.lease.share();
    assert!((14_000..18_500).contains(&share), "{share}");
    service.lose();
    let mut most = 0;
    for i in 0..10 {
        drive(&mut service, &mut proxy, 2_000 + i * 100);
        most = most.max(proxy.lease.share());
    }
    assert!(most < 20_000, "{most}");
}

#[test]
fn leases_are_whole_requests() {
    let (mut service, mut proxy) = (Service::default(), Proxy::new(0));
    let terms = Proxy::terms(70_000, 7, unit(Unit::Minute));
    for i in 0..3_000 {
        assert!(proxy.request(&mut service, &terms, START + i * 3 * MS));
        assert_eq!(proxy.lease.tokens() % 7, 0);
    }
    assert!(proxy.asks < 200, "{}", proxy.asks);
}

#[test]
fn far_from_its_limit_a_busy_proxy_asks_about_once_a_second() {
    let (mut service, mut proxy) = (Service::default(), Proxy::new(0));
    let terms = Proxy::terms(100_000_000, 1, unit(Unit::Minute));
    let mut asks = |from: u64, until: u64| {
        let before = proxy.asks;
        for time in (START + from * SECOND..START + until * SECOND).step_by(200_000) {
            assert!(proxy.request(&mut service, &terms, time));
        }
        proxy.asks - before
    };
    // Until the border the clock is not known well, and who asks seldom would ask all the more often around it.
    let (before, border, after) = (asks(35, 59), asks(59, 61), asks(61, 91));
    assert!((70..=120).contains(&before), "{before}");
    assert!(border < 60, "{border}");
    assert!((25..=40).contains(&after), "{after}");
    let next_border = asks(119, 121);
    assert!(next_border < 60, "{next_border}");
}
