//! Time as values: durations and instants as people write them, and the civil calendar.
//!
//! Instants are nanoseconds since the Unix epoch, UTC, without leap seconds, as the proxy gives them.

mod civil;
mod reader;

pub use civil::Date;

use civil::{days_from_civil, days_in_month};
use reader::Reader;
use std::fmt;

/// Nanoseconds in a second.
pub const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = SECOND * 60;
const HOUR: u64 = MINUTE * 60;
const DAY: u64 = HOUR * 24;

/// A wall-clock instant: nanoseconds since 1970-01-01T00:00:00Z, up to the year 2554.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixNanos(pub u64);

impl UnixNanos {
    /// From whole seconds.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(SECOND))
    }

    /// Whole seconds, rounded down.
    #[must_use]
    pub const fn secs(self) -> u64 {
        self.0 / SECOND
    }

    /// Later by `duration`.
    #[must_use]
    pub const fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration.0))
    }

    /// How long ago `earlier` was; zero if it was not.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration(self.0.saturating_sub(earlier.0))
    }

    /// Reads RFC 3339, `2026-12-31T00:00:00Z`, offset and up to 9 decimals allowed, or a date alone
    /// (its first moment in UTC). `None` before 1970, for impossible dates and leap seconds.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let mut date = Reader { bytes, at: 0 };
        let year = date.number(4)?;
        date.literal(b'-')?;
        let month = date.number(2)?;
        date.literal(b'-')?;
        let day = date.number(2)?;
        if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
            return None;
        }
        let days = u64::try_from(days_from_civil(year, month, day)).ok()?;
        if date.at == bytes.len() {
            return days.checked_mul(DAY).map(Self);
        }
        if !matches!(date.next()?, b'T' | b't' | b' ') {
            return None;
        }
        let hour = date.number(2)?;
        date.literal(b':')?;
        let minute = date.number(2)?;
        date.literal(b':')?;
        let second = date.number(2)?;
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let nanos = date.fraction()?;
        let offset = date.offset()?;
        if date.at != bytes.len() {
            return None;
        }
        let local = days
            .checked_mul(DAY)?
            .checked_add(hour.checked_mul(HOUR)?)?
            .checked_add(minute.checked_mul(MINUTE)?)?
            .checked_add(second.checked_mul(SECOND)?)?
            .checked_add(nanos)?;
        i128::from(local)
            .checked_sub(i128::from(offset).checked_mul(i128::from(SECOND))?)
            .and_then(|n| u64::try_from(n).ok())
            .map(Self)
    }

    /// The civil date in UTC.
    #[must_use]
    pub fn date(self) -> Date {
        Date::from_days(self.0 / DAY)
    }
}

/// RFC 3339 in UTC with second precision: `2026-11-21T05:00:00Z`.
impl fmt::Display for UnixNanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let date = self.date();
        let seconds = self.secs() % 86_400;
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
            date.year,
            date.month,
            date.day,
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        )
    }
}

/// A span of time in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(pub u64);

impl Duration {
    /// From whole seconds.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(SECOND))
    }

    /// From whole milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// Whole seconds, rounded up: what `Retry-After` needs so as never to be too early.
    #[must_use]
    pub const fn secs_ceil(self) -> u64 {
        self.0.div_ceil(SECOND)
    }

    /// Whole milliseconds, rounded up.
    #[must_use]
    pub const fn millis_ceil(self) -> u64 {
        self.0.div_ceil(1_000_000)
    }

    /// Reads `250ms`, `60s`, `10m`, `24h`, `90d` and sums such as `1h30m`. Units: `ns us ms s m h d`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut rest = text;
        let mut total = 0_u64;
        if rest.is_empty() {
            return None;
        }
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, tail) = rest.split_at_checked(digits)?;
            let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
            let (unit, tail) = tail.split_at_checked(letters)?;
            let nanos = match unit {
                "ns" => 1,
                "us" => 1_000,
                "ms" => 1_000_000,
                "s" => SECOND,
                "m" => MINUTE,
                "h" => HOUR,
                "d" => DAY,
                _ => return None,
            };
            let number: u64 = number.parse().ok()?;
            total = total.checked_add(number.checked_mul(nanos)?)?;
            rest = tail;
        }
        Some(Self(total))
    }
}

/// The shortest form that reads back: `90d`, `1m`, `1500ms`.
impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [
            (DAY, "d"),
            (HOUR, "h"),
            (MINUTE, "m"),
            (SECOND, "s"),
            (1_000_000, "ms"),
            (1_000, "us"),
        ];
        for (nanos, unit) in units {
            if self.0 != 0 && self.0.is_multiple_of(nanos) {
                return write!(f, "{}{unit}", self.0.checked_div(nanos).unwrap_or(0));
            }
        }
        write!(f, "{}ns", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_instants() {
        let at = |s: &str| UnixNanos::parse(s).map(UnixNanos::secs);
        assert_eq!(at("1970-01-01"), Some(0));
        assert_eq!(at("2026-11-21T05:00:00Z"), Some(1_795_237_200));
        assert_eq!(at("2026-11-21T06:00:00+01:00"), Some(1_795_237_200));
        assert_eq!(at("2024-02-29T23:59:59-00:30"), Some(1_709_252_999));
        assert_eq!(
            UnixNanos::parse("2026-11-21T05:00:00.000000001Z"),
            Some(UnixNanos(1_795_237_200_000_000_001))
        );
    }

    #[test]
    fn refuses_impossible_instants() {
        for bad in [
            "",
            "2026",
            "2026-13-01",
            "2026-02-29",
            "2026-04-31",
            "2026-00-10",
            "1969-12-31",
            "2026-11-21T24:00:00Z",
            "2026-11-21T23:59:60Z",
            "2026-11-21T05:00:00",
            "2026-11-21T05:00Z",
            "2026-11-21T05:00:00.Z",
            "2026-11-21T05:00:00.0000000001Z",
            "2026-11-21T05:00:00Zx",
            "1970-01-01T00:00:00+01:00",
            "+026-11-21",
        ] {
            assert_eq!(UnixNanos::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn reads_durations() {
        assert_eq!(Duration::parse("1h30m"), Some(Duration::from_secs(5400)));
        assert_eq!(Duration::parse("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(Duration::parse("90d"), Some(Duration(90 * DAY)));
        for bad in [
            "",
            "5",
            "s",
            "1.5s",
            "-1s",
            "1y",
            "1 s",
            "99999999999999999999d",
            "300000000d",
        ] {
            assert_eq!(Duration::parse(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn a_date_reads_back(days in 0_u64..=3_000_000) {
            let date = Date::from_days(days);
            prop_assert_eq!(date.days(), days);
            prop_assert!(date.day >= 1 && date.day <= days_in_month(date.year, date.month));
        }

        #[test]
        fn a_shown_instant_reads_back(secs in 0_u64..=18_000_000_000) {
            let at = UnixNanos::from_secs(secs);
            prop_assert_eq!(UnixNanos::parse(&at.to_string()), Some(at));
        }

        #[test]
        fn a_shown_duration_reads_back(nanos: u64) {
            prop_assert_eq!(Duration::parse(&Duration(nanos).to_string()), Some(Duration(nanos)));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,40}") {
            let _ = (UnixNanos::parse(&text), Duration::parse(&text));
        }
    }
}
