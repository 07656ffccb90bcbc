#!/usr/bin/env python3
"""Every configuration of envoy/configs is started in a real Envoy and does its jobs (edge.yaml: see edge.py); a rolling update of
the module, pushed as a file, drops no request under load.

    tests/mesh/configs.py --envoy newest=PATH [--envoy oldest=PATH] --upstream PATH

Ends with `N passed, N failed`.
"""

import argparse
import hashlib
import hmac
import http.client
import os
import subprocess
import sys
import threading
import time

from checks import Checks, equal, eventually
from proxy import ROOT, SECRETS, Stage, free_offset, never_trapped, ports_of, request

KEY = {"x-api-key": SECRETS["WEB_APP_API_KEY"]}
GATEWAY, ADMIN, STABLE, CANARY = 10000, 9901, 10001, 10002


class Running:
    """One configuration in one Envoy, with both upstreams."""

    def __init__(self, envoy, upstream, offset):
        self.stage = Stage(envoy, upstream)
        self.offset = offset

    def __enter__(self):
        self.stage.upstream("stable", STABLE + self.offset)
        self.stage.upstream("canary", CANARY + self.offset)
        return self

    def __exit__(self, *_):
        self.stage.stop()

    def start(self, file, replace=()):
        self.stage.start_envoy(self.stage.copy(file, self.offset, replace), ADMIN + self.offset)
        eventually(lambda: self.listens(), 10, "the listener is open")

    def listens(self):
        try:
            return self.ask("/health").status
        except OSError:
            return False

    def ask(self, path="/", method="GET", headers=(), body=None):
        return request(GATEWAY + self.offset, method, path, headers, body)

    def smoke(self):
        """The smoke test, with everything that the demo has."""
        done = subprocess.run([sys.executable, str(ROOT / "scripts" / "smoke.py"), "--gateway", f"http://127.0.0.1:{GATEWAY + self.offset}",
                               "--metrics", f"http://127.0.0.1:{ADMIN + self.offset}", "--demo"],
                              env={**os.environ, **SECRETS}, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip().splitlines()[-1]


def key_auth(run):
    equal((run.ask("/api/hello").status, run.ask("/api/hello", headers=KEY).status, run.ask("/health").status), (401, 200, 200))


def key_auth_remote(run):
    # The key in the configuration works before the remote set is there (the upstream that stands for its source has none).
    equal((run.ask("/api/hello").status, run.ask("/api/hello", headers=KEY).status), (401, 200))
    unknown = run.ask("/api/hello", headers={"x-api-key": "ps_test_0123456789abcdef01234567"})
    equal((unknown.status, unknown.json()["type"]), (503, "urn:tollgate:problem:key-set-unavailable"))


def webhook_signature(run):
    body = b'{"order": 1}'
    mac = hmac.new(SECRETS["WEBHOOK_SECRET"].encode(), body, hashlib.sha256).hexdigest()
    equal([run.ask("/hooks/orders", "POST", headers, body).status for headers in ({}, {"x-signature": "0" * 64}, {"x-signature": mac})], [401, 401, 200])


def rate_limit(run):
    statuses = [run.ask("/api/optimize").status for _ in range(8)]
    assert statuses[:5] == [200] * 5 and 429 in statuses, statuses


def canary(run):
    equal(run.ask("/checkout", headers={"x-user-group": "canary-testers"}).headers.get("x-upstream"), "canary")
    equal(run.ask("/checkout", headers={"x-user-id": "user-1"}).headers.get("x-upstream"), "stable")


def cost(run):
    answer = run.ask("/v1/chat/completions", "POST", {"x-test-usage": "100,50"}, b'{"model": "gpt-4"}')
    equal((answer.status, answer.headers.get("x-request-cost")), (200, "0.0035"))


SINGLE = {"key-auth": key_auth, "key-auth-remote": key_auth_remote, "webhook-signature": webhook_signature, "rate-limit": rate_limit, "canary": canary, "cost": cost}


def none_forgotten():
    """Every file is started by this test or by edge.py."""
    equal({file.stem for file in (ROOT / "envoy/configs").glob("*.yaml")}, {*SINGLE, "gateway", "five-filters", "edge"})


def starts_and_works(options, envoy, file, test):
    """One configuration from its start to a look at the VMs."""
    with Running(envoy, options.upstream, options.offset) as run:
        run.start(file)
        result = test(run)
        never_trapped(run.stage, ADMIN + run.offset)
        return result


class Load:
    """Requests over connections that are kept, until stopped; every answer that is not as expected is kept, too."""

    def __init__(self, port, workers=8):
        self.port = port
        self.running = True
        self.sent, self.wrong, self.unkeyed = 0, [], 0
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.work, args=(number,)) for number in range(workers)]
        for thread in self.threads:
            thread.start()

    def work(self, number):
        connection = None
        turn = number
        while self.running:
            turn += 1
            keyed = turn % 4 != 0  # one in four without a key: it must be refused all the time
            try:
                if connection is None:
                    connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
                connection.request("GET", "/report", headers=KEY if keyed else {})
                answer = connection.getresponse()
                answer.read()
                status = answer.status
                if answer.will_close:
                    connection.close()
                    connection = None
            except (OSError, http.client.HTTPException) as error:
                status = repr(error)
                connection = None
            with self.lock:
                self.sent += 1
                self.unkeyed += not keyed
                if status != (200 if keyed else 401):
                    self.wrong.append((status, keyed))
            time.sleep(0.004)

    def stop(self):
        self.running = False
        for thread in self.threads:
            thread.join()
        assert not self.wrong, f"{len(self.wrong)} of {self.sent}: {self.wrong[:5]}"
        assert self.sent > 50 and self.unkeyed > 5, f"only {self.sent} requests"


