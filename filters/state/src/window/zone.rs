//! Time zones with summer time: the rules that hold now, by IANA name.
//!
//! No tz database fits into a filter, and none is needed: budgets are about the present, and for the present a zone is
//! one POSIX rule, `CET-1CEST,M3.5.0,M10.5.0/3` (IEEE 1003.1, chapter 8; RFC 8536, 3.3.1). `zones.txt` has one line for each
//! rule, followed by the names of the zones that follow it; `scripts/zones.py` writes it from a tz database.

use tollgate_core::UnixNanos;
use tollgate_core::time::{Date, SECOND};

const TABLE: &str = include_str!("zones.txt");
const HOUR: i64 = 3_600;
const DAY: i64 = 86_400;
/// Enough for every zone and instant: `UnixNanos` ends in 2554, times in rules at a week (RFC 8536).
const MAX_RULE_TIME: i64 = 167 * HOUR;

/// Where midnight is. A zone answers two questions, [`Zone::day_of`] and [`Zone::midnight`]; windows
/// need nothing else of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Zone {
    /// Coordinated universal time.
    #[default]
    Utc,
    /// A zone with another offset, with summer time or without.
    Local(Rules),
}

/// The rule of a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Seconds east of UTC in winter.
    standard: i64,
    summer: Option<Summer>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Summer {
    /// Seconds east of UTC in summer.
    offset: i64,
    start: Change,
    end: Change,
}

/// `Mm.w.d/time`: the w-th (5: the last) weekday d (0: Sunday) of month m.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Change {
    month: u64,
    week: u64,
    weekday: u64,
    /// Seconds from midnight, by the clock that is in use before the change; may be negative or above a day.
    time: i64,
}

impl Zone {
    /// The zone of that name (`Europe/Berlin`), or with that POSIX rule (`CET-1CEST,M3.5.0,M10.5.0/3`); `None` if it is
    /// neither. Names are compared exactly.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        if name == "UTC" {
            return Some(Self::Utc);
        }
        let named = TABLE.lines().find_map(|line| {
            let mut words = line.split(' ');
            let rule = words.next()?;
            words.any(|zone| zone == name).then_some(rule)
        });
        let rules = Rules::parse(named.unwrap_or(name))?;
        Some(if rules == Rules::UTC {
            Self::Utc
        } else {
            Self::Local(rules)
        })
    }

    /// The civil day that an instant falls on here, in days since 1970-01-01.
    #[must_use]
    pub fn day_of(self, at: UnixNanos) -> u64 {
        match self {
            Self::Utc => at.secs() / 86_400,
            Self::Local(rules) => {
                let secs = seconds(at);
                let local = secs.saturating_add(rules.offset_at(secs));
                u64::try_from(local.div_euclid(DAY)).unwrap_or(0)
            }
        }
    }

    /// The instant at which that civil day begins here: the first one whose clock shows it. Where clocks jump
    /// over midnight, that is the jump.
    #[must_use]
    pub fn midnight(self, day: u64) -> UnixNanos {
        match self {
            Self::Utc => UnixNanos(day.saturating_mul(86_400 * SECOND)),
            Self::Local(rules) => rules.midnight(day),
        }
    }

    /// Seconds east of UTC at an instant.
    #[must_use]
    pub fn offset_at(self, at: UnixNanos) -> i64 {
        match self {
            Self::Utc => 0,
            Self::Local(rules) => rules.offset_at(seconds(at)),
        }
    }
}

fn seconds(at: UnixNanos) -> i64 {
    i64::try_from(at.secs()).unwrap_or(i64::MAX)
}

fn instant(secs: i64) -> UnixNanos {
    UnixNanos::from_secs(u64::try_from(secs).unwrap_or(0))
}

// Everything below is bounded: instants by the year 2554, offsets by a day, times of rules by a week.
#[allow(clippy::arithmetic_side_effects)]
impl Rules {
    const UTC: Self = Self {
        standard: 0,
        summer: None,
    };

    fn offset_at(self, secs: i64) -> i64 {
        let Some(summer) = self.summer else {
            return self.standard;
        };
        let (start, end) = self.changes(summer, year_of(secs + self.standard));
        let is_summer = if start < end {
            start <= secs && secs < end
        } else {
            // South of the equator summer goes over the turn of the year.
            secs < end || start <= secs
        };
        if is_summer {
            summer.offset
        } else {
            self.standard
        }
    }

    /// When summer time begins and ends in a year, as seconds since 1970.
    fn changes(self, summer: Summer, year: u64) -> (i64, i64) {
        (
            summer.start.in_year(year) - self.standard,
            summer.end.in_year(year) - summer.offset,
        )
    }

