//! Header maps: the wire form, lookups, changes.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)] // a test may fail by panicking

// As WebAssembly, `#[test]` means wasm_bindgen_test: see tests/wasm-test.
#[cfg(all(test, target_arch = "wasm32", target_os = "unknown"))]
#[macro_use(test)]
extern crate tollgate_wasm_test;

mod common;

use common::wire;
use proptest::prelude::*;
use tollgate_core::headers::{Duplicate, HeaderName, HeaderOp, Headers};

#[test]
fn a_second_value_is_seen_and_refused() {
    let map = Headers::from_pairs([("X-Api-Key", "k1"), ("x-api-key", "k2"), ("x-other", "")]);
    assert_eq!(map.sole("x-api-key"), Err(Duplicate));
    assert_eq!(map.sole("x-other"), Ok(Some(&b""[..])));
    assert_eq!(map.sole("x-absent"), Ok(None));
    assert_eq!(map.get_all("x-api-key").count(), 2);
}

#[test]
fn setting_replaces_all_values_and_is_told_once() {
    let name = HeaderName::parse("X-Consumer-Id").unwrap();
    let mut map = Headers::from_pairs([("x-consumer-id", "forged"), ("x-consumer-id", "twice")]);
    map.set(&name, "first");
    map.set(&name, "acme");
    assert_eq!(map.sole("x-consumer-id"), Ok(Some(&b"acme"[..])));
    assert_eq!(map.take_ops(), [HeaderOp::Set(name, b"acme".to_vec())]);
    assert!(map.take_ops().is_empty());
}

#[test]
fn removing_what_is_not_there_costs_no_call() {
    let mut map = Headers::from_pairs([(":path", "/"), ("x-a", "1")]);
    assert!(!map.remove(&HeaderName::from_static("x-b")));
    assert!(!map.remove(&HeaderName::from_static(":path")));
    assert!(!map.is_changed());
    assert!(map.remove(&HeaderName::from_static("x-a")));
    assert_eq!(
        map.take_ops(),
        [HeaderOp::Remove(HeaderName::from_static("x-a"))]
    );
}

#[test]
fn a_value_cannot_split_the_message() {
    let mut map = Headers::default();
    map.set(&HeaderName::from_static("x-a"), "1\r\nx-evil: 2\0");
    assert_eq!(map.first("x-a"), Some(&b"1  x-evil: 2 "[..]));
}

#[test]
fn names_are_checked() {
    assert_eq!(HeaderName::parse("X-A").unwrap().as_str(), "x-a");
    for bad in ["", ":", "a b", "a:b", "ä", "a\n", "x\u{0}"] {
        assert!(HeaderName::parse(bad).is_none(), "{bad:?}");
    }
}

#[test]
fn bytes_that_are_not_utf8_are_values_like_others() {
    let map = Headers::from_wire(&wire(&[(b"x-k", b"\xff\xfe"), (b"\xff", b"")])).unwrap();
    assert_eq!(map.first("x-k"), Some(&b"\xff\xfe"[..]));
    assert_eq!(map.len(), 2);
}

proptest! {
    #[test]
    fn any_map_reads_back(pairs in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..20), prop::collection::vec(any::<u8>(), 0..40)), 0..30)) {
        let refs: Vec<(&[u8], &[u8])> = pairs.iter().map(|(n, v)| (n.as_slice(), v.as_slice())).collect();
        let map = Headers::from_wire(&wire(&refs)).unwrap();
        let read: Vec<(&[u8], &[u8])> = map.iter().collect();
        prop_assert_eq!(read, refs);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(map) = Headers::from_wire(&bytes) {
            prop_assert!(map.iter().count() == map.len());
        }
    }

    #[test]
    fn a_truncated_map_is_refused(cut in 1_usize..30) {
        let mut bytes = wire(&[(b"x-api-key", b"secret"), (b"x-b", b"")]);
        bytes.truncate(bytes.len() - cut);
        prop_assert!(Headers::from_wire(&bytes).is_err());
    }
}
