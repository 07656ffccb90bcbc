//! What a policy decides.

use std::borrow::Cow;

/// The answer of a policy in the request phases.
#[derive(Debug, PartialEq, Eq)]
pub enum Flow {
    /// This policy is done with the request: the next one starts, or the request goes on.
    Continue,
    /// Show me the body (or its end) before anything, headers included, goes upstream.
    HoldForBody,
    /// Wait for the answer of the call that was sent in this phase with `World::call`.
    HoldForCall,
    /// Wait, and ask again (`Policy::on_wake`) after every background reply and every tick.
    HoldForWake,
    /// Answer the client now; the upstream sees nothing.
    Reply(Box<LocalReply>),
}

/// The answer of a policy in the response phases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ResponseFlow {
    /// Let the answer pass unread.
    Continue,
    /// Let it pass, and show me every chunk.
    Observe,
    /// Keep the answer, headers included, until I say otherwise.
    Hold,
}

/// What of an answer's headers a policy reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum ResponseRead {
    /// Nothing: it may still set headers.
    #[default]
    Nothing,
    /// The status, as `exchange.status`.
    Status,
    /// All headers, as `exchange.response`, and the status.
    Headers,
}

/// A gRPC status code, as in <https://grpc.github.io/grpc/core/md_doc_statuscodes.html>.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrpcStatus(pub u8);

impl GrpcStatus {
    /// The request itself is wrong.
    pub const INVALID_ARGUMENT: Self = Self(3);
    /// Known, but not allowed.
    pub const PERMISSION_DENIED: Self = Self(7);
    /// A limit or budget is used up.
    pub const RESOURCE_EXHAUSTED: Self = Self(8);
    /// Bad state, e.g. a delivery in flight.
    pub const ABORTED: Self = Self(10);
    /// A fault on our side.
    pub const INTERNAL: Self = Self(13);
    /// Try again later.
    pub const UNAVAILABLE: Self = Self(14);
    /// No valid credential.
    pub const UNAUTHENTICATED: Self = Self(16);
}

/// An answer that the proxy gives itself (Envoy: local reply). Envoy turns it into a
/// trailers-only gRPC answer by itself where the request is gRPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalReply {
    /// HTTP status, 200 to 599.
    pub status: u16,
    /// Headers besides those that the proxy sets itself (`content-length`, `date`, `server`).
    pub headers: Vec<(Cow<'static, str>, Vec<u8>)>,
    /// The body; its `content-type` must be among the headers.
    pub body: Vec<u8>,
    /// `%RESPONSE_CODE_DETAILS%` in the access log; starts with `tollgate_`.
    pub details: Cow<'static, str>,
    /// What a gRPC client is told.
    pub grpc: GrpcStatus,
    /// `grpc-message`: the same for a person, in one plain line.
    pub message: String,
}

impl LocalReply {
    /// An answer without a body.
    #[must_use]
    pub fn empty(status: u16, details: &'static str, grpc: GrpcStatus) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            details: Cow::Borrowed(details),
            grpc,
            message: details.to_owned(),
        }
    }

    /// Adds a header. CR, LF and NUL in the value become spaces.
    #[must_use]
    pub fn header(mut self, name: impl Into<Cow<'static, str>>, value: impl AsRef<[u8]>) -> Self {
        let value = value
            .as_ref()
            .iter()
            .map(|b| {
                if matches!(b, b'\r' | b'\n' | 0) {
                    b' '
                } else {
                    *b
                }
            })
            .collect();
        self.headers.push((name.into(), value));
        self
    }
}

impl From<LocalReply> for Flow {
    fn from(reply: LocalReply) -> Self {
        Self::Reply(Box::new(reply))
    }
}
