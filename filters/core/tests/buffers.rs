//! Header maps against a naive model, and exchanges in the room of earlier ones.
#![allow(clippy::unwrap_used)] // a test may fail by panicking

// As WebAssembly, `#[test]` means wasm_bindgen_test: see tests/wasm-test.
#[cfg(all(test, target_arch = "wasm32", target_os = "unknown"))]
#[macro_use(test)]
extern crate tollgate_wasm_test;

mod common;

use common::wire;
use proptest::prelude::*;
use std::rc::Rc;
use tollgate_core::exchange::state_name;
use tollgate_core::headers::{HeaderName, HeaderOp, Headers};
use tollgate_core::{Consumer, Exchange};

const NAMES: [&str; 4] = ["x-a", "x-b", "x-c", "x-long-name"];

/// What is done to a map.
#[derive(Clone, Debug)]
enum Deed {
    Set(&'static str, Vec<u8>),
    Append(&'static str, Vec<u8>),
    Remove(&'static str),
    Tell,
}

/// As simple as can be: the pairs, and what is still to be told.
#[derive(Default)]
struct Model {
    pairs: Vec<(String, Vec<u8>)>,
    ops: Vec<HeaderOp>,
}

impl Model {
    fn forget(&mut self, name: &str) {
        self.pairs.retain(|(n, _)| n != name);
        self.ops.retain(|op| op.name().as_str() != name);
    }

    fn act(&mut self, deed: &Deed) {
        match deed {
            Deed::Set(name, value) => {
                self.forget(name);
                self.pairs.push(((*name).to_owned(), value.clone()));
                let name = HeaderName::from_static(name);
                self.ops.push(HeaderOp::Set(name, value.clone()));
            }
            Deed::Append(name, value) => {
                self.pairs.push(((*name).to_owned(), value.clone()));
                let name = HeaderName::from_static(name);
                self.ops.push(HeaderOp::Append(name, value.clone()));
            }
            Deed::Remove(name) if self.pairs.iter().any(|(n, _)| n == name) => {
                self.forget(name);
                self.ops
                    .push(HeaderOp::Remove(HeaderName::from_static(name)));
            }
            Deed::Remove(_) => {}
            Deed::Tell => self.ops.clear(),
        }
    }
}

/// Removals by name, then the others as they are: the order of removals is nobody's business.
fn by_removal(mut ops: Vec<HeaderOp>) -> Vec<HeaderOp> {
    ops.sort_by_key(|op| match op {
        HeaderOp::Remove(name) => (0, name.as_str().to_owned()),
        _ => (1, String::new()),
    });
    ops
}

fn act(map: &mut Headers, deed: &Deed) {
    match deed {
        Deed::Set(name, value) => map.set(&HeaderName::from_static(name), value),
        Deed::Append(name, value) => map.append(&HeaderName::from_static(name), value),
        Deed::Remove(name) => drop(map.remove(&HeaderName::from_static(name))),
        Deed::Tell => drop(map.take_ops()),
    }
}

fn bytes<'a>(came: &'a [(&'static str, Vec<u8>)]) -> Vec<(&'a [u8], &'a [u8])> {
    came.iter()
        .map(|(n, v)| (n.as_bytes(), v.as_slice()))
        .collect()
}

fn pairs(map: &Headers) -> Vec<(String, Vec<u8>)> {
    map.iter()
        .map(|(n, v)| (String::from_utf8(n.to_vec()).unwrap(), v.to_vec()))
        .collect()
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    // Without what is cleaned: another test is about that.
    prop::collection::vec(
        any::<u8>().prop_filter("clean", |b| !matches!(b, 0 | b'\r' | b'\n')),
        0..40,
    )
}

fn deed() -> impl Strategy<Value = Deed> {
    let name = prop::sample::select(&NAMES[..]);
    prop_oneof![
        4 => (name.clone(), value()).prop_map(|(n, v)| Deed::Set(n, v)),
        2 => (name.clone(), value()).prop_map(|(n, v)| Deed::Append(n, v)),
        3 => name.prop_map(Deed::Remove),
        1 => Just(Deed::Tell),
    ]
}

fn came() -> impl Strategy<Value = Vec<(&'static str, Vec<u8>)>> {
    prop::collection::vec((prop::sample::select(&NAMES[..]), value()), 0..6)
}

proptest! {
    #[test]
    fn a_map_does_what_the_naive_model_does(came in came(), deeds in prop::collection::vec(deed(), 0..20)) {
        let mut map = Headers::from_wire(&wire(&bytes(&came))).unwrap();
        let mut model = Model {
            pairs: came.iter().map(|(n, v)| ((*n).to_owned(), v.clone())).collect(),
            ..Model::default()
        };
        for deed in &deeds {
            act(&mut map, deed);
            model.act(deed);
            prop_assert_eq!(pairs(&map), model.pairs.clone());
            prop_assert_eq!(map.len(), model.pairs.len());
            prop_assert_eq!(map.is_empty(), model.pairs.is_empty());
            prop_assert_eq!(map.is_changed(), !model.ops.is_empty());
            for name in NAMES {
                let all: Vec<&[u8]> = map.get_all(name).collect();
                let expected: Vec<&[u8]> =
                    model.pairs.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_slice()).collect();
                prop_assert_eq!(all, expected);
            }
        }
        let told = map.take_ops();
        let is_removal = |op: &&HeaderOp| matches!(op, HeaderOp::Remove(_));
        prop_assert!(!told.iter().skip_while(is_removal).any(|op| is_removal(&op)));
        prop_assert_eq!(by_removal(told), by_removal(model.ops));
        prop_assert!(map.take_ops().is_empty());
    }

    #[test]
    fn an_exchange_sees_nothing_of_the_one_before_it(
        first in came(), deeds in prop::collection::vec(deed(), 0..20),
        second in came(), more in prop::collection::vec(deed(), 0..20),
    ) {
        let mut after = Exchange::new(Headers::from_wire(&wire(&bytes(&first))).unwrap(), true);
        for deed in &deeds {
            act(&mut after.request, deed);
            act(&mut after.response, deed);
            act(&mut after.response_trailers, deed);
        }
        after.facts.publish(state_name::CONSUMER, "somebody else");
        after.facts.set_consumer(Some(Rc::new(Consumer::default())));
        after.facts.want([state_name::COST].into_iter().collect());
        after.new_body = Some(b"body".to_vec());
        after.status = Some(503);
        after.replied = Some("details".to_owned());
        after.limits = Some(Box::new(7));
        after.headers_released = true;
        after.clear();

        let mut fresh = Exchange::default();
        prop_assert_eq!(format!("{after:?}"), format!("{fresh:?}"));
        prop_assert!(!after.request.is_changed() && !after.response.is_changed());
        for exchange in [&mut after, &mut fresh] {
            exchange.request.read_wire(&wire(&bytes(&second))).unwrap();
            for deed in &more {
                act(&mut exchange.request, deed);
                act(&mut exchange.response, deed);
            }
        }
        prop_assert_eq!(pairs(&after.request), pairs(&fresh.request));
        prop_assert_eq!(pairs(&after.response), pairs(&fresh.response));
        prop_assert_eq!(after.request.take_ops(), fresh.request.take_ops());
        prop_assert_eq!(after.response.take_ops(), fresh.response.take_ops());
    }
}

#[test]
fn what_is_no_header_map_leaves_nothing_behind() {
    let mut map = Headers::default();
    let mut broken = wire(&[(b"x-a", b"1"), (b"x-b", b"2")]);
    broken.pop();
    assert!(map.read_wire(&broken).is_err());
    assert!(map.is_empty());
}
