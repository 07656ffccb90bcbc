#!/usr/bin/env python3
"""Draws the shipped dashboard: every panel's queries, asked of a Prometheus as Grafana would, on the dashboard's own grid.

    scripts/dashboard_picture.py [--prometheus URL] [--minutes 15] [--images docs/images]

`make mesh` and `make mesh-traffic` first. It is not Grafana and does not pretend to be: titles, places, units, legends and queries are the
dashboard's, the drawing is plain SVG, and the picture says so. It writes dashboard.svg (all rows) and dashboard-overview.svg (the first
row).
"""

import argparse
import json
import os
import re
import sys
import time
import urllib.parse
import urllib.request
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DASHBOARD = ROOT / "envoy" / "observability" / "grafana" / "dashboards" / "tollgate.json"
COLUMN, LINE, GAP, MARGIN = 56, 34, 8, 16
POINTS = 110
# Grafana's dark theme, and its classic palette.
PAGE, PANEL, BORDER, TEXT, FAINT, GRID = "#111217", "#181b1f", "#25272c", "#ccccdc", "#8e8e99", "#2a2d33"
PALETTE = ["#7eb26d", "#eab839", "#6ed0e0", "#ef843c", "#e24d42", "#1f78c1", "#ba43a9", "#705da0", "#508642", "#cca300",
           "#447ebc", "#c15c17", "#890f02", "#0a437c", "#6d1f62", "#584477", "#b7dbab", "#f4d598", "#70dbed", "#f9ba8f"]
NAMED = {"green": "#73bf69", "orange": "#ff9830", "red": "#f2495c", "transparent": "none"}


class Prometheus:
    """Its query interface."""

    def __init__(self, url, begin, end):
        self.url, self.begin, self.end = url, begin, end
        self.step = max(5, round((end - begin) / POINTS))
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self.variables = {"$__rate_interval": "1m", "$__range": f"{round(end - begin)}s", "$endpoint": ".*", "$consumer": ".*"}

    def ask(self, what, **query):
        for name, value in self.variables.items():
            query["query"] = query["query"].replace(name, value)
        with self.opener.open(f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(query)}", timeout=30) as answer:
            return json.load(answer)["data"]["result"]

    def over_time(self, query):
        """[(labels, [(time, value)])], what is not a number left out."""
        found = self.ask("query_range", query=query, start=self.begin, end=self.end, step=self.step)
        return [(one["metric"], [(at, float(value)) for at, value in one["values"] if value not in ("NaN", "+Inf", "-Inf")]) for one in found]

    def now(self, query):
        return [(one["metric"], float(one["value"][1])) for one in self.ask("query", query=query, time=self.end)]


def number(value, unit="", decimals=None):
    """A value as Grafana writes it, near enough."""
    def short(amount, digits=3):
        if decimals is not None:
            return f"{amount:.{decimals}f}"
        whole = len(str(int(abs(amount)))) if abs(amount) >= 1 or amount == 0 else 1 - len(re.match(r"0\.(0*)", f"{abs(amount):.9f}")[1])
        text = f"{amount:.{max(0, min(9, digits - whole))}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    if unit == "percentunit":
        return short(value * 100) + "%"
    if unit == "s" and 0 < abs(value) < 1:
        value, unit = value * 1000, "ms"
    if unit == "ms" and abs(value) >= 1000:
        value, unit = value / 1000, "s"
    if unit == "bytes":
        for name in ("B", "KiB", "MiB", "GiB"):
            if abs(value) < 1024 or name == "GiB":
                return f"{short(value)} {name}"
            value /= 1024
    if unit == "currencyUSD":
        return "$" + (f"{value:.2f}" if abs(value) >= 1 else short(value))
    words = {"reqps": " req/s", "ops": " ops/s", "ms": " ms", "s": " s", "d": " days"}
    scaled = short(value / 1000) + "K" if abs(value) >= 10000 and unit in ("short", "reqps", "ops", "none") else short(value)
    return scaled + words.get(unit, "")


