//! The few fields of `envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit` that limits use,
//! in the [protobuf wire format](https://protobuf.dev/programming-guides/encoding/).
//!
//! Field numbers are those of `envoy/service/ratelimit/v3/rls.proto` and
//! `envoy/extensions/common/ratelimit/v3/ratelimit.proto`.

use super::unit::Unit;

/// Full name of the service.
pub const SERVICE: &str = "envoy.service.ratelimit.v3.RateLimitService";
/// The method.
pub const METHOD: &str = "ShouldRateLimit";

/// A `RateLimitRequest` with one descriptor of one entry.
#[must_use]
pub fn request(domain: &str, key: &str, value: &str, hits: u32) -> Vec<u8> {
    let mut entry = Vec::with_capacity(64);
    bytes_field(&mut entry, 1, key.as_bytes());
    bytes_field(&mut entry, 2, value.as_bytes());
    let mut descriptor = Vec::with_capacity(72);
    bytes_field(&mut descriptor, 1, &entry);
    if hits == 0 {
        // A look. Of the request, 0 would mean 1; the descriptor's own number says what it means.
        bytes_field(&mut descriptor, 3, b"");
    }
    let mut request = Vec::with_capacity(96);
    bytes_field(&mut request, 1, domain.as_bytes());
    bytes_field(&mut request, 2, &descriptor);
    if hits > 0 {
        // Of the request, not of the descriptor: servers older than 2025 know only this one.
        varint_field(&mut request, 3, u64::from(hits));
    }
    request
}

/// What a [`request`] asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The entry's key.
    pub key: String,
    /// The entry's value.
    pub value: String,
    /// How many hits.
    pub hits: u64,
}

/// Reads a request as [`request`] writes it, for tests and simulations.
#[must_use]
pub fn read_request(bytes: &[u8]) -> Option<Asked> {
    let mut asked = Asked::default();
    for field in Fields(bytes) {
        match field? {
            (2, Field::Bytes(descriptor)) => {
                for entry in Fields(descriptor) {
                    let (1, Field::Bytes(entry)) = entry? else {
                        continue;
                    };
                    for text in Fields(entry) {
                        let (number, Field::Bytes(text)) = text? else {
                            continue;
                        };
                        let text = String::from_utf8(text.to_vec()).ok()?;
                        match number {
                            1 => asked.key = text,
                            _ => asked.value = text,
                        }
                    }
                }
            }
            (3, Field::Number(hits)) => asked.hits = hits,
            _ => {}
        }
    }
    Some(asked)
}

/// The answer that a service gives for a unit whose limit is [`super::lease::POSITIONS`], for tests and simulations.
#[must_use]
pub fn answer(ok: bool, unit: Unit, remaining: u64, left: u64) -> Vec<u8> {
    let mut limit = Vec::new();
    varint_field(&mut limit, 1, super::lease::POSITIONS);
    varint_field(&mut limit, 2, unit.number());
    let mut duration = Vec::new();
    varint_field(&mut duration, 1, left);
    let code = if ok { 1 } else { 2 };
    let mut status = Vec::new();
    varint_field(&mut status, 1, code);
    bytes_field(&mut status, 2, &limit);
    varint_field(&mut status, 3, remaining);
    bytes_field(&mut status, 4, &duration);
    let mut out = Vec::new();
    varint_field(&mut out, 1, code);
    bytes_field(&mut out, 2, &status);
    out
}

/// What a `RateLimitResponse` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// `overall_code`: 1 is OK, 2 is over limit.
    pub code: u64,
    /// Whether the first status names the limit it was decided by.
    pub has_limit: bool,
    /// Seconds of that limit's unit; 0 if unknown.
    pub unit_seconds: u64,
    /// That limit's `requests_per_unit`.
    pub per_unit: u64,
    /// Of the first status.
    pub remaining: u64,
    /// Of the first status: seconds until the window is over, rounded up; `None` if it is not said.
    pub reset_seconds: Option<u64>,
}

