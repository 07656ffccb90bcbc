//! What clients are told: rate limit headers and refusals.
//!
//! Fields: [draft-ietf-httpapi-ratelimit-headers-10](https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/10/)
//! and the older `X-RateLimit-*`, as plain integers of the bucket closest to refusing.

use crate::ledger::{Applied, Ledger};
use crate::limit::{BucketSet, Face, SEPARATOR};
use std::ops::Range;
use tollgate_core::config::Value;
use tollgate_core::flow::{GrpcStatus, LocalReply};
use tollgate_core::problem::Problem;
use tollgate_core::{Duration, HeaderName, Headers};
use tollgate_state::gcra::Reading;

const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";
/// `%RESPONSE_CODE_DETAILS%` of a refusal.
pub(crate) const LIMITED: &str = "tollgate_rate_limited";
const REDUCED_CAPACITY: &str =
    "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity";

/// Which headers are sent.
#[derive(Debug)]
pub(crate) struct Shown {
    ietf: Option<[HeaderName; 2]>,
    x_ratelimit: Option<[HeaderName; 3]>,
}

impl Default for Shown {
    fn default() -> Self {
        Self::new(true, true)
    }
}

impl Shown {
    fn new(ietf: bool, x_ratelimit: bool) -> Self {
        let name = HeaderName::from_static;
        Self {
            ietf: ietf.then(|| [name("ratelimit-policy"), name("ratelimit")]),
            x_ratelimit: x_ratelimit.then(|| {
                [
                    name("x-ratelimit-limit"),
                    name("x-ratelimit-remaining"),
                    name("x-ratelimit-reset"),
                ]
            }),
        }
    }

    pub(crate) fn compile(value: Value<'_>) -> Option<Self> {
        let mut words = Vec::new();
        for item in value.list()? {
            words.push(item.one_of(&[("ietf", true), ("x-ratelimit", false)])?);
        }
        Some(Self::new(words.contains(&true), words.contains(&false)))
    }

    /// Sets the headers for what applied to the exchange. None if nothing did.
    pub(crate) fn write(&self, ledger: &mut Ledger, sets: &[BucketSet], headers: &mut Headers) {
        let Ledger {
            applied,
            text,
            parts,
            ..
        } = ledger;
        text.clear();
        let Some(closest) = read(applied, sets, text, parts) else {
            return;
        };
        let part = |range: &Range<usize>| text.get(range.clone()).unwrap_or_default();
        if let Some([limit, remaining, reset]) = &self.x_ratelimit {
            headers.set(limit, &closest.face.quota);
            headers.set(remaining, part(&closest.remaining));
            let full = closest.next == 0;
            headers.set(reset, if full { b"0" } else { part(&closest.reset) });
        }
        if let Some([policy, current]) = &self.ietf {
            match applied.as_slice() {
                [only] => headers.set(policy, sets.get(only.set).map_or("", |set| &set.policy)),
                several => set_policies(several, sets, policy, parts, headers),
            }
            headers.set(current, text.get(SEPARATOR.len()..).unwrap_or_default());
        }
    }
}

/// One bucket as it is shown.
struct Item<'a> {
    face: &'a Face,
    /// Where among the items its numbers are.
    remaining: Range<usize>,
    reset: Range<usize>,
    /// How many more requests like this one it holds.
    requests: u64,
    /// Nanoseconds until there is one more token; of a full bucket 0.
    next: u64,
}

