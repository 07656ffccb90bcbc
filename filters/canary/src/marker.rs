//! The marker: tells the filters behind this one, in other proxies too, what was decided, so that a request keeps its side
//! all the way.
//!
//! ```text
//! 1;SECONDS;FLAG:VARIANT[!],...;SIGNATURE      `!`: a forced tester
//! ```
//! Signed, not trusted by where it comes from: between two proxies there is always an application that copies headers
//! on, so the address that a marker arrives from says nothing about who wrote it.

use crate::signing::{Keys, decode, encode};
use tollgate_core::config::{Compile, Value};
use tollgate_core::headers::{HeaderName, Headers};
use tollgate_core::metrics::MetricId;
use tollgate_core::world::World;
use tollgate_core::{Duration, UnixNanos};

/// Longer ones are not looked at: no list of decisions is.
const MOST: usize = 4096;

/// A clock of another machine may be ahead by this much.
const SKEW: Duration = Duration::from_secs(60);

/// `marker`
#[derive(Debug)]
pub(crate) struct Marker {
    pub(crate) header: HeaderName,
    keys: Keys,
    max_age: Duration,
    pub(crate) accept: bool,
    pub(crate) send: bool,
    accepted: MetricId,
    invalid: MetricId,
    expired: MetricId,
}

/// The decisions of a genuine marker: `FLAG:VARIANT[!],...`
#[derive(Debug, Default)]
pub(crate) struct Carried(String);

/// What a filter before this one decided about one flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Before<'a> {
    pub(crate) variant: &'a str,
    pub(crate) forced: bool,
}

impl Marker {
    pub(crate) fn compile(
        value: Value<'_>,
        header: impl Fn(Value<'_>) -> Option<HeaderName>,
        cx: &mut Compile<'_>,
    ) -> Option<Self> {
        let section = value.section()?;
        let header = section.required("header").and_then(header);
        let keys = Keys::compile(&section, "tollgate canary marker", cx);
        let max_age = section
            .optional("max_age")
            .map_or(Some(Duration::from_secs(300)), |v| {
                let age = v.duration()?;
                let bounds = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);
                v.accept(
                    bounds.contains(&age).then_some(age),
                    "must be from 1s to 24h",
                )
            });
        let flag = |name| section.optional(name).map_or(Some(true), |v| v.boolean());
        let (accept, send) = (flag("accept"), flag("send"));
        if accept == Some(false) && send == Some(false) {
            section.error("accept: false and send: false leave nothing to do");
        }
        section.finish();
        let mut counter = |outcome| {
            let labels = [("policy", "canary"), ("outcome", outcome)];
            cx.metrics.counter("tollgate_canary_marker_total", &labels)
        };
        Some(Self {
            accepted: counter("accepted"),
            invalid: counter("invalid"),
            expired: counter("expired"),
            header: header?,
            keys: keys?,
            max_age: max_age?,
            accept: accept?,
            send: send?,
        })
    }

    /// Takes the marker off the request and reads it, if it is to be believed.
    #[inline(never)]
    pub(crate) fn take(&self, request: &mut Headers, world: &dyn World) -> Option<Carried> {
        let name = self.header.as_str();
        if !request.contains(name) {
            return None;
        }
        let found = match request.sole(name) {
            Ok(Some(value)) if self.accept => Some(self.read(value, world.now())),
            Ok(_) if !self.accept => None,
            _ => Some(Err(self.invalid)),
        };
        let (carried, counter) = match found {
            None => (None, None),
            Some(Ok(carried)) => (Some(carried), Some(self.accepted)),
            Some(Err(why)) => (None, Some(why)),
        };
        if let Some(counter) = counter {
            world.count(counter, 1);
        }
        request.remove(&self.header);
        carried
    }

    fn read(&self, value: &[u8], now: UnixNanos) -> Result<Carried, MetricId> {
        let text = std::str::from_utf8(value).ok().filter(|t| t.len() <= MOST);
        let halves = text.and_then(|t| t.rsplit_once(';'));
        let (signed, signature) = halves.ok_or(self.invalid)?;
        let signature = decode(signature.as_bytes()).ok_or(self.invalid)?;
        if !self.keys.verify(&[signed.as_bytes()], &signature) {
            return Err(self.invalid);
        }
        let rest = signed.strip_prefix("1;").ok_or(self.invalid)?;
        let (seconds, decisions) = rest.split_once(';').ok_or(self.invalid)?;
        let written = seconds.parse().map(UnixNanos::from_secs);
        let written = written.map_err(|_| self.invalid)?;
        if written.plus(self.max_age) <= now || now.plus(SKEW) < written {
            return Err(self.expired);
        }
        Ok(Carried(decisions.to_owned()))
    }

    /// Puts a marker onto the request: these decisions, and those that came with it about other flags.
    pub(crate) fn put<'a>(
        &self,
        request: &mut Headers,
        decided: impl Iterator<Item = (&'a str, bool)> + Clone,
        carried: Option<&Carried>,
        now: UnixNanos,
    ) {
        let mut text = format!("1;{};", now.secs());
        let start = text.len();
        let mut add = |entry: &str, forced: bool| {
            if text.len() > start {
                text.push(',');
            }
            text.push_str(entry);
            if forced {
                text.push('!');
            }
        };
        for (entry, forced) in decided.clone() {
            add(entry, forced);
        }
        for entry in carried.iter().flat_map(|c| c.entries()) {
            let flag = |e: &str| e.split(':').next().map(str::to_owned);
            if decided.clone().all(|(other, _)| flag(other) != flag(entry)) {
                add(entry, false);
            }
        }
        if text.len() == start {
            return;
        }
        let signature = self.keys.sign(&[text.as_bytes()]);
        text.push(';');
        text.push_str(&encode(&signature));
        if text.len() <= MOST {
            request.set(&self.header, text);
        }
    }
}

impl Carried {
    fn entries(&self) -> impl Iterator<Item = &str> {
        self.0.split(',').filter(|e| !e.is_empty())
    }

    /// What was decided about a flag.
    pub(crate) fn about(&self, flag: &str) -> Option<Before<'_>> {
        self.entries().find_map(|entry| {
            let variant = entry.strip_prefix(flag)?.strip_prefix(':')?;
            let tester = variant.strip_suffix('!');
            Some(Before {
                variant: tester.unwrap_or(variant),
                forced: tester.is_some(),
            })
        })
    }
}