def legend(template, labels):
    text = re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda found: labels.get(found[1], ""), template).strip()
    return text or ", ".join(f"{k}={v}" for k, v in sorted(labels.items()) if k != "__name__") or "value"


def nice_top(top):
    """The smallest round number that is not below."""
    if top <= 0:
        return 1
    base = 10 ** (len(str(int(top))) - 1) if top >= 1 else 10 ** -len(re.match(r"0\.(0*)", f"{top:.12f}")[1]) / 10
    return next(base * factor for factor in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10) if base * factor >= top * 0.9999)


class Picture:
    """SVG, piece by piece."""

    def __init__(self, width, height):
        self.parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
                      f'font-family="Inter, Helvetica, Arial, sans-serif" font-size="12">', f'<rect width="{width}" height="{height}" fill="{PAGE}"/>']

    def rect(self, x, y, w, h, fill, **more):
        extra = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in more.items())
        self.parts.append(f'<rect x="{x:.0f}" y="{y:.0f}" width="{w:.0f}" height="{h:.0f}" fill="{fill}"{extra}/>')

    def text(self, x, y, text, fill=TEXT, size=12, anchor="start", weight=400, room=None):
        if room is not None:  # about what fits
            fits = max(3, int(room / (size * 0.54)))
            text = text if len(text) <= fits else text[:fits - 1] + "…"
        self.parts.append(f'<text x="{x:.0f}" y="{y:.0f}" fill="{fill}" font-size="{size}" text-anchor="{anchor}" font-weight="{weight}">{escape(text)}</text>')

    def line(self, points, colour, width=1.2, **more):
        extra = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in more.items())
        self.parts.append(f'<polyline points="{self.points(points)}" fill="none" stroke="{colour}" stroke-width="{width}"{extra}/>')

    def area(self, points, colour, opacity):
        self.parts.append(f'<polygon points="{self.points(points)}" fill="{colour}" fill-opacity="{opacity}"/>')

    @staticmethod
    def points(points):
        points = [(x, round(y, 1)) for x, y in points]
        kept = [p for i, p in enumerate(points) if not (0 < i < len(points) - 1 and points[i - 1][1] == p[1] == points[i + 1][1])]
        return " ".join(f"{x:.0f},{y:.1f}".removesuffix(".0") for x, y in kept)

    def done(self):
        return "\n".join([*self.parts, "</svg>"]) + "\n"


