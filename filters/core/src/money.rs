//! Exact money: integer picounits (10^-12) of one currency.
//!
//! A token at 0.000005 is 5,000,000 pico; the most that fits is about 18.4 million units, which
//! bounds budgets, not prices. There is no floating point and no rounding but in [`Money::rounded`].

use std::fmt;

/// An amount in picounits of the price table's currency. Never negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money(u64);

const PICO_PER_UNIT: u64 = 1_000_000_000_000;
const DECIMALS: usize = 12;
/// A millionth of a unit: few amounts have more decimals.
const MICRO_UNIT: u64 = 1_000_000;

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest amount.
    pub const MAX: Self = Self(u64::MAX);

    /// From picounits.
    #[must_use]
    pub const fn from_pico(pico: u64) -> Self {
        Self(pico)
    }

    /// In picounits.
    #[must_use]
    pub const fn pico(self) -> u64 {
        self.0
    }

    /// Reads a plain decimal, `12`, `0.0020`: digits, at most one point, at most 12 decimals.
    /// `None` for anything else (signs, exponents, blanks) and for what does not fit.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = match text.split_once('.') {
            Some((_, "")) => return None,
            Some(halves) => halves,
            None => (text, ""),
        };
        let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || fraction.len() > DECIMALS || !digits(whole) || !digits(fraction) {
            return None;
        }
        let units: u64 = whole.parse().ok()?;
        let mut pico = 0_u64;
        for i in 0..DECIMALS {
            let digit = fraction
                .as_bytes()
                .get(i)
                .map_or(0, |b| b.saturating_sub(b'0'));
            pico = pico.checked_mul(10)?.checked_add(u64::from(digit))?;
        }
        units
            .checked_mul(PICO_PER_UNIT)?
            .checked_add(pico)
            .map(Self)
    }

    /// The sum, or `None` if it does not fit.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The sum, at most [`Money::MAX`].
    #[must_use]
    pub fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference, at least zero.
    #[must_use]
    pub fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// `n` times the amount, or `None` if it does not fit.
    #[must_use]
    pub fn checked_mul(self, n: u64) -> Option<Self> {
        self.0.checked_mul(n).map(Self)
    }

    /// `n` times the amount, at most [`Money::MAX`].
    #[must_use]
    pub fn saturating_mul(self, n: u64) -> Self {
        Self(self.0.saturating_mul(n))
    }

    /// Rounded half up to `decimals` places, for showing only.
    #[must_use]
    pub fn rounded(self, decimals: u32) -> Self {
        let step = 10_u64
            .checked_pow(12_u32.saturating_sub(decimals))
            .unwrap_or(1);
        let half = step.checked_div(2).unwrap_or(0);
        let steps = self.0.saturating_add(half).checked_div(step).unwrap_or(0);
        Self(steps.saturating_mul(step))
    }
}

/// An amount as text, see [`Money::text`]; it lies on the stack.
#[derive(Clone, Copy, Debug)]
pub struct MoneyText {
    /// Filled from the right.
    bytes: [u8; MOST_TEXT],
    start: usize,
}

/// The most that an amount takes: `18446744.073709551615`.
const MOST_TEXT: usize = 21;

impl MoneyText {
    /// The text; ASCII.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

impl AsRef<[u8]> for MoneyText {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl Money {
    /// Plain decimal without trailing zeros, what `float()` and `Decimal()` of any client can read: `0.0021`, `0`, `12.5`.
    /// Every answer with a cost header asks for it, so it needs neither memory nor the formatting machinery.
    #[must_use]
    #[inline(never)]
    pub fn text(self) -> MoneyText {
        let mut bytes = [0; MOST_TEXT];
        let mut places = bytes.iter_mut().rev();
        let mut put = |byte| {
            if let Some(place) = places.next() {
                *place = byte;
            }
        };
        // From the last decimal to the first digit of the units: one loop is little code.
        let (mut rest, mut decimals, mut started) = (self.0, DECIMALS, false);
        if rest.checked_rem(MICRO_UNIT) == Some(0) {
            rest = rest.checked_div(MICRO_UNIT).unwrap_or(0);
            decimals = 6;
        }
        loop {
            let digit = rest.checked_rem(10).and_then(|d| u8::try_from(d).ok());
            let digit = digit.unwrap_or(0);
            rest = rest.checked_div(10).unwrap_or(0);
            let is_trailing = digit == 0 && !started && decimals > 0;
            if !is_trailing {
                started = true;
                put(b'0' | digit);
                if decimals == 1 {
                    put(b'.');
                } else if decimals == 0 && rest == 0 {
                    break;
                }
            }
            decimals = decimals.saturating_sub(1);
        }
        let start = places.len();
        MoneyText { bytes, start }
    }
}

/// Appends a number in decimal.
pub fn push_number(text: &mut String, number: u64) {
    text.push_str(itoa::Buffer::new().format(number));
}

/// As [`Money::text`] has it.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text().as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_prices_exactly() {
        assert_eq!(Money::parse("0.0020"), Some(Money(2_000_000_000)));
        assert_eq!(Money::parse("0.000000000001"), Some(Money(1)));
        assert_eq!(Money::parse("12"), Some(Money(12_000_000_000_000)));
        assert_eq!(Money::parse("18446744.073709551615"), Some(Money::MAX));
    }

    #[test]
    fn refuses_what_is_not_a_plain_decimal() {
        for bad in [
            "",
            ".",
            "1.",
            ".5",
            "-1",
            "+1",
            "1e3",
            " 1",
            "1 ",
            "1,5",
            "0x1",
            "1.2.3",
            "٣",
            "0.0000000000001",
            "18446744.073709551616",
            "99999999999999999999",
        ] {
            assert_eq!(Money::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn rounds_only_when_shown() {
        assert_eq!(Money(1_500_000).rounded(6).to_string(), "0.000002");
        assert_eq!(Money(1_499_999).rounded(6).to_string(), "0.000001");
        assert_eq!(Money(7).rounded(12).pico(), 7);
    }

    #[test]
    fn the_largest_and_the_smallest_amounts_are_shown_in_full() {
        assert_eq!(Money::MAX.to_string(), "18446744.073709551615");
        assert_eq!(Money::ZERO.to_string(), "0");
        assert_eq!(Money(1).to_string(), "0.000000000001");
        assert_eq!(Money(PICO_PER_UNIT).to_string(), "1");
        assert_eq!(Money(10 * PICO_PER_UNIT).to_string(), "10");
    }

    /// By the formatting machinery.
    fn formatted(Money(pico): Money) -> String {
        let (units, fraction) = (pico / PICO_PER_UNIT, pico % PICO_PER_UNIT);
        let text = format!("{units}.{fraction:012}");
        let text = text.trim_end_matches('0');
        text.strip_suffix('.').unwrap_or(text).to_owned()
    }

    proptest! {
        #[test]
        fn amounts_are_shown_without_trailing_zeros(digits in 0_u64..1_000_000, zeros in 0_u32..14) {
            let amount = Money(digits.saturating_mul(10_u64.pow(zeros)));
            prop_assert_eq!(amount.to_string(), formatted(amount));
        }

        #[test]
        fn any_amount_is_shown_as_it_would_be_formatted(pico: u64) {
            prop_assert_eq!(Money(pico).to_string(), formatted(Money(pico)));
        }

        #[test]
        fn what_is_shown_reads_back_to_the_pico(pico: u64) {
            prop_assert_eq!(Money::parse(&Money(pico).to_string()), Some(Money(pico)));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,40}") {
            let _ = Money::parse(&text);
        }
    }
}
