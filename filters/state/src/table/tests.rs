use super::*;
use crate::seed::Seed;
use crate::testing::Racing;
use proptest::prelude::*;
use std::collections::BTreeMap;
use tollgate_core::testing::TestWorld;
use tollgate_core::world::Expect;

const SECOND: u64 = 1_000_000_000;
const NOW: u64 = 1_795_000_000 * SECOND;
const SEED: Seed = Seed([3; 16]);

fn bucket(max: u64, fill: u64, interval: u64) -> Bucket {
    Bucket::new(max, fill, interval).unwrap()
}

fn place(table: &Table, key: u64) -> Place {
    let mut parts = Key::new(SEED);
    parts.number(key);
    table.place(&parts)
}

fn take<S: Store>(table: &Table, store: &S, key: u64, buckets: &[Bucket], now: u64) -> Answer {
    let spans: Vec<Tat> = buckets.iter().map(|b| b.span(1)).collect();
    table
        .take(store, place(table, key), buckets, &spans, now)
        .unwrap()
}

#[test]
fn both_buckets_are_charged_or_neither() {
    let world = TestWorld::default();
    let table = Table::new(1 << 20, 3600 * SECOND);
    let buckets = [bucket(60, 60, 60 * SECOND), bucket(65, 65, 3600 * SECOND)];
    for left in (0..60).rev() {
        let answer = take(&table, &world, 1, &buckets, NOW);
        assert!(answer.allowed);
        assert_eq!(answer.readings[0].remaining, left);
        assert_eq!(answer.readings[1].remaining, left + 5);
    }
    let refused = take(&table, &world, 1, &buckets, NOW);
    assert!(!refused.allowed);
    assert_eq!((refused.wait, refused.refused_by), (SECOND, 0));
    // The refusal has charged nothing: five are left in the hour, and exactly five get through.
    let later = NOW + 60 * SECOND;
    for _ in 0..6 {
        // In a minute the larger bucket has gained one more (65 an hour).
        assert!(take(&table, &world, 1, &buckets, later).allowed);
    }
    let refused = take(&table, &world, 1, &buckets, later);
    assert!(!refused.allowed);
    assert_eq!(refused.refused_by, 1);
    assert_eq!(refused.readings[0].remaining, 54);
    assert_eq!(world.keys(), 1);
}

#[test]
fn keys_and_limits_have_buckets_of_their_own() {
    let world = TestWorld::default();
    let table = Table::new(1 << 20, SECOND);
    let one = [bucket(1, 1, SECOND)];
    assert!(take(&table, &world, 1, &one, NOW).allowed);
    assert!(!take(&table, &world, 1, &one, NOW).allowed);
    assert!(take(&table, &world, 2, &one, NOW).allowed);
    let mut joined = Key::new(SEED);
    joined.part(Some(b"ab"));
    joined.part(Some(b"c"));
    let mut other = Key::new(SEED);
    other.part(Some(b"a"));
    other.part(Some(b"bc"));
    assert_ne!(table.place(&joined), table.place(&other));
    let mut absent = Key::new(SEED);
    absent.part(None);
    let mut empty = Key::new(SEED);
    empty.part(Some(b""));
    assert_ne!(table.place(&absent), table.place(&empty));
}

#[test]
fn a_look_changes_nothing_and_is_never_refused() {
    let world = TestWorld::default();
    let table = Table::new(1 << 20, SECOND);
    let one = [bucket(1, 1, SECOND)];
    let nothing = [Tat::default()];
    let place = place(&table, 1);
    let look = table.take(&world, place, &one, &nothing, NOW).unwrap();
    assert_eq!((look.allowed, look.readings[0].remaining), (true, 1));
    assert_eq!(world.keys(), 0);
    assert!(take(&table, &world, 1, &one, NOW).allowed);
    for now in [NOW, NOW - SECOND / 2, NOW - 100 * SECOND] {
        let look = table.take(&world, place, &one, &nothing, now).unwrap();
        assert_eq!((look.allowed, look.readings[0].remaining), (true, 0));
    }
    let look = table.look(&world, place, &one, &[one[0].span(1)], NOW);
    assert_eq!((look.allowed, look.wait), (false, SECOND));
}

#[test]
fn what_is_given_back_can_be_taken_again() {
    let world = TestWorld::default();
    let table = Table::new(1 << 20, SECOND);
    let buckets = [bucket(3, 3, SECOND)];
    let spans = [buckets[0].span(3)];
    let place = place(&table, 1);
    let take = || table.take(&world, place, &buckets, &spans, NOW).unwrap();
    assert!(take().allowed);
    assert!(!take().allowed);
    table
        .give_back(&world, place, &buckets, &spans, 0, NOW)
        .unwrap();
    assert!(take().allowed);
    assert!(!take().allowed);
}

