//! Paced over the window.

use super::*;

#[test]
fn smoothed_hits_come_evenly_and_reach_the_limit() {
    let (mut service, mut proxy) = (Service::default(), Proxy::new(0));
    let terms = Terms {
        smooth: Some(10),
        ..Proxy::terms(600, 1, unit(Unit::Minute))
    };
    let mut passed = Vec::new();
    for i in 0..6_000 {
        let at = START + i * 10 * MS;
        if proxy.request(&mut service, &terms, at) {
            passed.push(at);
        }
    }
    let before = |secs: u64| {
        passed
            .iter()
            .filter(|at| **at < START + secs * SECOND)
            .count()
    };
    // At the start nothing is known of the service's clock but to a second.
    assert!(before(1) <= 30, "{}", before(1));
    for secs in [10, 20, 30, 40, 50] {
        assert!(
            before(secs).abs_diff(secs as usize * 10 + 10) <= 11,
            "{secs}: {}",
            before(secs)
        );
    }
    assert!((595..=600).contains(&passed.len()), "{}", passed.len());
}
