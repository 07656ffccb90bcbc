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
    assert_eq!(Zone::parse("Etc/UTC"), Some(Zone::Utc));
    assert!(matches!(Zone::parse("Europe/Berlin"), Some(Zone::Local(_))));
    for unknown in [
        "",
        "Europe/berlin",
        "Europe",
        "CET-1CEST,M3.5.0,M10.5.0/3 Europe/Berlin",
        "Mars/Olympus",
    ] {
        assert_eq!(Zone::parse(unknown), None, "{unknown:?}");
    }
    assert_eq!(Zone::parse("utc"), None);
}

const VECTORS: &str = include_str!("../../../../tests/vectors/time-zones.txt");

#[test]
fn offsets_are_those_of_the_tz_database() {
    let mut seen = 0;
    for line in VECTORS.lines() {
        let [name, at, offset] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let zone = Zone::parse(name).unwrap();
        let at = UnixNanos::from_secs(at.parse().unwrap());
        assert_eq!(zone.offset_at(at), offset.parse::<i64>().unwrap(), "{line}");
        seen += 1;
    }
    assert!(seen > 400, "{seen}");
}

fn local(text: &str, period: Period, zone: &str) -> (String, String) {
    let w = Window::of(at(text), period, Zone::parse(zone).unwrap());
    (w.start.to_string(), w.end.to_string())
}

#[test]
fn days_have_23_or_25_hours_when_clocks_change() {
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(
        local("2027-03-28T12:00:00Z", Period::Day, "Europe/Berlin"),
        pair("2027-03-27T23:00:00Z", "2027-03-28T22:00:00Z")
    );
    assert_eq!(
        local("2027-10-31T12:00:00Z", Period::Day, "Europe/Berlin"),
        pair("2027-10-30T22:00:00Z", "2027-10-31T23:00:00Z")
    );
    // A month of 31 days less one hour.
    assert_eq!(
        local("2027-03-01T00:00:00Z", Period::Month, "America/New_York"),
        pair("2027-02-01T05:00:00Z", "2027-03-01T05:00:00Z")
    );
    assert_eq!(
        local("2027-03-01T05:00:00Z", Period::Month, "America/New_York"),
        pair("2027-03-01T05:00:00Z", "2027-04-01T04:00:00Z")
    );
}

#[test]
fn where_clocks_change_at_midnight_days_still_follow_one_another() {
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    // Havana jumps from 0:00 to 1:00: the day begins at 1:00.
    assert_eq!(
        local("2027-03-14T12:00:00Z", Period::Day, "America/Havana"),
        pair("2027-03-14T05:00:00Z", "2027-03-15T04:00:00Z")
    );
    // Cairo goes back from 24:00 to 23:00: that hour comes twice, the next day once.
    assert_eq!(
        local("2027-10-28T12:00:00Z", Period::Day, "Africa/Cairo"),
        pair("2027-10-27T21:00:00Z", "2027-10-28T22:00:00Z")
    );
    // Nuuk jumps from 23:00 to 24:00: the day begins with the jump.
    assert_eq!(
        local("2027-03-28T12:00:00Z", Period::Day, "America/Nuuk"),
        pair("2027-03-28T01:00:00Z", "2027-03-29T01:00:00Z")
    );
}

#[test]
fn a_posix_rule_is_a_zone_too() {
    let zone = |text: &str| Zone::parse(text);
    assert_eq!(zone("CET-1CEST,M3.5.0,M10.5.0/3"), zone("Europe/Berlin"));
    assert_eq!(zone("<+0330>-3:30"), zone("Asia/Tehran"));
    assert_eq!(zone("GMT0"), Some(Zone::Utc));
    for bad in [
        "XYZ",
        "C-1",
        "CET-1CEST",
        "CET-1,M3.5.0,M10.5.0",
        "CET-1CEST,M3.5.0",
        "CET-1CEST,M13.5.0,M10.5.0",
        "CET-1CEST,M3.6.0,M10.5.0",
        "CET-1CEST,M3.5.7,M10.5.0",
        "CET-1CEST,J60,J300",
        "CET-25",
        "CET-1:60",
        "CET-1CEST,M3.5.0/168,M10.5.0",
        "CET-0:00:30",
        "<>0",
        "CET-1CEST,M3.5.0,M3.5.0",
        "CET-1CEST,M3.5.0.1,M10.5.0",
    ] {
        assert_eq!(zone(bad), None, "{bad}");
    }
}

proptest! {
    #[test]
    fn any_text_is_a_zone_or_none(text in "[A-Z<>+,./M0-9:-]{0,40}") {
        let _ = Zone::parse(&text);
    }

    #[test]
    fn windows_tile_time_in_every_zone(secs in 0_u64..16_725_225_600, pick: prop::sample::Index) {
        let names: Vec<&str> = VECTORS.lines().filter_map(|l| l.split(' ').next()).collect();
        let zone = Zone::parse(names[pick.index(names.len())]).unwrap();
        let now = UnixNanos::from_secs(secs + 86_400);
        for period in [Period::Day, Period::Month] {
            let w = Window::of(now, period, zone);
            prop_assert!(w.contains(now));
            prop_assert_eq!(Window::of(w.start, period, zone), w);
            prop_assert_eq!(Window::of(UnixNanos(w.end.0 - 1), period, zone), w);
            prop_assert_eq!(Window::of(w.end, period, zone).start, w.end);
        }
    }

    // Up to the year 2500: the last window before the end of time may be cut.
    #[test]
    fn windows_tile_time(nanos in 0_u64..16_725_225_600_000_000_000) {
        for period in [Period::Minute, Period::Day, Period::Month] {
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
        for period in [Period::Minute, Period::Day, Period::Month] {
            let w = Window::of(UnixNanos(nanos), period, Zone::Utc);
            prop_assert!(w.start <= UnixNanos(nanos));
        }
    }
}
