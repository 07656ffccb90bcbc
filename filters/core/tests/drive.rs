//! The life of a request: who is asked, what is held, which bytes are shown to whom.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)] // a test may fail by panicking

// As WebAssembly, `#[test]` means wasm_bindgen_test: see tests/wasm-test.
#[cfg(all(test, target_arch = "wasm32", target_os = "unknown"))]
#[macro_use(test)]
extern crate tollgate_wasm_test;

use std::cell::RefCell;
use tollgate_core::drive::{Body, Drive, PIECE, ResponseStep, Step};
use tollgate_core::flow::{Flow, GrpcStatus, LocalReply, ResponseFlow};
use tollgate_core::testing::TestWorld;
use tollgate_core::world::{Call, CallAnswer};
use tollgate_core::{Exchange, Headers, Policy, Then, World};

/// A policy that does as it is told and remembers what it saw.
#[derive(Default)]
struct Probe {
    wants_body: bool,
    wants_call: bool,
    refuses_at_end: bool,
    response: Option<ResponseFlow>,
    release_after: usize,
    seen: RefCell<Vec<u8>>,
    events: RefCell<Vec<String>>,
}

impl Probe {
    fn body() -> Self {
        Self {
            wants_body: true,
            ..Self::default()
        }
    }

    fn event(&self, text: impl Into<String>) {
        self.events.borrow_mut().push(text.into());
    }
}

impl Policy for Probe {
    type Stream = usize;

    fn on_request_headers(&self, _: &mut usize, _: &mut Exchange, world: &dyn World) -> Flow {
        self.event("headers");
        if self.wants_call {
            let call = Call::Http {
                cluster: "c".into(),
                headers: vec![],
                body: vec![],
                timeout_ms: 1,
            };
            return match world.call(&call) {
                Ok(()) => Flow::HoldForCall,
                Err(_) => LocalReply::empty(503, "tollgate_x", GrpcStatus::UNAVAILABLE).into(),
            };
        }
        if self.wants_body {
            return Flow::HoldForBody;
        }
        Flow::Continue
    }

    fn on_request_body(
        &self,
        _: &mut usize,
        _: &mut Exchange,
        _: &dyn World,
        piece: &[u8],
        end: bool,
    ) -> Flow {
        self.seen.borrow_mut().extend_from_slice(piece);
        match (end, self.refuses_at_end) {
            (false, _) => Flow::HoldForBody,
            (true, false) => Flow::Continue,
            (true, true) => {
                LocalReply::empty(401, "tollgate_no", GrpcStatus::UNAUTHENTICATED).into()
            }
        }
    }

    fn on_call(&self, _: &mut usize, _: &mut Exchange, _: &dyn World, answer: &CallAnswer) -> Flow {
        self.event(format!("{answer:?}"));
        if self.wants_body {
            Flow::HoldForBody
        } else {
            Flow::Continue
        }
    }

    fn on_response_headers(
        &self,
        _: &mut usize,
        _: &mut Exchange,
        _: &dyn World,
        _: bool,
    ) -> ResponseFlow {
        self.response.unwrap_or(ResponseFlow::Continue)
    }

    fn on_response_body(
        &self,
        held: &mut usize,
        _: &mut Exchange,
        _: &dyn World,
        piece: &[u8],
        end: bool,
    ) -> ResponseFlow {
        self.seen.borrow_mut().extend_from_slice(piece);
        *held += piece.len();
        if end || *held > self.release_after {
            ResponseFlow::Observe
        } else {
            self.response.unwrap_or(ResponseFlow::Continue)
        }
    }

    fn on_response_released(&self, _: &mut usize, _: &mut Exchange, _: &dyn World) {
        self.event("released");
    }

    fn on_log(&self, _: &mut usize, _: &mut Exchange, _: &dyn World) {
        self.event("log");
    }
}

fn exchange(bodyless: bool) -> Exchange {
    Exchange::new(Headers::from_pairs([(":path", "/")]), bodyless)
}

/// Bytes in one buffer that grows, as Envoy buffers them.
fn feed<P: Policy>(
    drive: &mut Drive<P>,
    policy: &P,
    ex: &mut Exchange,
    chunks: &[&[u8]],
) -> Vec<Step> {
    let world = TestWorld::default();
    let mut buffer = Vec::new();
    let mut steps = Vec::new();
    for chunk in chunks {
        buffer.extend_from_slice(chunk);
        steps.push(drive.request_body(policy, ex, &world, buffer.as_slice(), buffer.len(), false));
    }
    steps.push(drive.request_body(policy, ex, &world, buffer.as_slice(), buffer.len(), true));
    steps
}