class Rollout:
    """The dynamic configuration: files that are replaced by a rename."""

    def __init__(self, run):
        self.run, self.stage = run, run.stage
        self.lds, self.ecds = (self.stage.directory / name for name in ("lds.yaml", "ecds.yaml"))
        # The address limit would stop this load from one address, and that is not what is looked at here.
        self.text = (ROOT / "envoy/configs/dynamic/ecds.yaml").read_text().replace(
            "{max_tokens: 200, tokens_per_fill: 100, fill_interval: 1s}", "{max_tokens: 100000, tokens_per_fill: 100000, fill_interval: 1s}")
        self.write(self.ecds, self.text)
        self.stage.copy("envoy/configs/dynamic/lds.yaml", run.offset, [("envoy/configs/dynamic/ecds.yaml", str(self.ecds))])
        run.start("envoy/configs/dynamic/bootstrap.yaml", [("envoy/configs/dynamic/lds.yaml", str(self.lds))])

    @staticmethod
    def write(path, text):
        new = path.with_suffix(".new")
        new.write_text(text)
        new.rename(path)

    def stat(self, pattern):
        return sum(self.stage.stats(ADMIN + self.run.offset, pattern).values())

    def push(self, text, accepted=True):
        """Replaces ecds.yaml and waits until Envoy has taken or refused it."""
        what = r"extension_config_discovery\.http_filter\.tollgate\.gateway\." + ("config_reload$" if accepted else "(update_rejected|config_fail)$")
        before = self.stat(what)
        self.write(self.ecds, text)
        eventually(lambda: self.stat(what) > before, 20, f"the push is {'taken' if accepted else 'refused'}")

    def module(self, name, content):
        path = self.stage.directory / name
        path.write_bytes(content)
        return self.text.replace("dist/gateway.wasm", str(path))

    def new_modules(self):
        """Three versions of the module after each other under load: each is another file, and runs in new VMs."""
        original = (ROOT / "dist" / "gateway.wasm").read_bytes()
        created = self.stat(r"wasm\.envoy\.wasm\.runtime\.v8\.created")
        load = Load(GATEWAY + self.run.offset)
        try:
            time.sleep(0.5)
            for version in range(3):
                # A custom section (id 0) with a name: the same code, another file.
                name = f"version {version}".encode()
                self.push(self.module(f"gateway-{version}.wasm", original + bytes([0, len(name) + 1, len(name)]) + name))
                time.sleep(0.4)
        finally:
            load.stop()
        fresh = self.stat(r"wasm\.envoy\.wasm\.runtime\.v8\.created") - created
        assert fresh >= 9, f"only {fresh} VMs were created"
        return f"{load.sent} requests over 3 versions, {fresh} new VMs, none dropped, none unfiltered"

    def new_configurations(self):
        """Five edits of the configuration under load."""
        load = Load(GATEWAY + self.run.offset)
        try:
            for number in range(1, 6):
                # Another weight each time.
                self.push(self.text.replace("weight: 95", f"weight: {95 - number}").replace("weight: 5}", f"weight: {5 + number}}}"))
                time.sleep(0.2)
        finally:
            load.stop()
        return f"{load.sent} requests"

    def bad_pushes(self):
        """What cannot run is refused, and the old one goes on."""
        load = Load(GATEWAY + self.run.offset)
        try:
            for text in (self.text.replace("x-consumer-id", "not a header name"), self.text.replace("dist/gateway.wasm", "dist/there-is-none.wasm"),
                         self.module("garbage.wasm", b"\0asm\1\0\0\0garbage")):
                self.push(text, accepted=False)
                time.sleep(0.2)
            # What a person would do next: put the good file back.
            self.push(self.text.replace("weight: 95", "weight: 90").replace("weight: 5}", "weight: 10}"))
        finally:
            load.stop()
        return f"{load.sent} requests"

    def new_listener(self):
        """The listener itself is replaced (LDS): connections are drained, nothing is lost."""
        before = self.stat(r"listener_manager\.lds\.update_success")
        load = Load(GATEWAY + self.run.offset)
        try:
            time.sleep(0.3)
            text = self.lds.read_text()
            for number in range(3):
                self.write(self.lds, text.replace("stat_prefix: http", f"stat_prefix: http{number}"))
                eventually(lambda: self.stat(r"listener_manager\.lds\.update_success") > before + number, 20, "the listener is taken")
                time.sleep(0.5)
        finally:
            load.stop()
        return f"{load.sent} requests over 3 listeners"

    def state_survives(self):
        """A drained bucket stays drained through an update of the module."""
        while self.run.ask("/api/hello", headers=KEY).status != 429:
            pass
        drained = time.monotonic()
        original = (ROOT / "dist" / "gateway.wasm").read_bytes()
        self.push(self.module("gateway-state.wasm", original + b"\0\2\1s"))
        remaining = int(self.run.ask("/api/hello", headers=KEY).headers["x-ratelimit-remaining"])
        # 60 tokens in all, one a second.
        back = time.monotonic() - drained
        assert remaining <= back + 1 and back < 50, (remaining, back)


