//! When a request was signed: reading the sender's timestamp and holding it against the clock.

use crate::place::Place;
use tollgate_core::time::SECOND;
use tollgate_core::{Duration, UnixNanos};

/// How it is written. Never guessed by the number of digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Seconds since 1970.
    Unix,
    /// Milliseconds since 1970.
    UnixMs,
    /// `2026-11-21T05:00:00Z`, offsets and up to 9 decimals.
    Rfc3339,
    /// `Sat, 21 Nov 2026 05:00:00 GMT` (RFC 9110, 5.6.7, the preferred form only).
    HttpDate,
}

/// The words of the configuration.
pub(crate) const FORMATS: &[(&str, Format)] = &[
    ("unix", Format::Unix),
    ("unix_ms", Format::UnixMs),
    ("rfc3339", Format::Rfc3339),
    ("http-date", Format::HttpDate),
];

/// A timestamp that is part of what is signed.
#[derive(Clone, Debug)]
pub(crate) struct Timestamp {
    pub(crate) source: Place,
    pub(crate) format: Format,
    /// How old it may be.
    pub(crate) tolerance: Duration,
    /// How far in the future it may be.
    pub(crate) future: Duration,
}

/// How far the sender's clock is from ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Skew {
    /// Age; zero if it is in the future.
    pub(crate) behind: Duration,
    /// Zero if it is in the past.
    pub(crate) ahead: Duration,
}

impl Timestamp {
    /// Compares at the precision of the format: what was signed in the same second is not "half a
    /// second too old". Senders' own libraries round down, too.
    pub(crate) fn skew(&self, signed: UnixNanos, now: UnixNanos) -> Skew {
        let unit = match self.format {
            Format::UnixMs => 1_000_000,
            Format::Unix | Format::Rfc3339 | Format::HttpDate => SECOND,
        };
        let floor = |t: UnixNanos| t.0.checked_div(unit).unwrap_or(0);
        let (signed, now) = (floor(signed), floor(now));
        Skew {
            behind: Duration(now.saturating_sub(signed).saturating_mul(unit)),
            ahead: Duration(signed.saturating_sub(now).saturating_mul(unit)),
        }
    }

    /// Whether it is near enough; the edge is inside.
    pub(crate) fn tolerates(&self, skew: Skew) -> bool {
        skew.behind <= self.tolerance && skew.ahead <= self.future
    }
}

impl Format {
    /// Reads the text exactly as sent. `None`: not in this format, or beyond what a clock can show.
    pub(crate) fn parse(self, text: &[u8]) -> Option<UnixNanos> {
        match self {
            Self::Unix => scaled(text, SECOND),
            Self::UnixMs => scaled(text, 1_000_000),
            Self::Rfc3339 => {
                // A date alone or a space instead of `T` is no RFC 3339 date-time.
                let text = std::str::from_utf8(text).ok()?;
                (text.as_bytes().get(10) == Some(&b'T')).then_some(())?;
                UnixNanos::parse(text)
            }
            Self::HttpDate => http_date(text),
        }
    }

    /// Writes an instant in this format.
    pub(crate) fn show(self, at: UnixNanos) -> String {
        match self {
            Self::Unix => at.secs().to_string(),
            Self::UnixMs => (at.0 / 1_000_000).to_string(),
            Self::Rfc3339 => at.to_string(),
            Self::HttpDate => {
                let date = at.date();
                let weekday = date.days() % 7;
                let name = |names: &[&'static str], at: u64| {
                    usize::try_from(at)
                        .ok()
                        .and_then(|i| names.get(i).copied())
                        .unwrap_or_default()
                };
                let text = at.to_string();
                format!(
                    "{}, {:02} {} {:04} {} GMT",
                    name(&WEEKDAYS, weekday),
                    date.day,
                    name(&MONTHS, date.month.saturating_sub(1)),
                    date.year,
                    text.get(11..19).unwrap_or_default()
                )
            }
        }
    }
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
/// From 1970-01-01, a Thursday, on.
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];

/// Digits only (no sign, space, point or exponent), times `unit` nanoseconds.
fn scaled(text: &[u8], unit: u64) -> Option<UnixNanos> {
    let fits = !text.is_empty() && text.len() <= 20 && text.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(fits.then_some(text)?).ok()?;
    let number: u64 = text.parse().ok()?;
    number.checked_mul(unit).map(UnixNanos)
}

