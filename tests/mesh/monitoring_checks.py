"""What Prometheus, its rules and the dashboard make of what was sent."""

import collections
import json
import os
import re
import urllib.request

from checks import Skip, equal, eventually
from dashboard import panels
from running_mesh import GATEWAY, KEY

# Panels that have nothing to show in this mesh: nothing expires, ramps, is rolled back or fetched.
QUIET = {"Keys that expire", "Ramp", "Expired experiments", "Key set", "Rolled back"}


def targets(running):
    eventually(lambda: len([r for r in running.query('up{job="tollgate"}') if r["value"][1] == "1"]) == 2, 30, "both gateways are scraped")
    groups = running.prometheus("rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    bad = [rule["name"] for rule in rules if rule["health"] == "err"]
    assert len(rules) > 40 and not bad, f"{len(rules)} rules, with errors: {bad}"
    return f"{len(rules)} rules"


def user_names(running):
    """The recorded names count what was sent."""
    expected = collections.Counter()
    for gateway in ("gateway", "gateway-2"):
        text = running.ask("/stats/prometheus", at=f"http://{gateway}:9902")["body"]
        for labels, value in re.findall(r"^envoy_tollgate_api_requests\{(.*)\} ([0-9.]+)$", text, re.MULTILINE):
            expected[tuple(sorted(re.findall(r'(\w+)="([^"]*)"', labels)))] += float(value)
    assert any(("status", "401") in labels for labels in expected), "refused requests are counted, too"

    def recorded():
        found = {tuple(sorted((k, v) for k, v in r["metric"].items())): float(r["value"][1])
                 for r in running.query("sum without (instance) (api_requests_total)")}
        return found == dict(expected)
    eventually(recorded, 20, f"api_requests_total is {expected}")
    for name in ("api_request_duration_seconds_bucket", "api_request_duration_seconds_count", "api_cost_usd_total", "api_consumer_requests_total"):
        assert running.query(name), f"{name} has no series"
    assert float(running.query('sum(api_cost_usd_total{endpoint="gpt-4"})')[0]["value"][1]) >= 0.0105


def traffic(running):
    """Some of everything."""
    for words in (["GET", "/checkout", "--header", KEY, "--header", "x-user-group: canary-testers"], ["GET", "/report", "--header", KEY],
                  ["GET", "/api/hello"], ["GET", "/api/optimize", "--header", KEY], ["GET", "/export", "--header", KEY], ["POST", "/hooks/orders", "--body", "{}"],
                  ["POST", "/v1/chat/completions", "--header", KEY, "--body", '{"model": "gpt-3.5"}']):
        running.client("ask", words[0], GATEWAY + words[1], *words[2:])


def dashboard(running):
    """Every query of every panel runs; those that have something to show do."""
    silent, count = [], 0

    def empty():
        nonlocal silent, count
        # Rates need counts that grow.
        traffic(running)
        silent = []
        count = 0
        for title, query in panels():
            count += 1
            if not running.query(query) and title not in QUIET:
                silent.append(f"{title}: {query}")
        return not silent
    try:
        eventually(empty, 60, "")
    except AssertionError:
        raise AssertionError("panels without data:\n" + "\n".join(silent)) from None
    return f"{count} queries"


def grafana(running):
    """Grafana has the dashboard and reaches Prometheus."""
    if "grafana" not in running.services:
        raise Skip("no image of Grafana here; its dashboard's queries were run above")
    base = f"http://127.0.0.1:{os.environ['GRAFANA_PORT']}/api"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{base}/dashboards/uid/tollgate", timeout=10) as answer:
        equal(json.load(answer)["dashboard"]["title"], "Tollgate")
    with opener.open(f"{base}/datasources/proxy/uid/prometheus/api/v1/query?query=up", timeout=10) as answer:
        equal(json.load(answer)["status"], "success")


def run(running, checks):
    """All of them."""
    if "prometheus" in running.services:
        checks.check("Prometheus scrapes, its rules evaluate", targets, running)
        checks.check("users' names count what was sent", user_names, running)
        checks.check("every query of the dashboard runs", dashboard, running)
    checks.check("Grafana shows the dashboard", grafana, running)
