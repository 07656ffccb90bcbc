//! What the upstream saw, and what tests told it to answer.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::answer::{Answer, Lines};
use crate::ratelimit::RateLimit;

/// At most this many requests are remembered (the newest), so that a benchmark cannot fill memory.
const MAX_RECORDS: usize = 4096;
/// At most this much of a body is remembered; its length and digest are of the whole.
const MAX_BODY: usize = 8 * 1024 * 1024;

/// One request, filled in while it arrives.
#[derive(Debug, Clone)]
pub struct Record {
    /// The connection it came on (1 = the first of this process).
    pub connection: u64,
    /// `1` or `2`.
    pub http: u8,
    /// The method.
    pub method: Vec<u8>,
    /// The path with its query, as it came.
    pub path: Vec<u8>,
    /// `:authority` or `Host`.
    pub authority: Vec<u8>,
    /// The headers in order of arrival (with `host` for HTTP/1).
    pub headers: Lines,
    /// The body, up to 8 MiB.
    pub body: Vec<u8>,
    /// The length of the whole body.
    pub body_bytes: u64,
    /// The trailers.
    pub trailers: Lines,
    /// Since the start of the upstream: first byte of the headers.
    pub headers_at: Duration,
    /// First byte of the body.
    pub body_at: Option<Duration>,
    /// The end of the request; `None` while it is incomplete, for ever if it was cut.
    pub complete_at: Option<Duration>,
    /// SHA-256 of the whole body so far.
    pub digest: Sha256,
}

impl Record {
    /// The values of all headers called `name` (lower case).
    pub fn header<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.headers
            .iter()
            .filter(move |(n, _)| n == name.as_bytes())
            .map(|(_, v)| v.as_slice())
    }

    /// Adds a piece of the body.
    pub(crate) fn add(&mut self, data: &[u8], at: Duration) {
        if data.is_empty() {
            return;
        }
        self.body_at.get_or_insert(at);
        self.body_bytes += data.len() as u64;
        self.digest.update(data);
        let room = MAX_BODY.saturating_sub(self.body.len());
        self.body.extend_from_slice(&data[..data.len().min(room)]);
    }

    /// As JSON: header values as Latin-1, so that any byte survives.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let ms = |at: Duration| at.as_secs_f64() * 1000.0;
        let text = std::str::from_utf8(&self.body)
            .ok()
            .filter(|text| text.len() < 4096);
        json!({
            "connection": self.connection,
            "http": self.http,
            "method": latin1(&self.method),
            "path": latin1(&self.path),
            "authority": latin1(&self.authority),
            "headers": lines(&self.headers),
            "body_bytes": self.body_bytes,
            "body_sha256": hex(&self.digest.clone().finalize()),
            "body_text": text,
            "trailers": lines(&self.trailers),
            "headers_at_ms": ms(self.headers_at),
            "body_at_ms": self.body_at.map(ms),
            "complete_at_ms": self.complete_at.map(ms),
        })
    }
}

/// Bytes as Latin-1 text.
#[must_use]
pub fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

/// Lower-case hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn lines(lines: &Lines) -> Vec<[String; 2]> {
    lines
        .iter()
        .map(|(name, value)| [latin1(name), latin1(value)])
        .collect()
}

/// A request that is still arriving.
pub type Shared = Arc<Mutex<Record>>;

/// Everything the connections of one upstream share.
#[derive(Debug)]
pub struct State {
    /// `stable`, `canary`, ...
    pub name: String,
    started: Instant,
    /// Connections accepted so far.
    pub connections: AtomicU64,
    /// Bytes received so far, whether they became a request or not.
    pub bytes: AtomicU64,
    records: Mutex<VecDeque<Shared>>,
    next: Mutex<Option<Answer>>,
    next_call: Mutex<Option<Answer>>,
    /// The scripted rate limit service.
    pub ratelimit: Mutex<RateLimit>,
    /// Unix time in nanoseconds instead of the real one; 0 = the real one.
    pub frozen: AtomicI64,
    /// Every answer but those of `/_control/` comes this many milliseconds later.
    pub slow_ms: AtomicU64,
}

impl State {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            started: Instant::now(),
            connections: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            records: Mutex::default(),
            next: Mutex::default(),
            next_call: Mutex::default(),
            ratelimit: Mutex::default(),
            frozen: AtomicI64::new(0),
            slow_ms: AtomicU64::new(0),
        }
    }

    /// Time since the start of this upstream.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// The wall clock, which a test may have frozen.
    #[must_use]
    pub fn unix(&self) -> Duration {
        match self.frozen.load(Ordering::SeqCst) {
            0 => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
            at => Duration::from_nanos(u64::try_from(at).unwrap_or(0)),
        }
    }

    /// Every request seen since the last [`State::forget`], complete or not, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<Record> {
        let records = self.records.lock().unwrap();
        records
            .iter()
            .map(|record| record.lock().unwrap().clone())
            .collect()
    }

    /// Forgets the requests seen so far and sets the byte counter to 0.
    pub fn forget(&self) {
        self.records.lock().unwrap().clear();
        self.bytes.store(0, Ordering::SeqCst);
        self.ratelimit.lock().unwrap().asked.clear();
    }

    /// What every ordinary request (not a control, rate limit or `/call/` one) is answered from now on; `None` =
    /// by its path.
    pub fn script(&self, answer: Option<Answer>) {
        *self.next.lock().unwrap() = answer;
    }

    /// What every request below `/call/` is answered from now on; `None` = by its path.
    pub fn script_call(&self, answer: Option<Answer>) {
        *self.next_call.lock().unwrap() = answer;
    }

    pub(crate) fn scripted(&self, path: &[u8]) -> Option<Answer> {
        let which = if path.starts_with(b"/call/") {
            &self.next_call
        } else {
            &self.next
        };
        which.lock().unwrap().clone()
    }

    /// Remembers a request whose headers have arrived.
    pub(crate) fn begin(&self, record: Record) -> Shared {
        let record = Arc::new(Mutex::new(record));
        let own = record.lock().unwrap().path.starts_with(b"/_control/");
        if !own {
            let mut records = self.records.lock().unwrap();
            if records.len() == MAX_RECORDS {
                records.pop_front();
            }
            records.push_back(Arc::clone(&record));
        }
        record
    }
}
