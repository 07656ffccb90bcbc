//! Whether a difference is more than chance, looked at as often as one likes. Integers only: logarithms and roots are fixed
//! point with 40 bits behind the point.
//!
//! **The statistic** is the log likelihood ratio G of binomial counts: how much better the shares that were seen explain the
//! counts than the harmless hypothesis does. It is about z^2 / 2, but right for small shares, too.
//! - against a limit p: `G = k ln(k / (n p)) + (n - k) ln((n - k) / (n (1 - p)))`
//! - between two variants: the same for each of them against the share of both together
//!
//! **The bound** is corrected for repeated looks in two ways:
//! 1. For counts that grow from one beginning it is the one-sided normal mixture boundary (Robbins 1970; Howard, Ramdas,
//!    McAuliffe, Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences", Annals of Statistics
//!    49(2), 2021, equation 14): `u(v)^2 = 2 (v + r) ln(1 + sqrt((v + r) / r) / (2 a))`. The chance that the difference *ever*
//!    passes it is at most a, however often and whenever one looks. In terms of G: `u(v)^2 / 2v`. `r` makes it
//!    tightest at the least number of samples.
//! 2. A window slides, so there are as many beginnings in it as it has slots; by the union bound each gets `a = alpha / slots`.
//!    Then *every* beginning may be looked at, which finds a sudden fault as fast as a new window would.
//!
//! So `alpha` is the chance of a false alarm of one rule in the length of one window.

use super::windows::SLOTS;

/// Bits behind the point.
const POINT: u32 = 40;
const ONE: i128 = 1 << POINT;

/// ln 2.
const LN_2: i128 = 762_123_384_786;

/// `hits` out of `of`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    hits: u64,
    of: u64,
}

/// A log likelihood ratio, in fixed point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Evidence(i128);

impl Share {
    /// More hits than all are all.
    #[must_use]
    pub fn new(hits: u64, of: u64) -> Self {
        Self {
            hits: hits.min(of),
            of,
        }
    }

    /// Those that are no hits.
    #[must_use]
    pub fn rest(self) -> Self {
        Self {
            hits: self.of.saturating_sub(self.hits),
            of: self.of,
        }
    }

    /// How many hits there are.
    #[must_use]
    pub fn hits(self) -> u64 {
        self.hits
    }

    /// Out of how many.
    #[must_use]
    pub fn of(self) -> u64 {
        self.of
    }

    /// Hundredths of a percent, rounded to the nearest.
    #[must_use]
    pub fn basis_points(self) -> u64 {
        let of = u128::from(self.of);
        let scaled = u128::from(self.hits)
            .saturating_mul(10_000)
            .saturating_add(of / 2);
        scaled
            .checked_div(of)
            .and_then(|n| u64::try_from(n).ok())
            .unwrap_or(0)
    }

    fn is_above(self, hits: u64, of: u64) -> bool {
        let left = u128::from(self.hits).saturating_mul(u128::from(of));
        left > u128::from(hits).saturating_mul(u128::from(self.of))
    }

    /// Evidence that the true share is above `limit` basis points.
    #[must_use]
    pub fn above_limit(self, limit: u64) -> Evidence {
        if !self.is_above(limit, 10_000) {
            return Evidence(0);
        }
        let (n, rest) = (ln(self.of), self.rest().hits);
        let against = |hits: u64, basis_points: u64| {
            // No hits where none can be: the likelihood is 1.
            if hits == 0 {
                return 0;
            }
            let ratio = ln(hits)
                .saturating_sub(n)
                .saturating_sub(ln(basis_points.max(1)))
                .saturating_add(ln(10_000));
            i128::from(hits).saturating_mul(ratio)
        };
        let limit = limit.min(10_000);
        let g = against(self.hits, limit)
            .saturating_add(against(rest, 10_000_u64.saturating_sub(limit)));
        Evidence(g.max(0))
    }

    /// Evidence that the true share is above another one's.
    #[must_use]
    pub fn above(self, other: Self) -> Evidence {
        if !self.is_above(other.hits, other.of) {
            return Evidence(0);
        }
        let both = Self {
            hits: self.hits.saturating_add(other.hits),
            of: self.of.saturating_add(other.of),
        };
        let each = self.likelihood().saturating_add(other.likelihood());
        Evidence(each.saturating_sub(both.likelihood()).max(0))
    }

    /// The highest log likelihood that any share gives these counts.
    fn likelihood(self) -> i128 {
        let x_ln_x = |x: u64| i128::from(x).saturating_mul(ln(x));
        x_ln_x(self.hits)
            .saturating_add(x_ln_x(self.rest().hits))
            .saturating_sub(x_ln_x(self.of))
    }

