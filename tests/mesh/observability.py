#!/usr/bin/env python3
"""Rules, alerts and dashboard: well-formed, unit-tested, and about metrics that exist.

    tests/mesh/observability.py [--promtool PROGRAM]      Debian: apt-get install prometheus

(That every query of the dashboard finds data in a real Prometheus is seen in `make mesh-test`.) Ends with `N passed, N failed`.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from checks import Checks, Skip, equal
from dashboard import DASHBOARD, panels

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "envoy" / "observability" / "prometheus"
RULES, ALERTS = PROMETHEUS / "rules.yml", PROMETHEUS / "alerts.yml"


def promtool(program, *words):
    if not program:
        raise Skip("no promtool here (Debian: apt-get install prometheus)")
    done = subprocess.run([program, *map(str, words)], cwd=PROMETHEUS, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return f"{len(re.findall('SUCCESS', done.stdout))} files"


def alerts():
    """{name: its text}"""
    parts = re.split(r"^  - alert: (\w+)$", ALERTS.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2]))


def actionable():
    """Every alert says what to do, has a section in the runbook, and is tested both ways."""
    runbook = (ROOT / "docs" / "runbook.md").read_text()
    sections = {line[4:].strip() for line in runbook.splitlines() if line.startswith("### ")}
    tests = (PROMETHEUS / "tests" / "every-alert.yml").read_text()
    found = alerts()
    for name, text in found.items():
        assert re.search(r"severity: (critical|warning|ticket)\}", text), f"{name} has no severity"
        assert re.search(r'action: "\S.{20,}"', text) and "summary:" in text, f"{name} does not say what to do"
        assert f"docs/runbook.md#{name.lower()}" in text and name in sections, f"{name} is not in docs/runbook.md"
        assert f'alertname="{name}"' in tests, f"{name} is not tested"
    equal(sections - set(found), set(), "sections of the runbook without an alert")
    return f"{len(found)} alerts"


def own_metrics():
    """The filters' metrics, as the code registers them."""
    names = set()
    for file in (ROOT / "filters").rglob("*.rs"):
        names |= set(re.findall(r'"(tollgate_[a-z_]+)"', file.read_text()))
    return names


# Made by envoy/configs/edge.yaml and envoy/compose/envoy.yaml themselves.
FROM_THE_ACCESS_LOG = {"tollgate_api_requests", "tollgate_consumer_requests", "tollgate_api_request_duration_ms_bucket",
                       "tollgate_api_request_duration_ms_count", "tollgate_api_request_duration_ms_sum"}


def known_metrics():
    """Every metric of ours that rules, alerts and dashboard ask for is one that the code has."""
    texts = {"rules.yml": RULES.read_text(), "alerts.yml": ALERTS.read_text(), "tollgate.json": "\n".join(query for _, query in panels())}
    unknown = [f"{name} ({file})" for file, text in texts.items() for name in sorted(set(re.findall(r"\btollgate_[a-z_]+", text)))
               if name not in own_metrics() | FROM_THE_ACCESS_LOG]
    assert not unknown, "\n".join(unknown)
    recorded = set(re.findall(r"record: (\S+)", RULES.read_text()))
    used = {name for text in (texts["alerts.yml"], texts["tollgate.json"]) for name in re.findall(r"\b(?:api_[a-z_]+|account_balance_usd|tollgate:[a-z0-9_:]+)", text)}
    equal(used - recorded, set(), "asked for, but not recorded")
    assert {"api_requests_total", "api_request_duration_seconds_bucket", "api_cost_usd_total", "account_balance_usd"} <= recorded


def dashboard():
    """Panels have titles, queries and units, do not overlap, and take their data source from the variable."""
    board = json.loads(DASHBOARD.read_text())
    cells, ids = set(), set()
    for panel in board["panels"]:
        assert panel["id"] not in ids and panel["title"], panel
        ids.add(panel["id"])
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in cells, f"{panel['title']} overlaps"
                cells.add((x, y))
        if panel["type"] == "row":
            continue
        assert panel["targets"] and panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        equal({target["datasource"]["uid"] for target in panel["targets"]} | {panel["datasource"]["uid"]}, {"${datasource}"}, panel["title"])
        for target in panel["targets"]:
            assert target["expr"].count("(") == target["expr"].count(")"), target["expr"]
    wanted = ["Requests", "p95", "In flight", "Errors", "Decisions by reason", "Limits: passed and refused", "Variants", "Spend by consumer", "Budget left"]
    titles = {panel["title"] for panel in board["panels"]}
    equal([title for title in wanted if title not in titles], [])
    return f"{len(board['panels'])} panels"


def refusals():
    """The panel of refusals knows every reason of docs/problems.md."""
    rows = [[cell.strip() for cell in line.split("|")] for line in (ROOT / "docs" / "problems.md").read_text().splitlines() if line.startswith("|")]
    reasons = {reason for cells in rows if len(cells) > 6 and "`tollgate_" in cells[3] for reason in re.findall(r"`(\w+)`", cells[4])}
    query = next(query for title, query in panels() if title == "Refusals by reason")
    shown = set(re.search(r'reason=~"([^"]*)"', query)[1].split("|"))
    assert len(reasons) > 20, reasons
    equal(reasons - shown, set(), "refusals that the panel does not show")
    equal(shown - reasons, set(), "in the panel, but no refusal")
    return f"{len(reasons)} reasons"


def counted():
    """docs/observability.md says how many alerts there are."""
    said = re.search(r"(\d+) alerts;", (ROOT / "docs" / "observability.md").read_text())
    equal(int(said[1]), len(alerts()), "docs/observability.md")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--promtool", default=shutil.which("promtool"))
    options = parser.parse_args()
    checks = Checks()
    checks.check("promtool: prometheus.yml", promtool, options.promtool, "check", "config", "prometheus.yml")
    checks.check("promtool: rules and alerts", promtool, options.promtool, "check", "rules", RULES, ALERTS)
    checks.check("promtool: unit tests", promtool, options.promtool, "test", "rules", *sorted((PROMETHEUS / "tests").glob("*.yml")))
    checks.check("every alert says what to do", actionable)
    checks.check("every metric exists", known_metrics)
    checks.check("every refusal is on the dashboard", refusals)
    checks.check("the documentation counts the alerts", counted)
    checks.check("the dashboard is well-formed", dashboard)
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
