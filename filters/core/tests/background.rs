//! Calls that belong to no exchange, and requests that wait for what comes of them.
#![allow(clippy::unwrap_used)] // a test may fail by panicking

// As WebAssembly, `#[test]` means wasm_bindgen_test: see tests/wasm-test.
#[cfg(all(test, target_arch = "wasm32", target_os = "unknown"))]
#[macro_use(test)]
extern crate tollgate_wasm_test;

use std::cell::Cell;
use tollgate_core::drive::{Drive, Step};
use tollgate_core::headers::HeaderOp;
use tollgate_core::testing::{TestReply, TestWorld};
use tollgate_core::world::{Call, CallId, CallReply, Outcome};
use tollgate_core::{Exchange, Flow, HeaderName, Headers, Policy, Then, World};

/// Waits until its background call is answered, then wants the body.
#[derive(Default)]
struct Waiter {
    asked: Cell<Option<CallId>>,
    answer: Cell<Option<Outcome>>,
    wants_body: bool,
    stopped: Cell<bool>,
}

impl Policy for Waiter {
    type Stream = usize;

    fn on_request_headers(&self, _: &mut usize, _: &mut Exchange, world: &dyn World) -> Flow {
        self.asked.set(Some(world.call_in_background(Call::Http {
            cluster: "c".into(),
            headers: vec![],
            body: vec![],
            timeout_ms: 1,
        })));
        Flow::HoldForWake
    }

    fn on_wake(&self, _: &mut usize, _: &mut Exchange, _: &dyn World) -> Flow {
        match self.answer.get() {
            None => Flow::HoldForWake,
            Some(_) if self.wants_body => Flow::HoldForBody,
            Some(_) => Flow::Continue,
        }
    }

    fn on_request_body(
        &self,
        seen: &mut usize,
        _: &mut Exchange,
        _: &dyn World,
        piece: &[u8],
        end: bool,
    ) -> Flow {
        *seen = seen.saturating_add(piece.len());
        if end {
            Flow::Continue
        } else {
            Flow::HoldForBody
        }
    }

    fn on_background_reply(&self, _: &dyn World, id: CallId, reply: &dyn CallReply) {
        if self.asked.get() == Some(id) {
            self.answer.set(Some(reply.outcome()));
        }
    }

    fn on_stop(&self, _: &dyn World) {
        self.stopped.set(true);
    }
}

fn exchange() -> Exchange {
    Exchange::new(Headers::from_pairs([(":path", "/")]), false)
}

#[test]
fn a_request_sleeps_until_the_reply_and_sees_the_body_that_came_meanwhile() {
    let policy = Waiter {
        wants_body: true,
        ..Waiter::default()
    };
    let (mut drive, mut ex, world) = (Drive::default(), exchange(), TestWorld::default());
    assert_eq!(drive.request_headers(&policy, &mut ex, &world), Step::Hold);
    assert!(drive.waits_for_wake() && drive.is_holding() && !drive.waits_for_body());
    let body = &b"AAAAA"[..];
    let step = drive.request_body(&policy, &mut ex, &world, body, 5, true);
    assert_eq!(step, Step::Hold, "a body does not wake");
    assert_eq!(drive.wake(&policy, &mut ex, &world, body), Step::Hold);

    let sent = world.take_background();
    assert_eq!(sent.len(), 1);
    let reply = TestReply::new(Outcome::Http(200), "");
    policy.on_background_reply(&world, CallId(99), &reply);
    assert_eq!(drive.wake(&policy, &mut ex, &world, body), Step::Hold);
    policy.on_background_reply(&world, sent.first().unwrap().0, &reply);
    assert_eq!(drive.wake(&policy, &mut ex, &world, body), Step::Forward);
    assert_eq!(*drive.stream(), 5);
    let again = drive.wake(&policy, &mut ex, &world, body);
    assert_eq!(again, Step::Forward, "a late wake-up changes nothing");
}

#[test]
fn in_a_chain_the_next_policy_starts_after_the_wake_up_and_all_hear_of_replies_and_the_end() {
    let chain = Then(Waiter::default(), Waiter::default());
    let (mut drive, mut ex, world) = (Drive::default(), exchange(), TestWorld::default());
    drive.request_headers(&chain, &mut ex, &world);
    let mut ids = Vec::new();
    for round in 0..2 {
        let sent = world.take_background();
        assert_eq!(sent.len(), 1, "round {round}: one policy at a time");
        let id = sent.first().unwrap().0;
        chain.on_background_reply(&world, id, &TestReply::new(Outcome::Refused, ""));
        ids.push(id);
        let step = drive.wake(&chain, &mut ex, &world, &b""[..]);
        assert_eq!(step == Step::Forward, round == 1);
    }
    assert_ne!(ids.first(), ids.last());
    chain.on_stop(&world);
    assert!(chain.0.stopped.get() && chain.1.stopped.get());
}

#[test]
fn a_reply_is_read_in_pieces() {
    let reply = TestReply {
        outcome: Outcome::Http(200),
        headers: vec![("etag".to_owned(), b"\"1\"".to_vec())],
        body: b"abcdef".to_vec(),
    };
    assert_eq!(reply.size(), 6);
    assert_eq!(reply.read(4, 100), b"ef");
    assert!(reply.read(7, 1).is_empty());
    assert_eq!(reply.header("etag").unwrap(), b"\"1\"");
}

#[test]
fn an_appended_line_stands_beside_the_others_and_a_set_replaces_them_all() {
    let name = HeaderName::from_static("set-cookie");
    let mut map = Headers::from_pairs([("set-cookie", "a=1")]);
    map.append(&name, "b=2\r\nx-evil: 1");
    assert_eq!(
        map.get_all("set-cookie").collect::<Vec<_>>(),
        [&b"a=1"[..], b"b=2  x-evil: 1"]
    );
    assert_eq!(
        map.take_ops(),
        [HeaderOp::Append(name.clone(), b"b=2  x-evil: 1".to_vec())]
    );
    map.append(&name, "c=3");
    map.set(&name, "d=4");
    assert_eq!(map.take_ops(), [HeaderOp::Set(name, b"d=4".to_vec())]);
    assert_eq!(map.sole("set-cookie"), Ok(Some(&b"d=4"[..])));
}