class Board:
    """Draws panels."""

    def __init__(self, prometheus):
        self.prometheus = prometheus
        self.alerts = prometheus.over_time('ALERTS{alertname=~"Tollgate.*",alertstate="firing"}')
        self.empty = []

    def draw(self, panels, path, caption):
        top = min(panel["gridPos"]["y"] for panel in panels)
        rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels) - top
        width, head = 24 * COLUMN + 2 * MARGIN, 54
        self.picture = Picture(width, rows * LINE + head + MARGIN)
        self.picture.text(MARGIN, 24, "Tollgate", size=18, weight=600)
        self.picture.text(MARGIN, 43, caption, FAINT, 11)
        for panel in panels:
            place = panel["gridPos"]
            box = (MARGIN + place["x"] * COLUMN, head + (place["y"] - top) * LINE, place["w"] * COLUMN - GAP, place["h"] * LINE - GAP)
            if panel["type"] == "row":
                self.picture.text(box[0], box[1] + 20, "⌄ " + panel["title"], size=15, weight=600)
                continue
            self.picture.rect(*box, PANEL, rx=3, stroke=BORDER)
            self.picture.text(box[0] + 10, box[1] + 19, panel["title"], size=13, weight=500, room=box[2] - 20)
            {"stat": self.stat, "timeseries": self.series, "table": self.table}[panel["type"]](panel, *box)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.picture.done())

    def nothing(self, panel, x, y, w, h):
        self.empty.append(panel["title"])
        self.picture.text(x + w / 2, y + h / 2 + 8, "No data", FAINT, 13, "middle")

    def stat(self, panel, x, y, w, h):
        """The last value, in the colour of its threshold, above its course."""
        defaults = panel["fieldConfig"]["defaults"]
        found = [points for _, points in self.prometheus.over_time(panel["targets"][0]["expr"]) if points]
        if not found:
            return self.nothing(panel, x, y, w, h)
        points = found[0]
        last = points[-1][1]
        colour = NAMED["green"]
        for step in defaults.get("thresholds", {}).get("steps", []):
            if step["value"] is None or last >= step["value"]:
                colour = NAMED.get(step["color"], step["color"])
        high = max(value for _, value in points) or 1
        place = [(x + w * (at - self.prometheus.begin) / (self.prometheus.end - self.prometheus.begin), y + h - (h * 0.4) * value / high) for at, value in points]
        self.picture.area([(place[0][0], y + h), *place, (place[-1][0], y + h)], colour, 0.18)
        self.picture.line(place, colour, 1)
        self.picture.text(x + w / 2, y + h / 2 + 14, number(last, defaults["unit"], defaults.get("decimals")), colour, 28, "middle", 600)
        return None

    def series(self, panel, x, y, w, h):
        """Lines, or stacked areas, with their last and largest values."""
        defaults = panel["fieldConfig"]["defaults"]
        unit, stacked = defaults["unit"], defaults["custom"]["stacking"]["mode"] == "normal"
        found = [(legend(target.get("legendFormat", ""), labels), points) for target in panel["targets"]
                 for labels, points in self.prometheus.over_time(target["expr"]) if points]
        if not found:
            return self.nothing(panel, x, y, w, h)
        # The largest first; what is 0 all the time is counted in the legend, not listed.
        found.sort(key=lambda one: -max(value for _, value in one[1]))
        alive = sum(any(value for _, value in points) for _, points in found)
        lines = min(max(1, alive), 6, max(2, int((h - 130) / 15)))
        left, right, above, below = x + 58, x + w - 12, y + 32, y + h - 22 - 15 * lines
        totals, tops = {}, []
        for name, points in found:
            base = {at: totals.get(at, 0.0) if stacked else 0.0 for at, _ in points}
            summed = [(at, base[at] + value) for at, value in points]
            if stacked:
                totals.update(summed)
            tops.append((name, points, summed, base))
        limit = defaults.get("thresholds", {}).get("steps", [{}])[-1].get("value") if defaults["custom"].get("thresholdsStyle", {}).get("mode") == "dashed" else None
        high = nice_top(max(max(value for _, value in summed) for _, _, summed, _ in tops))
        if unit == "bytes":
            high = nice_top(high / 1048576) * 1048576
        if limit and (alive == 0 or high < limit * 1.2):
            high = nice_top(limit * 1.5)

        def put(at, value):
            return (left + (right - left) * (at - self.prometheus.begin) / (self.prometheus.end - self.prometheus.begin), below - (below - above) * value / high)
        for part in range(5):
            level = above + (below - above) * part / 4
            self.picture.line([(left, level), (right, level)], GRID, 1)
            self.picture.text(left - 6, level + 4, number(high * (4 - part) / 4, unit).replace(" req/s", "").replace(" ops/s", ""), FAINT, 10, "end")
        for part in range(5):
            at = self.prometheus.begin + (self.prometheus.end - self.prometheus.begin) * part / 4
            self.picture.text(put(at, 0)[0], below + 13, time.strftime("%H:%M", time.gmtime(at)), FAINT, 10, "middle" if 0 < part < 4 else "start" if part == 0 else "end")
        for number_of, (_, points, summed, base) in reversed(list(enumerate(tops[:max(1, alive)]))):
            colour = PALETTE[number_of % len(PALETTE)]
            for piece in self.pieces(summed):
                floor = [put(at, base[at]) for at, _ in reversed(piece)]
                place = [put(at, value) for at, value in piece]
                if len(place) == 1:
                    place.append((place[0][0] + 2, place[0][1]))
                self.picture.area([*place, *floor], colour, 0.4 if stacked else 0.08)
                self.picture.line(place, colour)
        if limit:
            self.picture.line([put(self.prometheus.begin, limit), put(self.prometheus.end, limit)], NAMED["red"], 1, stroke_dasharray="5 4")
        for _, points in self.alerts:
            if points:
                across = put(points[0][0], 0)[0]
                self.picture.line([(across, above), (across, below)], NAMED["red"], 0.8, stroke_dasharray="2 3")
        if hidden := len(tops) - lines:
            self.picture.text(x + w - 12, y + 19, f"and {hidden} more" + (", all 0" if alive <= lines else ""), FAINT, 10, "end")
        for row, (name, points, _, _) in enumerate(tops[:lines]):
            level = below + 30 + 15 * row
            colour = PALETTE[row % len(PALETTE)]
            self.picture.rect(x + 12, level - 6, 12, 3, colour)
            self.picture.text(x + 30, level, name, FAINT, 11, room=w - 220)
            self.picture.text(x + w - 108, level, "last " + number(points[-1][1], unit), FAINT, 11, "end", room=150)
            self.picture.text(x + w - 12, level, "max " + number(max(value for _, value in points), unit), FAINT, 11, "end", room=110)
        return None

    def pieces(self, points):
        """Where a series has a hole, its line has one."""
        piece = []
        for at, value in points:
            if piece and at - piece[-1][0] > self.prometheus.step * 1.5:
                yield piece
                piece = []
            piece.append((at, value))
        if piece:
            yield piece

    def table(self, panel, x, y, w, h):
        unit = panel["fieldConfig"]["defaults"]["unit"]
        down = panel["options"]["sortBy"][0]["desc"]
        found = sorted(self.prometheus.now(panel["targets"][0]["expr"]), key=lambda one: one[1], reverse=down)
        if not found:
            return self.nothing(panel, x, y, w, h)
        names = sorted({name for labels, _ in found for name in labels})
        for column, name in enumerate([*names, "Value"]):
            last = column == len(names)
            across = x + w - 14 if last else x + 14 + column * (w - 110) / max(1, len(names))
            self.picture.text(across, y + 46, name, "#6e9fff", 12, "end" if last else "start", 500)
            for row, (labels, value) in enumerate(found[:int((h - 60) / 24)]):
                self.picture.text(across, y + 70 + 24 * row, number(value, unit) if last else labels.get(name, ""), anchor="end" if last else "start",
                                  room=None if last else (w - 110) / max(1, len(names)))
        return None


