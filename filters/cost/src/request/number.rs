//! JSON numbers as exact integers.

/// A number in millionths, exact: `0.7` is 700000, `1e3` is 1000000000. `None` if it is negative, has more than six
/// decimals, or does not fit.
#[must_use]
pub fn millionths(digits: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok()?;
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    // -0 is a number, too.
    let is_zero = |s: &str| s.bytes().all(|b| b == b'0');
    let whole = match whole.strip_prefix('-') {
        Some(whole) if is_zero(whole) && is_zero(fraction) => whole,
        Some(_) => return None,
        None => whole,
    };
    let mut number = 0_u64;
    for digit in whole.bytes().chain(fraction.bytes()) {
        let digit = digit.checked_sub(b'0').filter(|d| *d < 10)?;
        number = number.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    if number == 0 {
        return Some(0);
    }
    let decimals = i32::try_from(fraction.len()).ok()?;
    let shift = exponent.checked_add(6)?.checked_sub(decimals)?;
    let scale = 10_u64.checked_pow(shift.unsigned_abs());
    if shift >= 0 {
        number.checked_mul(scale?)
    } else {
        let scale = scale?;
        let exact = number.checked_rem(scale)? == 0;
        exact.then(|| number.checked_div(scale)).flatten()
    }
}