/// Reads a `RateLimitResponse`; `None`: not a message at all.
#[must_use]
pub fn response(bytes: &[u8]) -> Option<Response> {
    let mut response = Response::default();
    let mut first = true;
    for field in Fields(bytes) {
        match field? {
            (1, Field::Number(code)) => response.code = code,
            (2, Field::Bytes(status)) if std::mem::take(&mut first) => {
                read_status(status, &mut response)?;
            }
            _ => {}
        }
    }
    Some(response)
}

fn read_status(bytes: &[u8], response: &mut Response) -> Option<()> {
    for field in Fields(bytes) {
        match field? {
            (2, Field::Bytes(limit)) => {
                response.has_limit = true;
                for field in Fields(limit) {
                    match field? {
                        (1, Field::Number(per_unit)) => response.per_unit = per_unit,
                        (2, Field::Number(unit)) => response.unit_seconds = unit_seconds(unit),
                        _ => {}
                    }
                }
            }
            (3, Field::Number(remaining)) => response.remaining = remaining,
            (4, Field::Bytes(duration)) => {
                let (mut seconds, mut nanos) = (0, 0);
                for field in Fields(duration) {
                    match field? {
                        (1, Field::Number(n)) => seconds = n,
                        (2, Field::Number(n)) => nanos = n,
                        _ => {}
                    }
                }
                // A negative one comes as a number above 2^63.
                if i64::try_from(seconds).is_ok() {
                    response.reset_seconds = Some(seconds.saturating_add(u64::from(nanos > 0)));
                }
            }
            _ => {}
        }
    }
    Some(())
}

fn unit_seconds(number: u64) -> u64 {
    Unit::of_number(number).map_or(0, Unit::seconds)
}

enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// Of a fixed size: nothing here has that type.
    Fixed,
}

/// Fields from the front; `None` once for bytes that are no field, then the end.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u64, Field<'a>)> {
        let tag = self.varint()?;
        let field = match tag & 7 {
            0 => Field::Number(self.varint()?),
            1 => {
                self.take(8)?;
                Field::Fixed
            }
            2 => {
                let len = usize::try_from(self.varint()?).ok()?;
                Field::Bytes(self.take(len)?)
            }
            5 => {
                self.take(4)?;
                Field::Fixed
            }
            _ => return None,
        };
        Some((tag >> 3, field))
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..70).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            value |= bits.checked_shl(shift).unwrap_or(0);
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Option<(u64, Field<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field)
    }
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let bits = u8::try_from(value & 0x7f).unwrap_or(0);
        value >>= 7;
        if value == 0 {
            out.push(bits);
            return;
        }
        out.push(bits | 0x80);
    }
}

fn varint_field(out: &mut Vec<u8>, number: u64, value: u64) {
    varint(out, number << 3);
    varint(out, value);
}

fn bytes_field(out: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    varint(out, (number << 3) | 2);
    varint(out, u64::try_from(bytes.len()).unwrap_or(0));
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
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
        let over =
            b"\x08\x02\x12\x0e\x08\x02\x12\x04\x08\x02\x10\x02\x18\x00\x22\x02\x08\x13".to_vec();
        let expected = Response {
            code: 2,
            has_limit: true,
            unit_seconds: 60,
            per_unit: 2,
            remaining: 0,
            reset_seconds: Some(19),
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

    proptest! {
        #[test]
        fn what_a_service_writes_is_read(
            code in 0..4_u64, has_limit in any::<bool>(), unit in 1..8_u64, remaining in any::<u32>(),
            reset in prop::option::of(1..1_000_000_u64), nanos in 0..2_u64,
        ) {
            let expected = Response {
                code, has_limit, unit_seconds: if has_limit { unit_seconds(unit) } else { 0 },
                per_unit: if has_limit { 7 } else { 0 },
                remaining: u64::from(remaining), reset_seconds: reset,
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
}
