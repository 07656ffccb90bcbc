//! The life of one request, independent of any proxy: who is asked next, what is held, which bytes
//! are due. The adapter and the native tests translate events into these calls and the returned
//! [`Step`]s into actions.

use crate::exchange::Exchange;
use crate::flow::{Flow, LocalReply, ResponseFlow, ResponseRead};
use crate::policy::Policy;
use crate::world::{CallAnswer, World};

/// Pieces in which a held body is read. Memory of a VM never shrinks, so a 25 MiB body is never
/// copied in as a whole.
pub const PIECE: usize = 64 * 1024;

/// What to do with the request now.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Let everything go upstream.
    Forward,
    /// Keep everything.
    Hold,
    /// Answer the client.
    Reply(Box<LocalReply>),
}

/// What to do with the answer now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseStep {
    /// Let it go and show no more of it.
    Forward,
    /// Let it go, and show what comes.
    Observe,
    /// Keep everything.
    Hold,
}

/// The bytes of a held body, as the proxy buffers them.
pub trait Body {
    /// Up to `len` bytes from `offset` on; fewer or none if they are not there.
    fn read(&self, offset: usize, len: usize) -> Vec<u8>;
}

impl Body for [u8] {
    fn read(&self, offset: usize, len: usize) -> Vec<u8> {
        self.get(offset..offset.saturating_add(len).min(self.len()))
            .unwrap_or_default()
            .to_vec()
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Waiting {
    /// No policy wants anything: not started, passed on, or answered.
    #[default]
    Nothing,
    /// The current policy wants the body.
    Body,
    /// The current policy waits for a call.
    Call,
    /// The current policy wants to be asked again.
    Wake,
}

/// One exchange on its way through a policy (or chain).
pub struct Drive<P: Policy> {
    stream: P::Stream,
    waiting: Waiting,
    buffered: usize,
    fed: usize,
    ended: bool,
    response: ResponseFlow,
    response_fed: usize,
    response_released: bool,
    logged: bool,
}

impl<P: Policy> Default for Drive<P> {
    fn default() -> Self {
        Self {
            stream: P::Stream::default(),
            waiting: Waiting::Nothing,
            buffered: 0,
            fed: 0,
            ended: false,
            response: ResponseFlow::Continue,
            response_fed: 0,
            response_released: false,
            logged: false,
        }
    }
}

impl<P: Policy> Drive<P> {
    /// What the policy remembers of the exchange.
    pub fn stream(&self) -> &P::Stream {
        &self.stream
    }

    /// Whether the request is held for its body, that is, whether body callbacks are needed.
    pub fn waits_for_body(&self) -> bool {
        self.waiting == Waiting::Body
    }

    /// Whether the request is held until [`Drive::wake`] lets it go.
    pub fn waits_for_wake(&self) -> bool {
        self.waiting == Waiting::Wake
    }

    /// Whether the request is held at all.
    pub fn is_holding(&self) -> bool {
        self.waiting != Waiting::Nothing
    }

    /// The request headers arrived (they are in `exchange`).
    pub fn request_headers(
        &mut self,
        policy: &P,
        exchange: &mut Exchange,
        world: &dyn World,
    ) -> Step {
        self.ended = exchange.bodyless;
        policy.prepare(&mut self.stream, exchange, world);
        match policy.on_request_headers(&mut self.stream, exchange, world) {
            // Nearly always, so it is in line.
            Flow::Continue => Step::Forward,
            flow => self.follow(flow, policy, exchange, world, &[][..]),
        }
    }

    /// More of the body is there: `buffered` bytes in all since it began; `ended` with its end,
    /// which may also be the trailers' arrival.
    pub fn request_body(
        &mut self,
        policy: &P,
        exchange: &mut Exchange,
        world: &dyn World,
        body: &(impl Body + ?Sized),
        buffered: usize,
        ended: bool,
    ) -> Step {
        self.buffered = self.buffered.max(buffered);
        self.ended |= ended;
        match self.waiting {
            Waiting::Nothing => Step::Forward,
            Waiting::Call | Waiting::Wake => Step::Hold,
            Waiting::Body => self.follow(Flow::HoldForBody, policy, exchange, world, body),
        }
    }

    /// The trailers arrived: the body is complete.
    pub fn request_trailers(
        &mut self,
        policy: &P,
        exchange: &mut Exchange,
        world: &dyn World,
        body: &(impl Body + ?Sized),
    ) -> Step {
        self.request_body(policy, exchange, world, body, 0, true)
    }

    /// The call that the request was held for is answered.
    pub fn call_answer(
        &mut self,
        policy: &P,
        exchange: &mut Exchange,
        world: &dyn World,
        answer: &CallAnswer,
        body: &(impl Body + ?Sized),
    ) -> Step {
        if self.waiting != Waiting::Call {
            return Step::Forward;
        }
        let flow = policy.on_call(&mut self.stream, exchange, world, answer);
        self.follow(flow, policy, exchange, world, body)
    }

    /// A background reply or a tick has come.
    pub fn wake(
        &mut self,
        policy: &P,
        exchange: &mut Exchange,
        world: &dyn World,
        body: &(impl Body + ?Sized),
    ) -> Step {
        if self.waiting != Waiting::Wake {
            return Step::Forward;
        }
        let flow = policy.on_wake(&mut self.stream, exchange, world);
        self.follow(flow, policy, exchange, world, body)
    }

    /// Acts on a flow; feeds the body as far as it is there.
    #[inline(never)]
    fn follow(
        &mut self,
        mut flow: Flow,
        policy: &P,
        exchange: &mut Exchange,
        world: &dyn World,
        body: &(impl Body + ?Sized),
    ) -> Step {
        loop {
            if std::mem::take(&mut exchange.replay_body) {
                self.fed = 0;
            }
            match flow {
                Flow::Continue => {
                    self.waiting = Waiting::Nothing;
                    return Step::Forward;
                }
                Flow::HoldForCall => {
                    self.waiting = Waiting::Call;
                    return Step::Hold;
                }
                Flow::HoldForWake => {
                    self.waiting = Waiting::Wake;
                    return Step::Hold;
                }
                Flow::Reply(reply) => {
                    self.waiting = Waiting::Nothing;
                    exchange.replied = Some(reply.details.clone().into_owned());
                    return Step::Reply(reply);
                }
                Flow::HoldForBody => {
                    self.waiting = Waiting::Body;
                    let due = self.buffered.saturating_sub(self.fed).min(PIECE);
                    if due == 0 && !self.ended {
                        return Step::Hold;
                    }
                    let piece = if due == 0 {
                        Vec::new()
                    } else {
                        body.read(self.fed, due)
                    };
                    // A host that promises bytes and then has none must not make us spin, nor take a part
                    // for the whole: what is missing cannot be verified, so the request stays held.
                    if due > 0 && piece.is_empty() {
                        return Step::Hold;
                    }
                    self.fed = self.fed.saturating_add(piece.len());
                    let end = self.ended && self.fed >= self.buffered;
                    flow = policy.on_request_body(&mut self.stream, exchange, world, &piece, end);
                    if end && flow == Flow::HoldForBody && !exchange.replay_body {
                        // There is nothing more to wait for: a policy that holds on is wrong, and an
                        // unanswered request is the worst outcome.
                        self.waiting = Waiting::Nothing;
                        let reply = LocalReply::empty(
                            500,
                            "tollgate_internal_hold_after_end",
                            crate::flow::GrpcStatus::INTERNAL,
                        );
                        exchange.replied = Some(reply.details.clone().into_owned());
                        return Step::Reply(Box::new(reply));
                    }
                }
            }
        }
    }

    /// What of the answer must be filled in before [`Drive::response_headers`].
    pub fn reads_response(&self, policy: &P) -> ResponseRead {
        policy.reads_response(&self.stream)
    }

    /// The answer's headers arrived. For a local reply of our own nothing is held or observed.
    pub fn response_headers(
        &mut self,
        policy: &P,
        exchange: &mut Exchange,
        world: &dyn World,
        end: bool,
    ) -> ResponseStep {
        let flow = policy.on_response_headers(&mut self.stream, exchange, world, end);
        self.response = if end || exchange.replied.is_some() {
            ResponseFlow::Continue
        } else {
            flow
        };
        self.response_step()
    }

    /// More of the answer: `size` bytes are readable, all since the start while it is held, else
    /// just the new ones.
    pub fn response_body(
        &mut self,
        policy: &P,
        exchange: &mut Exchange,
        world: &dyn World,
        body: &(impl Body + ?Sized),
        size: usize,
        end: bool,
    ) -> ResponseStep {
        if self.response == ResponseFlow::Continue {
            return ResponseStep::Forward;
        }
        // While held the buffer grows; afterwards each call brings a new one.
        let mut at = if self.response == ResponseFlow::Hold {
            self.response_fed
        } else {
            0
        };
        loop {
            let due = size.saturating_sub(at).min(PIECE);
            if due == 0 && !end {
                break;
            }
            let piece = if due == 0 {
                Vec::new()
            } else {
                body.read(at, due)
            };
            at = at.saturating_add(piece.len());
            let last = end && (at >= size || piece.is_empty());
            let flow = policy.on_response_body(&mut self.stream, exchange, world, &piece, last);
            // Once let go an answer cannot be caught again.
            self.response = flow.min(self.response);
            if last || self.response == ResponseFlow::Continue || piece.is_empty() {
                break;
            }
        }
        self.response_fed = at;
        if end {
            self.response = ResponseFlow::Continue;
            return ResponseStep::Forward;
        }
        self.response_step()
    }

    /// A held answer must be let go now, because the proxy cannot hold it.
    pub fn release_response(&mut self, policy: &P, exchange: &mut Exchange, world: &dyn World) {
        if self.response == ResponseFlow::Hold && !self.response_released {
            self.response_released = true;
            self.response = ResponseFlow::Observe;
            policy.on_response_released(&mut self.stream, exchange, world);
        }
    }

    /// Whether the answer is held.
    pub fn holds_response(&self) -> bool {
        self.response == ResponseFlow::Hold
    }

    /// Whether the answer is shown to the policy to its end.
    pub fn watches_response(&self) -> bool {
        self.response != ResponseFlow::Continue
    }

    /// The exchange is over.
    pub fn log(&mut self, policy: &P, exchange: &mut Exchange, world: &dyn World) {
        if !std::mem::replace(&mut self.logged, true) {
            policy.on_log(&mut self.stream, exchange, world);
        }
    }

    fn response_step(&self) -> ResponseStep {
        match self.response {
            ResponseFlow::Continue => ResponseStep::Forward,
            ResponseFlow::Observe => ResponseStep::Observe,
            ResponseFlow::Hold => ResponseStep::Hold,
        }
    }
}
