//! Whether shares are what was asked for, experiments are independent, and nobody moves who should not.

use super::{Rig, one};
use crate::bucket;
use crate::split::Split;
use crate::variants::VariantId;
use proptest::prelude::*;

const USERS: u32 = 100_000;
/// Enough where many flags are compared.
const FEWER: u32 = 20_000;

fn is_canary(rig: &Rig, user: u32) -> bool {
    let (variant, reason) = rig.user(&format!("user-{user}"));
    assert_eq!(reason, "percentage");
    variant == "checkout-v2:canary"
}

fn percent(canary: u32) -> String {
    let stable = 100 - canary;
    one(&format!(
        r#""variants": [{{"name": "stable", "weight": {stable}}}, {{"name": "canary", "weight": {canary}}}]"#
    ))
}

#[test]
fn shares_are_within_4_sigma_and_nobody_moves_back_between_5_and_25_percent() {
    let (five, twenty_five) = (Rig::new(&percent(5)), Rig::new(&percent(25)));
    let another_proxy = Rig::new(&percent(5));
    let (mut at_5, mut at_25, mut left) = (0_i64, 0_i64, 0);
    for user in 0..USERS {
        let (before, after) = (is_canary(&five, user), is_canary(&twenty_five, user));
        at_5 += i64::from(before);
        at_25 += i64::from(after);
        left += u32::from(before && !after);
        assert_eq!(before, is_canary(&another_proxy, user));
    }
    assert_eq!(left, 0);
    // Variance n p (1 - p): 4,750 and 18,750; compared as squares, 16 of them.
    assert!((at_5 - 5_000).pow(2) <= 16 * 4_750, "{at_5}");
    assert!((at_25 - 25_000).pow(2) <= 16 * 18_750, "{at_25}");
}

#[test]
fn shares_of_three_variants_are_within_4_sigma() {
    let rig = Rig::new(&one(
        r#""variants": [{"name": "stable", "weight": 66.67}, {"name": "b", "weight": 22.22}, {"name": "c", "weight": 11.11}]"#,
    ));
    let mut counts = [0_i64; 3];
    let names = ["checkout-v2:stable", "checkout-v2:b", "checkout-v2:c"];
    for user in 0..USERS {
        let (variant, _) = rig.user(&format!("user-{user}"));
        counts[names.iter().position(|n| *n == variant).unwrap()] += 1;
    }
    for (count, basis_points) in counts.iter().zip([6_667_i64, 2_222, 1_111]) {
        let variance = 10 * basis_points * (10_000 - basis_points) / 10_000;
        assert!(
            (count - 10 * basis_points).pow(2) <= 16 * variance,
            "{counts:?}"
        );
    }
}

/// Chi-square with 99 degrees of freedom over 100 classes; above 161.3 with a probability of 0.0001.
#[test]
fn buckets_are_uniform_for_every_salt() {
    let mut worst = 0;
    for salt in 0..20 {
        let flag = format!("flag-{salt}");
        let mut classes = [0_i64; 100];
        for user in 0..FEWER {
            classes[usize::from(bucket(&flag, format!("user-{user}").as_bytes()) / 100)] += 1;
        }
        let sum: i64 = classes.iter().map(|n| (n - 200).pow(2)).sum();
        worst = worst.max(sum / 200);
    }
    assert!(worst < 161, "{worst}");
}

/// Whoever is on the canary of one flag is not more often on that of another: chi-square with one degree of
/// freedom for each pair of 8 salts; above 15.14 with a probability of 0.0001.
#[test]
fn flags_are_independent_of_each_other() {
    let side = |salt: u32, user: u32| {
        bucket(&format!("flag-{salt}"), format!("user-{user}").as_bytes()) < 2_500
    };
    let sides: Vec<Vec<bool>> = (0..8)
        .map(|salt| (0..FEWER).map(|user| side(salt, user)).collect())
        .collect();
    for a in 0..8 {
        for b in a + 1..8 {
            let count = |x, y| {
                let pairs = sides[a].iter().zip(&sides[b]);
                i128::try_from(pairs.filter(|p| *p == (&x, &y)).count()).unwrap()
            };
            let (tt, tf, ft, ff) = (
                count(true, true),
                count(true, false),
                count(false, true),
                count(false, false),
            );
            let top = i128::from(FEWER) * (tt * ff - tf * ft).pow(2);
            let bottom = (tt + tf) * (ft + ff) * (tt + ft) * (tf + ff);
            assert!(top * 100 < bottom * 1_514, "flags {a} and {b}");
        }
    }
}

fn ids(weights: &[u16]) -> Vec<(VariantId, u16)> {
    weights
        .iter()
        .enumerate()
        .map(|(i, w)| (VariantId(i), *w))
        .collect()
}

