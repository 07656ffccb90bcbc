//! Limits of a fleet over any page of leases and any answers of the service, in both modes: every request is answered, and
//! never more pass than this proxy's own bucket holds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate_core::config::{Compile, Report, parse};
use tollgate_core::drive::{Drive, Step};
use tollgate_core::testing::{TestReply, TestWorld};
use tollgate_core::world::{CallAnswer, Expect, Outcome, Store};
use tollgate_core::{Exchange, Headers, Metrics, Policy, UnixNanos};
use tollgate_rate_limit::RateLimit;

const MOST: usize = 5;

/// One page, so that every key meets its bytes. What a share decides is bounded by the same bucket.
fn config(classic: bool, failure_mode: &str, smooth: bool) -> String {
    let (mode, descriptor) = if classic { ("classic", r#""descriptor": "d","#) } else { ("ticket", "") };
    let smooth = if smooth && !classic { r#""smooth": 2,"# } else { "" };
    format!(
        r#"{{"fleet": {{"cluster": "c", "key": {{"env": "K"}}, "mode": "{mode}", "max_bytes": 65536}}, "limits": [
            {{"name": "api", "scope": "global", {descriptor} {smooth} "failure_mode": "{failure_mode}", "key": [{{"constant": "all"}}],
              "rules": [{{"buckets": [{{"max_tokens": {MOST}, "tokens_per_fill": {MOST}, "fill_interval": "1d"}}]}}]}}]}}"#
    )
}

fn policy(json: &str) -> RateLimit {
    let report = Report::default();
    let mut metrics = Metrics::default();
    let env = |_: &str| Some("0123456789abcdef".to_owned());
    let root = parse(json, &report).expect("the configuration is JSON");
    let section = root.value(&report).section().expect("it is an object");
    let policy = tollgate_rate_limit::compile(section, &mut Compile::new(&env, &mut metrics));
    assert!(report.is_ok(), "{:?}", report.errors());
    policy.expect("it is a good configuration")
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&how, rest)) = bytes.split_first() else { return };
    let (page, answers) = rest.split_at(rest.len() / 3);
    let failure_mode = ["deny", "allow", "local"][usize::from(how) % 3];
    let json = config(how & 64 != 0, failure_mode, how & 128 != 0);
    let world = TestWorld::at(UnixNanos::from_secs(1_795_000_000));
    for n in 0..60 {
        // With the page's own head, else it is thrown away as a whole.
        let head = [&b"TGF\x02"[..], &60_u32.to_le_bytes(), page].concat();
        let bytes = if how & 32 == 0 { &head } else { page };
        let _ = world.store(&format!("f/{n}"), bytes, Expect::Anything);
    }
    let policy = policy(&json);
    let mut admitted = 0;
    let mut answers = answers.split(|b| *b == 0xfe);
    for i in 0..12_u64 {
        let request = Headers::from_pairs([(":method", &b"GET"[..]), (":path", b"/"), (":authority", b"a")]);
        let mut exchange = Exchange::new(request, true);
        let mut drive = Drive::<RateLimit>::default();
        let mut step = drive.request_headers(&policy, &mut exchange, &world);
        // Each answer may lead to another question; the deadline ends it.
        for _ in 0..8 {
            if step != Step::Hold {
                break;
            }
            let answer = answers.next().unwrap_or_default();
            let status = if i % 4 == 3 { u32::from(how & 15) } else { 0 };
            if drive.waits_for_wake() {
                for (id, _) in world.take_background() {
                    policy.on_background_reply(&world, id, &TestReply::new(Outcome::Grpc(status), answer));
                }
                world.set_now(UnixNanos(tollgate_core::World::now(&world).0 + 20_000_000));
                step = drive.wake(&policy, &mut exchange, &world, &[][..]);
            } else {
                world.take_calls();
                let answer = CallAnswer::Grpc { status, message: answer.to_vec() };
                step = drive.call_answer(&policy, &mut exchange, &world, &answer, &[][..]);
            }
        }
        match step {
            Step::Forward => admitted += 1,
            Step::Reply(reply) => assert!([429, 503].contains(&reply.status)),
            Step::Hold => panic!("held after its deadline"),
        }
        drive.response_headers(&policy, &mut exchange, &world, true);
        drive.log(&policy, &mut exchange, &world);
    }
    assert!(admitted <= MOST, "{admitted} admitted of {MOST} by {json}");
});
