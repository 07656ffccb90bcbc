//! The outside, as values and questions: what a policy may ask while it decides.
//!
//! In a proxy these are hostcalls, in tests plain data ([`crate::testing::TestWorld`]).

use crate::metrics::MetricId;
use crate::time::UnixNanos;
use std::fmt;
use std::num::NonZeroU32;

/// Bytes shared by all workers of a proxy, with compare-and-set. Keys are never freed by a proxy
/// (each costs about 100 bytes for ever), so their number must be bounded by configuration.
pub trait Store {
    /// Copies the value into `out` (cleared first). `None`: there is no such key.
    fn load(&self, key: &str, out: &mut Vec<u8>) -> Option<Version>;

    /// Writes if the value is still the one that `expect` speaks of.
    ///
    /// # Errors
    /// [`Conflict`] when somebody else was faster: load again and decide anew, a bounded number of times.
    fn store(&self, key: &str, value: &[u8], expect: Expect) -> Result<(), Conflict>;
}

/// The version of a value in a [`Store`] (the proxy's compare-and-set number).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version(pub NonZeroU32);

/// What must hold for a write to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// The key does not exist.
    Absent,
    /// The value has not changed since it was loaded.
    Unchanged(Version),
    /// Nothing: last writer wins.
    Anything,
}

/// A compare-and-set lost its race.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict;

/// Counters, gauges and histograms that were registered in [`crate::Metrics`].
pub trait Meter {
    /// Adds to a counter.
    fn count(&self, metric: MetricId, by: u64);
    /// Sets a gauge. Workers share it: the last one wins.
    fn gauge(&self, metric: MetricId, value: u64);
    /// Adds a value to a histogram.
    fn observe(&self, metric: MetricId, value: u64);
}

/// A call to another service through a cluster of the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// A unary gRPC call.
    Grpc {
        /// Cluster name.
        cluster: String,
        /// Full service name, e.g. `envoy.service.ratelimit.v3.RateLimitService`.
        service: String,
        /// Method name.
        method: String,
        /// Serialized request message.
        message: Vec<u8>,
        /// Deadline in milliseconds.
        timeout_ms: u32,
    },
    /// An HTTP request; `headers` include `:method`, `:path` and `:authority`.
    Http {
        /// Cluster name.
        cluster: String,
        /// Headers and pseudo headers.
        headers: Vec<(String, Vec<u8>)>,
        /// Body, may be empty.
        body: Vec<u8>,
        /// Deadline in milliseconds.
        timeout_ms: u32,
    },
}

/// The proxy refused to send a call: unknown cluster, or a malformed request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallRefused;

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallAnswer {
    /// gRPC: the status code (0 is OK; a timeout arrives as 14) and the message, if any.
    Grpc {
        /// Status code.
        status: u32,
        /// Serialized answer.
        message: Vec<u8>,
    },
    /// HTTP: the status (a timeout arrives as 504, no connection as 503) and the body.
    Http {
        /// Status; 0 if the answer had none.
        status: u16,
        /// Body.
        body: Vec<u8>,
    },
}

/// Names a call that belongs to no exchange; unique within a configuration of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// How a background call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The proxy did not send it: unknown cluster, or a malformed request.
    Refused,
    /// gRPC: the status code (0 is OK; a timeout arrives as 14).
    Grpc(u32),
    /// HTTP: the status (a timeout arrives as 504, no connection as 503; 0 if there was none).
    Http(u16),
}

/// The reply to a background call. It lies in the proxy and can be read during the callback only.
pub trait CallReply {
    /// How the call ended.
    fn outcome(&self) -> Outcome;
    /// The first value of a header, by its lower-case name. gRPC: always `None`.
    fn header(&self, name: &str) -> Option<Vec<u8>>;
    /// Bytes of the body, or of the gRPC message.
    fn size(&self) -> usize;
    /// Up to `len` bytes of it from `offset` on, so that a large one need never be copied as a whole.
    fn read(&self, offset: usize, len: usize) -> Vec<u8>;
}

/// Things the proxy knows about the exchange; each question costs about 0.7 us, so ask once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// The client's address as `ip:port` or `[ip]:port`, after Envoy's own X-Forwarded-For rules.
    SourceAddress,
    /// The route's name, as it is when asked (it goes stale when a header changes the route).
    RouteName,
    /// Bytes of the request body: as its `content-length` says, else received so far.
    RequestSize,
    /// Bytes of the request body received so far, headers included.
    RequestTotalSize,
    /// Bytes of the answer sent so far, headers included.
    ResponseTotalSize,
    /// The status code of the answer, in decimal.
    ResponseCode,
    /// How the exchange went wrong, if it did, in decimal: the bits of Envoy's `response.flags`
    /// (`CoreResponseFlag` in envoy/stream_info/stream_info.h). Complete in `on_log`.
    ResponseFlags,
    /// The gRPC status of the answer, in decimal, wherever it stood: in `on_log` also that of the trailers.
    GrpcStatus,
    /// A value left by a filter before, by its [`crate::exchange::state_name`].
    FilterState(&'static str),
}

/// How loud a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Details for whoever hunts a fault.
    Debug,
    /// Rare events worth knowing: a configuration was loaded.
    Info,
    /// Something is wrong but handled as configured.
    Warn,
    /// Something is wrong and requests suffer.
    Error,
}

/// Everything a policy may ask for. Passed in on every call, kept by nobody.
pub trait World: Store + Meter {
    /// Wall-clock time, the same within one callback.
    fn now(&self) -> UnixNanos;

    /// The clock as it is right now, also within a callback, for measuring how long something took.
    fn clock(&self) -> UnixNanos {
        self.now()
    }

    /// Sends a call. Its answer reaches `Policy::on_call` of the policy that then returns
    /// `Flow::HoldForCall`; at most one call of an exchange is under way at a time.
    ///
    /// # Errors
    /// [`CallRefused`]: nothing was sent and nothing will arrive. Always so in `on_wake`, `on_tick` and
    /// `on_background_reply`, which run outside of the exchange's own callbacks.
    fn call(&self, call: &Call) -> Result<(), CallRefused>;

    /// Sends a call that belongs to no exchange, from wherever: at once from `on_tick` and
    /// `on_background_reply`, else within about a millisecond. `Policy::on_background_reply` of the same
    /// configuration gets the reply, also [`Outcome::Refused`]; none comes after `Policy::on_stop`.
    fn call_in_background(&self, call: Call) -> CallId;

    /// What the proxy knows about this exchange. Numbers come as decimal text.
    fn attribute(&self, attribute: Attribute) -> Option<Vec<u8>>;

    /// A random number, for seeds and random assignment. Not for keys.
    fn random(&self) -> u64;

    /// Writes to the proxy's log. Never pass a credential, a secret or a whole header.
    fn log(&self, level: Level, message: fmt::Arguments<'_>);
}
