//! A scriptable `envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit`.
//!
//! The few protobuf fields are read and written by hand; the field numbers are those of
//! `envoy/service/ratelimit/v3/rls.proto` and `envoy/extensions/common/ratelimit/v3/ratelimit.proto`.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::answer::{Answer, Piece};
use crate::record::{Record, State};

/// The `:path` of the gRPC method.
pub const PATH: &[u8] = b"/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";

/// How the service answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Mode {
    /// `"ok"`: OK without `current_limit`, like an unknown descriptor.
    #[default]
    Ok,
    /// `"over_limit"`
    OverLimit,
    /// `{"error": {"status": 8, "message": "no way"}}`
    Error {
        /// The gRPC status code.
        status: u16,
        /// `grpc-message`.
        #[serde(default)]
        message: String,
    },
    /// `{"hang": {"ms": 5000}}`: OK after that time.
    Hang {
        /// Milliseconds.
        ms: u64,
    },
    /// `{"counter": {"limit": 10, "unit": "minute"}}`: a fixed window per descriptor, aligned to unix time. Every ask is
    /// charged, refused ones too. A first entry whose key is a unit overrides `unit`.
    Counter {
        /// Requests per unit.
        limit: u32,
        /// The window.
        unit: Unit,
    },
}

/// The window of a counter; the numbers are those of `RateLimitResponse.RateLimit.Unit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Unit {
    Second = 1,
    Minute = 2,
    Hour = 3,
    Day = 4,
    Month = 5,
    Year = 6,
    Week = 7,
}

impl Unit {
    fn seconds(self) -> u64 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3600,
            Self::Day => 86_400,
            Self::Month => 30 * 86_400,
            Self::Year => 365 * 86_400,
            Self::Week => 7 * 86_400,
        }
    }

    fn parse(name: &str) -> Option<Self> {
        serde_json::from_value(serde_json::Value::String(name.to_owned())).ok()
    }
}

/// One `RateLimitRequest`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Ask {
    /// `domain`
    pub domain: String,
    /// `descriptors`
    pub descriptors: Vec<Descriptor>,
    /// `hits_addend` of the request; 0 means 1.
    pub hits_addend: u64,
}

/// One `RateLimitDescriptor`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Descriptor {
    /// `entries` as (key, value).
    pub entries: Vec<(String, String)>,
    /// `hits_addend` of the descriptor; absent = that of the request, 0 = a look without a charge.
    pub hits_addend: Option<u64>,
}

/// The service's state.
#[derive(Debug, Default)]
pub struct RateLimit {
    mode: Mode,
    counters: HashMap<String, u64>,
    /// What was asked since the last `forget`.
    pub asked: Vec<Ask>,
}

impl RateLimit {
    /// Changes how it answers; counters start again.
    pub fn set(&mut self, mode: Mode) {
        self.mode = mode;
        self.counters.clear();
    }

    fn decide(&mut self, ask: &Ask, now: Duration) -> Vec<u8> {
        let mut codes = Vec::new();
        let mut statuses = Vec::new();
        for descriptor in &ask.descriptors {
            let Mode::Counter { limit, unit } = self.mode else {
                break;
            };
            let unit = descriptor
                .entries
                .first()
                .and_then(|(key, _)| Unit::parse(key))
                .unwrap_or(unit);
            let hits = descriptor.hits_addend.unwrap_or(ask.hits_addend.max(1));
            let window = now.as_secs() / unit.seconds();
            let key = format!("{} {:?} {window}", ask.domain, descriptor.entries);
            let count = self.counters.entry(key).or_default();
            *count += hits;
            let code = if *count > u64::from(limit) { 2 } else { 1 };
            codes.push(code);
            let mut current_limit = Vec::new();
            number(&mut current_limit, 1, u64::from(limit));
            number(&mut current_limit, 2, unit as u64);
            let mut reset = Vec::new();
            number(
                &mut reset,
                1,
                unit.seconds() - now.as_secs() % unit.seconds(),
            );
            let mut status = Vec::new();
            number(&mut status, 1, code);
            message(&mut status, 2, &current_limit);
            number(&mut status, 3, u64::from(limit).saturating_sub(*count));
            message(&mut status, 4, &reset);
            message(&mut statuses, 2, &status);
        }
        let overall = match self.mode {
            Mode::OverLimit => 2,
            _ => codes.into_iter().max().unwrap_or(1),
        };
        let mut out = Vec::new();
        number(&mut out, 1, overall);
        out.extend(statuses);
        out
    }
}

/// Answers one gRPC request.
pub(crate) fn answer(state: &State, record: &Record) -> Answer {
    let now = state.unix();
    let mut service = state.ratelimit.lock().unwrap();
    let mut answer = Answer::new(200, "application/grpc", "");
    let Some(ask) = record.body.get(5..).and_then(parse) else {
        answer.trailers = grpc_status(13, "not a RateLimitRequest");
        return answer;
    };
    service.asked.push(ask.clone());
    match service.mode.clone() {
        Mode::Error { status, message } => {
            // Trailers-only: the status is among the headers and there is no body.
            answer.headers.extend(grpc_status(status, &message));
            return answer;
        }
        Mode::Hang { ms } => answer.delay = Duration::from_millis(ms),
        _ => {}
    }
    let body = service.decide(&ask, now);
    let mut frame = vec![0];
    frame.extend(u32::try_from(body.len()).unwrap_or(0).to_be_bytes());
    frame.extend(body);
    answer.body = vec![Piece::Data(frame)];
    answer.trailers = grpc_status(0, "");
    answer
}

