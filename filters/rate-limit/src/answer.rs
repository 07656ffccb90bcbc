//! What clients are told: rate limit headers and refusals.
//!
//! Fields: [draft-ietf-httpapi-ratelimit-headers-10](https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/10/)
//! and the older `X-RateLimit-*`, as plain integers of the bucket closest to refusing.

use crate::ledger::Ledger;
use crate::limit::BucketSet;
use std::cmp::Reverse;
use tollgate_core::config::Value;
use tollgate_core::flow::{GrpcStatus, LocalReply};
use tollgate_core::money::push_number;
use tollgate_core::problem::Problem;
use tollgate_core::{Duration, HeaderName};
use tollgate_state::gcra::{Bucket, Reading};

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

    /// The headers for what applied to the exchange, handed to `set`. None if nothing did.
    pub(crate) fn write(
        &self,
        ledger: &Ledger,
        sets: &[BucketSet],
        mut set: impl FnMut(&HeaderName, &str),
    ) {
        let mut all = String::with_capacity(128);
        let Some(closest) = self.read(ledger, sets, &mut all) else {
            return;
        };
        let mut text = String::with_capacity(128);
        if let Some([limit, remaining, reset]) = &self.x_ratelimit {
            for (name, number) in [
                (limit, closest.bucket.max_tokens()),
                (remaining, closest.reading.remaining),
                (reset, Duration(closest.reading.next).secs_ceil()),
            ] {
                text.clear();
                push_number(&mut text, number);
                set(name, &text);
            }
        }
        if let Some([policy, current]) = &self.ietf {
            text.clear();
            for applied in ledger.applied.iter().filter(|a| a.shown) {
                if let Some(bucket_set) = sets.get(applied.set) {
                    separate(&mut text);
                    text.push_str(&bucket_set.policy);
                }
            }
            set(policy, &text);
            set(current, &all);
        }
    }

    /// The bucket that is closest to refusing; adds all of them to the value of `RateLimit`, if that is shown.
    fn read<'a>(
        &self,
        ledger: &'a Ledger,
        sets: &'a [BucketSet],
        all: &mut String,
    ) -> Option<Item<'a>> {
        let mut closest: Option<Item<'a>> = None;
        for applied in ledger.applied.iter().filter(|a| a.shown) {
            let Some(set) = sets.get(applied.set) else {
                continue;
            };
            let buckets = set.names.iter().zip(&set.buckets);
            for ((name, bucket), reading) in buckets.zip(&applied.readings) {
                if self.ietf.is_some() {
                    push_reading(all, name, reading);
                }
                let item = Item::new(bucket, reading, applied.tokens);
                if closest.as_ref().is_none_or(|c| item.refuses < c.refuses) {
                    closest = Some(item);
                }
            }
        }
        closest
    }
}

/// An item of `RateLimit`.
fn push_reading(text: &mut String, name: &str, reading: &Reading) {
    separate(text);
    text.push('"');
    text.push_str(name);
    text.push_str("\";r=");
    push_number(text, reading.remaining);
    // A full bucket gets no more: there is no time to name.
    if reading.next > 0 {
        text.push_str(";t=");
        push_number(text, Duration(reading.next).secs_ceil());
    }
}

/// One bucket as it is shown.
struct Item<'a> {
    bucket: &'a Bucket,
    reading: &'a Reading,
    /// How many more such requests, then for how long none.
    refuses: (u64, Reverse<u64>),
}

impl<'a> Item<'a> {
    fn new(bucket: &'a Bucket, reading: &'a Reading, tokens: u64) -> Self {
        let requests = match tokens {
            0 | 1 => reading.remaining,
            tokens => reading.remaining.checked_div(tokens).unwrap_or(0),
        };
        Self {
            bucket,
            reading,
            refuses: (requests, Reverse(reading.next)),
        }
    }
}

fn separate(text: &mut String) {
    if !text.is_empty() {
        text.push_str(", ");
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
