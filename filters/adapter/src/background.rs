//! Calls that belong to no exchange.
//!
//! They are sent from the root context: the SDK hands an answer to the context that was active when the call was
//! sent, and drops it when that was an exchange which has ended since. From within an exchange a call is therefore
//! queued, and the root woken by a short tick.

use crate::abi::{self, Buffer, Map};
use proxy_wasm::hostcalls;
use std::cell::{Cell, RefCell};
use std::time::Duration;
use tollgate_core::world::{Call, CallId, CallRefused, CallReply, Outcome};

/// Which of the SDK's two kinds of tokens; their numbers may be the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Http,
    Grpc,
}

/// The background calls of one configuration.
#[derive(Default)]
pub(crate) struct Background {
    issued: Cell<u64>,
    queued: RefCell<Vec<(CallId, Call)>>,
    sent: RefCell<Vec<(Kind, u32, CallId)>>,
}

impl Background {
    pub(crate) fn queue(&self, call: Call) -> CallId {
        self.issued.set(self.issued.get().saturating_add(1));
        let id = CallId(self.issued.get());
        self.queued.borrow_mut().push((id, call));
        id
    }

    pub(crate) fn has_queued(&self) -> bool {
        !self.queued.borrow().is_empty()
    }

    /// Sends what is queued; the root must be the active and the effective context. What the proxy refuses is returned.
    pub(crate) fn send(&self) -> Vec<CallId> {
        let mut refused = Vec::new();
        for (id, call) in self.queued.take() {
            match dispatch(&call) {
                Ok((kind, token)) => self.sent.borrow_mut().push((kind, token, id)),
                Err(CallRefused) => refused.push(id),
            }
        }
        refused
    }

    /// Whose answer this is, if it is one of ours.
    pub(crate) fn answered(&self, kind: Kind, token: u32) -> Option<CallId> {
        let mut sent = self.sent.borrow_mut();
        let at = sent.iter().position(|s| (s.0, s.1) == (kind, token))?;
        Some(sent.swap_remove(at).2)
    }
}

/// Sends a call from the active context; its token is returned.
pub(crate) fn dispatch(call: &Call) -> Result<(Kind, u32), CallRefused> {
    match call {
        Call::Grpc {
            cluster,
            service,
            method,
            message,
            timeout_ms,
        } => hostcalls::dispatch_grpc_call(
            cluster,
            service,
            method,
            Vec::new(),
            Some(message),
            millis(*timeout_ms),
        )
        .map(|token| (Kind::Grpc, token)),
        Call::Http {
            cluster,
            headers,
            body,
            timeout_ms,
        } => {
            let headers = headers
                .iter()
                .map(|(n, v)| std::str::from_utf8(v).map(|v| (n.as_str(), v)))
                .collect::<Result<Vec<_>, _>>()
                .map_err(|_| CallRefused)?;
            hostcalls::dispatch_http_call(
                cluster,
                headers,
                Some(body),
                Vec::new(),
                millis(*timeout_ms),
            )
            .map(|token| (Kind::Http, token))
        }
    }
    .map_err(|_| CallRefused)
}

fn millis(millis: u32) -> Duration {
    Duration::from_millis(u64::from(millis))
}

/// The proxy refused to send it.
pub(crate) struct Refused;

impl CallReply for Refused {
    fn outcome(&self) -> Outcome {
        Outcome::Refused
    }

    fn header(&self, _: &str) -> Option<Vec<u8>> {
        None
    }

    fn size(&self) -> usize {
        0
    }

    fn read(&self, _: usize, _: usize) -> Vec<u8> {
        Vec::new()
    }
}

/// A reply as it lies in the proxy.
pub(crate) struct Reply {
    pub(crate) outcome: Outcome,
    pub(crate) size: usize,
}

impl Reply {
    pub(crate) fn http(size: usize) -> Self {
        Self {
            outcome: Outcome::Http(abi::status(Map::HttpCallResponse).unwrap_or(0)),
            size,
        }
    }

    /// A status other than OK comes without a message.
    pub(crate) fn grpc(status: u32, size: usize) -> Self {
        Self {
            outcome: Outcome::Grpc(status),
            size: if status == 0 { size } else { 0 },
        }
    }
}

impl CallReply for Reply {
    fn outcome(&self) -> Outcome {
        self.outcome
    }

    fn header(&self, name: &str) -> Option<Vec<u8>> {
        match self.outcome {
            Outcome::Http(_) => abi::header(Map::HttpCallResponse, name),
            Outcome::Grpc(_) | Outcome::Refused => None,
        }
    }

    fn size(&self) -> usize {
        self.size
    }

    fn read(&self, offset: usize, len: usize) -> Vec<u8> {
        let len = len.min(self.size.saturating_sub(offset));
        match self.outcome {
            _ if len == 0 => Vec::new(),
            Outcome::Http(_) => abi::buffer(Buffer::HttpCallResponseBody, offset, len),
            Outcome::Grpc(_) => abi::buffer(Buffer::GrpcReceive, offset, len),
            Outcome::Refused => Vec::new(),
        }
    }
}
