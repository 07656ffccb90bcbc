//! Calendar windows: which minute, day or month an instant belongs to, and when that ends.
//!
//! A window is known by its start, so two windows of one kind are the same if and only if they start
//! together, also in zones with summer time, where days have 23 or 25 hours.

mod zone;

pub use zone::Zone;

use tollgate_core::UnixNanos;
use tollgate_core::time::{Date, SECOND};

const MINUTE: u64 = 60 * SECOND;

/// How long a window lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Period {
    /// From full minute to full minute, the same everywhere.
    Minute,
    /// From midnight to midnight.
    Day,
    /// From the first of a month to the first of the next.
    Month,
}

impl Period {
    /// The name people see: `per_minute`, `daily`, `monthly`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Minute => "per_minute",
            Self::Day => "daily",
            Self::Month => "monthly",
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
            Period::Minute => return Self::minute(at),
            Period::Day => (day, day.saturating_add(1)),
            Period::Month => month_around(day),
        };
        Self {
            start: zone.midnight(first),
            end: zone.midnight(next),
        }
    }

    fn minute(at: UnixNanos) -> Self {
        let start = at.0.saturating_sub(at.0.checked_rem(MINUTE).unwrap_or(0));
        Self {
            start: UnixNanos(start),
            end: UnixNanos(start.saturating_add(MINUTE)),
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
mod tests;