def main():
    """Draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prometheus", default=f"http://127.0.0.1:{os.environ.get('PROMETHEUS_PORT', '9090')}")
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--images", type=Path, default=ROOT / "docs" / "images")
    options = parser.parse_args()
    end = time.time()
    try:
        board = Board(Prometheus(options.prometheus, end - options.minutes * 60, end))
    except OSError as error:
        print(f"dashboard_picture: no Prometheus at {options.prometheus}: {error}. make mesh, then make mesh-traffic", file=sys.stderr)
        return 1
    panels = json.loads(DASHBOARD.read_text())["panels"]
    second_row = [panel["gridPos"]["y"] for panel in panels if panel["type"] == "row"][1]
    version = board.prometheus.ask("query", query="prometheus_build_info")
    caption = ("Drawn by scripts/dashboard_picture.py from the dashboard's JSON and the mesh's Prometheus"
               + (f" {version[0]['metric'].get('version', '')}" if version else "")
               + f", {time.strftime('%Y-%m-%d %H:%M', time.gmtime(end))} UTC, {options.minutes:g} minutes. Not a screenshot of Grafana.")
    board.draw(panels, options.images / "dashboard.svg", caption)
    empty = board.empty
    board.draw([panel for panel in panels if panel["gridPos"]["y"] < second_row], options.images / "dashboard-overview.svg", caption)
    shown = sum(panel["type"] != "row" for panel in panels)
    print(f"{options.images}: {shown - len(empty)} of {shown} panels have data; none: {', '.join(empty) or '-'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