/// Appends the items of `RateLimit`, each behind a separator; the bucket that is closest to refusing.
fn read<'a>(
    applied: &[Applied],
    sets: &'a [BucketSet],
    items: &mut Vec<u8>,
    digits: &mut Vec<u8>,
) -> Option<Item<'a>> {
    let mut closest: Option<Item<'a>> = None;
    for applied in applied {
        let Some(set) = sets.get(applied.set).filter(|_| applied.shown) else {
            continue;
        };
        for (face, reading) in set.faces.iter().zip(&applied.readings) {
            let Reading { remaining, next } = *reading;
            items.extend_from_slice(face.item.as_bytes());
            let start = items.len();
            push(items, digits, remaining);
            let shown = start..items.len();
            // A full bucket gets no more: there is no time to name.
            let mut reset = 0..0;
            if next > 0 {
                items.extend_from_slice(b";t=");
                reset.start = items.len();
                push(items, digits, Duration(next).secs_ceil());
                reset.end = items.len();
            }
            let requests = match applied.tokens {
                0 | 1 => remaining,
                tokens => remaining.checked_div(tokens).unwrap_or(0),
            };
            let is_closer =
                |c: &Item<'_>| requests < c.requests || (requests == c.requests && next > c.next);
            if closest.as_ref().is_none_or(is_closer) {
                closest = Some(Item {
                    face,
                    remaining: shown,
                    reset,
                    requests,
                    next,
                });
            }
        }
    }
    closest
}

/// `RateLimit-Policy` of several limits, put together in `text`; that of one is known beforehand.
#[inline(never)]
fn set_policies(
    applied: &[Applied],
    sets: &[BucketSet],
    name: &HeaderName,
    text: &mut Vec<u8>,
    headers: &mut Headers,
) {
    text.clear();
    for applied in applied.iter().filter(|applied| applied.shown) {
        if let Some(set) = sets.get(applied.set) {
            if !text.is_empty() {
                text.extend_from_slice(SEPARATOR.as_bytes());
            }
            text.extend_from_slice(set.policy.as_bytes());
        }
    }
    headers.set(name, text);
}

/// Appends a number in decimal. Digit by digit, and not two by two out of a table as a library would have it: that is
/// more code, and numbers here are short. `digits` is where they wait, as the last comes first.
#[inline(never)]
fn push(text: &mut Vec<u8>, digits: &mut Vec<u8>, number: u64) {
    digits.clear();
    let mut rest = number;
    loop {
        digits.push(b'0' | u8::try_from(rest % 10).unwrap_or(0));
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    while let Some(digit) = digits.pop() {
        text.push(digit);
    }
}

/// Too much was asked: 429, or what the limit says. `wait` is in nanoseconds and never too short.
#[cold]
pub(crate) fn limited(status: u16, violated: &[String], wait: u64) -> LocalReply {
    let seconds = Duration(wait).secs_ceil().max(1);
    Problem::new(
        status,
        QUOTA_EXCEEDED,
        "Too many requests",
        GrpcStatus::RESOURCE_EXHAUSTED,
    )
    .detail(&format!(
        "Try again in {seconds} second{}.",
        if seconds == 1 { "" } else { "s" }
    ))
    .strings("violated-policies", violated.iter().map(String::as_str))
    .reply(LIMITED)
    .header("retry-after", seconds.to_string())
}

/// Other workers were faster in every try: nobody knows whether there was room.
#[cold]
pub(crate) fn contended() -> LocalReply {
    Problem::new(
        503,
        REDUCED_CAPACITY,
        "Rate limit could not be checked",
        GrpcStatus::UNAVAILABLE,
    )
    .reply("tollgate_rate_limit_contended")
    .header("retry-after", "1")
}

/// The fleet's service did not answer, and the limit says `failure_mode: deny`.
#[cold]
pub(crate) fn service_failed() -> LocalReply {
    Problem::new(
        503,
        "limit-service-unavailable",
        "Rate limit could not be checked",
        GrpcStatus::UNAVAILABLE,
    )
    .reply("tollgate_rate_limit_service_unavailable")
    .header("retry-after", "1")
}

/// What the limit counts by was sent more than once.
pub(crate) fn ambiguous_key() -> LocalReply {
    Problem::new(
        400,
        "limit-key-ambiguous",
        "A header, cookie or query parameter was sent more than once",
        GrpcStatus::INVALID_ARGUMENT,
    )
    .reply("tollgate_rate_limit_key_ambiguous")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_are_decimal(number: u64, few in 0..2_000_u64) {
            let (mut text, mut digits) = (b"a".to_vec(), b"b".to_vec());
            push(&mut text, &mut digits, number);
            push(&mut text, &mut digits, few);
            prop_assert_eq!(text, format!("a{number}{few}").into_bytes());
        }
    }
}
