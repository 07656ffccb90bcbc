//! Any matcher on any path: first line the matcher's JSON, the rest the path.
//! What matches where more is let through also matches elsewhere.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate_core::config::{self, Report};
use tollgate_core::matcher::Matcher;
use tollgate_core::testing::TestWorld;
use tollgate_core::{Exchange, Headers};

fuzz_target!(|bytes: &[u8]| {
    let split = bytes
        .iter()
        .position(|&byte| byte == b'\n')
        .unwrap_or(bytes.len());
    let (json, path) = bytes.split_at(split);
    let path = path.strip_prefix(b"\n").unwrap_or(path);
    let Ok(json) = std::str::from_utf8(json) else {
        return;
    };
    let report = Report::default();
    let Some(matcher) =
        config::parse(json, &report).and_then(|root| Matcher::compile(root.value(&report)))
    else {
        return;
    };
    let pairs = [
        (":method", &b"GET"[..]),
        (":authority", b"example.com"),
        (":path", path),
    ];
    let exchange = Exchange::new(Headers::from_pairs(pairs), true);
    let world = TestWorld::default();
    if matcher.matches_safely(&exchange, &world) {
        assert!(matcher.matches(&exchange, &world));
    }
});
