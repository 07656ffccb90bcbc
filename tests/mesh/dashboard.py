"""The dashboard's queries as Grafana would send them."""

import json
from pathlib import Path

DASHBOARD = Path(__file__).resolve().parents[2] / "envoy" / "observability" / "grafana" / "dashboards" / "tollgate.json"
# Variables of Grafana and of the dashboard, as they are when nobody has chosen anything.
VARIABLES = {"$__rate_interval": "1m", "$__range": "30m", "$endpoint": ".*", "$consumer": ".*"}


def panels():
    """(title, query) of every query of every panel."""
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", []):
            query = target["expr"]
            for name, value in VARIABLES.items():
                query = query.replace(name, value)
            yield panel["title"], query