#[test]
fn the_body_is_shown_once_and_in_order_and_held_until_its_end() {
    let policy = Probe::body();
    let (mut drive, mut ex, world) = (Drive::default(), exchange(false), TestWorld::default());
    assert_eq!(drive.request_headers(&policy, &mut ex, &world), Step::Hold);
    let steps = feed(&mut drive, &policy, &mut ex, &[b"AAAAA", b"", b"BB"]);
    assert_eq!(steps, [Step::Hold, Step::Hold, Step::Hold, Step::Forward]);
    assert_eq!(*policy.seen.borrow(), b"AAAAABB");
    assert!(!drive.is_holding());
}

#[test]
fn trailers_are_an_end_too_so_that_they_bypass_nothing() {
    let policy = Probe {
        refuses_at_end: true,
        ..Probe::body()
    };
    let (mut drive, mut ex, world) = (Drive::default(), exchange(false), TestWorld::default());
    drive.request_headers(&policy, &mut ex, &world);
    let body = &b"AAAAA"[..];
    assert_eq!(
        drive.request_body(&policy, &mut ex, &world, body, 5, false),
        Step::Hold
    );
    let step = drive.request_trailers(&policy, &mut ex, &world, body);
    assert!(matches!(step, Step::Reply(r) if r.status == 401));
    assert_eq!(ex.replied.as_deref(), Some("tollgate_no"));
}

#[test]
fn a_request_without_a_body_is_judged_at_once() {
    let policy = Probe::body();
    let (mut drive, mut ex, world) = (Drive::default(), exchange(true), TestWorld::default());
    assert_eq!(
        drive.request_headers(&policy, &mut ex, &world),
        Step::Forward
    );
    assert_eq!(*policy.seen.borrow(), b"");
}

#[test]
fn a_large_body_comes_in_pieces() {
    struct Counted(Vec<u8>, RefCell<Vec<usize>>);
    impl Body for Counted {
        fn read(&self, offset: usize, len: usize) -> Vec<u8> {
            self.1.borrow_mut().push(len);
            self.0.as_slice().read(offset, len)
        }
    }
    let policy = Probe::body();
    let (mut drive, mut ex, world) = (Drive::default(), exchange(false), TestWorld::default());
    drive.request_headers(&policy, &mut ex, &world);
    let body = Counted(
        (0..=255).cycle().take(PIECE * 2 + 7).collect(),
        RefCell::default(),
    );
    let step = drive.request_body(&policy, &mut ex, &world, &body, body.0.len(), true);
    assert_eq!(step, Step::Forward);
    assert_eq!(*policy.seen.borrow(), body.0);
    assert_eq!(*body.1.borrow(), [PIECE, PIECE, 7]);
}

#[test]
fn a_host_that_promises_bytes_and_has_none_is_neither_trusted_nor_asked_for_ever() {
    let policy = Probe::body();
    let (mut drive, mut ex, world) = (Drive::default(), exchange(false), TestWorld::default());
    drive.request_headers(&policy, &mut ex, &world);
    let step = drive.request_body(&policy, &mut ex, &world, &b""[..], 10, true);
    assert_eq!(step, Step::Hold);
    assert_eq!(*policy.seen.borrow(), b"");
}

#[test]
fn two_policies_that_hold_see_the_whole_body_each() {
    let chain = Then(Probe::body(), Then(Probe::default(), Probe::body()));
    let (mut drive, mut ex, world) = (Drive::default(), exchange(false), TestWorld::default());
    drive.request_headers(&chain, &mut ex, &world);
    assert!(
        chain.1.0.events.borrow().is_empty(),
        "a later policy starts after the verdict"
    );
    let steps = feed(&mut drive, &chain, &mut ex, &[b"AAAAA", b"BB"]);
    assert_eq!(steps.last(), Some(&Step::Forward));
    assert_eq!(*chain.0.seen.borrow(), b"AAAAABB");
    assert_eq!(*chain.1.1.seen.borrow(), b"AAAAABB");
}