fn grpc_status(status: u16, message: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut lines = vec![(b"grpc-status".to_vec(), status.to_string().into_bytes())];
    if !message.is_empty() {
        lines.push((b"grpc-message".to_vec(), message.as_bytes().to_vec()));
    }
    lines
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn number(out: &mut Vec<u8>, field: u64, value: u64) {
    if value != 0 {
        varint(out, field << 3);
        varint(out, value);
    }
}

fn message(out: &mut Vec<u8>, field: u64, body: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, body.len() as u64);
    out.extend_from_slice(body);
}

enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn take_varint(input: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = input.split_first()?;
        *input = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// The fields of a message in order; `None` if it is malformed.
fn fields(mut input: &[u8]) -> Option<Vec<(u64, Field<'_>)>> {
    let mut out = Vec::new();
    while !input.is_empty() {
        let tag = take_varint(&mut input)?;
        let field = match tag & 7 {
            0 => Field::Number(take_varint(&mut input)?),
            2 => {
                let length = usize::try_from(take_varint(&mut input)?).ok()?;
                let (body, rest) = input.split_at_checked(length)?;
                input = rest;
                Field::Bytes(body)
            }
            _ => return None,
        };
        out.push((tag >> 3, field));
    }
    Some(out)
}

fn parse(input: &[u8]) -> Option<Ask> {
    let mut ask = Ask::default();
    for (number, field) in fields(input)? {
        match (number, field) {
            (1, Field::Bytes(text)) => ask.domain = String::from_utf8(text.to_vec()).ok()?,
            (2, Field::Bytes(body)) => ask.descriptors.push(parse_descriptor(body)?),
            (3, Field::Number(hits)) => ask.hits_addend = hits,
            _ => {}
        }
    }
    Some(ask)
}

fn parse_descriptor(input: &[u8]) -> Option<Descriptor> {
    let mut descriptor = Descriptor::default();
    for (number, field) in fields(input)? {
        match (number, field) {
            (1, Field::Bytes(body)) => {
                let mut entry = (String::new(), String::new());
                for (number, field) in fields(body)? {
                    match (number, field) {
                        (1, Field::Bytes(text)) => {
                            entry.0 = String::from_utf8(text.to_vec()).ok()?
                        }
                        (2, Field::Bytes(text)) => {
                            entry.1 = String::from_utf8(text.to_vec()).ok()?
                        }
                        _ => {}
                    }
                }
                descriptor.entries.push(entry);
            }
            (3, Field::Bytes(body)) => {
                // google.protobuf.UInt64Value; an empty message is the value 0.
                let value = fields(body)?.into_iter().find_map(|field| match field {
                    (1, Field::Number(value)) => Some(value),
                    _ => None,
                });
                descriptor.hits_addend = Some(value.unwrap_or(0));
            }
            _ => {}
        }
    }
    Some(descriptor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(hits: u64) -> Ask {
        let entries = vec![("minute".to_owned(), "k".to_owned())];
        Ask {
            domain: "d".to_owned(),
            descriptors: vec![Descriptor {
                entries,
                hits_addend: None,
            }],
            hits_addend: hits,
        }
    }

    #[test]
    fn reads_a_request_as_protoc_writes_it() {
        // RateLimitRequest{domain: "d", descriptors: [{entries: [{key: "minute", value: "k"}], hits_addend: {value: 300}}], hits_addend: 2}
        let bytes = b"\x0a\x01d\x12\x12\x0a\x0b\x0a\x06minute\x12\x01k\x1a\x03\x08\xac\x02\x18\x02";
        let mut wanted = ask(2);
        wanted.descriptors[0].hits_addend = Some(300);
        assert_eq!(parse(bytes), Some(wanted));
        assert_eq!(parse(&bytes[..10]), None);
    }

    #[test]
    fn a_counter_charges_refused_asks_too_and_starts_again_in_the_next_window() {
        let mut service = RateLimit::default();
        service.set(Mode::Counter {
            limit: 3,
            unit: Unit::Day,
        });
        let at = Duration::from_secs(119);
        // OK, limit 3 per minute, 1 left, 1 s to go.
        let first = [8, 1, 18, 14, 8, 1, 18, 4, 8, 3, 16, 2, 24, 1, 34, 2, 8, 1];
        assert_eq!(service.decide(&ask(2), at), first);
        assert_eq!(service.decide(&ask(2), at)[..2], [8, 2]);
        assert_eq!(
            service.decide(&ask(2), Duration::from_secs(120))[..2],
            [8, 1]
        );
    }
}
