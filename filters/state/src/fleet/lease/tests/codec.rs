//! The store's bytes.

use super::*;
use proptest::prelude::*;

#[test]
fn bytes_read_back() {
    let (mut service, mut proxy) = (Service::default(), Proxy::new(0));
    let terms = Proxy::terms(100_000, 1, unit(Unit::Minute));
    for i in 0..5_000 {
        proxy.request(&mut service, &terms, START + i * MS);
    }
    proxy.lease.take_events();
    let mut bytes = Vec::new();
    proxy.lease.encode(&mut bytes);
    assert_eq!(bytes.len(), BYTES);
    assert_eq!(Lease::decode(&bytes), Some(proxy.lease));
    assert_eq!(Lease::decode(&bytes[1..]), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_are_a_lease_or_none(bytes in prop::collection::vec(any::<u8>(), 0..200), limit in 1_u64..MAX_LIMIT, now: u64, after: u32) {
        if let Some(mut lease) = Lease::decode(&bytes) {
            let terms = Proxy::terms(limit, 1, unit(Unit::Minute));
            let clock = Clock::default();
            lease.take(&terms, now, &clock);
            let ask = lease.ask(&terms, 3, now, &clock, SECOND);
            prop_assert!((1..=POSITIONS).contains(&ask.hits));
            let seen = Seen { after: Some(u64::from(after)), end: 60 * SECOND, at: 0 };
            lease.answer(&terms, &ask, seen, now, &clock, &[1, 2]);
            let _ = lease.take_alone(&terms, 3, now, &clock);
        }
    }
}
