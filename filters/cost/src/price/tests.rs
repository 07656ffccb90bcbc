use super::*;
use proptest::prelude::*;

fn money(text: &str) -> Money {
    Money::parse(text).unwrap()
}

#[test]
fn the_sum_is_exact() {
    let prices = TokenPrices {
        input: money("0.00001"),
        output: money("0.000005"),
        ..TokenPrices::default()
    };
    let usage = Usage {
        input: 123,
        output: 457,
        ..Usage::default()
    };
    assert_eq!(prices.cost(&usage), Some(money("0.003515")));
}

#[test]
fn a_part_with_its_own_price_leaves_the_whole() {
    let prices = TokenPrices {
        input: money("0.00001"),
        output: money("0.00004"),
        cached_read: Some(money("0.000001")),
        reasoning: Some(money("0.00005")),
        ..TokenPrices::default()
    };
    let usage = Usage {
        input: 1000,
        output: 100,
        cached_read: 900,
        cached_write: 50,
        reasoning: 60,
        ..Usage::default()
    };
    // 100 x 10 + 900 x 1 + 40 x 40 + 60 x 50 millionths
    assert_eq!(prices.cost(&usage), Some(money("0.0065")));
}

#[test]
fn what_a_cache_keeps_for_an_hour_is_a_part_of_what_was_written() {
    let of = |cached_write: Option<&str>, cached_write_1h: Option<&str>| TokenPrices {
        input: money("0.000001"),
        cached_read: Some(money("0.1")),
        cached_write: cached_write.map(money),
        cached_write_1h: cached_write_1h.map(money),
        ..TokenPrices::default()
    };
    let usage = |cached_write, cached_write_1h| Usage {
        input: 1000,
        cached_write,
        cached_write_1h,
        ..Usage::default()
    };
    let cost = |prices: TokenPrices, usage| prices.cost(&usage);
    let both = of(Some("0.001"), Some("0.01"));
    // 400 + 200 x 1000 + 400 x 10000 millionths
    assert_eq!(cost(both, usage(600, 400)), Some(money("4.2004")));
    assert_eq!(cost(both, usage(600, 0)), Some(money("0.6004")));
    // Without a price of its own it is like the rest, or like the prompt.
    assert_eq!(
        cost(of(Some("0.001"), None), usage(600, 400)),
        Some(money("0.6004"))
    );
    assert_eq!(cost(of(None, None), usage(600, 400)), Some(money("0.001")));
    assert_eq!(
        cost(of(None, Some("0.01")), usage(600, 400)),
        Some(money("4.0006"))
    );
    // Never more than was written, nor than the prompt has left.
    assert_eq!(cost(both, usage(600, 700)), Some(money("6.0004")));
    assert_eq!(cost(both, usage(2000, 2000)), Some(money("10")));
    let read = Usage {
        cached_read: 900,
        ..usage(600, 600)
    };
    assert_eq!(both.cost(&read), Some(money("91")));
}

#[test]
fn a_sum_that_fits_no_number_is_none() {
    let prices = TokenPrices {
        input: money("1"),
        ..TokenPrices::default()
    };
    let usage = Usage {
        input: 1_000_000_000,
        ..Usage::default()
    };
    assert_eq!(prices.cost(&usage), None);
}

proptest! {
    #[test]
    fn parts_at_the_price_of_the_whole_change_nothing(
        input in 0_u64..1_000_000, output in 0_u64..1_000_000, cached: u64, reasoning: u64,
        rate in 0_u64..1_000_000_000,
    ) {
        let usage = Usage {
            input, output, cached_read: cached.min(input), cached_write: 0, cached_write_1h: 0, reasoning: reasoning.min(output),
        };
        let rate = Money::from_pico(rate);
        let whole = TokenPrices { input: rate, output: rate, ..TokenPrices::default() };
        let parts = TokenPrices { cached_read: Some(rate), reasoning: Some(rate), ..whole };
        prop_assert_eq!(whole.cost(&usage), parts.cost(&usage));
        prop_assert_eq!(whole.cost(&usage).map(Money::pico), Some(rate.pico() * (input + output)));
    }
}

mod sums {
    use crate::price::ONE;
    use crate::price::amount::{Per, Sum};
    use proptest::prelude::*;
    use tollgate_core::Money;

    fn pico(n: u64) -> Money {
        Money::from_pico(n)
    }

    #[test]
    fn parts_are_added_before_they_are_rounded() {
        let mut sum = Sum::default();
        for _ in 0..1024 {
            sum.add_part(pico(1), 1, Per::Kib).unwrap();
        }
        assert_eq!(sum.times(ONE), Some(pico(1)));
        sum.add_part(pico(1), 1, Per::Second).unwrap();
        assert_eq!(sum.times(ONE), Some(pico(2)), "up");
        assert_eq!(sum.times(0), Some(Money::ZERO));
    }

    #[test]
    fn a_factor_is_exact() {
        let mut sum = Sum::default();
        sum.add(pico(1_000_000)).unwrap();
        assert_eq!(sum.times(800_000), Some(pico(800_000)));
        assert_eq!(sum.times(1), Some(pico(1)));
        assert_eq!(sum.times(1_000_000_000), Some(pico(1_000_000_000)));
    }

    #[test]
    fn what_does_not_fit_is_none() {
        let mut sum = Sum::default();
        sum.add(Money::MAX).unwrap();
        assert_eq!(sum.times(ONE), Some(Money::MAX));
        assert_eq!(sum.times(ONE + 1), None);
        sum.add(pico(1)).unwrap();
        assert_eq!(sum.times(ONE), None);
        assert_eq!(
            Sum::default().add_part(Money::MAX, u64::MAX, Per::Million),
            None
        );
    }

    proptest! {
        #[test]
        fn a_sum_is_the_next_whole_picounit(
            base in 0_u64..1 << 50, price in 0_u64..1 << 40, bytes in 0_u64..1 << 30, nanos in 0_u64..1 << 40,
            units in 0_u64..1 << 40, factor in 0_u64..5_000_000,
        ) {
            let mut sum = Sum::default();
            sum.add(pico(base)).unwrap();
            sum.add_part(pico(price), bytes, Per::Kib).unwrap();
            sum.add_part(pico(price), nanos, Per::Second).unwrap();
            sum.add_part(pico(price), units, Per::Million).unwrap();
            // The same over one common denominator, in another order.
            let (price, base) = (u128::from(price), u128::from(base));
            let denominator = 1024 * 1_000_000_000_u128;
            let numerator = base * denominator
                + price * u128::from(bytes) * 1_000_000_000
                + price * u128::from(nanos) * 1024
                + price * u128::from(units) * 1024 * 1000;
            let exact = numerator.checked_mul(u128::from(factor));
            if let Some(exact) = exact {
                let expected = exact.div_ceil(denominator * 1_000_000);
                prop_assert_eq!(sum.times(factor).map(|m| u128::from(m.pico())), u64::try_from(expected).ok().map(u128::from));
            }
        }
    }
}