#[test]
fn a_flood_of_keys_takes_no_more_memory_and_does_not_free_a_drained_client() {
    let world = TestWorld::default();
    let table = Table::new(64 * 1024, 60 * SECOND);
    let buckets = [bucket(60, 60, 60 * SECOND)];
    for _ in 0..60 {
        assert!(take(&table, &world, 0, &buckets, NOW).allowed);
    }
    let mut evictions = 0;
    for key in 1..=200_000_u64 {
        // 20,000 a second; each is full again after a second, so that a page has thousands to forget
        // before it would have to forget somebody who is drained.
        let now = NOW + key * 50_000;
        evictions += u32::from(take(&table, &world, key, &buckets, now).events.evicted);
        if key % 20_000 == 0 {
            let seconds = key / 20_000;
            assert!(take(&table, &world, 0, &buckets, now).allowed);
            let refused = take(&table, &world, 0, &buckets, now);
            assert!(!refused.allowed, "freed after {seconds} s");
        }
    }
    assert!(
        evictions > 100_000,
        "the flood did not fill the table: {evictions}"
    );
    let keys = world.keys();
    assert!(keys <= usize::try_from(table.pages()).unwrap());
    assert!(
        world.stored_bytes() + keys * 94 <= 64 * 1024,
        "{}",
        world.stored_bytes()
    );
}

#[test]
fn a_stranger_on_a_full_page_starts_at_the_floor_and_recovers() {
    let world = TestWorld::default();
    let table = Table::with_pages(1, 16 + 5 * 17, 600 * SECOND);
    let slow = [bucket(10, 1, 60 * SECOND)];
    let quick = [bucket(10, 10, SECOND)];
    // Five drained clients of a slow limit fill the page; a sixth evicts one of them.
    for key in 1..=6 {
        for _ in 0..10 {
            take(&table, &world, key, &slow, NOW);
        }
    }
    // The forgotten one does not get a full bucket.
    let back = take(&table, &world, 1, &slow, NOW);
    assert!(!back.allowed && back.events.floored);
    // Nor does a stranger of another limit, but it is not shut out for ten minutes: its own bucket
    // is taken for empty, no worse, and fills at its own rate.
    let stranger = take(&table, &world, 9, &quick, NOW);
    assert!(!stranger.allowed && stranger.events.floored);
    assert_eq!(stranger.wait, SECOND / 10);
    assert!(take(&table, &world, 9, &quick, NOW + SECOND / 10).allowed);
}

#[test]
fn pages_that_cannot_be_read_are_replaced() {
    let buckets = [bucket(1, 1, SECOND)];
    let good = {
        let world = TestWorld::default();
        let table = Table::with_pages(1, 512, SECOND);
        assert!(take(&table, &world, 1, &buckets, NOW).allowed);
        let mut bytes = Vec::new();
        world.load("b/0", &mut bytes);
        bytes
    };
    assert_eq!(good.len(), 16 + 17);
    let mut other_magic = good.clone();
    other_magic[0] = b'X';
    let mut other_version = good.clone();
    other_version[3] = 2;
    let mut other_geometry = good.clone();
    other_geometry[4] = 2;
    let mut other_shape = good.clone();
    other_shape[24] = 0;
    let cut = good[..good.len() - 1].to_vec();
    let longer = [good.clone(), vec![0; 480]].concat();
    for (what, bytes) in [
        ("other magic", other_magic),
        ("other version", other_version),
        ("other geometry", other_geometry),
        ("other shape", other_shape),
        ("cut", cut),
        ("too long", longer),
    ] {
        let world = TestWorld::default();
        world.store("b/0", &bytes, Expect::Anything).unwrap();
        let table = Table::with_pages(1, 512, SECOND);
        let first = take(&table, &world, 1, &buckets, NOW);
        assert!(first.allowed && first.events.discarded, "{what}");
        let second = take(&table, &world, 1, &buckets, NOW);
        assert!(!second.allowed && !second.events.discarded, "{what}");
    }
}

#[test]
fn lost_races_are_counted_and_bounded() {
    let world = TestWorld::default();
    let table = Table::new(1 << 20, SECOND);
    let buckets = [bucket(2, 2, SECOND)];
    world.conflicts.set(7);
    let answer = take(&table, &world, 1, &buckets, NOW);
    assert_eq!((answer.allowed, answer.events.retries), (true, 7));
    world.conflicts.set(8);
    let spans = [buckets[0].span(1)];
    let lost = table.take(&world, place(&table, 1), &buckets, &spans, NOW);
    assert_eq!(lost, Err(Contended { retries: 8 }));
    assert!(take(&table, &world, 1, &buckets, NOW).allowed);
    assert!(!take(&table, &world, 1, &buckets, NOW).allowed);
}

#[test]
fn page_keys_are_plain_numbers() {
    for n in [0, 7, 10, 12_345, u32::MAX] {
        assert_eq!(PageKey::new(n).as_str(), format!("b/{n}"));
    }
}