fn http_date(text: &[u8]) -> Option<UnixNanos> {
    let text = std::str::from_utf8(text).ok()?;
    let (weekday, rest) = text.split_once(", ")?;
    let rest = rest.strip_suffix(" GMT")?;
    let mut parts = rest.split(' ');
    let (day, month, year, time) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let month = MONTHS.iter().position(|m| *m == month)?.checked_add(1)?;
    let whole =
        parts.next().is_none() && WEEKDAYS.contains(&weekday) && day.len() == 2 && time.len() == 8;
    UnixNanos::parse(&format!(
        "{year}-{month:02}-{day}T{}Z",
        whole.then_some(time)?
    ))
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(format: Format, text: &str) -> Option<u64> {
        format.parse(text.as_bytes()).map(|t| t.0)
    }

    fn within(seconds: u64, future: u64) -> Timestamp {
        Timestamp {
            source: Place::Field(b"t".to_vec()),
            format: Format::Unix,
            tolerance: Duration::from_secs(seconds),
            future: Duration::from_secs(future),
        }
    }

    #[test]
    fn reads_every_format() {
        assert_eq!(
            read(Format::Unix, "1700000000"),
            Some(1_700_000_000 * SECOND)
        );
        assert_eq!(
            read(Format::UnixMs, "1700000000123"),
            Some(1_700_000_000_123 * 1_000_000)
        );
        assert_eq!(
            read(Format::Rfc3339, "2021-03-25T06:09:27.5+01:00"),
            Some(1_616_648_967 * SECOND + SECOND / 2)
        );
        assert_eq!(
            read(Format::HttpDate, "Thu, 25 Mar 2021 05:09:27 GMT"),
            Some(1_616_648_967 * SECOND)
        );
    }

    #[test]
    fn refuses_what_is_not_exactly_the_format() {
        for bad in [
            "",
            "+1",
            "-1",
            " 1",
            "1 ",
            "1.0",
            "1e9",
            "0x1",
            "Infinity",
            "١",
            "1_0",
            "18446744073709551616",
            "9223372036854775807",
            "99999999999999999999999",
            "000000000000000000001",
        ] {
            assert_eq!(read(Format::Unix, bad), None, "{bad:?}");
            assert_eq!(read(Format::UnixMs, bad), None, "{bad:?}");
        }
        for bad in [
            "2021-03-25",
            "2021-03-25 05:09:27Z",
            "1616648967",
            "2021-03-25T05:09:27",
        ] {
            assert_eq!(read(Format::Rfc3339, bad), None, "{bad:?}");
        }
        for bad in [
            "Thu, 25 Mar 2021 05:09:27 UTC",
            "Thursday, 25-Mar-21 05:09:27 GMT",
            "Thu, 5 Mar 2021 05:09:27 GMT",
            "Thu, 31 Feb 2021 05:09:27 GMT",
            "Xxx, 25 Mar 2021 05:09:27 GMT",
            "Thu, 25 Mar 2021 05:09:27 GMT ",
            "Thu, 25 Mar 2021 05:09:27 x GMT",
        ] {
            assert_eq!(read(Format::HttpDate, bad), None, "{bad:?}");
        }
    }

    #[test]
    fn the_edge_is_inside_on_both_sides() {
        let t = within(300, 300);
        let now = UnixNanos::from_secs(1_000_000);
        let ok = |secs: u64| t.tolerates(t.skew(UnixNanos::from_secs(secs), now));
        assert!(ok(999_700) && ok(1_000_300));
        assert!(!ok(999_699) && !ok(1_000_301));
        // 300.9 s after second 999_700 began: still 300 in whole seconds.
        let later = UnixNanos(now.0 + 900_000_000);
        assert!(t.tolerates(t.skew(UnixNanos::from_secs(999_700), later)));
        let t = within(300, 15);
        assert!(t.tolerates(t.skew(UnixNanos::from_secs(1_000_015), now)));
        assert!(!t.tolerates(t.skew(UnixNanos::from_secs(1_000_016), now)));
    }

    #[test]
    fn no_clock_overflows() {
        let t = within(u64::MAX / SECOND, 0);
        assert!(t.tolerates(t.skew(UnixNanos(0), UnixNanos(u64::MAX))));
        assert!(!t.tolerates(t.skew(UnixNanos(u64::MAX), UnixNanos(0))));
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read(secs in 0_u64..18_000_000_000) {
            let at = UnixNanos::from_secs(secs);
            for (_, format) in FORMATS {
                prop_assert_eq!(format.parse(format.show(at).as_bytes()), Some(at));
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(text: Vec<u8>) {
            for (_, format) in FORMATS {
                let _ = format.parse(&text);
            }
        }
    }
}
