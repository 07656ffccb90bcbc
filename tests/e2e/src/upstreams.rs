//! The upstreams of one run: what they answer next, and what they saw.

use std::net::TcpListener;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;
use tollgate_scenario::engine::Asked;
use tollgate_scenario::model::{self, Answer, Chunk, RateLimit, Services};
use tollgate_scenario::time::Instant;
use tollgate_scenario::{Observed, Seen};
use tollgate_upstream::Upstream;
use tollgate_upstream::answer::{Answer as Scripted, Piece};
use tollgate_upstream::ratelimit::Mode;
use tollgate_upstream::record::Record;

use crate::bootstrap::Addresses;

/// They live as long as the runtime that serves them.
pub(crate) struct Upstreams {
    stable: Upstream,
    canary: Upstream,
    ratelimit: Upstream,
    pub(crate) addresses: Addresses,
}

impl Upstreams {
    pub(crate) fn start(runtime: &tokio::runtime::Handle) -> Result<Self, String> {
        let start = |name: &str| {
            runtime
                .block_on(Upstream::start(name, 0))
                .map_err(|error| format!("upstream {name}: {error}"))
        };
        let (stable, canary, ratelimit) = (start("stable")?, start("canary")?, start("ratelimit")?);
        // Bound once and closed: a port where nothing listens.
        let dead = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
        let addresses = Addresses {
            stable: stable.address,
            canary: canary.address,
            ratelimit: ratelimit.address,
            dead: dead.map_err(|error| error.to_string())?,
        };
        Ok(Self {
            stable,
            canary,
            ratelimit,
            addresses,
        })
    }

    fn all(&self) -> [&Upstream; 3] {
        [&self.stable, &self.canary, &self.ratelimit]
    }

    /// Their own wall clock, for the windows of the rate limit service.
    pub(crate) fn set_clock(&self, now: Instant) {
        for upstream in self.all() {
            upstream.state.frozen.store(now.0, Ordering::SeqCst);
        }
    }

    /// As if just started.
    pub(crate) fn reset(&self) {
        for upstream in self.all() {
            upstream.state.forget();
            upstream.state.script(None);
            upstream.state.script_call(None);
            upstream.state.ratelimit.lock().unwrap().set(Mode::Ok);
        }
    }

    /// Forgets what they saw and sets what they answer next.
    pub(crate) fn expect(&self, answer: &Answer) {
        for upstream in self.all() {
            upstream.state.forget();
            upstream.state.script(Some(scripted(answer)));
        }
    }

    /// What calls of the filters get from now on.
    pub(crate) fn services(&self, services: &Services) -> Result<(), String> {
        if let Some(mode) = &services.ratelimit {
            self.ratelimit
                .state
                .ratelimit
                .lock()
                .unwrap()
                .set(service(mode)?);
        }
        if let Some(answer) = &services.call {
            for upstream in [&self.stable, &self.canary] {
                upstream.state.script_call(Some(scripted(answer)));
            }
        }
        Ok(())
    }

    /// What they saw since [`Upstreams::expect`].
    pub(crate) fn observe(&self, observed: &mut Observed) {
        for upstream in [&self.stable, &self.canary] {
            let (calls, requests): (Vec<Record>, Vec<Record>) = upstream
                .state
                .requests()
                .into_iter()
                .partition(|record| record.path.starts_with(b"/call/"));
            if calls.is_empty() {
                observed.upstream_bytes += upstream.state.bytes.load(Ordering::SeqCst);
            }
            observed.calls += calls.len();
            observed
                .upstream
                .extend(requests.into_iter().map(|record| Seen {
                    name: upstream.state.name.clone(),
                    method: record.method,
                    path: record.path,
                    headers: record.headers,
                    body: record.body,
                    trailers: record.trailers,
                    complete: record.complete_at.is_some(),
                }));
        }
        let asked = &self.ratelimit.state.ratelimit.lock().unwrap().asked;
        observed.ratelimit.extend(asked.iter().map(|ask| {
            let first = ask.descriptors.first();
            Asked {
                domain: ask.domain.clone(),
                entries: first
                    .map(|descriptor| descriptor.entries.clone())
                    .unwrap_or_default(),
                hits: first
                    .and_then(|descriptor| descriptor.hits_addend)
                    .unwrap_or(ask.hits_addend),
            }
        }));
    }
}

/// How the rate limit service answers.
fn service(mode: &RateLimit) -> Result<Mode, String> {
    Ok(match mode {
        RateLimit::Ok => Mode::Ok,
        RateLimit::OverLimit => Mode::OverLimit,
        RateLimit::Error { status, message } => Mode::Error {
            status: *status,
            message: message.clone(),
        },
        RateLimit::Hang { ms } => Mode::Hang { ms: *ms },
        RateLimit::Counter { limit, unit } => Mode::Counter {
            limit: *limit,
            unit: serde_json::from_value(json!(unit))
                .map_err(|error| format!("services.ratelimit.counter.unit: {error}"))?,
        },
    })
}

/// A scenario's answer as the upstream sends it.
fn scripted(answer: &Answer) -> Scripted {
    let real = |span: tollgate_scenario::time::Span| {
        Duration::from_nanos(u64::try_from(span.0).unwrap_or(0))
    };
    let piece = |chunk: &Chunk| match chunk {
        Chunk::Data(data) => Piece::Data(data.0.clone()),
        Chunk::Pause { pause } => Piece::Pause(real(*pause)),
        Chunk::Cut { .. } => Piece::Abort,
    };
    let mut body: Vec<Piece> = Vec::new();
    for chunk in &answer.body {
        // A short wait between chunks, so that Envoy sees them one by one.
        if matches!((body.last(), chunk), (Some(Piece::Data(_)), Chunk::Data(_))) {
            body.push(Piece::Pause(Duration::from_millis(3)));
        }
        body.push(piece(chunk));
    }
    let mut scripted = Scripted {
        delay: real(answer.delay),
        status: answer.status,
        headers: model::lines(&answer.headers),
        body,
        trailers: model::lines(&answer.trailers),
        chunked: answer.chunked,
    };
    // A cut answer with a length must promise more than it brings; chunks show the cut by themselves.
    scripted.chunked |= scripted.body.contains(&Piece::Abort);
    scripted
}
