//! What workers and configurations share: the bytes of the set, and the right to fetch it.

use super::{Became, OTHER, Proxy, REMOTE, SOURCE, alone, header, hex, ok, one, set, with_etag};
use crate::tests::config;
use tollgate_core::Policy;
use tollgate_core::drive::Step;

#[test]
fn a_worker_that_dies_while_it_fetches_holds_up_nobody_for_long() {
    let proxy = Proxy::new(2, &alone());
    let dead = proxy.tick().remove(0).0;
    proxy.later(9);
    assert_eq!(proxy.tick(), [], "it may still be answered");
    proxy.later(1);
    let again = proxy.tick();
    assert_eq!(again.len(), 1, "the other worker");
    // The late reply changes nothing.
    proxy.reply(dead, &ok(one(OTHER)));
    assert_eq!(proxy.fetches("late"), 1);
    proxy.reply(again[0].0, &ok(one(REMOTE)));
    proxy.settle();
    assert_eq!(proxy.details(REMOTE), ["passed"; 2]);
}

#[test]
fn a_worker_that_dies_while_it_checks_holds_up_nobody_for_long() {
    let mut proxy = Proxy::new(1, &alone());
    let big: Vec<String> = (0..8_000)
        .map(|i| format!("c{i} k {}", hex(&i.to_string())))
        .collect();
    let id = proxy.tick().remove(0).0;
    proxy.reply(id, &ok(set(&big)));
    proxy.workers.clear();
    proxy.start(&alone());
    proxy.settle();
    // The bytes are there, and each worker judges for itself.
    assert_eq!(proxy.send(0, "7").details(), "passed");
    proxy.later(31);
    proxy.fetch(&ok(set(&big)));
    assert_eq!(proxy.send(0, "7").details(), "passed");
    assert_eq!(proxy.fetches("loaded"), 1);
}

#[test]
fn a_large_set_is_read_in_slices() {
    let proxy = Proxy::new(2, &alone());
    let mut lines: Vec<String> = (0..8_000)
        .map(|i| format!("consumer-{i} k1 {} groups=g{}", hex(&i.to_string()), i % 5))
        .collect();
    let text = set(&lines);
    assert!(text.len() > 9 * 64 * 1024);
    let id = proxy.tick().remove(0).0;
    proxy.reply(id, &ok(text));
    let mut ticks = 0;
    while proxy.send(1, "0").details() != "passed" {
        assert_eq!(
            proxy.send(1, "0").details(),
            if ticks == 0 {
                "tollgate_key_set_unavailable"
            } else {
                "held"
            }
        );
        assert!(proxy.workers[1].is_busy());
        assert_eq!(proxy.tick(), []);
        ticks += 1;
    }
    assert!((1..=5).contains(&ticks), "{ticks}");
    proxy.settle();
    assert_eq!(proxy.number("tollgate_key_set_keys"), 8_000);

    lines.truncate(7_999);
    lines.push(format!("consumer-x k1 {}", hex("x")));
    proxy.later(61);
    proxy.fetch(&ok(set(&lines)));
    for key in ["0", "2345", "7998", "x"] {
        assert_eq!(proxy.details(key), ["passed"; 2], "{key}");
    }
    assert_eq!(proxy.details("7999"), ["tollgate_key_invalid"; 2]);
    assert_eq!(proxy.number("tollgate_key_set_keys"), 8_000);
}

#[test]
fn a_new_configuration_has_the_set_at_once_and_requests_wait_for_it() {
    let mut proxy = Proxy::new(1, &alone());
    proxy.fetch(&ok(one(REMOTE)));
    proxy.workers.clear();
    proxy.start(&config(&format!(", {SOURCE}")));
    let Became::Held(held) = proxy.send(0, REMOTE) else {
        panic!("not held");
    };
    let (mut drive, mut exchange) = *held;
    let step = drive.wake(&proxy.workers[0], &mut exchange, &proxy.world, &[][..]);
    assert_eq!(step, Step::Hold);
    assert_eq!(proxy.tick(), [], "nothing is fetched");
    let step = drive.wake(&proxy.workers[0], &mut exchange, &proxy.world, &[][..]);
    assert_eq!(step, Step::Forward);
    assert_eq!(
        exchange.request.first("x-consumer-id"),
        Some(&b"partner"[..])
    );
}

