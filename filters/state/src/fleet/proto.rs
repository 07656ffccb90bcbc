//! The few fields of `envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit` that limits use,
//! in the [protobuf wire format](https://protobuf.dev/programming-guides/encoding/).
//!
//! Field numbers are those of `envoy/service/ratelimit/v3/rls.proto` and
//! `envoy/extensions/common/ratelimit/v3/ratelimit.proto`.

mod wire;

use super::unit::Unit;
use wire::{Field, Fields, bytes_field, varint_field};

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
    /// What headers for the client say about the limit, where no status does.
    pub headers: Headers,
}

/// `response_headers_to_add`, as far as limits are concerned: `RateLimit-Limit`, `-Remaining` and `-Reset`, with or
/// without `X-`. That is all that [Limitador](https://github.com/Kuadrant/limitador) says about a limit, and only with
/// `--rate-limit-headers DRAFT_VERSION_03`; it names none if no limit of its own is about the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    /// A limit is named.
    pub has_limit: bool,
    /// Hits left.
    pub remaining: Option<u64>,
    /// Whole seconds until the window is over, rounded up.
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
            (3, Field::Bytes(header)) => read_header(header, &mut response.headers)?,
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

/// A `config.core.v3.HeaderValue`.
fn read_header(bytes: &[u8], headers: &mut Headers) -> Option<()> {
    let (mut name, mut value): (&[u8], &[u8]) = (b"", b"");
    for field in Fields(bytes) {
        match field? {
            (1, Field::Bytes(text)) => name = text,
            // `value`, or `raw_value`: one of them is empty.
            (2 | 3, Field::Bytes(text)) if !text.is_empty() => value = text,
            _ => {}
        }
    }
    let is = |word: &[u8]| {
        let x = name
            .split_at_checked(2)
            .filter(|(x, _)| x.eq_ignore_ascii_case(b"x-"));
        x.map_or(name, |(_, rest)| rest).eq_ignore_ascii_case(word)
    };
    if is(b"ratelimit-limit") {
        headers.has_limit = true;
    } else if is(b"ratelimit-remaining") {
        headers.remaining = number(value);
    } else if is(b"ratelimit-reset") {
        // Limitador rounds down: for up to a second more there may be nothing.
        headers.reset_seconds = number(value).map(|s| s.saturating_add(1));
    }
    Some(())
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

fn unit_seconds(number: u64) -> u64 {
    Unit::of_number(number).map_or(0, Unit::seconds)
}

#[cfg(test)]
mod tests;
