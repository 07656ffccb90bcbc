use super::wire::{Fields, bytes_field, varint, varint_field};
use super::*;
use proptest::prelude::*;

#[test]
fn a_request_is_as_protoc_writes_it() {
    let expected = [
        &b"\x0a\x08tollgate"[..],
        b"\x12\x0b\x0a\x09\x0a\x03api\x12\x02ab",
        b"\x18\x05",
    ]
    .concat();
    assert_eq!(request("tollgate", "api", "ab", 5), expected);
}

#[test]
fn answers_seen_on_the_real_service_are_read() {
    // `08 01`: what an unknown descriptor gets.
    let ok = Response {
        code: 1,
        ..Response::default()
    };
    assert_eq!(response(b"\x08\x01"), Some(ok));
    let over = b"\x08\x02\x12\x0e\x08\x02\x12\x04\x08\x02\x10\x02\x18\x00\x22\x02\x08\x13".to_vec();
    let expected = Response {
        code: 2,
        has_limit: true,
        unit_seconds: 60,
        per_unit: 2,
        remaining: 0,
        reset_seconds: Some(19),
        headers: Headers::default(),
    };
    assert_eq!(response(&over), Some(expected));
    assert_eq!(response(b""), Some(Response::default()));
    // Cut off, a length beyond the end, an endless number, a group.
    for bytes in [&b"\x08"[..], b"\x12\x05\x08", &[0xff; 11], b"\x0b"] {
        assert_eq!(response(bytes), None, "{bytes:?}");
    }
}

fn encoded(r: &Response, unit: u64, nanos: u64) -> Vec<u8> {
    let mut limit = Vec::new();
    varint_field(&mut limit, 1, r.per_unit);
    varint_field(&mut limit, 2, unit);
    bytes_field(&mut limit, 3, b"name");
    let mut status = Vec::new();
    varint_field(&mut status, 1, r.code);
    if r.has_limit {
        bytes_field(&mut status, 2, &limit);
    }
    varint_field(&mut status, 3, r.remaining);
    if let Some(seconds) = r.reset_seconds {
        let mut duration = Vec::new();
        varint_field(
            &mut duration,
            1,
            seconds.saturating_sub(u64::from(nanos > 0)),
        );
        varint_field(&mut duration, 2, nanos);
        bytes_field(&mut status, 4, &duration);
    }
    let mut out = Vec::new();
    varint_field(&mut out, 1, r.code);
    bytes_field(&mut out, 2, &status);
    // A second status and fields of other types say nothing.
    bytes_field(&mut out, 2, b"\x18\x09");
    varint(&mut out, (9 << 3) | 1);
    out.extend_from_slice(&[0; 8]);
    varint(&mut out, (10 << 3) | 5);
    out.extend_from_slice(&[0; 4]);
    out
}

fn header(out: &mut Vec<u8>, name: &[u8], field: u64, value: &[u8]) {
    let mut header = Vec::new();
    bytes_field(&mut header, 1, name);
    bytes_field(&mut header, field, value);
    bytes_field(out, 3, &header);
}

#[test]
fn what_limitador_says_in_headers_is_read() {
    // Seen from limitador 0.14: no status at all.
    let mut ok = b"\x08\x01".to_vec();
    header(&mut ok, b"X-RateLimit-Limit", 2, b"10, 10;w=60");
    header(&mut ok, b"X-RateLimit-Remaining", 2, b"9");
    header(&mut ok, b"X-RateLimit-Reset", 2, b"59");
    let expected = Headers {
        has_limit: true,
        remaining: Some(9),
        reset_seconds: Some(60),
    };
    let read = response(&ok).unwrap();
    assert_eq!(
        (read.code, read.has_limit, read.headers),
        (1, false, expected)
    );
    // Other names, other headers, values that are no numbers, and as bytes.
    let mut odd = b"\x08\x02".to_vec();
    header(&mut odd, b"ratelimit-limit", 3, b"1");
    header(&mut odd, b"xyratelimit-remaining", 2, b"1");
    header(&mut odd, b"x-ratelimit-reset", 2, b"soon");
    header(&mut odd, b"RATELIMIT-Remaining", 3, b"18446744073709551616");
    header(&mut odd, b"", 2, b"");
    let expected = Headers {
        has_limit: true,
        ..Headers::default()
    };
    assert_eq!(response(&odd).unwrap().headers, expected);
    assert_eq!(response(b"\x08\x01\x1a\x01\x0a"), None);
}

proptest! {
    #[test]
    fn what_a_service_writes_is_read(
        code in 0..4_u64, has_limit in any::<bool>(), unit in 1..8_u64, remaining in any::<u32>(),
        reset in prop::option::of(1..1_000_000_u64), nanos in 0..2_u64,
    ) {
        let expected = Response {
            code, has_limit, unit_seconds: if has_limit { unit_seconds(unit) } else { 0 },
            per_unit: if has_limit { 7 } else { 0 },
            remaining: u64::from(remaining), reset_seconds: reset, headers: Headers::default(),
        };
        prop_assert_eq!(response(&encoded(&expected, unit, nanos)), Some(expected));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = response(&bytes);
    }

    #[test]
    fn numbers_survive(value in any::<u64>()) {
        let mut out = Vec::new();
        varint(&mut out, value);
        prop_assert_eq!(Fields(&out).varint(), Some(value));
    }
}