#[test]
fn nobody_waits_for_ever() {
    let mut proxy = Proxy::new(1, &alone());
    proxy.fetch(&ok(one(REMOTE)));
    proxy.workers.clear();
    proxy.start(&alone());
    let Became::Held(held) = proxy.send(0, REMOTE) else {
        panic!("not held");
    };
    let (mut drive, mut exchange) = *held;
    proxy.later(2);
    let step = drive.wake(&proxy.workers[0], &mut exchange, &proxy.world, &[][..]);
    let Step::Reply(reply) = step else {
        panic!("{step:?}");
    };
    assert_eq!(reply.details, "tollgate_key_set_unavailable");
}

#[test]
fn another_source_begins_anew_and_the_former_configuration_does_not_fight() {
    let mut proxy = Proxy::new(1, &alone());
    proxy.fetch(&ok(one(REMOTE)));
    proxy.start(r#"{"remote_keys": {"cluster": "keys", "path": "/other.txt"}}"#);
    assert_eq!(
        proxy.send(1, REMOTE).details(),
        "tollgate_key_set_unavailable"
    );
    let call = proxy.fetch(&ok(one(OTHER)));
    assert_eq!(header(&call, ":path").as_deref(), Some("/other.txt"));
    assert_eq!(proxy.details(OTHER), ["tollgate_key_invalid", "passed"]);
    assert_eq!(proxy.details(REMOTE), ["passed", "tollgate_key_invalid"]);
    proxy.later(61);
    let call = proxy.fetch(&ok(one(OTHER)));
    assert_eq!(header(&call, ":path").as_deref(), Some("/other.txt"));
}

#[test]
fn shared_data_does_not_grow_with_refreshes() {
    let proxy = Proxy::new(2, &alone());
    let text = |salt: u32| {
        let lines: Vec<String> = (0..3000)
            .map(|i| format!("consumer-{i} k1 {}", hex(&format!("{salt}-{i}"))))
            .collect();
        set(&lines)
    };
    let mut seen = Vec::new();
    for salt in 0..6 {
        proxy.fetch(&ok(text(salt)));
        seen.push((proxy.world.keys(), proxy.world.stored_bytes() / 10_000));
        proxy.later(61);
    }
    assert_eq!(seen[1..], [seen[1]; 5]);
}

#[test]
fn a_configuration_that_is_replaced_while_it_fetches_gives_the_lock_back() {
    let mut proxy = Proxy::new(1, &alone());
    assert_eq!(proxy.tick().len(), 1);
    proxy.workers[0].on_stop(&proxy.world);
    proxy.workers.clear();
    proxy.start(&alone());
    proxy.fetch(&ok(one(REMOTE)));
    assert_eq!(proxy.send(0, REMOTE).details(), "passed");
}

#[test]
fn bytes_of_another_version_are_discarded() {
    use tollgate_core::world::{Expect, Store};
    let proxy = Proxy::new(1, &alone());
    proxy.fetch(&ok(one(REMOTE)));
    proxy
        .world
        .store("keys/state", b"\x07other", Expect::Anything)
        .unwrap();
    assert_eq!(proxy.tick(), []);
    proxy.fetch(&ok(one(OTHER)));
    assert_eq!(proxy.send(0, OTHER).details(), "passed");
}

#[test]
fn bytes_of_another_fetch_are_never_taken_for_those_of_this_one() {
    use tollgate_core::world::{Expect, Store};
    let mut proxy = Proxy::new(1, &alone());
    proxy.fetch(&with_etag(&one(REMOTE), "\"v1\""));
    // A worker with another configuration writes to the same place before it notices.
    let mut bytes = Vec::new();
    let key = ["keys/0/0000", "keys/1/0000"].into_iter().find(|key| {
        proxy.world.load(key, &mut bytes);
        !bytes.is_empty()
    });
    let other = [&[7; 8], one(OTHER).as_bytes()].concat();
    proxy
        .world
        .store(key.unwrap(), &other, Expect::Anything)
        .unwrap();
    proxy.workers.clear();
    proxy.start(&alone());
    let sent = proxy.tick();
    assert_eq!(
        proxy.send(0, OTHER).details(),
        "tollgate_key_set_unavailable"
    );
    assert_eq!(header(&sent[0].1, "if-none-match"), None, "all of it, anew");
    proxy.reply(sent[0].0, &with_etag(&one(REMOTE), "\"v1\""));
    proxy.settle();
    assert_eq!(proxy.send(0, REMOTE).details(), "passed");
}
