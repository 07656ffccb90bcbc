"""The access log, as the edge and the compose mesh write it."""

import json

# The keys that users ask of a request's log line (what they read it with is theirs).
LOG_KEYS = {"timestamp", "event_type", "method", "endpoint", "status_code", "duration_ms", "consumer", "request_id", "cost_usd",
            "variant", "limit", "reason"}


def lines_of(log):
    """The lines of requests among all that Envoy has written."""
    return [json.loads(line) for line in log.splitlines() if line.startswith("{")]