def rollout(options, envoy, checks, label):
    with Running(envoy, options.upstream, options.offset) as run:
        name = f"{label}: dynamic: "
        update = checks.check(name + "starts from LDS and ECDS files", lambda: Rollout(run))
        if not update:
            return
        checks.check(name + "all five jobs", run.smoke)
        checks.check(name + "a rolling update of the module under load", update.new_modules)
        checks.check(name + "edits of the configuration under load", update.new_configurations)
        checks.check(name + "refused pushes under load", update.bad_pushes)
        checks.check(name + "a new listener under load", update.new_listener)
        checks.check(name + "limits survive an update", update.state_survives)
        checks.check(name + "no VM crashed", lambda: never_trapped(run.stage, ADMIN + run.offset))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--envoy", action="append", required=True, metavar="LABEL=PATH")
    parser.add_argument("--upstream", required=True)
    parser.add_argument("--only", choices=["files", "rollout"], help="half of it")
    options = parser.parse_args()
    options.offset = free_offset(ports_of((ROOT / "envoy/configs/gateway.yaml").read_text()))
    checks = Checks()
    checks.check("every file of envoy/configs is started by a test", none_forgotten)
    for labelled in options.envoy:
        label, envoy = labelled.split("=", 1)
        for name, test in SINGLE.items() if options.only != "rollout" else ():
            checks.check(f"{label}: envoy/configs/{name}.yaml starts and works", starts_and_works, options, envoy, f"envoy/configs/{name}.yaml", test)
        for name in ("gateway", "five-filters") if options.only != "rollout" else ():
            checks.check(f"{label}: envoy/configs/{name}.yaml: all five jobs", starts_and_works, options, envoy, f"envoy/configs/{name}.yaml", Running.smoke)
        if options.only != "files":
            rollout(options, envoy, checks, label)
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
