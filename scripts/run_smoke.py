#!/usr/bin/env python3
"""Starts the demo as `make run` does, runs the commands it prints, and checks what they show.

    scripts/run_smoke.py --envoy PATH --upstream PATH

Ports are moved out of the way of a demo that may be running. Ends with `N passed, N failed`.
"""

import argparse
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 30
STOP_SECONDS = 10
GATEWAY, ADMIN = 10000, 9901


class Demo:
    """A running scripts/run.py."""

    def __init__(self, options, offset):
        command = [sys.executable, str(ROOT / "scripts" / "run.py"), "--envoy", options.envoy,
                   "--upstream", options.upstream, "--port-offset", str(offset)]
        self.offset = offset
        self.started = time.monotonic()
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, text=True, start_new_session=True)
        self.output = []
        self.ready = threading.Event()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.output.append(line)
            if line.startswith("Ctrl-C"):
                self.ready.set()
        self.ready.set()

    def wait_ready(self):
        """Seconds until ready; raises when it never is."""
        self.ready.wait(START_SECONDS)
        if self.process.poll() is not None or not self.commands():
            raise AssertionError("the demo did not start:\n" + "".join(self.output))
        return time.monotonic() - self.started

    def commands(self):
        """{policy: command}, as a person would copy them."""
        text = "".join(self.output)
        return dict(re.findall(r"^\d+\. ([a-z ]+): (?:.*\n)+?   \$ (.*)$", text, re.MULTILINE))

    def children(self):
        """{name: process id} of what it started."""
        directory = ROOT / ".tools" / f"run-{self.offset}"
        return {file.stem: int(file.read_text()) for file in directory.glob("*.pid")}

    def end(self):
        """Ctrl-C; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"did not stop within {STOP_SECONDS} s") from None


def free_offset():
    """An offset at which the demo's ports are free."""
    for offset in range(2000, 20000, 1000):
        try:
            for port in (GATEWAY, ADMIN, GATEWAY + 1, GATEWAY + 2):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port + offset))
        except OSError:
            continue
        return offset
    raise AssertionError("no free ports")


def curl(command):
    """What a printed command shows."""
    done = subprocess.run(["bash", "-c", command], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=20, check=False, env={**os.environ, "no_proxy": "127.0.0.1"})
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    return done.stdout.replace("\r", "")


def contains(text, *expected):
    """Every expected line or word is there."""
    for word in expected:
        assert re.search(word, text, re.IGNORECASE | re.MULTILINE), f"no `{word}` in:\n{text}"


def lacks(text, *unexpected):
    for word in unexpected:
        assert word not in text, f"`{word}` in:\n{text}"


def key_of(commands):
    return re.search(r"x-api-key: ([^']+)", commands["cost"])[1]


def key_auth(commands):
    shown = curl(commands["key auth"])
    contains(shown, r"^HTTP/1.1 401 ", r"^content-type: application/problem\+json", r"^www-authenticate: ")
    # "Add the key of the next command":
    key = key_of(commands)
    shown = curl(commands["key auth"] + f" -H 'x-api-key: {key}' -H 'x-consumer-id: somebody-else'")
    contains(shown, r"^HTTP/1.1 200 ", r"x-consumer-id.*web-app")
    lacks(shown, key, "somebody-else")


def rate_limit(commands):
    statuses = curl(commands["rate limit"]).split()
    # A slow machine may see a token come back meanwhile.
    assert len(statuses) == 7 and statuses[:5] == ["200"] * 5 and "429" in statuses[5:], statuses
    shown = curl(commands["rate limit"].replace("-o /dev/null -w '%{http_code}\\n'", "-i"))
    contains(shown, r"^HTTP/1.1 429 ", r"^retry-after: [1-5]$", r"^x-ratelimit-remaining: 0$")


def canary(commands):
    contains(curl(commands["canary"]), r"^HTTP/1.1 200 ", r"^x-upstream: canary$")
    shown = curl(commands["canary"].replace("canary-testers", "nobody") + " -H 'x-user-id: user-1'")
    contains(shown, r"^HTTP/1.1 200 ", r"^x-upstream: stable$")


