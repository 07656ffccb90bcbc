#!/usr/bin/env python3
"""What the canary promises, seen in a real Envoy with two workers; `make prove-canary`.

    scripts/canary_proof.py --envoy PATH [--module dist/canary.wasm] [--upstream PATH] [--only TEXT]

Users are sorted onto variants by the published hash, computed here independently; the client then asks the upstream for
the error or the delay that the case is about. Prints one line a check with its figures; ends with `N passed, N failed`.
"""

import argparse
import concurrent.futures
import contextlib
import hashlib
import http.client
import json
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from real_envoy import address, free_port, wait_for_port

ROOT = Path(__file__).resolve().parent.parent
FLAG = "checkout-v2"
KEY = "canary-proof-key-0123456789"


def bucket(flag, key):
    """The published hash."""
    digest = hashlib.sha256(f"{flag}:{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") * 10_000 >> 64


def get(port, path, method="GET"):
    """The body of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path)
    body = connection.getresponse().read()
    connection.close()
    return body.decode()


class Upstreams:
    """The variants' servers."""

    def __init__(self, program, names):
        self.ports = {}
        self.processes = []
        for name in names:
            port = free_port()
            self.processes.append(subprocess.Popen([program, "--port", str(port), "--name", name],
                                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
            self.ports[name] = port
        for port in self.ports.values():
            wait_for_port(port)

    def seen(self, name):
        """The requests that one of them has seen."""
        return json.loads(get(self.ports[name], "/_control/requests"))["requests"]

    def forget(self):
        """Nobody has seen anything."""
        for port in self.ports.values():
            get(port, "/_control/requests", "DELETE")

    def stop(self):
        """All of them."""
        for process in self.processes:
            process.kill()
            process.wait()


def cluster(name, port):
    """An upstream."""
    return {"name": name, "connect_timeout": "5s", "circuit_breakers": {"thresholds": [
        {"max_connections": 4096, "max_pending_requests": 4096, "max_requests": 4096, "max_retries": 64}]},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [
            {"endpoint": {"address": address(port)}}]}]}}


# The same decision, by each of the ways in which routes can follow it.
HEADER_ROUTES = [
    {"match": {"prefix": "/", "headers": [{"name": "x-variant", "string_match": {"exact": "canary"}}]},
     "route": {"cluster": "canary", "timeout": "60s",
               "retry_policy": {"retry_on": "5xx", "num_retries": 2,
                                "retriable_request_headers": [{"name": "x-retry", "present_match": True}]}}},
    {"match": {"prefix": "/"}, "route": {"cluster": "stable", "timeout": "60s"}},
]
BY_CLUSTER_HEADER = [{"match": {"prefix": "/"}, "route": {"cluster_header": "x-variant", "timeout": "60s"}}]
BY_WEIGHTED = [
    {"match": {"prefix": "/", "headers": [{"name": "x-variant", "string_match": {"exact": "canary"}}]},
     "route": {"weighted_clusters": {"clusters": [{"name": "canary", "weight": 50}, {"name": "canary-2", "weight": 50}]}}},
    {"match": {"prefix": "/"},
     "route": {"weighted_clusters": {"clusters": [{"name": "stable", "weight": 100}]}}},
]


