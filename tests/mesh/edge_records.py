"""What is left of a request: spans, log lines, counts."""

import re

from access_log import LOG_KEYS, lines_of
from checks import equal, eventually
from edge_stage import KEY
from proxy import SECRETS, request


def tracing(edge):
    """Spans carry the variant, the consumer and the price rule, and the upstream gets the context."""
    edge.runtime(tracing__random_sampling=10000)
    edge.forget()
    edge.ask("/checkout", headers={"x-user-group": "canary-testers"})
    edge.ask("/v1/chat/completions", "POST", body=b'{"model": "gpt-4"}')
    edge.ask("/report", key=False)

    def arrived():
        return b"tollgate_key_missing" in b"".join(body for _, body in edge.collector.spans) and b"gpt-4" in b"".join(b for _, b in edge.collector.spans)
    eventually(arrived, 15, "spans arrive")
    edge.runtime(tracing__random_sampling=0)
    spans = b"".join(body for _, body in edge.collector.spans)
    equal({path for path, _ in edge.collector.spans}, {"/v1/traces"})

    def tag(name, value):
        # OTLP: a KeyValue is the key's length and text, then an AnyValue with the text.
        return name + b"\x12" + bytes([len(value) + 2]) + b"\x0a" + bytes([len(value)]) + value
    for name, value in ((b"tollgate.consumer", b"web-app"), (b"tollgate.variant", b"checkout-v2:canary"), (b"tollgate.price", b"gpt-4"),
                        (b"tollgate.reason", b"tollgate_key_missing")):
        assert tag(name, value) in spans, f"no {name} = {value}"
    [seen] = edge.one(edge.canary)
    assert "traceparent" in dict(seen["headers"]), seen["headers"]


def access_log(edge):
    """One JSON line a request, with the keys that users ask for."""
    edge.ask("/v1/chat/completions", "POST", {"x-test-usage": "10,5"}, b'{"model": "gpt-4"}')
    edge.ask("/checkout", headers={"x-user-group": "canary-testers"})

    def lines():
        found = lines_of(edge.stage.log("envoy"))
        return found if any(line["tokens"] == "10,5" for line in found) and any(line["variant"] for line in found) else None
    found = eventually(lines, 5, "the lines of these requests")
    assert all(LOG_KEYS <= set(line) for line in found)
    line = [line for line in found if line["tokens"] == "10,5"][-1]
    equal((line["consumer"], line["price"], line["cost_usd"], line["status_code"], line["method"], line["endpoint"]),
          ("web-app", "gpt-4", "0.00215", 200, "POST", "/v1/chat/completions"))
    for value in SECRETS.values():
        assert value not in edge.stage.log("envoy")


def own_metrics(edge):
    """Requests by endpoint, method and status, the gateway's own answers included; odd methods make no series."""
    request(edge.https, "BREW", "/report", {**KEY}, tls=edge.tls)

    def counted():
        text = request(edge.admin, path="/stats/prometheus").body.decode()
        found = re.findall(r'^envoy_tollgate_api_requests\{endpoint="(\w+)",method="(\w+)",status="(\d+)"\} (\d+)$', text, re.MULTILINE)
        return found if {("read", "GET", "401"), ("chat", "POST", "200"), ("maintenance", "GET", "503")} <= {row[:3] for row in found} else None
    found = eventually(counted, 5, "the series")
    assert "BREW" not in {row[1] for row in found}, found
    text = request(edge.admin, path="/stats/prometheus").body.decode()
    assert 'envoy_tollgate_consumer_requests{consumer="web-app",status="200"}' in text
    assert re.search(r'envoy_tollgate_api_request_duration_ms_bucket\{endpoint="read",method="GET",le="1200"\}', text), "histogram buckets"