def cost(commands):
    shown = curl(commands["cost"])
    contains(shown, r"^HTTP/1.1 200 ", r"^x-budget-remaining: 0\.\d+$")
    charged = re.search(r"^x-request-cost: ([0-9.]+)$", shown, re.MULTILINE)
    usage = re.search(r'"total_tokens": *(\d+)', shown)
    assert charged and usage, shown
    # 0.0020 a request and 0.00001 a token, in units of 0.00001.
    assert round(float(charged[1]) * 100_000) == 200 + int(usage[1]), shown


def webhook_signature(commands):
    command = commands["webhook signature"]
    contains(curl(command), r"^HTTP/1.1 200 ")
    changed = command.replace('"order": 1', '"order": 2')
    assert changed != command
    contains(curl(changed), r"^HTTP/1.1 401 ", r"^content-type: application/problem\+json")
    contains(curl(re.sub(r"-H 'x-signature[^']*'", "", command)), r"^HTTP/1.1 401 ")


def never_trapped(offset):
    """No VM crashed meanwhile."""
    shown = curl(f"curl -s '127.0.0.1:{ADMIN + offset}/stats?filter=wasm'")
    reloads = re.findall(r"^(\S*vm_reload\S*): [1-9]", shown, re.MULTILINE)
    assert not reloads, shown


def stops(demo, offset):
    """Ctrl-C ends everything: status 0, nothing listens, nothing is left."""
    children = demo.children()
    assert sorted(children) == ["canary", "envoy", "stable"], children
    for pid in children.values():
        os.kill(pid, 0)
    status = demo.end()
    assert status == 0, f"status {status}:\n" + "".join(demo.output)
    for port in (GATEWAY, ADMIN, GATEWAY + 1, GATEWAY + 2):
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port + offset)) != 0, f"port {port + offset} still answers"
    for name, pid in children.items():
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            continue
        raise AssertionError(f"{name} still runs")


def names_the_dead(options, offset):
    """A child that dies ends the demo, which says who it was and what it said."""
    demo = Demo(options, offset)
    try:
        demo.wait_ready()
        os.kill(demo.children()["canary"], signal.SIGKILL)
        assert demo.process.wait(STOP_SECONDS) == 1
        contains("".join(demo.output), r"canary was ended by SIGKILL", r"tollgate-upstream canary listening")
    finally:
        demo.end()


def starts_fast(options, offset):
    """The second start takes less than five seconds."""
    demo = Demo(options, offset)
    try:
        seconds = demo.wait_ready()
        assert seconds < 5, f"{seconds:.1f} s"
    finally:
        demo.end()


def main():
    """Runs every check, whatever the one before it said."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--envoy", required=True)
    parser.add_argument("--upstream", required=True)
    options = parser.parse_args()
    offset = free_offset()
    demo = Demo(options, offset)
    tally = {True: 0, False: 0}

    def check(name, test, *arguments):
        try:
            test(*arguments)
            problem = None
        except (AssertionError, KeyError, OSError, TypeError, subprocess.SubprocessError) as error:
            problem = f"{type(error).__name__}: {error}"
        tally[problem is None] += 1
        print(f"ok     {name}" if problem is None else f"FAILED {name}\n{problem}", flush=True)

    check("the demo starts", demo.wait_ready)
    if tally[True]:
        commands = demo.commands()
        check("five commands are printed", lambda: contains(str(len(commands)), "^5$"))
        for test in (key_auth, rate_limit, canary, cost, webhook_signature):
            check(test.__name__.replace("_", " "), test, commands)
        check("no VM crashed", never_trapped, offset)
        check("Ctrl-C stops everything", stops, demo, offset)
        check("the second start is fast", starts_fast, options, offset)
        check("who died is named", names_the_dead, options, offset)
    else:
        demo.end()
    print(f"{tally[True]} passed, {tally[False]} failed")
    return 1 if tally[False] else 0


if __name__ == "__main__":
    sys.exit(main())
