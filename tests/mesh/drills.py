#!/usr/bin/env python3
"""`make mesh-test`: the compose mesh under a client's requests, and what happens when its parts fail.

    tests/mesh/drills.py --upstream PATH --envoy PATH [--keep]

Starts the mesh with ports and a project of its own (and the engine, where none runs), drives all five jobs from a client
container, then kills, slows and restarts things and checks each outcome. Without an engine it says so and ends with
status 0, unless `--require`. Ends with `N passed, N failed`.
"""

import argparse
import collections
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import mesh as meshes  # noqa: E402
import fleet_drills  # noqa: E402
from checks import Checks, Skip, equal, eventually  # noqa: E402
from dashboard import panels  # noqa: E402

GATEWAY = "http://gateway:10000"
KEY = "x-api-key: ${WEB_APP_API_KEY}"
# The keys that users ask of a request's log line (what they read it with is theirs).
LOG_KEYS = {"timestamp", "event_type", "method", "endpoint", "status_code", "duration_ms", "consumer", "request_id", "cost_usd",
            "variant", "limit", "reason"}
# Panels that have nothing to show in this mesh: nothing expires, ramps, is rolled back or fetched.
QUIET = {"Keys that expire", "Ramp", "Expired experiments", "Key set", "Rolled back"}


class Drills:
    """The mesh under test."""

    def __init__(self, options):
        os.environ.update({name: str(free_port()) for name in ("GATEWAY_PORT", "GATEWAY_2_PORT", "PROMETHEUS_PORT", "GRAFANA_PORT")})
        self.engine = meshes.Engine()
        try:
            self.mesh = meshes.Mesh(self.engine, options, f"tollgate-test-{os.getpid()}", meshes.COMPOSE_FILE.parent / "demo.env")
        except meshes.Failure:
            self.engine.stop()
            raise
        self.secrets = dict(line.split("=", 1) for line in self.mesh.secrets.read_text().splitlines() if "=" in line and line[0] != "#")
        self.services = []

    # ---- tools

    def start(self):
        self.services = self.mesh.services([*meshes.WANTED, "CLIENT_IMAGE"])
        if "client" not in self.services:
            raise meshes.Failure("no client container: neither pulled nor built")
        started = time.monotonic()
        self.mesh.compose("--profile", "client", "up", "-d", "--no-build", *self.services)
        self.mesh.wait_healthy(self.services)
        return f"{', '.join(self.services)} healthy after {time.monotonic() - started:.0f} s" + (
            f"; left out: {', '.join(self.mesh.left_out)}" if self.mesh.left_out else "")

    def client(self, *words, background=False):
        """Runs client.py in the client container."""
        command = ["docker", "exec", self.mesh.container("client"), "python3", "/mesh/client.py", *words]
        if background:
            return subprocess.Popen(command, env=self.engine.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                    stderr=subprocess.PIPE, text=True)
        done = meshes.run(command, 120, env=self.engine.environment)
        if done.returncode != 0:
            raise AssertionError(f"{shlex.join(words)}: {done.stderr[-500:]}")
        return json.loads(done.stdout)

    def ask(self, path, *headers, method="GET", body=None, at=GATEWAY):
        words = ["ask", method, at + path, *[word for header in headers for word in ("--header", header)]]
        return self.client(*words, *(["--body", body] if body is not None else []))

    def load(self, path, rps, seconds, *headers, at=GATEWAY):
        process = self.client("load", at + path, "--rps", str(rps), "--seconds", str(seconds),
                              *[word for header in headers for word in ("--header", header)], background=True)
        equal(process.stdout.readline(), "started\n")
        return process

    @staticmethod
    def result(process):
        out, err = process.communicate(timeout=120)
        if process.returncode != 0:
            raise AssertionError(err[-500:])
        return json.loads(out)

    def control(self, service, what, value):
        answer = self.ask(f"/_control/{what}", method="POST", body=json.dumps(value), at=f"http://{service}:8080")
        equal(answer["status"], 200, answer["body"])

    def metric(self, pattern, gateway="gateway"):
        """The sum of the series of a gateway that match."""
        text = self.ask("/stats/prometheus", at=f"http://{gateway}:9902")["body"]
        return sum(float(value) for value in re.findall(rf"^{pattern} ([0-9.e+]+)$", text, re.MULTILINE))

    def prometheus(self, path, **query):
        url = f"http://127.0.0.1:{os.environ['PROMETHEUS_PORT']}/api/v1/{path}"
        if query:
            url += "?" + urllib.parse.urlencode(query)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path} {query}: {error.read().decode()}") from None

    def query(self, expression):
        return self.prometheus("query", query=expression)["result"]

    # ---- the mesh as it is

    def confined(self):
        """Nobody is root, everybody has limits, nothing can be written."""
        for service in self.services:
            about = self.mesh.inspect(service)
            user, host = about["Config"]["User"], about["HostConfig"]
            assert user and user.split(":")[0] not in ("0", "root"), f"{service} runs as {user!r}"
            assert host["Memory"] > 0 and host["NanoCpus"] > 0, f"{service} has no limits: {host['Memory']} {host['NanoCpus']}"
            assert host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"], f"{service} can write or has capabilities"
            equal(host["RestartPolicy"]["Name"], "unless-stopped", service)
            for port in (host["PortBindings"] or {}).values():
                equal({binding["HostIp"] for binding in port}, {"127.0.0.1"}, service)

    def secrets_stay_secret(self):
        """No secret in the config dump, the metrics or the log."""
        gateway = self.mesh.container("gateway")
        dump = self.engine.docker("exec", gateway, "bash", "-c",
                                  "exec 3<>/dev/tcp/127.0.0.1/9901; printf 'GET /config_dump HTTP/1.1\\r\\nhost: envoy\\r\\nconnection: close\\r\\n\\r\\n' >&3; while read -r line <&3; do echo \"$line\"; done").stdout
        assert '"root_id": "gateway"' in dump, dump[:500]
        metrics = self.ask("/stats/prometheus", at="http://gateway:9902")["body"]
        for name, value in self.secrets.items():
            for where, text in (("config dump", dump), ("metrics", metrics), ("log", self.mesh.logs("gateway"))):
                assert value not in text, f"{name} is in the {where}"

    def admin_is_closed(self):
        """The port for Prometheus shows metrics and readiness, and nothing else of the admin interface."""
        for method, path, status in (("GET", "/ready", 200), ("GET", "/config_dump", 404), ("POST", "/quitquitquit", 404),
                                     ("POST", "/stats/prometheus", 404), ("POST", "/runtime_modify?a=b", 404)):
            equal(self.ask(path, method=method, at="http://gateway:9902")["status"], status, f"{method} {path}")
        equal(self.ask("/ready", at="http://gateway:9901")["status"], 0, "the admin port itself")

    # ---- the five jobs

    def smoke(self):
        """scripts/smoke.py in the client container."""
        done = meshes.run(["docker", "exec", self.mesh.container("client"), "python3", "/scripts/smoke.py", "--gateway", GATEWAY,
                           "--metrics", "http://gateway:9902", "--demo"], 60, env=self.engine.environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip().splitlines()[-1]

    def smoke_fails_loudly(self):
        """... and it fails where the gateway lets everybody in: an upstream without gateway."""
        done = meshes.run(["docker", "exec", self.mesh.container("client"), "python3", "/scripts/smoke.py", "--gateway",
                           "http://stable-1:8080", "--demo"], 60, env=self.engine.environment)
        equal(done.returncode, 1)
        assert "SMOKE TEST FAILED" in done.stderr and "no key: 401 key-missing" in done.stderr, done.stderr

    def exact_cost(self):
        """JSON and a stream cost the same, to the picodollar, in header, metric and budget."""
        def spent():
            return int(self.metric(r'tollgate_cost_pico_total\{price="gpt-4"\}'))
        headers = (KEY, "content-type: application/json", "x-test-usage: 100,50")
        before = spent()
        chat = {"model": "gpt-4", "messages": [{"role": "user", "content": "Hello"}]}
        whole = self.ask("/v1/chat/completions", *headers, method="POST", body=json.dumps(chat))
        equal((whole["status"], whole["headers"].get("x-request-cost")), (200, "0.0035"))
        left = float(whole["headers"]["x-budget-remaining"])
        streamed = self.ask("/v1/chat/completions", *headers, method="POST",
                            body=json.dumps({**chat, "stream": True, "stream_options": {"include_usage": True}}))
        equal(streamed["headers"].get("content-type"), "text/event-stream")
        assert streamed["body"].endswith("data: [DONE]\n\n"), streamed["body"][-200:]
        eventually(lambda: spent() == before + 7_000_000_000, 5, f"0.0070 USD more than {before}")
        again = self.ask("/v1/chat/completions", *headers, method="POST", body=json.dumps(chat))
        equal(round(left - float(again["headers"]["x-budget-remaining"]), 6), 0.007, "budget after a stream and a call")

    def access_log(self):
        """One JSON line a request, with the keys that users ask for."""
        request = f"mesh-{time.time_ns()}"
        self.ask("/v1/chat/completions", KEY, "x-test-usage: 100,50", f"x-request-id: {request}", method="POST",
                 body='{"model": "gpt-4", "messages": [{"role": "user", "content": "Hello"}]}')
        self.ask("/checkout", KEY, "x-user-group: canary-testers")

        def lines():
            found = [json.loads(line) for line in self.mesh.logs("gateway").splitlines() if line.startswith("{")]
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

    # ---- what Prometheus sees

    def targets(self):
        eventually(lambda: len([r for r in self.query('up{job="tollgate"}') if r["value"][1] == "1"]) == 2, 30, "both gateways are scraped")
        groups = self.prometheus("rules")["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        bad = [rule["name"] for rule in rules if rule["health"] == "err"]
        assert len(rules) > 40 and not bad, f"{len(rules)} rules, with errors: {bad}"
        return f"{len(rules)} rules"

    def user_names(self):
        """The recorded names count what was sent."""
        expected = collections.Counter()
        for gateway in ("gateway", "gateway-2"):
            text = self.ask("/stats/prometheus", at=f"http://{gateway}:9902")["body"]
            for labels, value in re.findall(r"^envoy_tollgate_api_requests\{(.*)\} ([0-9.]+)$", text, re.MULTILINE):
                expected[tuple(sorted(re.findall(r'(\w+)="([^"]*)"', labels)))] += float(value)
        assert any(("status", "401") in labels for labels in expected), "refused requests are counted, too"

        def recorded():
            found = {tuple(sorted((k, v) for k, v in r["metric"].items())): float(r["value"][1])
                     for r in self.query("sum without (instance) (api_requests_total)")}
            return found == dict(expected)
        eventually(recorded, 20, f"api_requests_total is {expected}")
        for name in ("api_request_duration_seconds_bucket", "api_request_duration_seconds_count", "api_cost_usd_total", "api_consumer_requests_total"):
            assert self.query(name), f"{name} has no series"
        assert float(self.query('sum(api_cost_usd_total{endpoint="gpt-4"})')[0]["value"][1]) >= 0.0105

    def traffic(self):
        """Some of everything."""
        for words in (["GET", "/checkout", "--header", KEY, "--header", "x-user-group: canary-testers"], ["GET", "/report", "--header", KEY],
                      ["GET", "/api/hello"], ["GET", "/api/optimize", "--header", KEY], ["GET", "/export", "--header", KEY], ["POST", "/hooks/orders", "--body", "{}"],
                      ["POST", "/v1/chat/completions", "--header", KEY, "--body", '{"model": "gpt-3.5"}']):
            self.client("ask", words[0], GATEWAY + words[1], *words[2:])

    def dashboard(self):
        """Every query of every panel runs; those that have something to show do."""
        def empty():
            # Rates need counts that grow.
            self.traffic()
            self.silent = []
            count = 0
            for title, query in panels():
                count += 1
                if not self.query(query) and title not in QUIET:
                    self.silent.append(f"{title}: {query}")
            self.count = count
            return not self.silent
        try:
            eventually(empty, 60, "")
        except AssertionError:
            raise AssertionError("panels without data:\n" + "\n".join(self.silent)) from None
        return f"{self.count} queries"

    # ---- drills

    def all_good(self, result, upstreams=None):
        equal((result["statuses"], result["errors"]), ({"200": result["sent"]}, {}), json.dumps(result))
        if upstreams:
            equal(set(result["upstreams"]), set(upstreams))

    def slow_instance(self):
        """One of two instances answers a second late: nobody fails, and most go to the other one."""
        self.control("stable-1", "slow", {"ms": 1000})
        result = self.result(self.load("/report", 40, 5, KEY))
        self.control("stable-1", "slow", {"ms": 0})
        self.all_good(result, ["stable-1", "stable-2"])
        slow, quick = result["upstreams"]["stable-1"], result["upstreams"]["stable-2"]
        assert slow < quick / 1.3 and result["p50"] < 0.2, result
        return f"{quick} to the quick one, {slow} to the slow one, p50 {result['p50'] * 1000:.0f} ms"

    def hanging_instance(self):
        """Both instances hang: a write is answered 504 within the route's 5 seconds, and not sent again."""
        for name in ("stable-1", "stable-2"):
            self.control(name, "slow", {"ms": 8000})
        answer = self.ask("/orders", KEY, method="POST", body="{}")
        for name in ("stable-1", "stable-2"):
            self.control(name, "slow", {"ms": 0})
        equal(answer["status"], 504)
        assert 4.5 < answer["seconds"] < 6.5, answer["seconds"]
        return f"after {answer['seconds']:.1f} s"

    def killed_instance(self):
        """An instance is killed under load: no request fails; it comes back and takes part again."""
        process = self.load("/report", 60, 6, KEY)
        time.sleep(1.5)
        try:
            killed = self.engine.docker("kill", self.mesh.container("stable-2"))
            equal(killed.returncode, 0, killed.stderr)
            result = self.result(process)
            self.all_good(result, ["stable-1", "stable-2"])
            self.all_good(self.result(self.load("/report", 50, 1, KEY)), ["stable-1"])
        finally:
            self.engine.docker("start", self.mesh.container("stable-2"))
        started = time.monotonic()
        eventually(lambda: "stable-2" in self.result(self.load("/report", 50, 0.4, KEY))["upstreams"], 90, "stable-2 answers again")
        return f"{result['sent']} requests, {result['upstreams']}; back after {time.monotonic() - started:.0f} s"

    def gone_cluster(self):
        """The model is gone: 503 at once, nothing is charged, the others go on."""
        before = self.metric(r'tollgate_cost_pico_total\{price="gpt-4"\}')
        self.engine.docker("kill", self.mesh.container("model"))
        try:
            answer = self.ask("/v1/chat/completions", KEY, method="POST", body='{"model": "gpt-4", "messages": []}')
            equal(answer["status"], 503, answer["body"])
            assert answer["seconds"] < 8, answer["seconds"]
            equal(self.ask("/report", KEY)["status"], 200)
            equal(self.metric(r'tollgate_cost_pico_total\{price="gpt-4"\}'), before, "charged for no answer")
        finally:
            self.engine.docker("start", self.mesh.container("model"))
        eventually(lambda: self.ask("/v1/chat/completions", KEY, method="POST", body='{"model": "gpt-4"}')["status"] == 200, 60, "the model is back")
        return f"503 after {answer['seconds'] * 1000:.0f} ms"

    def failing_instance(self):
        """One instance answers 503: reads are answered by the other one, and after five failures it is ejected."""
        self.control("stable-1", "answer", {"status": 503, "body": "broken"})
        result = self.result(self.load("/report", 50, 4, KEY))
        ejected = self.metric(r'envoy_cluster_outlier_detection_ejections_active\{envoy_cluster_name="stable"\}')
        self.control("stable-1", "answer", None)
        self.all_good(result, ["stable-2"])
        equal(ejected, 1)
        return f"{result['sent']} requests, all 200; ejected"

    def restarted_gateway(self, how):
        """The gateway stops and comes back: requests fail meanwhile, and none gets in without a key."""
        with_key = self.load("/report", 40, 8, KEY)
        without = self.load("/report", 40, 8)
        time.sleep(1)
        began = time.monotonic()
        how()
        self.mesh.wait_healthy(["gateway"], 30)
        away = time.monotonic() - began
        good, bad = self.result(with_key), self.result(without)
        equal(set(bad["statuses"]), {"401"}, "without a key")
        equal(set(good["statuses"]), {"200"}, "with a key")
        eventually(lambda: self.ask("/report", KEY)["status"] == 200, 10, "answers again")
        return f"healthy after {away:.1f} s; {sum(good['errors'].values())} of {good['sent']} requests got no answer, {good['statuses']['200']} were served"

    def restart(self):
        equal(self.engine.docker("restart", "-t", "2", self.mesh.container("gateway")).returncode, 0)

    def crash(self):
        """As a crash would: Envoy aborts, the restart policy brings it back."""
        before = self.mesh.inspect("gateway")["RestartCount"]
        self.engine.docker("exec", self.mesh.container("gateway"), "bash", "-c",
                           'for p in /proc/[0-9]*; do read -r n < $p/comm; [ "$n" = envoy ] && kill -ABRT ${p#/proc/}; done')
        eventually(lambda: self.mesh.inspect("gateway")["RestartCount"] > before, 20, "restarted by the engine")

    def without_prometheus(self):
        """Prometheus is stopped: nobody notices."""
        self.engine.docker("kill", self.mesh.container("prometheus"))
        self.all_good(self.result(self.load("/report", 30, 1, KEY)))
        self.engine.docker("start", self.mesh.container("prometheus"))

    def never_trapped(self):
        for gateway in ("gateway", "gateway-2"):
            equal(self.metric(r"envoy_wasm_\S+_vm_reload_(?:success|failure)\S*", gateway), 0, gateway)
            trapped = [line for line in self.mesh.logs(gateway).splitlines() if "RuntimeError" in line or "Proxy-Wasm plugin in-VM backtrace" in line]
            assert not trapped, trapped

    def grafana(self):
        """Grafana has the dashboard and reaches Prometheus."""
        if "grafana" not in self.services:
            raise Skip("no image of Grafana here; its dashboard's queries were run above")
        base = f"http://127.0.0.1:{os.environ['GRAFANA_PORT']}/api"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{base}/dashboards/uid/tollgate", timeout=10) as answer:
            equal(json.load(answer)["dashboard"]["title"], "Tollgate")
        with opener.open(f"{base}/datasources/proxy/uid/prometheus/api/v1/query?query=up", timeout=10) as answer:
            equal(json.load(answer)["status"], "success")

    # ---- all of it

    def run(self, checks):
        if not checks.check("the mesh starts", self.start):
            return
        checks.check("nobody is root, everybody has limits, ports are on loopback", self.confined)
        checks.check("the port for Prometheus opens nothing else", self.admin_is_closed)
        checks.check("all five jobs from the client container", self.smoke)
        checks.check("the smoke test fails loudly without a gateway", self.smoke_fails_loudly)
        checks.check("cost is exact: JSON and stream", self.exact_cost)
        checks.check("one JSON log line a request", self.access_log)
        checks.check("no secret in config dump, metrics, log", self.secrets_stay_secret)
        if "prometheus" in self.services:
            checks.check("Prometheus scrapes, its rules evaluate", self.targets)
            checks.check("users' names count what was sent", self.user_names)
            checks.check("every query of the dashboard runs", self.dashboard)
        checks.check("Grafana shows the dashboard", self.grafana)
        if "ratelimit" in self.services:
            fleet_drills.run(self, checks)
        checks.check("one instance slow by a second", self.slow_instance)
        checks.check("both instances hang", self.hanging_instance)
        checks.check("one instance killed", self.killed_instance)
        checks.check("a cluster without instances", self.gone_cluster)
        if "prometheus" in self.services:
            checks.check("without Prometheus", self.without_prometheus)
        checks.check("the gateway is restarted", self.restarted_gateway, self.restart)
        checks.check("the gateway crashes", self.restarted_gateway, self.crash)
        checks.check("one instance fails", self.failing_instance)
        checks.check("no VM crashed", self.never_trapped)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main():
    """Starts, drives, cleans up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--upstream", required=True)
    parser.add_argument("--envoy")
    parser.add_argument("--require", action="store_true", help="no engine is a failure")
    parser.add_argument("--keep", action="store_true", help="leaves the mesh running")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    checks = Checks()
    drills = None
    try:
        meshes.require_module()
        drills = Drills(options)
        drills.run(checks)
    except meshes.NoEngine as why:
        print(f"skipped: {why}", flush=True)
        checks.failed += options.require
    except meshes.Failure as failure:
        print(f"FAILED the mesh: {failure}", flush=True)
        checks.failed += 1
    finally:
        if drills and not options.keep:
            try:
                drills.mesh.down()
            except (meshes.Failure, subprocess.SubprocessError) as failure:
                print(f"FAILED to stop: {failure}", flush=True)
                checks.failed += 1
            finally:
                drills.engine.stop()
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