    fn midnight(self, day: u64) -> UnixNanos {
        // 600 years of days.
        let local = i64::try_from(day.min(220_000)).unwrap_or(0) * DAY;
        let Some(summer) = self.summer else {
            return instant(local - self.standard);
        };
        // By each of the two clocks; the one that is in use then counts, the earlier one if both are.
        let mut offsets = [self.standard, summer.offset];
        offsets.sort_unstable();
        let [low, high] = offsets;
        for offset in [high, low] {
            if self.offset_at(local - offset) == offset {
                return instant(local - offset);
            }
        }
        // Neither: the clock jumps over midnight. The day begins with the jump.
        let (start, end) = self.changes(summer, year_of(local));
        let near = |at: &i64| (*at - (local - low)).abs();
        instant(if near(&start) <= near(&end) {
            start
        } else {
            end
        })
    }

    /// Reads `std offset [dst [offset] , start [/time] , end [/time]]`, changes in the form `Mm.w.d` only.
    fn parse(text: &str) -> Option<Self> {
        let (rule, changes) = match text.split_once(',') {
            Some((rule, changes)) => (rule, Some(changes)),
            None => (text, None),
        };
        let rest = abbreviation(rule)?;
        let (offset, rest) = time(rest)?;
        // POSIX counts west of Greenwich.
        let standard = -offset;
        let summer = match (rest, changes) {
            ("", None) => None,
            ("", Some(_)) | (_, None) => return None,
            (rest, Some(changes)) => {
                let rest = abbreviation(rest)?;
                let offset = match time(rest) {
                    Some((offset, "")) => -offset,
                    None if rest.is_empty() => standard + HOUR,
                    _ => return None,
                };
                let (start, end) = changes.split_once(',')?;
                Some(Summer {
                    offset,
                    start: Change::parse(start)?,
                    end: Change::parse(end)?,
                })
            }
        };
        let good = |offset: i64| offset.abs() < DAY && offset % 60 == 0;
        let all_good = good(standard) && summer.is_none_or(|s| good(s.offset) && s.start != s.end);
        all_good.then_some(Self { standard, summer })
    }
}

#[allow(clippy::arithmetic_side_effects)] // bounded, as above
impl Change {
    fn in_year(self, year: u64) -> i64 {
        let first = Date {
            year,
            month: self.month,
            day: 1,
        }
        .days();
        let next = match self.month {
            12 => Date {
                year: year.saturating_add(1),
                month: 1,
                day: 1,
            },
            month => Date {
                year,
                month: month.saturating_add(1),
                day: 1,
            },
        }
        .days();
        // 1970-01-01 was a Thursday.
        let weekday = (first + 4) % 7;
        let mut day = first + (self.weekday + 7 - weekday) % 7 + (self.week - 1) * 7;
        if day >= next {
            day -= 7;
        }
        i64::try_from(day).unwrap_or(0) * DAY + self.time
    }

    fn parse(text: &str) -> Option<Self> {
        let (date, at) = match text.split_once('/') {
            Some((date, at)) => (date, Some(at)),
            None => (text, None),
        };
        let mut numbers = date.strip_prefix('M')?.split('.');
        let mut number = |bounds: std::ops::RangeInclusive<u64>| {
            let text = numbers.next()?;
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            let n = digits.then(|| text.parse::<u64>().ok())??;
            bounds.contains(&n).then_some(n)
        };
        let (month, week, weekday) = (number(1..=12)?, number(1..=5)?, number(0..=6)?);
        let time = match at {
            Some(at) => time(at).filter(|(_, rest)| rest.is_empty())?.0,
            None => 2 * HOUR,
        };
        let good = numbers.next().is_none() && time.abs() <= MAX_RULE_TIME;
        good.then_some(Self {
            month,
            week,
            weekday,
            time,
        })
    }
}

/// Skips `CET` or `<+03>`.
fn abbreviation(text: &str) -> Option<&str> {
    if let Some(quoted) = text.strip_prefix('<') {
        let (name, rest) = quoted.split_once('>')?;
        let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-');
        return (name.len() >= 3 && name.bytes().all(good)).then_some(rest);
    }
    let rest = text.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    let length = text.len().checked_sub(rest.len())?;
    (length >= 3).then_some(rest)
}

/// Reads `[+-]h[h[h]][:mm[:ss]]` into seconds; what follows is returned, too.
#[allow(clippy::arithmetic_side_effects)] // at most three digits each
fn time(text: &str) -> Option<(i64, &str)> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (hours, mut rest) = digits(rest, 3)?;
    let mut total = hours * HOUR;
    for unit in [60, 1] {
        let Some(tail) = rest.strip_prefix(':') else {
            break;
        };
        let (number, tail) = digits(tail, 2).filter(|(n, _)| *n < 60)?;
        total += number * unit;
        rest = tail;
    }
    Some((sign * total, rest))
}

fn digits(text: &str, most: usize) -> Option<(i64, &str)> {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let length = text.len().checked_sub(rest.len())?;
    if length == 0 || length > most {
        return None;
    }
    Some((text.get(..length)?.parse().ok()?, rest))
}

fn year_of(local: i64) -> u64 {
    Date::from_days(u64::try_from(local.div_euclid(DAY)).unwrap_or(0)).year
}
