//! A fetched key set, in pieces and whole: read or refused. Whatever is accepted is accepted in every way of reading it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate_core::config::{Compile, Report, parse};
use tollgate_core::testing::{TestReply, TestWorld};
use tollgate_core::world::Outcome;
use tollgate_core::{Metrics, Policy, UnixNanos};
use tollgate_key_auth::{KeySet, compile};

const CONFIG: &str = r#"{"remote_keys": {"cluster": "keys", "path": "/"}}"#;

fuzz_target!(|text: &[u8]| {
    let whole = KeySet::parse(text);
    let report = Report::default();
    let mut metrics = Metrics::default();
    let root = parse(CONFIG, &report).expect("JSON");
    let section = root.value(&report).section().expect("an object");
    let policy = compile(section, &mut Compile::new(&|_| None, &mut metrics)).expect("good");
    let world = TestWorld::at(UnixNanos::from_secs(1_800_000_000));
    policy.on_start(&world);
    // First as the first set, then as a refresh of another one.
    for _ in 0..2 {
        policy.on_tick(&world);
        for (id, _) in world.take_background() {
            policy.on_background_reply(&world, id, &TestReply::new(Outcome::Http(200), text));
        }
        for _ in 0..200 {
            policy.on_tick(&world);
        }
        let keys = world.metric(&metrics, "tollgate_key_set_keys");
        match &whole {
            Ok(set) => assert_eq!(keys, set.keys()),
            Err(_) => assert_eq!(keys, 0),
        }
        world.advance(tollgate_core::time::Duration::from_secs(3600));
    }
});