#[test]
fn a_call_holds_the_request_and_the_body_that_came_meanwhile_is_shown_after_it() {
    let policy = Probe {
        wants_call: true,
        ..Probe::body()
    };
    let (mut drive, mut ex, world) = (Drive::default(), exchange(false), TestWorld::default());
    assert_eq!(drive.request_headers(&policy, &mut ex, &world), Step::Hold);
    assert_eq!(world.take_calls().len(), 1);
    assert!(!drive.waits_for_body());
    let body = &b"AAAAA"[..];
    assert_eq!(
        drive.request_body(&policy, &mut ex, &world, body, 5, true),
        Step::Hold
    );
    let answer = CallAnswer::Http {
        status: 200,
        body: vec![],
    };
    assert_eq!(
        drive.call_answer(&policy, &mut ex, &world, &answer, body),
        Step::Forward
    );
    assert_eq!(*policy.seen.borrow(), b"AAAAA");
}

#[test]
fn a_call_that_cannot_be_sent_is_answered() {
    let policy = Probe {
        wants_call: true,
        ..Probe::default()
    };
    let (mut drive, mut ex, world) = (Drive::default(), exchange(true), TestWorld::default());
    world.refuse_calls.set(true);
    let step = drive.request_headers(&policy, &mut ex, &world);
    assert!(matches!(step, Step::Reply(r) if r.status == 503));
}

#[test]
fn a_late_answer_for_a_request_that_went_on_changes_nothing() {
    let policy = Probe::default();
    let (mut drive, mut ex, world) = (Drive::default(), exchange(true), TestWorld::default());
    drive.request_headers(&policy, &mut ex, &world);
    let answer = CallAnswer::Grpc {
        status: 14,
        message: vec![],
    };
    let step = drive.call_answer(&policy, &mut ex, &world, &answer, &b""[..]);
    assert_eq!(step, Step::Forward);
    assert_eq!(*policy.events.borrow(), ["headers"]);
}

#[test]
fn a_held_answer_is_read_from_a_growing_buffer_then_from_new_ones() {
    let policy = Probe {
        response: Some(ResponseFlow::Hold),
        release_after: 6,
        ..Probe::default()
    };
    let (mut drive, mut ex, world) = (Drive::default(), exchange(true), TestWorld::default());
    drive.request_headers(&policy, &mut ex, &world);
    assert_eq!(
        drive.response_headers(&policy, &mut ex, &world, false),
        ResponseStep::Hold
    );
    let mut step =
        |bytes: &[u8], end| drive.response_body(&policy, &mut ex, &world, bytes, bytes.len(), end);
    assert_eq!(step(b"AAAAA", false), ResponseStep::Hold);
    assert_eq!(step(b"AAAAABBB", false), ResponseStep::Observe);
    assert_eq!(step(b"CC", false), ResponseStep::Observe);
    assert_eq!(step(b"D", true), ResponseStep::Forward);
    assert_eq!(*policy.seen.borrow(), b"AAAAABBBCCD");
}

#[test]
fn a_released_answer_goes_on_being_observed_by_those_who_held_it() {
    let chain = Then(
        Probe {
            response: Some(ResponseFlow::Hold),
            release_after: usize::MAX,
            ..Probe::default()
        },
        Probe::default(),
    );
    let (mut drive, mut ex, world) = (Drive::default(), exchange(true), TestWorld::default());
    drive.request_headers(&chain, &mut ex, &world);
    assert_eq!(
        drive.response_headers(&chain, &mut ex, &world, false),
        ResponseStep::Hold
    );
    drive.release_response(&chain, &mut ex, &world);
    drive.release_response(&chain, &mut ex, &world);
    assert!(!drive.holds_response());
    let step = drive.response_body(&chain, &mut ex, &world, &b"AB"[..], 2, false);
    assert_eq!(step, ResponseStep::Observe);
    assert_eq!(*chain.0.seen.borrow(), b"AB");
    assert_eq!(
        chain
            .0
            .events
            .borrow()
            .iter()
            .filter(|e| *e == "released")
            .count(),
        1
    );
}

#[test]
fn our_own_reply_is_never_held() {
    let policy = Probe {
        response: Some(ResponseFlow::Hold),
        ..Probe::default()
    };
    let (mut drive, mut ex, world) = (Drive::default(), exchange(true), TestWorld::default());
    drive.request_headers(&policy, &mut ex, &world);
    ex.replied = Some("tollgate_no".into());
    assert_eq!(
        drive.response_headers(&policy, &mut ex, &world, false),
        ResponseStep::Forward
    );
}

#[test]
fn an_exchange_is_logged_once() {
    let policy = Probe::default();
    let (mut drive, mut ex, world) = (Drive::default(), exchange(true), TestWorld::default());
    drive.request_headers(&policy, &mut ex, &world);
    drive.log(&policy, &mut ex, &world);
    drive.log(&policy, &mut ex, &world);
    assert_eq!(*policy.events.borrow(), ["headers", "log"]);
}
