"""The mesh as it is, and the five jobs."""

import json
import time

from access_log import LOG_KEYS, lines_of
from checks import equal, eventually
from running_mesh import GATEWAY, KEY


def confined(running):
    """Nobody is root, everybody has limits, nothing can be written."""
    for service in running.services:
        about = running.mesh.inspect(service)
        user, host = about["Config"]["User"], about["HostConfig"]
        assert user and user.split(":")[0] not in ("0", "root"), f"{service} runs as {user!r}"
        assert host["Memory"] > 0 and host["NanoCpus"] > 0, f"{service} has no limits: {host['Memory']} {host['NanoCpus']}"
        assert host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"], f"{service} can write or has capabilities"
        equal(host["RestartPolicy"]["Name"], "unless-stopped", service)
        for port in (host["PortBindings"] or {}).values():
            equal({binding["HostIp"] for binding in port}, {"127.0.0.1"}, service)


def secrets_stay_secret(running):
    """No secret in the config dump, the metrics or the log."""
    gateway = running.mesh.container("gateway")
    dump = running.engine.docker("exec", gateway, "bash", "-c",
                                 "exec 3<>/dev/tcp/127.0.0.1/9901; printf 'GET /config_dump HTTP/1.1\\r\\nhost: envoy\\r\\nconnection: close\\r\\n\\r\\n' >&3; while read -r line <&3; do echo \"$line\"; done").stdout
    assert '"root_id": "gateway"' in dump, dump[:500]
    metrics = running.ask("/stats/prometheus", at="http://gateway:9902")["body"]
    for name, value in running.secrets.items():
        for where, text in (("config dump", dump), ("metrics", metrics), ("log", running.mesh.logs("gateway"))):
            assert value not in text, f"{name} is in the {where}"


def admin_is_closed(running):
    """The port for Prometheus shows metrics and readiness, and nothing else of the admin interface."""
    for method, path, status in (("GET", "/ready", 200), ("GET", "/config_dump", 404), ("POST", "/quitquitquit", 404),
                                 ("POST", "/stats/prometheus", 404), ("POST", "/runtime_modify?a=b", 404)):
        equal(running.ask(path, method=method, at="http://gateway:9902")["status"], status, f"{method} {path}")
    equal(running.ask("/ready", at="http://gateway:9901")["status"], 0, "the admin port itself")


def smoke(running):
    """scripts/smoke.py in the client container."""
    done = running.in_client("python3", "/scripts/smoke.py", "--gateway", GATEWAY, "--metrics", "http://gateway:9902", "--demo")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip().splitlines()[-1]


def smoke_fails_loudly(running):
    """... and it fails where the gateway lets everybody in: an upstream without gateway."""
    done = running.in_client("python3", "/scripts/smoke.py", "--gateway", "http://stable-1:8080", "--demo")
    equal(done.returncode, 1)
    assert "SMOKE TEST FAILED" in done.stderr and "no key: 401 key-missing" in done.stderr, done.stderr


def exact_cost(running):
    """JSON and a stream cost the same, to the picodollar, in header, metric and budget."""
    def spent():
        return int(running.metric(r'tollgate_cost_pico_total\{price="gpt-4"\}'))
    headers = (KEY, "content-type: application/json", "x-test-usage: 100,50")
    before = spent()
    chat = {"model": "gpt-4", "messages": [{"role": "user", "content": "Hello"}]}
    whole = running.ask("/v1/chat/completions", *headers, method="POST", body=json.dumps(chat))
    equal((whole["status"], whole["headers"].get("x-request-cost")), (200, "0.0035"))
    left = float(whole["headers"]["x-budget-remaining"])
    streamed = running.ask("/v1/chat/completions", *headers, method="POST",
                           body=json.dumps({**chat, "stream": True, "stream_options": {"include_usage": True}}))
    equal(streamed["headers"].get("content-type"), "text/event-stream")
    assert streamed["body"].endswith("data: [DONE]\n\n"), streamed["body"][-200:]
    eventually(lambda: spent() == before + 7_000_000_000, 5, f"0.0070 USD more than {before}")
    again = running.ask("/v1/chat/completions", *headers, method="POST", body=json.dumps(chat))
    equal(round(left - float(again["headers"]["x-budget-remaining"]), 6), 0.007, "budget after a stream and a call")


def access_log(running):
    """One JSON line a request, with the keys that users ask for."""
    request = f"mesh-{time.time_ns()}"
    running.ask("/v1/chat/completions", KEY, "x-test-usage: 100,50", f"x-request-id: {request}", method="POST",
                body='{"model": "gpt-4", "messages": [{"role": "user", "content": "Hello"}]}')
    running.ask("/checkout", KEY, "x-user-group: canary-testers")

    def lines():
        found = lines_of(running.mesh.logs("gateway"))
        return found if [line for line in found if line["variant"]] and any(line["cost_usd"] == "0.0035" for line in found) else None
    found = eventually(lines, 10, "the lines of these requests")
    for line in found:
        assert LOG_KEYS <= set(line), LOG_KEYS - set(line)
    costly = [line for line in found if line["cost_usd"] == "0.0035"][-1]
    equal((costly["method"], costly["endpoint"], costly["status_code"], costly["consumer"], costly["price"], costly["tokens"]),
          ("POST", "/v1/chat/completions", 200, "web-app", "gpt-4", "100,50"))
    equal([line["variant"] for line in found if line["variant"]][-1], "checkout-v2:canary")
    refused = [line for line in found if line["reason"] == "tollgate_rate_limited"]
    assert refused and refused[-1]["limit"] == "api", refused[-1:]


def run(running, checks):
    """All of them."""
    checks.check("nobody is root, everybody has limits, ports are on loopback", confined, running)
    checks.check("the port for Prometheus opens nothing else", admin_is_closed, running)
    checks.check("all five jobs from the client container", smoke, running)
    checks.check("the smoke test fails loudly without a gateway", smoke_fails_loudly, running)
    checks.check("cost is exact: JSON and stream", exact_cost, running)
    checks.check("one JSON log line a request", access_log, running)
    checks.check("no secret in config dump, metrics, log", secrets_stay_secret, running)
