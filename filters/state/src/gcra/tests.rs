use super::*;
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000;
const NOW: u64 = 1_795_000_000 * SECOND;

/// The token bucket as the books have it: a level that is refilled, in exact integers. One token is
/// `fill_interval` units, and each nanosecond brings `tokens_per_fill` of them.
struct Model {
    bucket: Bucket,
    level: u128,
    at: u64,
}

impl Model {
    fn full(bucket: Bucket, now: u64) -> Self {
        let level = u128::from(bucket.max_tokens) * u128::from(bucket.fill_interval);
        Self {
            bucket,
            level,
            at: now,
        }
    }

    fn refill(&mut self, now: u64) {
        let gained = u128::from(now - self.at) * u128::from(self.bucket.tokens_per_fill);
        let most = u128::from(self.bucket.max_tokens) * u128::from(self.bucket.fill_interval);
        self.level = (self.level + gained).min(most);
        self.at = now;
    }

    fn take(&mut self, now: u64, tokens: u64) -> bool {
        self.refill(now);
        let wanted = u128::from(tokens) * u128::from(self.bucket.fill_interval);
        let enough = wanted <= self.level;
        if enough {
            self.level -= wanted;
        }
        enough
    }

    fn remaining(&self) -> u64 {
        (self.level / u128::from(self.bucket.fill_interval)) as u64
    }
}

fn taken(bucket: &Bucket, tat: &mut Tat, now: u64, tokens: u64) -> bool {
    match bucket.take(*tat, now, bucket.span(tokens)) {
        Verdict::Taken { tat: new } => {
            *tat = new;
            true
        }
        Verdict::Refused { .. } => false,
    }
}

fn admitted(bucket: &Bucket, tat: &mut Tat, times: impl Iterator<Item = u64>) -> u64 {
    times
        .filter(|now| taken(bucket, tat, *now, 1))
        .count()
        .try_into()
        .unwrap()
}

#[test]
fn sixty_a_minute_at_once_then_one_a_second() {
    let bucket = Bucket::new(60, 60, 60 * SECOND).unwrap();
    let mut tat = Tat::default();
    assert_eq!(admitted(&bucket, &mut tat, (0..100).map(|_| NOW)), 60);
    let refused = bucket.take(tat, NOW, bucket.span(1));
    assert_eq!(
        refused,
        Verdict::Refused {
            wait: SECOND,
            healed: None
        }
    );
    assert!(!taken(&bucket, &mut tat, NOW + SECOND - 1, 1));
    assert!(taken(&bucket, &mut tat, NOW + SECOND, 1));
    assert!(!taken(&bucket, &mut tat, NOW + SECOND, 1));
}

#[test]
fn sixty_in_seven_seconds_does_not_drift() {
    // 7 s / 60 is no whole number of nanoseconds. Somebody who keeps asking gets token k at
    // ceil(k * 7/60 s), not a nanosecond later or earlier, also after 216,000 of them (7 hours).
    let bucket = Bucket::new(2, 60, 7 * SECOND).unwrap();
    assert!(bucket.has_parts());
    let mut tat = Tat::default();
    assert!(taken(&bucket, &mut tat, NOW, 2));
    for k in 1..=216_000_u64 {
        let due = NOW + (k * 7 * SECOND).div_ceil(60);
        assert!(!taken(&bucket, &mut tat, due - 1, 1), "token {k} too early");
        assert!(taken(&bucket, &mut tat, due, 1), "token {k} too late");
    }
}

#[test]
fn reads_what_is_left_and_when_the_next_comes() {
    let bucket = Bucket::new(60, 60, 7 * SECOND).unwrap();
    let mut tat = Tat::default();
    let full = Reading {
        remaining: 60,
        next: 0,
    };
    assert_eq!(bucket.read(tat, NOW), full);
    assert!(taken(&bucket, &mut tat, NOW, 1));
    let one_gone = Reading {
        remaining: 59,
        next: 116_666_667,
    };
    assert_eq!(bucket.read(tat, NOW), one_gone);
    assert_eq!(bucket.read(tat, NOW + 116_666_666).remaining, 59);
    assert_eq!(bucket.read(tat, NOW + 116_666_667), full);
}

#[test]
fn what_is_given_back_is_there_again() {
    let bucket = Bucket::new(5, 3, 7 * SECOND).unwrap();
    let mut tat = Tat::default();
    assert!(taken(&bucket, &mut tat, NOW, 2));
    let before = tat;
    assert!(taken(&bucket, &mut tat, NOW, 3));
    assert_eq!(bucket.give_back(tat, bucket.span(3), 0), before);
    assert!(bucket.give_back(before, bucket.span(2), 0) <= Tat::at(NOW));
}

