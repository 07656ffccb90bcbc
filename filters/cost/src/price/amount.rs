//! Exact sums of prices, parts of units included: rounded once, at the end, up to the next picounit.

use crate::price::ONE;
use tollgate_core::Money;

/// A picounit has this many parts: a KiB, a nanosecond and a millionth of a unit all divide it, 2^10 x 5^9.
const PARTS: u128 = 1_953_125 * 1_024;

/// What a price is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    /// 1024 bytes, counted in bytes.
    Kib,
    /// A second, counted in nanoseconds.
    Second,
    /// A unit, counted in millionths.
    Million,
}

impl Per {
    const fn divisor(self) -> u128 {
        match self {
            Self::Kib => 1_024,
            Self::Second => 1_000_000_000,
            Self::Million => 1_000_000,
        }
    }
}

/// A sum in parts of picounits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u128);

impl Sum {
    /// Adds an amount; `None` if that does not fit.
    #[must_use]
    pub fn add(&mut self, amount: Money) -> Option<()> {
        let parts = u128::from(amount.pico()).checked_mul(PARTS)?;
        self.0 = self.0.checked_add(parts)?;
        Some(())
    }

    /// Adds the price of `count`; `None` if that does not fit.
    #[must_use]
    pub fn add_part(&mut self, price: Money, count: u64, per: Per) -> Option<()> {
        let parts = u128::from(price.pico())
            .checked_mul(u128::from(count))?
            .checked_mul(PARTS.checked_div(per.divisor())?)?;
        self.0 = self.0.checked_add(parts)?;
        Some(())
    }

    /// The sum times a factor in millionths; `None` if that fits no amount. Here it is rounded.
    #[must_use]
    pub fn times(self, factor: u64) -> Option<Money> {
        let pico = if factor == ONE {
            self.0.div_ceil(PARTS)
        } else {
            let divisor = PARTS.checked_mul(u128::from(ONE))?;
            self.0.checked_mul(u128::from(factor))?.div_ceil(divisor)
        };
        u64::try_from(pico).ok().map(Money::from_pico)
    }
}
