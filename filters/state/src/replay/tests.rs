use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use tollgate_core::testing::TestWorld;
use tollgate_core::world::Expect;

const NOW: UnixNanos = UnixNanos::from_secs(1_700_000_000);

fn table(max_entries: u32) -> ReplayTable {
    ReplayTable::new(
        "rule",
        max_entries,
        Duration::from_secs(600),
        Duration::from_secs(60),
    )
}

fn delivery(n: u64) -> Delivery {
    // SplitMix64: spread like a digest would be.
    let mut out = [0; 32];
    for (i, chunk) in out.chunks_exact_mut(8).enumerate() {
        let mut z = (n * 4 + i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        chunk.copy_from_slice(&(z ^ (z >> 31)).to_le_bytes());
    }
    out
}

fn ticket(claim: Claim) -> Ticket {
    match claim {
        Claim::First(ticket) => ticket,
        other => panic!("{other:?}"),
    }
}

fn at(seconds: u64) -> UnixNanos {
    NOW.plus(Duration::from_secs(seconds))
}

#[test]
fn a_delivery_passes_once_within_its_window() {
    let (world, table) = (TestWorld::default(), table(10));
    let one = delivery(1);
    let first = ticket(table.claim(&world, &one, NOW));
    assert_eq!(table.claim(&world, &one, NOW), Claim::InFlight);
    assert!(table.settle(&world, first, at(5)));
    assert_eq!(table.claim(&world, &one, at(5)), Claim::Delivered);
    assert_eq!(table.claim(&world, &one, at(604)), Claim::Delivered);
    assert!(matches!(
        table.claim(&world, &one, at(605)),
        Claim::First(_)
    ));
    assert_eq!(world.keys(), 1);
}

#[test]
fn a_released_one_may_come_again_at_once() {
    let (world, table) = (TestWorld::default(), table(10));
    let first = ticket(table.claim(&world, &delivery(1), NOW));
    assert!(table.release(&world, first));
    assert!(matches!(
        table.claim(&world, &delivery(1), NOW),
        Claim::First(_)
    ));
}

#[test]
fn a_claim_that_nobody_ends_lapses_and_its_late_end_ends_no_other() {
    let (world, table) = (TestWorld::default(), table(10));
    let one = delivery(1);
    let lost = ticket(table.claim(&world, &one, NOW));
    assert_eq!(table.claim(&world, &one, at(59)), Claim::InFlight);
    let second = ticket(table.claim(&world, &one, at(60)));
    assert!(table.release(&world, lost));
    assert_eq!(table.claim(&world, &one, at(61)), Claim::InFlight);
    assert!(table.settle(&world, second, at(61)));
    assert!(table.release(&world, second));
    assert_eq!(table.claim(&world, &one, at(61)), Claim::Delivered);
}

#[test]
fn one_that_lapsed_while_the_upstream_was_at_work_is_still_remembered() {
    let (world, table) = (TestWorld::default(), table(1));
    let slow = ticket(table.claim(&world, &delivery(1), NOW));
    // Its place was taken meanwhile: there is no room to remember it.
    let other = ticket(table.claim(&world, &delivery(2), at(60)));
    assert!(!table.settle(&world, slow, at(61)));
    assert!(table.release(&world, other));
    assert!(table.settle(&world, slow, at(61)));
    assert_eq!(table.claim(&world, &delivery(1), at(62)), Claim::Delivered);
}

#[test]
fn a_full_table_says_so_and_forgets_nothing() {
    let (world, table) = (TestWorld::default(), table(3));
    for n in 0..3 {
        let claim = table.claim(&world, &delivery(n), NOW);
        assert!(table.settle(&world, ticket(claim), NOW));
    }
    assert_eq!(table.claim(&world, &delivery(3), NOW), Claim::Full);
    for n in 0..3 {
        assert_eq!(table.claim(&world, &delivery(n), NOW), Claim::Delivered);
    }
    assert!(matches!(
        table.claim(&world, &delivery(3), at(600)),
        Claim::First(_)
    ));
}

#[test]
fn a_large_table_holds_what_was_asked_for_in_bounded_memory() {
    let (world, table) = (TestWorld::default(), table(10_000));
    for n in 0..10_000 {
        let claim = table.claim(&world, &delivery(n), NOW);
        assert!(table.settle(&world, ticket(claim), NOW));
    }
    let mut full = 0;
    for n in 10_000..60_000 {
        match table.claim(&world, &delivery(n), NOW) {
            Claim::First(_) => {}
            Claim::Full => full += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(full > 25_000, "{full}");
    assert_eq!(world.keys(), 157);
    let bytes = u64::try_from(world.stored_bytes() + world.keys() * 100).unwrap();
    assert!(bytes <= table.max_bytes(), "{bytes}");
    assert_eq!(table.max_bytes(), 157 * (128 * 24 + 8 + 110));
    for n in 0..10_000 {
        assert_eq!(table.claim(&world, &delivery(n), NOW), Claim::Delivered);
    }
}

#[test]
fn a_clock_that_was_ahead_does_not_block_for_ever() {
    let (world, table) = (TestWorld::default(), table(10));
    let year = 365 * 86_400;
    ticket(table.claim(&world, &delivery(1), at(year)));
    let two = ticket(table.claim(&world, &delivery(2), at(year)));
    assert!(table.settle(&world, two, at(year)));
    // Both are pulled back to what could have been written now.
    assert_eq!(table.claim(&world, &delivery(1), NOW), Claim::InFlight);
    assert_eq!(table.claim(&world, &delivery(2), at(599)), Claim::Delivered);
    assert!(matches!(
        table.claim(&world, &delivery(1), at(600)),
        Claim::First(_)
    ));
}

#[test]
fn lost_races_are_tried_again_and_then_reported() {
    let (world, table) = (TestWorld::default(), table(10));
    world.conflicts.set(7);
    let first = ticket(table.claim(&world, &delivery(1), NOW));
    world.conflicts.set(100);
    assert_eq!(table.claim(&world, &delivery(2), NOW), Claim::Contended);
    assert!(!table.settle(&world, first, NOW));
    assert!(!table.release(&world, first));
}

#[test]
fn a_page_of_another_geometry_is_discarded_and_reported() {
    let world = TestWorld::default();
    for bytes in [
        &b"TGR\x01\x02\0\0\0"[..],
        b"junk",
        b"TGR\x02\x01\0\0\0",
        b"TGR\x01\x01\0\0\0x",
    ] {
        let table = table(10);
        world.store("r/rule/0", bytes, Expect::Anything).unwrap();
        assert!(matches!(
            table.claim(&world, &delivery(1), NOW),
            Claim::First(_)
        ));
        assert_eq!(table.take_events(), Events { discarded: true });
        assert_eq!(table.take_events(), Events::default());
    }
}

#[derive(Clone, Debug)]
enum Op {
    Claim(u64),
    Settle(usize),
    Release(usize),
    Wait(u64),
}

proptest! {
    /// Against a model that remembers everything: never a second `First` within the window or lease.
    #[test]
    fn agrees_with_a_model(ops in proptest::collection::vec(prop_oneof![
        (0_u64..6).prop_map(Op::Claim),
        (0_usize..8).prop_map(Op::Settle),
        (0_usize..8).prop_map(Op::Release),
        (0_u64..400).prop_map(Op::Wait),
    ], 1..80)) {
        let (world, table) = (TestWorld::default(), table(4));
        let mut model: BTreeMap<u64, (u64, bool)> = BTreeMap::new();
        let mut open: Vec<(u64, Ticket, u64)> = Vec::new();
        let mut now = 0;
        for op in ops {
            match op {
                Op::Wait(seconds) => now += seconds,
                Op::Claim(n) => {
                    model.retain(|_, (until, _)| *until > now);
                    let expected = model.get(&n).copied();
                    let claim = table.claim(&world, &delivery(n), at(now));
                    match (expected, claim) {
                        (Some((_, true)), Claim::Delivered) | (Some((_, false)), Claim::InFlight) => {}
                        (None, Claim::Full) => prop_assert_eq!(model.len(), 4),
                        (None, Claim::First(ticket)) => {
                            prop_assert!(model.len() < 4);
                            model.insert(n, (now + 60, false));
                            open.push((n, ticket, now + 60));
                        }
                        other => prop_assert!(false, "{:?}", other),
                    }
                }
                Op::Settle(i) if i < open.len() => {
                    let (n, ticket, _) = open.remove(i);
                    model.retain(|_, (until, _)| *until > now);
                    let room = model.contains_key(&n) || model.len() < 4;
                    let settled = table.settle(&world, ticket, at(now));
                    // A lapsed entry that is still in the page is found there.
                    prop_assert!(settled || !room);
                    if settled {
                        model.insert(n, (now + 600, true));
                    }
                }
                Op::Release(i) if i < open.len() => {
                    let (n, ticket, until) = open.remove(i);
                    prop_assert!(table.release(&world, ticket));
                    if model.get(&n) == Some(&(until, false)) {
                        model.remove(&n);
                    }
                }
                Op::Settle(_) | Op::Release(_) => {}
            }
        }
    }

    #[test]
    fn any_bytes_in_a_page_are_read_or_discarded(bytes in proptest::collection::vec(any::<u8>(), 0..200), prefix: bool) {
        let world = TestWorld::default();
        let bytes = if prefix { [&b"TGR\x01\x01\0\0\0"[..], &bytes].concat() } else { bytes };
        world.store("r/rule/0", &bytes, Expect::Anything).unwrap();
        let table = table(10);
        if let Claim::First(ticket) = table.claim(&world, &delivery(1), NOW) {
            prop_assert!(table.settle(&world, ticket, NOW));
        }
    }
}
