#!/usr/bin/env python3
"""Writes the table of time zones of filters/state from this machine's tz database, and vectors to test it with.

Only the rule that holds from now on is kept (the POSIX TZ string that ends a TZif file, RFC 8536, 3.3): budgets are
about the present. Run it when a country changes its rules:  scripts/zones.py"""

import datetime
import pathlib
import sys
import zoneinfo

ROOT = pathlib.Path(__file__).resolve().parent.parent
TABLE = ROOT / "filters/state/src/window/zones.txt"
VECTORS = ROOT / "tests/vectors/time-zones.txt"
UTC = datetime.timezone.utc
# Their clocks follow Ramadan: no rule says when. Whoever needs one of them writes the rule that holds this year.
NO_RULE = ("Africa/Casablanca", "Africa/El_Aaiun", "Asia/Gaza", "Asia/Hebron")


def footer(name):
    for folder in zoneinfo.TZPATH:
        path = pathlib.Path(folder, name)
        if path.is_file():
            return path.read_bytes().rsplit(b"\n", 2)[-2].decode()
    sys.exit(f"no file for {name}")


def changes(zone, year):
    """The instants of a year at which the offset changes, to the second."""
    start = int(datetime.datetime(year, 1, 1, tzinfo=UTC).timestamp())
    end = int(datetime.datetime(year + 1, 1, 1, tzinfo=UTC).timestamp())

    def offset(at):
        return int(datetime.datetime.fromtimestamp(at, zone).utcoffset().total_seconds())

    found = []
    for day in range(start, end, 86400):
        low, high = day, day + 86400
        if offset(low) == offset(high):
            continue
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if offset(middle) == offset(low) else (low, middle)
        found.append((high, offset(low), offset(high)))
    return found


def main():
    names = sorted(n for n in zoneinfo.available_timezones() if n[0].isupper() and n not in ("Factory", "UTC", *NO_RULE))
    rules = {}
    for name in names:
        rules.setdefault(footer(name), []).append(name)
    table = [" ".join([rule, *names]) for rule, names in sorted(rules.items(), key=lambda kv: kv[1][0])]
    TABLE.write_text("\n".join(table) + "\n")
    lines = []
    for rule, names in sorted(rules.items(), key=lambda kv: kv[1][0]):
        zone = zoneinfo.ZoneInfo(names[0])
        found = [c for year in (2028, 2029, 2036) for c in changes(zone, year)]
        for at, before, after in found:
            lines += [f"{names[0]} {at - 1} {before}", f"{names[0]} {at} {after}"]
        if not found:
            at = int(datetime.datetime(2028, 7, 1, tzinfo=UTC).timestamp())
            seconds = int(datetime.datetime.fromtimestamp(at, zone).utcoffset().total_seconds())
            lines.append(f"{names[0]} {at} {seconds}")
    VECTORS.write_text("\n".join(lines) + "\n")
    print(f"{sum(map(len, rules.values()))} zones, {len(rules)} rules, {len(lines)} vectors")


main()
