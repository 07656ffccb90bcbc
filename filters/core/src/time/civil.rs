//! The civil calendar: days since 1970-01-01 to dates and back.

/// A day of the proleptic Gregorian calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    /// Year, e.g. 2026.
    pub year: u64,
    /// 1 to 12.
    pub month: u64,
    /// 1 to 31.
    pub day: u64,
}

impl Date {
    /// From days since 1970-01-01. Formula: Howard Hinnant, `civil_from_days`,
    /// <https://howardhinnant.github.io/date_algorithms.html>; here for days from 1970 on only.
    #[must_use]
    #[allow(clippy::arithmetic_side_effects)] // bounded: days < 2^45 for any u64 of nanoseconds or seconds
    pub fn from_days(days: u64) -> Self {
        let z = days.min(1 << 45) + 719_468;
        let era = z / 146_097;
        let day_of_era = z % 146_097;
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 {
            shifted_month + 3
        } else {
            shifted_month - 9
        };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        Self { year, month, day }
    }

    /// Days since 1970-01-01; 0 for dates before.
    #[must_use]
    pub fn days(self) -> u64 {
        u64::try_from(days_from_civil(self.year, self.month, self.day)).unwrap_or(0)
    }
}

/// Days since 1970-01-01, negative before. Formula: Howard Hinnant, `days_from_civil`.
#[allow(clippy::arithmetic_side_effects)] // bounded: year <= 9999 from four digits, or from Date
pub(super) fn days_from_civil(year: u64, month: u64, day: u64) -> i64 {
    let year = i64::try_from(year.min(1 << 40)).unwrap_or(0) - i64::from(month <= 2);
    let month = i64::try_from(month.clamp(1, 12)).unwrap_or(1);
    let day = i64::try_from(day.clamp(1, 31)).unwrap_or(1);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

pub(super) fn days_in_month(year: u64, month: u64) -> u64 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => {
            29
        }
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}
