//! Cookies and markers as bytes from outside.

use super::at;
use crate::Canary;
use crate::compile;
use proptest::prelude::*;
use tollgate_core::config::{self, Compile, Report};
use tollgate_core::drive::Drive;
use tollgate_core::exchange::Exchange;
use tollgate_core::headers::Headers;
use tollgate_core::metrics::Metrics;
use tollgate_core::testing::TestWorld;
use tollgate_core::time::Duration;

fn canary(key: &str, weight: u32) -> Canary {
    let stable = 100 - weight;
    let json = format!(
        r#"{{"marker": {{"header": "x-m", "keys": [{{"env": "K"}}]}},
            "experiments": [{{"flag": "f", "owner": "o", "expires_at": "2027-02-18", "route_header": "x-v",
            "variants": [{{"name": "stable", "weight": {stable}}}, {{"name": "canary", "weight": {weight}}}],
            "visitor_cookie": {{"name": "v", "keys": [{{"env": "K"}}]}}}}]}}"#
    );
    let (report, mut metrics) = (Report::default(), Metrics::default());
    let root = config::parse(&json, &report).unwrap();
    let section = root.value(&report).section().unwrap();
    let env = |_: &str| Some(key.to_owned());
    let canary = compile(section, &mut Compile::new(&env, &mut metrics));
    assert_eq!(report.errors(), []);
    canary.unwrap()
}

/// The variant, the marker that is sent on, and the cookie that is set.
fn request(
    canary: &Canary,
    world: &TestWorld,
    headers: &[(&str, &[u8])],
) -> (String, String, Option<String>) {
    let mut exchange = Exchange::new(Headers::from_pairs(headers.iter().copied()), true);
    let mut drive = Drive::default();
    drive.request_headers(canary, &mut exchange, world);
    drive.response_headers(canary, &mut exchange, world, true);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let cookie = exchange.response.first("set-cookie").map(text);
    let value = cookie.map(|c| c.split(';').next().unwrap().to_owned());
    (
        text(exchange.request.first("x-v").unwrap()),
        text(exchange.request.first("x-m").unwrap()),
        value,
    )
}

const KEY: &str = "0123456789abcdef";

#[test]
fn a_session_stays_on_every_proxy_through_a_switch_and_back() {
    let world = TestWorld::at(at("2026-11-21T12:00:00Z"));
    let (blue, green) = (canary(KEY, 0), canary(KEY, 100));
    let (variant, _, cookie) = request(&blue, &world, &[]);
    assert_eq!(variant, "stable");
    let cookie = cookie.unwrap();
    let own: [(&str, &[u8]); 1] = [("cookie", cookie.as_bytes())];
    // Another proxy, after the switch.
    let (variant, _, again) = request(&green, &world, &own);
    assert_eq!((variant.as_str(), again), ("stable", None));
    // Somebody new, and whoever has a proxy's key of another fleet.
    assert_eq!(request(&green, &world, &[]).0, "canary");
    assert_eq!(
        request(&canary("another key, as long", 100), &world, &own).0,
        "canary"
    );
    world.advance(Duration::from_secs(12 * 3_600));
    let (variant, _, again) = request(&green, &world, &own);
    assert_eq!(variant, "canary");
    // The same visitor: the id is the first 16 characters behind `v=`.
    assert_eq!(again.unwrap().get(..18), cookie.get(..18));
}

#[test]
fn visitors_are_spread_like_users() {
    let world = TestWorld::at(at("2026-11-21T12:00:00Z"));
    let five = canary(KEY, 5);
    let on_canary = (0..10_000).filter(|_| request(&five, &world, &[]).0 == "canary");
    let count = i64::try_from(on_canary.count()).unwrap();
    // Variance 475; 4 sigma.
    assert!((count - 500).pow(2) <= 16 * 475, "{count}");
}

#[test]
fn a_marker_goes_through_many_hops() {
    let world = TestWorld::at(at("2026-11-21T12:00:00Z"));
    let (first, second) = (canary(KEY, 100), canary(KEY, 0));
    let (_, marker, _) = request(&first, &world, &[]);
    for _ in 0..3 {
        let (variant, next, cookie) = request(&second, &world, &[("x-m", marker.as_bytes())]);
        assert_eq!((variant.as_str(), cookie), ("canary", None));
        assert_eq!(next, marker);
    }
}

proptest! {
    #[test]
    fn no_bit_of_a_marker_or_cookie_can_be_changed(at_bit in 0_usize..8 * 60, which: bool) {
        let world = TestWorld::at(at("2026-11-21T12:00:00Z"));
        let (first, second) = (canary(KEY, 100), canary(KEY, 0));
        let (_, marker, cookie) = request(&first, &world, &[]);
        let mut bytes = if which { marker.into_bytes() } else { cookie.unwrap().into_bytes() };
        let from = if which { 0 } else { 2 };
        let place = from + at_bit / 8 % (bytes.len() - from);
        bytes[place] ^= 1 << (at_bit % 8);
        let name = if which { "x-m" } else { "cookie" };
        let (variant, _, _) = request(&second, &world, &[(name, &bytes)]);
        prop_assert_eq!(variant, "stable");
    }

    #[test]
    fn any_bytes_are_a_marker_or_cookie_of_nobody(marker in proptest::collection::vec(0x20_u8..=0xff, 0..200), v in "[ -~]{0,80}") {
        let world = TestWorld::at(at("2026-11-21T12:00:00Z"));
        let cookie = format!("v={v}");
        let headers: [(&str, &[u8]); 2] = [("x-m", &marker), ("cookie", cookie.as_bytes())];
        prop_assert_eq!(request(&canary(KEY, 0), &world, &headers).0, "stable");
    }
}