class Envoy:
    """One proxy with one canary filter, two workers."""

    def __init__(self, options, upstreams, section, directory, env=None):
        self.port, self.admin = free_port(), free_port()
        self.log_path = Path(directory) / "envoy.log"
        tags = ["policy", "reason", "flag", "variant", "rule", "severity", "kind", "quantile", "outcome", "owner", "team"]
        config = {
            "admin": {"address": address(self.admin)},
            "stats_config": {"stats_tags": [{"tag_name": t, "regex": rf"({t}=\.=(.*?);\.;)"} for t in tags]},
            "static_resources": {
                "listeners": [{
                    "name": "http",
                    "address": address(self.port),
                    "filter_chains": [{"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3."
                                 "HttpConnectionManager",
                        "stat_prefix": "http", "use_remote_address": True,
                        "route_config": {"name": "r", "virtual_hosts": [
                            {"name": "by-cluster-header", "domains": ["by-cluster-header"], "routes": BY_CLUSTER_HEADER},
                            {"name": "by-weighted", "domains": ["by-weighted"], "routes": BY_WEIGHTED},
                            {"name": "by-header", "domains": ["*"], "routes": HEADER_ROUTES}]},
                        "http_filters": [
                            {"name": "tollgate.canary", "typed_config": {
                                "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
                                "config": {
                                    "name": "tollgate.canary", "root_id": "canary", "failure_policy": "FAIL_RELOAD",
                                    "vm_config": {
                                        "vm_id": "tollgate.canary", "runtime": "envoy.wasm.runtime.v8",
                                        "code": {"local": {"filename": str(Path(options.module).resolve())}},
                                        "environment_variables": {"host_env_keys": ["CANARY_KEY"]}},
                                    "configuration": {"@type": "type.googleapis.com/google.protobuf.StringValue",
                                                      "value": json.dumps(section)}}}},
                            {"name": "envoy.filters.http.router", "typed_config": {
                                "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
                    }}]}],
                }],
                "clusters": [cluster(name, port) for name, port in upstreams.ports.items()],
            },
        }
        path = Path(directory) / "envoy.json"
        path.write_text(json.dumps(config))
        log = self.log_path.open("w")
        self.process = subprocess.Popen(
            [options.envoy, "-c", str(path), "--concurrency", "2", "--disable-hot-restart", "-l", "warning",
             "--component-log-level", "wasm:info", "--log-format", "%E%F %v"],
            stdout=subprocess.DEVNULL, stderr=log, env={"CANARY_KEY": KEY, **(env or {})})
        wait_for_port(self.port)

    def stop(self):
        """The end."""
        self.process.kill()
        self.process.wait()

    def rolled_back(self):
        """The log lines that say so."""
        return [line for line in self.log_path.read_text().splitlines() if "rolled back" in line]

    def workers(self):
        """How many connections each worker has had."""
        stats = get(self.admin, "/stats?filter=worker_._downstream_cx_total|worker_.\\.downstream_cx_total")
        return [int(line.rsplit(": ", 1)[1]) for line in stats.splitlines() if ": " in line]

    def metrics(self, name):
        """Series of that name."""
        text = get(self.admin, "/stats/prometheus?filter=^wasmcustom")
        return [line for line in text.splitlines() if line.startswith(name)]


class Load:
    """Requests over so many connections; each user goes where the hash says."""

    def __init__(self, envoy, connections=32):
        self.envoy, self.connections = envoy, connections
        self.lock = threading.Lock()
        self.answers = []

    def run(self, total, request, until=None, start=0):
        """`request(user, is_canary)` says path and headers; `until()` ends early. Answers: (time, variant, status)."""
        numbers = iter(range(start, start + total))

        def worker():
            connection = http.client.HTTPConnection("127.0.0.1", self.envoy.port, timeout=60)
            while True:
                with self.lock:
                    number = next(numbers, None)
                if number is None or (until and until()):
                    return
                user = f"user-{number}"
                path, headers = request(user, bucket(FLAG, user) < 5_000)
                connection.request("GET", path, headers={"x-user-id": user, **headers})
                sent = time.time()
                answer = connection.getresponse()
                answer.read()
                with self.lock:
                    self.answers.append((sent, answer.getheader("x-checkout"), answer.status))

        with concurrent.futures.ThreadPoolExecutor(self.connections) as pool:
            for future in [pool.submit(worker) for _ in range(self.connections)]:
                future.result()
        return self.answers


def section(rollback, canary=50):
    """A configuration with this much canary."""
    return {"experiments": [{
        "flag": FLAG, "owner": "payments", "expires_at": "2099-01-01", "sticky_key": [{"header": "x-user-id"}],
        "force": [{"header": "x-user-group", "exact": "canary-testers", "variant": "canary"}],
        "variants": [{"name": "stable", "weight": 100 - canary}, {"name": "canary", "weight": canary}],
        "route_header": "x-variant", "response_header": "x-checkout", "rollback": rollback}]}


def failing(stable, canary, seed=1):
    """Requests of which these shares fail."""
    rng = random.Random(seed)

    def request(_, is_canary):
        fails = rng.random() < (canary if is_canary else stable)
        return "/", {"x-respond-status": "503"} if fails else {}
    return request


def slow(factor, seed=1):
    """97 of 100 answers take 30 ms, the others 400; those of the canary so many times longer."""
    rng = random.Random(seed)

    def request(_, is_canary):
        millis = (400 if rng.random() < 0.03 else 30) * (factor if is_canary else 1)
        return f"/delay/{round(millis)}/x", {}
    return request