    /// Whether the share is more than `ratio` (in basis points: 15,000 is 1.5) times another one's, with a margin in standard
    /// errors of the ratio's logarithm (delta method, half a hit added to each side): fifty times the square of the variance,
    /// and two at most. With 10 hits on each side that is two, with 20 it is a half, with 50 next to nothing.
    #[must_use]
    pub fn beyond(self, other: Self, ratio: u64) -> bool {
        let doubled = |s: Self| {
            let hits = s.hits.saturating_mul(2).saturating_add(1);
            (hits, s.of.saturating_mul(2).saturating_add(2))
        };
        let ((a, all_a), (b, all_b)) = (doubled(self), doubled(other));
        let distance = ln(a)
            .saturating_sub(ln(all_a))
            .saturating_sub(ln(b))
            .saturating_add(ln(all_b))
            .saturating_sub(ln(ratio.max(1)))
            .saturating_add(ln(10_000));
        let two_over = |n: u64| (ONE << 1).checked_div(i128::from(n)).unwrap_or(0);
        let variance = two_over(a)
            .saturating_sub(two_over(all_a))
            .saturating_add(two_over(b))
            .saturating_sub(two_over(all_b));
        let square = |x: i128| x.saturating_mul(x) >> POINT;
        let margin = square(square(variance).saturating_mul(50)).min(ONE << 2);
        distance > 0 && distance.saturating_mul(distance) >= variance.saturating_mul(margin)
    }
}

/// What evidence must pass; see the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// `r`: samples at which the bound is tightest, divided by how much that takes; fixed point.
    mixture: i128,
    /// `1 / (2 a)`, fixed point.
    odds: i128,
}

impl Bound {
    /// For a chance of a false alarm of `alpha` millionths for each rule and window, and this least number of samples.
    #[must_use]
    pub fn new(alpha: u32, least: u64) -> Self {
        let slots = i128::from(SLOTS).saturating_mul(1_000_000);
        let odds = slots
            .saturating_mul(ONE)
            .checked_div(i128::from(alpha.max(1)).saturating_mul(2))
            .unwrap_or(ONE)
            .max(ONE);
        // Tightest at v = r (2 L + ln(1 + 2 L)), L = ln(1 / (2 a)): Howard et al., section 3.5.
        let twice = ln_fixed(odds).saturating_mul(2);
        let spread = twice.saturating_add(ln_fixed(twice.saturating_add(ONE)));
        let mixture = i128::from(least.max(1))
            .saturating_mul(ONE)
            .saturating_mul(ONE)
            .checked_div(spread.max(1))
            .unwrap_or(ONE);
        Self { mixture, odds }
    }

    /// The evidence that is needed with one variant's `samples`.
    #[must_use]
    pub fn at(self, samples: u64) -> Evidence {
        self.at_information(i128::from(samples.max(1)).saturating_mul(ONE))
    }

    /// The evidence that is needed between two variants: their samples count as much as `n m / (n + m)` against a limit.
    #[must_use]
    pub fn between(self, n: u64, m: u64) -> Evidence {
        let product = i128::from(n).saturating_mul(i128::from(m));
        let sum = i128::from(n).saturating_add(i128::from(m)).max(1);
        let whole = product.checked_div(sum).unwrap_or(0).max(1);
        self.at_information(whole.saturating_mul(ONE))
    }

    fn at_information(self, v: i128) -> Evidence {
        // (v + r) / r
        let grown = v
            .saturating_add(self.mixture)
            .saturating_mul(ONE)
            .checked_div(self.mixture.max(1))
            .unwrap_or(ONE);
        let root = i128::try_from((grown.unsigned_abs() << POINT).isqrt()).unwrap_or(ONE);
        let inside = (root.saturating_mul(self.odds) >> POINT).saturating_add(ONE);
        // (1 + r / v) ln(..)
        let needed = ln_fixed(inside)
            .saturating_mul(grown)
            .checked_div(grown.saturating_sub(ONE).max(1))
            .unwrap_or(i128::MAX);
        Evidence(needed)
    }
}

impl Evidence {
    /// In hundredths, for people.
    #[must_use]
    pub fn hundredths(self) -> u64 {
        u64::try_from(self.0.saturating_mul(100) >> POINT).unwrap_or(u64::MAX)
    }
}

/// The natural logarithm of a whole number, in fixed point; 0 for 0, which is only ever multiplied with 0.
fn ln(x: u64) -> i128 {
    if x == 0 {
        return 0;
    }
    ln_of_raw(u128::from(x))
}

/// The natural logarithm of a number in fixed point, at least 1.
fn ln_fixed(x: i128) -> i128 {
    let raw = x.max(ONE).unsigned_abs();
    ln_of_raw(raw).saturating_sub(LN_2.saturating_mul(i128::from(POINT)))
}

/// The binary logarithm, one bit at a time (the mantissa is squared; whether it passes 2 is the next bit), times ln 2.
fn ln_of_raw(x: u128) -> i128 {
    let Some(power) = x.checked_ilog2() else {
        return 0;
    };
    // In [2^62, 2^63): squares fit.
    let mut mantissa = if power >= 62 {
        x >> power.saturating_sub(62)
    } else {
        x << 62_u32.saturating_sub(power)
    };
    let mut log = u128::from(power);
    for _ in 0..POINT {
        mantissa = mantissa.saturating_mul(mantissa) >> 62;
        log <<= 1;
        if mantissa >= 1 << 63 {
            mantissa >>= 1;
            log |= 1;
        }
    }
    i128::try_from(log)
        .map(|log| log.saturating_mul(LN_2) >> POINT)
        .unwrap_or(0)
}

#[cfg(test)]
pub(super) fn test_ln(x: u64) -> i128 {
    ln(x)
}