#[test]
fn a_clock_that_steps_back_blocks_no_longer_than_the_step() {
    let bucket = Bucket::new(10, 10, 10 * SECOND).unwrap();
    let mut tat = Tat::default();
    assert!(taken(&bucket, &mut tat, NOW, 10));
    let back = NOW - SECOND / 2;
    let Verdict::Refused { wait, healed } = bucket.take(tat, back, bucket.span(1)) else {
        panic!("freed by the step");
    };
    assert_eq!((wait, healed), (SECOND + SECOND / 2, None));
    // A step of a year blocks nobody for a year: it shows, because no bucket reaches that far.
    let back = NOW - 365 * 86_400 * SECOND;
    let Verdict::Refused { wait, healed } = bucket.take(tat, back, bucket.span(1)) else {
        panic!("freed by the step");
    };
    assert_eq!(wait, SECOND);
    assert_eq!(bucket.read(healed.unwrap(), back).remaining, 0);
}

#[test]
fn impossible_buckets_are_refused() {
    assert_eq!(Bucket::new(0, 1, 1), Err(Invalid::MaxTokens));
    assert_eq!(Bucket::new(1, 0, 1), Err(Invalid::TokensPerFill));
    assert_eq!(Bucket::new(1, 1, 0), Err(Invalid::FillInterval));
    assert_eq!(Bucket::new(u64::MAX, 1, 1), Err(Invalid::MaxTokens));
    assert_eq!(Bucket::new(1, u64::MAX, 1), Err(Invalid::TokensPerFill));
    assert_eq!(Bucket::new(2, 1, MAX_DRAIN), Err(Invalid::TooSlow));
    assert_eq!(Bucket::new(MAX_TOKENS, 1, u64::MAX), Err(Invalid::TooSlow));
    assert!(Bucket::new(1, 1, MAX_DRAIN).is_ok());
    assert!(Bucket::new(MAX_TOKENS, MAX_TOKENS, 1).is_ok());
}

fn any_bucket() -> impl Strategy<Value = Bucket> {
    let tokens = prop_oneof![1..20_u64, 1..=MAX_TOKENS];
    let interval = prop_oneof![
        1..1000_u64,
        Just(SECOND),
        Just(7 * SECOND),
        Just(60 * SECOND),
        Just(3600 * SECOND),
        1..=10 * SECOND
    ];
    (tokens.clone(), tokens, interval).prop_filter_map("too slow", |(max, fill, interval)| {
        Bucket::new(max, fill, interval).ok()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn allows_exactly_what_the_model_allows(
        bucket in any_bucket(),
        asks in prop::collection::vec((0..4_u8, any::<u64>(), any::<u64>()), 1..60),
    ) {
        let mut now = NOW;
        let mut model = Model::full(bucket, now);
        let mut tat = Tat::default();
        for (kind, step, tokens) in asks {
            // Steps around what matters: a token's worth, the whole bucket, a frozen clock.
            let interval = bucket.span(1).ns.max(1);
            now += match kind {
                0 => 0,
                1 => step % 3,
                2 => interval.saturating_sub(1) + step % 3,
                _ => step % bucket.drain().saturating_mul(2).max(1),
            };
            let tokens = if tokens % 3 == 0 { 1 } else { tokens % (bucket.max_tokens() + 1) };
            let verdict = bucket.take(tat, now, bucket.span(tokens));
            prop_assert_eq!(matches!(verdict, Verdict::Taken { .. }), model.take(now, tokens));
            match verdict {
                Verdict::Taken { tat: new } => tat = new,
                Verdict::Refused { wait, healed } => {
                    prop_assert_eq!(healed, None);
                    let refused_before = Model { level: model.level, ..model }.take(now + wait - 1, tokens);
                    let allowed_then = Model { level: model.level, ..model }.take(now + wait, tokens);
                    prop_assert!(!refused_before && allowed_then, "wait {} is not exact", wait);
                }
            }
            let reading = bucket.read(tat, now);
            prop_assert_eq!(reading.remaining, model.remaining());
            if reading.remaining < bucket.max_tokens() {
                let mut later = Model { level: model.level, ..model };
                later.refill(now + reading.next - 1);
                prop_assert_eq!(later.remaining(), reading.remaining);
                later.refill(now + reading.next);
                prop_assert!(later.remaining() > reading.remaining);
            } else {
                prop_assert_eq!(reading.next, 0);
            }
        }
    }

    #[test]
    fn no_time_whatever_makes_it_fail(
        bucket in any_bucket(), ns in any::<u64>(), part in any::<u32>(), now in any::<u64>(), tokens in any::<u64>(),
    ) {
        let tat = Tat { ns, part };
        let span = bucket.span(tokens);
        if let Verdict::Taken { tat: new } = bucket.take(tat, now, span) {
            prop_assert!(new >= tat.min(Tat::at(now)) || new.ns == u64::MAX);
            prop_assert!(new.part < bucket.q);
        }
        let reading = bucket.read(tat, now);
        prop_assert!(reading.remaining <= bucket.max_tokens());
        let _ = bucket.give_back(tat, span, 0);
    }

    #[test]
    fn whole_nanoseconds_are_read_as_those_with_parts_would_be(
        max in 1..2_000_u64, p in 1..90 * SECOND, ns in any::<u64>(), ahead in 0..200_000 * SECOND,
    ) {
        let bucket = Bucket::new(max, 1, p).unwrap();
        for tat in [NOW + ahead, ns] {
            prop_assert_eq!(bucket.read_whole(tat, NOW), bucket.read_parts(Tat::at(tat), NOW));
        }
    }
}