/// How many buckets each of four variants has.
fn sizes(split: &Split, ramp_weight: u16) -> [u64; 4] {
    let mut sizes = [0; 4];
    for bucket in 0..10_000 {
        sizes[split.pick(bucket, ramp_weight).unwrap().0] += 1;
    }
    sizes
}

#[test]
fn variants_lie_side_by_side_and_the_default_takes_the_rest() {
    let split = Split::fixed(&ids(&[9_000, 700, 300]), VariantId(0));
    let pick = |bucket| split.pick(bucket, 0).unwrap().0;
    assert_eq!(
        [0, 699, 700, 999, 1_000, 9_999].map(pick),
        [1, 1, 2, 2, 0, 0]
    );
    assert_eq!(split.pick(10_000, 0), None);
}

#[test]
fn a_ramp_of_two_takes_the_first_buckets() {
    let split = Split::ramped(&ids(&[9_500, 500]), VariantId(0), VariantId(1));
    for weight in [0, 1, 500, 2_500, 9_999, 10_000] {
        for bucket in 0..10_000 {
            let expected = usize::from(bucket < weight);
            assert_eq!(split.pick(bucket, weight), Some(VariantId(expected)));
        }
    }
}

#[test]
fn a_ramp_takes_the_same_share_of_each_other() {
    // The others stand at 60 : 30, the ramp at 10 %: 6,000, 3,000 and 1,000 buckets.
    let split = Split::ramped(&ids(&[6_000, 3_000, 1_000]), VariantId(0), VariantId(2));
    assert_eq!(sizes(&split, 0), [6_667, 3_333, 0, 0]);
    assert_eq!(sizes(&split, 1_000), [6_000, 3_000, 1_000, 0]);
    assert_eq!(sizes(&split, 5_000), [3_334, 1_666, 5_000, 0]);
    assert_eq!(sizes(&split, 10_000), [0, 0, 10_000, 0]);
}

#[test]
fn where_the_others_have_no_weight_the_default_shrinks() {
    for weights in [&[0, 10_000, 0][..], &[]] {
        let split = Split::ramped(&ids(weights), VariantId(0), VariantId(1));
        assert_eq!(sizes(&split, 2_500), [7_500, 2_500, 0, 0]);
    }
}

/// Four weights that add up to 10,000, any of them may be 0.
fn four_weights() -> impl Strategy<Value = [u16; 4]> {
    let cut = || 0_u16..=10_000;
    (cut(), cut(), cut()).prop_map(|(a, b, c)| {
        let mut cuts = [a, b, c];
        cuts.sort_unstable();
        [
            cuts[0],
            cuts[1] - cuts[0],
            cuts[2] - cuts[1],
            10_000 - cuts[2],
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_variant_has_exactly_its_buckets(weights in four_weights(), default in 0_usize..4) {
        let split = Split::fixed(&ids(&weights), VariantId(default));
        prop_assert_eq!(sizes(&split, 0), weights.map(u64::from));
    }

    #[test]
    fn on_the_way_up_everybody_stays_or_joins_the_ramp(
        weights in four_weights(),
        (default, step) in (0_usize..4, 1_usize..4),
        mut ramp in [0_u16..=10_000, 0_u16..=10_000],
    ) {
        ramp.sort_unstable();
        let ramped = VariantId((default + step) % 4);
        let split = Split::ramped(&ids(&weights), VariantId(default), ramped);
        for bucket in 0..10_000 {
            let before = split.pick(bucket, ramp[0]);
            let after = split.pick(bucket, ramp[1]);
            prop_assert!(after == before || after == Some(ramped), "{bucket}: {before:?} -> {after:?}");
        }
    }

    #[test]
    fn a_ramp_has_exactly_its_weight_and_the_others_shrink_in_proportion(
        weights in four_weights(),
        (default, step) in (0_usize..4, 1_usize..4),
        ramp in 0_u16..=10_000,
    ) {
        let ramped = (default + step) % 4;
        let split = Split::ramped(&ids(&weights), VariantId(default), VariantId(ramped));
        let (whole, now) = (sizes(&split, 0), sizes(&split, ramp));
        prop_assert_eq!(now[ramped], u64::from(ramp));
        for variant in (0..4).filter(|v| *v != ramped) {
            let exact = whole[variant] * u64::from(10_000 - ramp);
            let off = (now[variant] * 10_000).abs_diff(exact);
            // Rounding: of four ranges each is at most two buckets off.
            prop_assert!(off <= 20_000, "{whole:?} {now:?}");
        }
    }

    #[test]
    fn a_ramp_that_has_not_begun_changes_nothing_for_the_others(a in 0_u16..=10_000) {
        let weights = ids(&[10_000 - a, a, 0]);
        let with = Split::ramped(&weights, VariantId(0), VariantId(2));
        let without = Split::fixed(&weights, VariantId(0));
        for bucket in 0..10_000 {
            prop_assert_eq!(with.pick(bucket, 0), without.pick(bucket, 0));
        }
    }
}