#[test]
fn the_table_fits_its_size() {
    let table = Table::new(8 << 20, SECOND);
    assert_eq!(table.pages(), 13_486);
    assert_eq!(Table::new(0, SECOND).pages(), 1);
    // Keys spread over all pages.
    let mut hits = vec![0_u32; 13_486];
    for key in 0..134_860 {
        hits[place(&table, key).page as usize] += 1;
    }
    assert!(hits.iter().all(|n| *n < 40), "{:?}", hits.iter().max());
}

#[test]
fn interleaved_workers_admit_exactly_what_one_would() {
    let world = TestWorld::default();
    let mine = Table::new(1 << 20, 60 * SECOND);
    let theirs = Table::new(1 << 20, 60 * SECOND);
    let buckets = [
        bucket(100, 100, 60 * SECOND),
        bucket(1000, 1000, 3600 * SECOND),
    ];
    let admitted = Cell::new(0_u32);
    let asked = Cell::new(0_u32);
    let ask = |table: &Table, store: &dyn Store| {
        asked.set(asked.get() + 1);
        let spans = [buckets[0].span(1), buckets[1].span(1)];
        let answer = table.take(store, place(table, 1), &buckets, &spans, NOW);
        admitted.set(admitted.get() + u32::from(answer.unwrap().allowed));
    };
    for round in 0..200_usize {
        let racing = Racing::new(&world, round % 8, || ask(&theirs, &world));
        ask(&mine, &racing);
    }
    assert!(asked.get() > 250, "{}", asked.get());
    assert_eq!(admitted.get(), 100);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever is forgotten: what the table admits, a table that forgets nothing admits too. And
    /// with nothing forgotten and no floor they are the same.
    #[test]
    fn never_admits_more_than_a_table_without_bounds(
        room in 1..6_usize,
        asks in prop::collection::vec((0..12_u64, 0..3_usize, 0..3 * SECOND, 1..4_u64), 1..200),
    ) {
        let kinds = [
            vec![bucket(5, 5, SECOND)],
            vec![bucket(3, 7, 10 * SECOND), bucket(10, 10, 60 * SECOND)],
            vec![bucket(2, 1, 30 * SECOND)],
        ];
        let world = TestWorld::default();
        let table = Table::with_pages(1, 16 + room * 33, 60 * SECOND);
        let mut exact: BTreeMap<(u64, usize), Vec<Tat>> = BTreeMap::new();
        let mut now = NOW;
        let mut forgotten = false;
        for (key, kind, step, tokens) in asks {
            now += step * u64::from(step % 2 == 0);
            let buckets = &kinds[kind];
            let tokens = tokens.min(buckets.iter().map(Bucket::max_tokens).min().unwrap());
            let spans: Vec<Tat> = buckets.iter().map(|b| b.span(tokens)).collect();
            let mut parts = Key::new(SEED);
            parts.number(key);
            parts.buckets(buckets);
            let answer = table.take(&world, table.place(&parts), buckets, &spans, now).unwrap();
            let tats = exact.entry((key, kind)).or_insert_with(|| vec![Tat::default(); buckets.len()]);
            let wanted: Vec<Verdict> = buckets.iter().zip(tats.iter()).zip(&spans)
                .map(|((b, tat), span)| b.take(*tat, now, *span)).collect();
            let may = wanted.iter().all(|v| matches!(v, Verdict::Taken { .. }));
            forgotten |= answer.events.evicted;
            prop_assert!(may || !answer.allowed, "admitted too much");
            prop_assert!(forgotten || may == answer.allowed, "refused too much");
            if answer.allowed {
                for (tat, verdict) in tats.iter_mut().zip(wanted) {
                    if let Verdict::Taken { tat: new } = verdict {
                        *tat = new;
                    }
                }
            }
        }
    }

    #[test]
    fn any_page_is_read_or_replaced(
        mut bytes in prop::collection::vec(any::<u8>(), 0..700), magic in any::<bool>(), now in any::<u64>(),
    ) {
        if magic && bytes.len() >= 25 {
            bytes[..8].copy_from_slice(&[b'T', b'G', b'B', 1, 1, 0, 0, 0]);
            bytes[24] = 1 + bytes[24] % 6;
        }
        let world = TestWorld::default();
        world.store("b/0", &bytes, Expect::Anything).unwrap();
        let table = Table::with_pages(1, 512, 60 * SECOND);
        let buckets = [bucket(3, 7, SECOND), bucket(5, 5, 60 * SECOND)];
        let mut allowed = 0;
        for _ in 0..5 {
            allowed += u32::from(take(&table, &world, 1, &buckets, now).allowed);
        }
        prop_assert!(allowed <= 3);
        let mut bytes = Vec::new();
        world.load("b/0", &mut bytes);
        prop_assert!(bytes.len() <= 700);
    }
}
