//! The service's units of time, and which windows can be had from them.
//!
//! A unit's windows are fixed and counted from the Unix epoch; no calendar is involved: a month has 30 days, a year
//! 365, a week begins on a Thursday.

use tollgate_core::time::SECOND;

/// A unit of `envoy.service.ratelimit.v3`, as envoyproxy/ratelimit counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unit {
    /// 1 s.
    Second,
    /// 60 s.
    Minute,
    /// 3,600 s.
    Hour,
    /// 86,400 s.
    Day,
    /// Seven days, from Thursday to Thursday.
    Week,
    /// 30 days.
    Month,
    /// 365 days.
    Year,
}

/// Windows that a part of a unit is cut into at most: each is a counter of its own, kept until the unit is over.
const MOST_PARTS: u64 = 60;

impl Unit {
    /// From the shortest to the longest.
    pub const ALL: [Self; 7] = [
        Self::Second,
        Self::Minute,
        Self::Hour,
        Self::Day,
        Self::Week,
        Self::Month,
        Self::Year,
    ];

    /// How long it is.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
            Self::Week => 604_800,
            Self::Month => 2_592_000,
            Self::Year => 31_536_000,
        }
    }

    /// The same in nanoseconds.
    #[must_use]
    pub const fn nanos(self) -> u64 {
        self.seconds().saturating_mul(SECOND)
    }

    /// The entry's key in the service's configuration.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
        }
    }

    /// Its number in `RateLimitResponse.RateLimit.Unit`.
    #[must_use]
    pub const fn number(self) -> u64 {
        match self {
            Self::Second => 1,
            Self::Minute => 2,
            Self::Hour => 3,
            Self::Day => 4,
            Self::Month => 5,
            Self::Year => 6,
            Self::Week => 7,
        }
    }

    /// The unit of that number.
    #[must_use]
    pub fn of_number(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|u| u.number() == number)
    }

    /// The shortest unit with no border inside `from..to` (nanoseconds since the epoch); a border at `from` or `to`
    /// is none inside. [`Unit::Year`] where each has one: then the caller has to live with a counter that starts anew.
    #[must_use]
    pub fn without_border(from: u64, to: u64, shortest: Self) -> Self {
        let last = to.saturating_sub(1).max(from);
        let index = |unit: Self, at: u64| at.checked_div(unit.nanos());
        Self::ALL
            .into_iter()
            .filter(|u| *u >= shortest)
            .find(|u| index(*u, from) == index(*u, last))
            .unwrap_or(Self::Year)
    }
}

/// Windows of a length that the service can count, for limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// What the service counts in.
    pub unit: Unit,
    /// Nanoseconds of a window; a part of the unit, or all of it.
    pub length: u64,
}

impl Windows {
    /// Windows of so many nanoseconds; `None` if there are none, see [`Windows::neighbours`].
    ///
    /// A whole unit is counted as such. A part of one is a window whose number becomes part of the counter's name. So
    /// is a second: the answers for the unit `second` always say that one second is left, and so tell nothing about
    /// the service's clock.
    #[must_use]
    pub fn of(length: u64) -> Option<Self> {
        if length.checked_rem(SECOND)? != 0 || length == 0 {
            return None;
        }
        let fits = |unit: &Unit| {
            let parts = unit.nanos().checked_div(length).unwrap_or(0);
            unit.nanos().is_multiple_of(length) && (1..=MOST_PARTS).contains(&parts)
        };
        let unit = Unit::ALL.into_iter().skip(1).find(fits)?;
        Some(Self { unit, length })
    }

    /// The next shorter and the next longer windows that there are, in nanoseconds.
    #[must_use]
    pub fn neighbours(length: u64) -> (Option<u64>, Option<u64>) {
        let all = || {
            Unit::ALL.into_iter().skip(1).flat_map(|unit| {
                (1..=MOST_PARTS)
                    .filter(move |n| unit.seconds().is_multiple_of(*n))
                    .filter_map(move |n| unit.seconds().checked_div(n)?.checked_mul(SECOND))
            })
        };
        (
            all().filter(|l| *l < length).max(),
            all().filter(|l| *l > length).min(),
        )
    }

    /// Whether a window is the service's own: its number is not part of the counter's name.
    #[must_use]
    pub fn is_unit(&self) -> bool {
        self.length == self.unit.nanos()
    }
}

/// What is counted over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// Windows of one length, one after the other.
    Windows(Windows),
    /// A period of the calendar, start and end in nanoseconds since the epoch.
    Calendar(u64, u64),
}

impl Period {
    /// The window at `time`, which is the service's.
    #[must_use]
    pub fn frame(self, time: u64) -> Frame {
        match self {
            Self::Windows(windows) => Frame::of(windows, time),
            Self::Calendar(start, end) => Frame::calendar(start, end),
        }
    }
}

/// The window that a request belongs to, in the service's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What the service counts in.
    pub unit: Unit,
    /// First moment and end, in nanoseconds. `None`: a whole unit, whose window the service's answer tells.
    pub named: Option<(u64, u64)>,
    /// It is a period of the calendar, with a unit of its own.
    pub calendar: bool,
}

impl Frame {
    /// Of the windows the one at `time`, which is the service's.
    #[must_use]
    pub fn of(windows: Windows, time: u64) -> Self {
        let start = time
            .checked_div(windows.length)
            .unwrap_or(0)
            .saturating_mul(windows.length);
        Self {
            unit: windows.unit,
            named: (!windows.is_unit()).then(|| (start, start.saturating_add(windows.length))),
            calendar: false,
        }
    }

