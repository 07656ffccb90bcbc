//! What deciding costs natively: a lease beside a bucket of the table.
use std::rc::Rc;
use std::time::Instant;
use tollgate_core::config::{Compile, Report, parse};
use tollgate_core::testing::{TestReply, TestWorld};
use tollgate_core::world::{Call, Outcome as Ended};
use tollgate_core::{Duration, UnixNanos, World};
use tollgate_state::fleet::dispenser::{Dispenser, Outcome, Quota, Subject};
use tollgate_state::fleet::service::Service;
use tollgate_state::fleet::testing::FakeService;
use tollgate_state::fleet::unit::{Period, Windows};
use tollgate_state::gcra::Bucket;
use tollgate_state::seed::Seed;
use tollgate_state::table::{Key, Table};

fn main() {
    let report = Report::default();
    let mut metrics = Default::default();
    let env = |_: &str| Some("0123456789abcdef-fleet".to_owned());
    let root = parse(r#"{"cluster": "r", "key": {"env": "K"}}"#, &report).unwrap();
    let mut cx = Compile::new(&env, &mut metrics);
    let service = Service::compile(root.value(&report), &mut cx, "rate_limit").unwrap();
    let subject = Subject::new(&service, "limit", &Rc::from("api"), vec![60]);
    let dispenser = Dispenser::new(service);
    let second = 1_000_000_000;
    let bucket = Bucket::new(900_000_000, 900_000_000, 60 * second).unwrap();
    let quota = Quota {
        limit: 900_000_000,
        cost: 1,
        period: Period::Windows(Windows::of(60 * second).unwrap()),
        smooth: None,
        bucket: Some((bucket, bucket.span(1))),
    };
    let world = TestWorld::at(UnixNanos(1_795_237_200 * second));
    let mut fake = FakeService::default();
    let n = 1_000_000_u32;
    let mut admitted = 0;
    let begin = Instant::now();
    for _ in 0..n {
        world.advance(Duration(100_000));
        let place = dispenser.place(&subject, Seed([1; 16]), b"acme");
        if let Outcome::Admitted { .. } = dispenser.take(&world, &subject, place, b"acme", &quota) {
            admitted += 1;
        }
        for (id, call) in world.take_background() {
            let Call::Grpc { message, .. } = call else {
                continue;
            };
            let body = fake.answer(&message, world.now().0);
            dispenser.on_reply(&world, id, &TestReply::new(Ended::Grpc(0), body));
        }
    }
    println!(
        "lease {:?} each, {admitted} of {n}, {} asks",
        begin.elapsed() / n,
        fake.asks
    );
    let table = Table::new(8 << 20, bucket.drain());
    let begin = Instant::now();
    for _ in 0..n {
        world.advance(Duration(100_000));
        let mut key = Key::new(Seed([1; 16]));
        key.part(Some(b"acme"));
        let place = table.place(&key);
        let _ = table.take(&world, place, &[bucket], &[bucket.span(1)], world.now().0);
    }
    println!("table {:?} each", begin.elapsed() / n);
}
