//! The serialized header map of the proxy-wasm ABI: any bytes are read or refused, and what was read can be changed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate_core::headers::{HeaderName, Headers};

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut headers) = Headers::from_wire(bytes) else {
        return;
    };
    let size: usize = headers
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    assert!(size <= bytes.len());
    assert_eq!(headers.iter().count(), headers.len());
    // A proxy hands over lower-case names; others are only to be survived.
    let names: Vec<HeaderName> = headers
        .iter()
        .filter(|(name, _)| !name.iter().any(u8::is_ascii_uppercase))
        .filter_map(|(name, _)| HeaderName::parse(std::str::from_utf8(name).ok()?))
        .collect();
    for name in &names {
        headers.set(name, b"new");
        assert_eq!(headers.sole(name.as_str()), Ok(Some(&b"new"[..])));
    }
    for name in &names {
        headers.remove(name);
        assert_eq!(headers.contains(name.as_str()), name.is_pseudo());
    }
});
