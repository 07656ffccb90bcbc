//! One HTTP exchange: the request and its answer, as policies see and change them.

pub use crate::facts::{Consumer, Facts, StateName, StateNames, state_name};
use crate::headers::Headers;
use crate::world::World;
use std::any::Any;

/// See the module.
#[derive(Debug, Default)]
pub struct Exchange {
    /// Request headers and pseudo headers; changes reach the upstream.
    pub request: Headers,
    /// Response headers: filled only where a policy said that it reads them
    /// (`Policy::reads_response`); changes reach the client all the same.
    pub response: Headers,
    /// Response trailers: filled before the last call of `Policy::on_response_body`, if the answer has some
    /// and is observed or held; changes made in that call reach the client (over HTTP/1 only where the proxy
    /// is told to send trailers).
    pub response_trailers: Headers,
    /// Replaces the whole request body. For a policy that has held the request to the body's end; it also
    /// puts `content-length` right.
    pub new_body: Option<Vec<u8>>,
    /// The answer's status; filled where a policy said that it reads it (`Policy::reads_response`).
    pub status: Option<u16>,
    /// What policies found out.
    pub facts: Facts,
    /// The request has neither body nor trailers.
    pub bodyless: bool,
    /// Set once a policy of this chain has answered the request itself: the reply's details.
    pub replied: Option<String>,
    /// What the limits of this exchange remember: they decide in two stages of a chain, before and after key auth,
    /// and each stage has a stream of its own. Theirs alone; nobody else looks inside.
    pub limits: Option<Box<dyn Any>>,
    /// Whether an answer can be held, headers included. `false` once a proxy turned out to lack
    /// `allow_on_headers_stop_iteration`; a policy must then not ask for `ResponseFlow::Hold`.
    pub can_hold_response: bool,
    /// Set by a policy together with `Flow::HoldForBody`: the headers go to the upstream at once, and only the body is
    /// held. For proxies that cannot hold headers; request headers cannot be changed any more, so only a policy that is
    /// alone in its chain may do this.
    pub headers_released: bool,
    /// Set by the chain when a policy that starts late must see the body from its first byte.
    pub(crate) replay_body: bool,
}

impl Exchange {
    /// An exchange at the moment its request headers arrived.
    #[must_use]
    pub fn new(request: Headers, bodyless: bool) -> Self {
        Self {
            request,
            bodyless,
            can_hold_response: true,
            ..Self::default()
        }
    }

    /// Becomes as good as new, but keeps the room for headers and what is published: allocating it anew would be a tenth
    /// of what an exchange costs inside the VM. All fields by name, so that none is forgotten.
    pub fn clear(&mut self) {
        let Self {
            request,
            response,
            response_trailers,
            new_body,
            status,
            facts,
            bodyless,
            replied,
            limits,
            can_hold_response,
            headers_released,
            replay_body,
        } = self;
        request.clear();
        response.clear();
        response_trailers.clear();
        facts.clear();
        *new_body = None;
        *status = None;
        *replied = None;
        *limits = None;
        for flag in [bodyless, can_hold_response, headers_released, replay_body] {
            *flag = false;
        }
    }

    /// Limits what is published to these names; each costs a hostcall and Envoy an object.
    #[must_use]
    pub fn publishing(mut self, names: StateNames) -> Self {
        self.facts.want(names);
        self
    }

    /// `:method`; empty if there is none.
    #[must_use]
    pub fn method(&self) -> &[u8] {
        self.request.first(":method").unwrap_or_default()
    }

    /// `:authority` as the client sent it, port included; empty if there is none.
    #[must_use]
    pub fn authority(&self) -> &[u8] {
        self.request.first(":authority").unwrap_or_default()
    }

    /// `:path`: the path and the query.
    #[must_use]
    pub fn target(&self) -> &[u8] {
        self.request.first(":path").unwrap_or_default()
    }

    /// `:path` up to the query.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        split_path(self.target()).0
    }

    /// The query, without its `?`.
    #[must_use]
    pub fn query(&self) -> Option<&[u8]> {
        split_path(self.target()).1
    }

    /// Whether the request is gRPC (its answer will then be, too).
    #[must_use]
    pub fn is_grpc(&self) -> bool {
        self.request
            .first("content-type")
            .is_some_and(|v| v.starts_with(b"application/grpc"))
    }

    /// The consumer: from key auth in this chain, else from a key-auth filter loaded before this
    /// one, by filter state, which a client cannot forge.
    pub fn consumer(&mut self, world: &dyn World) -> Option<&Consumer> {
        self.facts.find_consumer(world)
    }
}

fn split_path(path: &[u8]) -> (&[u8], Option<&[u8]>) {
    // A fragment never comes over the wire; Envoy refuses or strips it (RFC 9112, 3.2).
    let mut halves = path.splitn(2, |b| *b == b'?');
    (halves.next().unwrap_or_default(), halves.next())
}
