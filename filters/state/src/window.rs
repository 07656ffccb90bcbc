//! Calendar windows: which day or month an instant belongs to, and when that ends.
//!
//! A window is known by its start, so two windows of one kind are the same if and only if they start
//! together, also in zones with summer time, where days have 23 or 25 hours.

use tollgate_core::time::Date;
use tollgate_core::{Duration, UnixNanos};

const DAY: Duration = Duration::from_secs(86_400);

/// How long a window lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Period {
    /// From midnight to midnight.
    Day,
    /// From the first of a month to the first of the next.
    Month,
}

impl Period {
    /// The name people see: `daily`, `monthly`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Day => "daily",
            Self::Month => "monthly",
        }
    }
}

/// Where midnight is. A zone answers two questions, [`Zone::day_of`] and [`Zone::midnight`]; windows
/// need nothing else of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Zone {
    /// Coordinated universal time.
    #[default]
    Utc,
}

impl Zone {
    /// The zone of that name, `None` if it is not known here.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        (name == "UTC").then_some(Self::Utc)
    }

    /// The civil day that an instant falls on here, in days since 1970-01-01.
    #[must_use]
    pub fn day_of(self, at: UnixNanos) -> u64 {
        match self {
            Self::Utc => at.0.checked_div(DAY.0).unwrap_or(0),
        }
    }

    /// The instant at which that civil day begins here.
    #[must_use]
    pub fn midnight(self, day: u64) -> UnixNanos {
        match self {
            Self::Utc => UnixNanos(day.saturating_mul(DAY.0)),
        }
    }
}

/// From `start` (inclusive) to `end` (exclusive).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its first instant, which is also its identity.
    pub start: UnixNanos,
    /// The first instant of the next one.
    pub end: UnixNanos,
}

impl Window {
    /// The window of the period that `at` lies in. The last one before the end of time (the year
    /// 2554) may be cut short.
    #[must_use]
    pub fn of(at: UnixNanos, period: Period, zone: Zone) -> Self {
        let day = zone.day_of(at);
        let (first, next) = match period {
            Period::Day => (day, day.saturating_add(1)),
            Period::Month => month_around(day),
        };
        Self {
            start: zone.midnight(first),
            end: zone.midnight(next),
        }
    }

    /// Whether the instant lies in it.
    #[must_use]
    pub fn contains(&self, at: UnixNanos) -> bool {
        self.start <= at && at < self.end
    }
}

/// The first days of the month that a day lies in and of the month after it.
fn month_around(day: u64) -> (u64, u64) {
    let date = Date::from_days(day);
    let first = Date { day: 1, ..date };
    let next = if date.month >= 12 {
        Date {
            year: date.year.saturating_add(1),
            month: 1,
            day: 1,
        }
    } else {
        Date {
            month: date.month.saturating_add(1),
            ..first
        }
    };
    (first.days(), next.days())
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)] // in a test an overflow is a finding
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> UnixNanos {
        UnixNanos::parse(text).unwrap()
    }

    fn window(text: &str, period: Period) -> (String, String) {
        let w = Window::of(at(text), period, Zone::Utc);
        (w.start.to_string(), w.end.to_string())
    }

    #[test]
    fn a_day_goes_from_midnight_to_midnight() {
        let day = ("2026-11-21T00:00:00Z".into(), "2026-11-22T00:00:00Z".into());
        assert_eq!(window("2026-11-21T00:00:00Z", Period::Day), day);
        assert_eq!(window("2026-11-21T23:59:59.999999999Z", Period::Day), day);
        assert_ne!(window("2026-11-22T00:00:00Z", Period::Day), day);
    }

    #[test]
    fn months_are_as_long_as_they_are() {
        let month = |text| window(text, Period::Month);
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(
            month("2024-02-29T23:59:59Z"),
            pair("2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z")
        );
        assert_eq!(
            month("2026-12-31T23:59:59Z"),
            pair("2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z")
        );
        assert_eq!(
            month("2027-01-01T00:00:00Z"),
            pair("2027-01-01T00:00:00Z", "2027-02-01T00:00:00Z")
        );
        assert_eq!(
            month("1970-01-01"),
            pair("1970-01-01T00:00:00Z", "1970-02-01T00:00:00Z")
        );
    }

    #[test]
    fn only_known_zones_are_taken() {
        assert_eq!(Zone::parse("UTC"), Some(Zone::Utc));
        assert_eq!(Zone::parse("Europe/Berlin"), None);
        assert_eq!(Zone::parse("utc"), None);
    }

    proptest! {
        // Up to the year 2500: the last window before the end of time may be cut.
        #[test]
        fn windows_tile_time(nanos in 0_u64..16_725_225_600_000_000_000) {
            for period in [Period::Day, Period::Month] {
                let now = UnixNanos(nanos);
                let w = Window::of(now, period, Zone::Utc);
                prop_assert!(w.contains(now));
                prop_assert_eq!(Window::of(w.start, period, Zone::Utc), w);
                prop_assert_eq!(Window::of(UnixNanos(w.end.0 - 1), period, Zone::Utc), w);
                prop_assert_eq!(Window::of(w.end, period, Zone::Utc).start, w.end);
            }
        }

        #[test]
        fn any_instant_has_a_window(nanos: u64) {
            for period in [Period::Day, Period::Month] {
                let w = Window::of(UnixNanos(nanos), period, Zone::Utc);
                prop_assert!(w.start <= UnixNanos(nanos));
            }
        }
    }
}
