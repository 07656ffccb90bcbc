//! Durations and timestamps as the table writes them.

use std::fmt;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// A length of time in nanoseconds: `10s`, `1h30m`, `-5m`, units d h m s ms us ns.
#[derive(Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord)]
pub struct Span(pub i64);

/// A unix time in nanoseconds: `2026-11-21T12:00:00Z`, with up to nine decimals of a second.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(pub i64);

/// The time of every scenario that names none.
pub const DEFAULT: &str = "2026-11-21T12:00:00Z";

impl Default for Instant {
    fn default() -> Self {
        parse_instant(DEFAULT).unwrap_or(Self(0))
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ns", self.0)
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unix {} ns", self.0)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_span(&text)
            .ok_or_else(|| D::Error::custom(format!("not a duration such as 1m30s: {text}")))
    }
}

impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_instant(&text)
            .ok_or_else(|| D::Error::custom(format!("not a time such as {DEFAULT}: {text}")))
    }
}

fn parse_span(text: &str) -> Option<Span> {
    let (sign, mut rest) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let mut total: i64 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: i64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "d" => 86_400_000_000_000,
            "h" => 3_600_000_000_000,
            "m" => 60_000_000_000,
            "s" => 1_000_000_000,
            "ms" => 1_000_000,
            "us" => 1_000,
            "ns" => 1,
            _ => return None,
        };
        rest = &rest[letters..];
        total = total.checked_add(number.checked_mul(unit)?)?;
    }
    Some(Span(sign * total))
}

fn parse_instant(text: &str) -> Option<Instant> {
    let (date, clock) = text.strip_suffix('Z')?.split_once('T')?;
    let numbers = |text: &str, separator: char| -> Option<[i64; 3]> {
        let parts: Vec<i64> = text
            .split(separator)
            .map(|part| part.parse().ok())
            .collect::<Option<_>>()?;
        parts.try_into().ok()
    };
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let [year, month, day] = numbers(date, '-')?;
    let [hour, minute, second] = numbers(clock, ':')?;
    if !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
        || hour > 23
        || minute > 59
        || second > 59
        || fraction.len() > 9
    {
        return None;
    }
    // Days from the civil date: Howard Hinnant, chrono-Compatible Low-Level Date Algorithms.
    let shifted = if month > 2 { year } else { year - 1 };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let era = shifted.div_euclid(400);
    let year_of_era = shifted.rem_euclid(400);
    let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100
        + day_of_year
        - 719_468;
    let nanos: i64 = format!("{fraction:0<9}").parse().ok()?;
    Some(Instant(
        (days * 86_400 + hour * 3600 + minute * 60 + second) * 1_000_000_000 + nanos,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        assert_eq!(parse_span("1h30m"), Some(Span(5_400_000_000_000)));
        assert_eq!(parse_span("-1500ms"), Some(Span(-1_500_000_000)));
        for bad in ["", "-", "5", "s", "5 s", "5w"] {
            assert_eq!(parse_span(bad), None, "{bad}");
        }
    }

    #[test]
    fn instants() {
        assert_eq!(parse_instant("1970-01-01T00:00:00Z"), Some(Instant(0)));
        assert_eq!(
            parse_instant("2024-02-29T23:59:59.5Z"),
            Some(Instant(1_709_251_199_500_000_000))
        );
        assert_eq!(
            parse_instant(DEFAULT),
            Some(Instant(1_795_262_400_000_000_000))
        );
        for bad in [
            "2026-11-21",
            "2026-13-01T00:00:00Z",
            "2026-11-21T12:00:00+01:00",
        ] {
            assert_eq!(parse_instant(bad), None, "{bad}");
        }
    }
}