class Proof:
    """The checks."""

    def __init__(self, options):
        self.options = options
        self.passed = self.failed = 0

    def say(self, name, good, figures):
        """One line."""
        self.passed += good
        self.failed += not good
        print(f"{'PASS' if good else 'FAIL'} {name}: {figures}", flush=True)

    @contextlib.contextmanager
    def proxy(self, configuration, how_many=1):
        """Upstreams and proxies."""
        with tempfile.TemporaryDirectory(prefix="tollgate-canary-") as directory:
            upstreams = Upstreams(self.options.upstream, ["stable", "canary", "canary-2"])
            envoys = []
            try:
                for number in range(how_many):
                    place = Path(directory) / str(number)
                    place.mkdir()
                    envoys.append(Envoy(self.options, upstreams, configuration, place))
                yield upstreams, envoys
            finally:
                for envoy in envoys:
                    envoy.stop()
                upstreams.stop()

    def agree(self):
        """Two proxies and the published hash agree on every user."""
        rollback = {"min_samples": 10_000_000, "error_rate": {"absolute": "50%"}}
        with self.proxy(section(rollback), 2) as (_, envoys):
            total, differ, seen = self.options.users, 0, []
            for envoy in envoys:
                load = Load(envoy)
                sides = {}

                def request(user, is_canary, sides=sides):
                    sides[user] = is_canary
                    return "/", {}
                answers = load.run(total, request)
                canary = sum(variant == "canary" for _, variant, _ in answers)
                seen.append(canary)
                differ += abs(canary - sum(sides.values()))
            self.say("two proxies and the published hash agree", differ == 0 and len(set(seen)) == 1,
                     f"{total} users, canary {seen[0]} and {seen[1]}, differences {differ}")
            # One by one, so that two differences cannot cancel out.
            wrong = 0
            for number in range(500):
                user = f"single-{number}"
                expected = "canary" if bucket(FLAG, user) < 5_000 else "stable"
                for envoy in envoys:
                    connection = http.client.HTTPConnection("127.0.0.1", envoy.port, timeout=30)
                    connection.request("GET", "/", headers={"x-user-id": user})
                    answer = connection.getresponse()
                    answer.read()
                    wrong += answer.getheader("x-checkout") != expected
                    connection.close()
            self.say("one user after the other", wrong == 0, f"500 users in 2 proxies, {wrong} differ")

    def rate(self, name, share, trips, total=10_000):
        """An error rate of the canary, against 5 %."""
        rollback = {"min_samples": 1000, "response_header": "x-rolled-back", "error_rate": {"absolute": "5%"}}
        with self.proxy(section(rollback)) as (_, envoys):
            envoy, load = envoys[0], Load(envoys[0])
            answers = load.run(total, failing(0.049, share), until=lambda: trips and bool(envoy.rolled_back()))
            time.sleep(0.6)
            lines = envoy.rolled_back()
            canary = sum(variant == "canary" for _, variant, _ in answers)
            good = bool(lines) == trips and (not trips or canary <= 3_000)
            self.say(name, good and len(lines) <= 1,
                     f"{canary} canary requests, {len(lines)} trips, connections of the workers {envoy.workers()}; "
                     + (lines[0][lines[0].index("rule"):][:160] if lines else ""))
            if not trips or not lines:
                return
            # The rest of the users, on connections of both workers.
            after = Load(envoy)
            rest = after.run(1_000, lambda *_: ("/", {}), start=50_000)
            left = sum(variant == "canary" for _, variant, _ in rest)
            self.say("then nobody gets it, on both workers", left == 0 and min(envoy.workers()) > 0,
                     f"1000 users over 32 connections {envoy.workers()}: {left} on the canary")
            tester = Load(envoy, 1).run(5, lambda *_: ("/", {"x-user-group": "canary-testers"}))
            self.say("but forced testers do", all(v == "canary" for _, v, _ in tester), f"{[v for _, v, _ in tester]}")
            print("     " + "\n     ".join(envoy.metrics("tollgate_rollbacks_total") + envoy.metrics("tollgate_rolled_back")))

    def within_a_second(self):
        """All workers have stopped a second after the trip."""
        rollback = {"min_samples": 100, "error_rate": {"absolute": "5%"}}
        with self.proxy(section(rollback)) as (_, envoys):
            envoy, load = envoys[0], Load(envoys[0], 8)
            seen = []

            def until():
                if not seen and envoy.rolled_back():
                    seen.append(time.time())
                return bool(seen) and time.time() > seen[0] + 2
            answers = load.run(1_000_000, failing(0.0, 1.0), until=until)
            line = envoy.rolled_back()[0] if envoy.rolled_back() else ""
            stamp = re.match(r"(\d{10})\.(\d+)", line)
            tripped = float(f"{stamp[1]}.{stamp[2]}") if stamp else (seen or [0])[0]
            late = [sent - tripped for sent, variant, _ in answers if variant == "canary" and sent > tripped]
            self.say("within a second in all workers", bool(seen) and max(late, default=0) <= 1.0,
                     f"last canary request {max(late, default=0):.3f} s after the trip, {len(late)} after it; "
                     f"workers {envoy.workers()}")

    def latency(self, name, factor, trips, total=10_000):
        """A p99 so many times the stable one's, against 1.5."""
        rollback = {"min_samples": 1000, "latency_p99": {"relative": 1.5}}
        with self.proxy(section(rollback)) as (_, envoys):
            envoy, load = envoys[0], Load(envoys[0], self.options.connections)
            answers = load.run(total, slow(factor), until=lambda: trips and bool(envoy.rolled_back()))
            time.sleep(0.6)
            lines = envoy.rolled_back()
            canary = sum(variant == "canary" for _, variant, _ in answers)
            shown = envoy.metrics("tollgate_variant_latency_us{")
            p99 = [line for line in shown if 'quantile="0.99"' in line]
            self.say(name, bool(lines) == trips, f"{canary} canary requests, {len(lines)} trips; "
                     + (lines[0][lines[0].index("rule"):][:160] if lines else " ".join(p99)))

    def thirty(self):
        """Thirty samples never do."""
        rollback = {"min_samples": 100, "error_rate": {"absolute": "1%"}, "latency_p99": {"absolute": "1ms"}}
        with self.proxy(section(rollback)) as (_, envoys):
            users = [f"user-{n}" for n in range(200) if bucket(FLAG, f"user-{n}") < 5_000][:30]
            for user in users:
                connection = http.client.HTTPConnection("127.0.0.1", envoys[0].port, timeout=30)
                connection.request("GET", "/delay/20/x", headers={"x-user-id": user, "x-respond-status": "503"})
                connection.getresponse().read()
                connection.close()
            time.sleep(1)
            self.say("30 samples never trip", not envoys[0].rolled_back(), f"{len(users)} errors of {len(users)}")

    def routes(self):
        """Retries and the ways in which routes follow the decision."""
        rollback = {"min_samples": 10_000_000, "error_rate": {"absolute": "50%"}}
        with self.proxy(section(rollback)) as (upstreams, envoys):
            port = envoys[0].port

            def ask(user, headers):
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
                connection.request("GET", "/", headers={"x-user-id": user, **headers})
                answer = connection.getresponse()
                answer.read()
                connection.close()
                return answer
            upstreams.forget()
            answer = ask("user-42", {"x-respond-status": "503", "x-retry": "1"})
            seen = {name: len(upstreams.seen(name)) for name in upstreams.ports}
            self.say("a retried request keeps its side", seen == {"stable": 0, "canary": 3, "canary-2": 0}
                     and answer.status == 503, f"attempts {seen}")
            for host, expected in [("by-cluster-header", {"canary"}), ("by-weighted", {"canary", "canary-2"})]:
                to = {ask("user-42", {"host": host}).getheader("x-upstream") for _ in range(40)}
                other = {ask("user-1", {"host": host}).getheader("x-upstream") for _ in range(10)}
                self.say(f"routes {host}", to == expected and other == {"stable"}, f"canary to {to}, stable to {other}")
            forged = ask("user-1", {"x-variant": "canary", "x-checkout": "canary"})
            self.say("a forged route header is ignored", forged.getheader("x-upstream") == "stable",
                     f"went to {forged.getheader('x-upstream')}")

    def all(self):
        """Every check, in the order of the promises."""
        checks = [
            ("agree", self.agree),
            ("routes", self.routes),
            ("thirty", self.thirty),
            ("errors below", lambda: self.rate("4.9 % errors against 5 % do not trip", 0.049, False)),
            ("errors above", lambda: self.rate("8 % errors against 5 % trip within 3000 canary requests", 0.08, True)),
            ("second", self.within_a_second),
            ("latency above", lambda: self.latency("p99 1.6 x against 1.5 trips", 1.6, True)),
            ("latency below", lambda: self.latency("p99 1.3 x against 1.5 does not trip", 1.3, False)),
        ]
        for name, check in checks:
            if self.options.only in name:
                check()
        print(f"{self.passed} passed, {self.failed} failed")
        return 1 if self.failed else 0


def main():
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--envoy", required=True)
    parser.add_argument("--module", default=str(ROOT / "dist/canary.wasm"))
    parser.add_argument("--upstream", default=str(ROOT / "target/debug/tollgate-upstream"))
    parser.add_argument("--users", type=int, default=5_000, help="how many two proxies must agree on")
    parser.add_argument("--connections", type=int, default=128, help="for the cases with delays")
    parser.add_argument("--only", default="", help="checks with this in their name")
    return Proof(parser.parse_args()).all()


if __name__ == "__main__":
    sys.exit(main())