    /// A period of the calendar. Its start is part of the counter's name, so it may lie anywhere in the unit.
    ///
    /// The unit is the shortest without a border inside the period. Every December contains the border of the
    /// service's year (2026-12-18, 2027-12-18, 2028-12-17, ...): there the counter starts again in the middle, and
    /// the guard against lost counters (see [`super::lease`]) lifts it.
    #[must_use]
    pub fn calendar(start: u64, end: u64) -> Self {
        Self {
            unit: Unit::without_border(start, end, Unit::Day),
            named: Some((start, end)),
            calendar: true,
        }
    }

    /// The same for another period or window of the kind.
    #[must_use]
    pub fn moved(self, start: u64, end: u64) -> Self {
        if self.calendar {
            return Self::calendar(start, end);
        }
        Self {
            named: Some((start, end)),
            ..self
        }
    }

    /// How long a window is, in nanoseconds.
    #[must_use]
    pub fn length(&self) -> u64 {
        match self.named {
            Some((start, end)) => end.saturating_sub(start),
            None => self.unit.nanos(),
        }
    }

    /// Whether hits of the named window that ends at `end` belong into the unit's window that ends at `unit_end`. A
    /// period longer than the unit has hits in several.
    #[must_use]
    pub fn counted_until(&self, end: u64, unit_end: u64) -> bool {
        if self.named.is_none() {
            return true;
        }
        let unit = self.unit.nanos();
        let start = end.saturating_sub(self.length());
        let index = |at: u64| at.checked_div(unit).unwrap_or(0);
        let last = index(end.saturating_sub(1));
        index(start) != last || last.saturating_add(1).saturating_mul(unit) == unit_end
    }

    /// What becomes part of the counter's name.
    #[must_use]
    pub fn label(&self) -> Option<u64> {
        self.named.map(|(start, _)| start)
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tollgate_core::UnixNanos;

    fn at(text: &str) -> u64 {
        UnixNanos::parse(text).unwrap().0
    }

    #[test]
    fn windows_that_can_be_had() {
        let of = |s: u64| Windows::of(s * SECOND).map(|w| (w.unit, w.is_unit()));
        for (secs, unit) in [
            (1, Unit::Minute),
            (10, Unit::Minute),
            (90, Unit::Hour),
            (300, Unit::Hour),
            (7_200, Unit::Day),
            (172_800, Unit::Month),
        ] {
            assert_eq!(of(secs), Some((unit, false)), "{secs}");
        }
        for unit in Unit::ALL.into_iter().skip(1) {
            assert_eq!(of(unit.seconds()), Some((unit, true)));
        }
        // 7 s divide a week, but into 86,400 counters.
        for secs in [0, 7, 8, 25, 61, 5_400_001, 63_072_000] {
            assert_eq!(of(secs), None, "{secs}");
        }
        assert_eq!(Windows::of(SECOND / 2), None);
        assert_eq!(Windows::of(SECOND + 1), None);
    }

    #[test]
    fn neighbours_are_the_nearest_that_can_be_had() {
        let of = |s: u64| {
            let (a, b) = Windows::neighbours(s * SECOND);
            (a.map(|n| n / SECOND), b.map(|n| n / SECOND))
        };
        assert_eq!(of(7), (Some(6), Some(10)));
        assert_eq!(of(61), (Some(60), Some(72)));
        assert_eq!(of(40_000_000), (Some(31_536_000), None));
        assert_eq!(Windows::neighbours(1).0, None);
        for secs in 1..4_000 {
            let (below, above) = Windows::neighbours(secs * SECOND);
            for near in [below, above].into_iter().flatten() {
                assert!(Windows::of(near).is_some(), "{secs}: {near}");
            }
        }
    }

    #[test]
    fn periods_take_the_shortest_unit_without_a_border() {
        let of = |a, b| Frame::calendar(at(a), at(b)).unit;
        assert_eq!(of("2026-11-21", "2026-11-22"), Unit::Day);
        // A day of another zone; Thursday the 26th has the week's border.
        assert_eq!(
            of("2026-11-21T05:00:00Z", "2026-11-22T05:00:00Z"),
            Unit::Week
        );
        assert_eq!(
            of("2026-11-25T05:00:00Z", "2026-11-26T05:00:00Z"),
            Unit::Month
        );
        assert_eq!(of("2026-11-01", "2026-12-01"), Unit::Year);
        // December has the year's own border inside, and nothing longer exists.
        assert_eq!(of("2026-12-01", "2027-01-01"), Unit::Year);
        let border = at("2026-12-18");
        assert_eq!(border % Unit::Year.nanos(), 0);
        assert_eq!(at("2028-12-17") % Unit::Year.nanos(), 0);
    }

    proptest! {
        #[test]
        fn a_named_window_holds_its_moment(secs in 1_u64..90_000, time in 0..4_000_000_000_u64) {
            let time = time * SECOND;
            if let Some(windows) = Windows::of(secs * SECOND)
                && let Some((start, end)) = Frame::of(windows, time).named
            {
                prop_assert!(start <= time && time < end);
                // ... and lies inside one window of the unit.
                let unit = windows.unit.nanos();
                prop_assert_eq!(start / unit, (end - 1) / unit);
            }
        }
    }
}
