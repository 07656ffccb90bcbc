#!/usr/bin/env python3
"""`make run`: two upstreams and Envoy with envoy/configs/gateway.yaml on loopback, until Ctrl-C.

Needs nothing but Python's standard library. Ends with status 0 after Ctrl-C, with 1 when something died
or did not start, saying which and showing what it said last.
"""

import argparse
import ctypes
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import demo

ROOT = Path(__file__).resolve().parent.parent
PORTS = {"gateway": 10000, "admin": 9901, "stable": 10001, "canary": 10002}
READY_SECONDS = 30
STOP_SECONDS = 5
PR_SET_PDEATHSIG = 1


class Failure(Exception):
    """What the person at the terminal should read."""


def die_with_parent():
    """A child must not outlive us, even when we are killed: it would keep its port. Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Child:
    """A process whose output goes to a log file."""

    def __init__(self, directory, name, command, env=None):
        self.name = name
        self.log = directory / f"{name}.log"
        with open(self.log, "wb") as log:
            # A session of its own, so that Ctrl-C reaches only us and we stop things in order.
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, preexec_fn=die_with_parent)
        (directory / f"{name}.pid").write_text(f"{self.process.pid}\n")

    def check(self):
        """Raises when the process has ended."""
        status = self.process.poll()
        if status is None:
            return
        how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        lines = self.log.read_text(errors="replace").splitlines()[-15:]
        last = "\n".join(f"    {line}" for line in lines) or "    (nothing)"
        raise Failure(f"{self.name} {how}. Its last lines ({self.log.relative_to(ROOT)}):\n{last}")

    def stop(self):
        """Ends the process: asks, then insists."""
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def require_free(ports):
    """Says which port is taken before a child says it in its own words."""
    taken = []
    for name, port in ports.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                taken.append(f"127.0.0.1:{port} ({name})")
    if taken:
        raise Failure(f"in use: {', '.join(taken)}. Stop what listens there, or: make run PORT_OFFSET=100")


def moved(config, offset, directory):
    """The configuration to start: the shipped file itself, or a copy with every port moved."""
    if offset == 0:
        return config
    text = re.sub(r"(port_value: )(\d+)", lambda m: f"{m[1]}{int(m[2]) + offset}", config.read_text())
    copy = directory / config.name
    copy.write_text(text)
    return copy


def answers(url):
    """Whether `url` answers 200."""
    try:
        # No proxy from the environment: this is loopback.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        return opener.open(url, timeout=1).status == 200
    except OSError:
        return False


def wait_until_ready(children, urls):
    """Returns when every URL answers."""
    deadline = time.monotonic() + READY_SECONDS
    waiting = list(urls)
    while waiting:
        for child in children:
            child.check()
        waiting = [url for url in waiting if not answers(url)]
        if waiting and time.monotonic() > deadline:
            logs = ", ".join(str(child.log.relative_to(ROOT)) for child in children)
            raise Failure(f"not ready after {READY_SECONDS} s: {', '.join(waiting)}; see {logs}")
        time.sleep(0.05)


def serve(options, children):
    """Starts everything, prints the commands, returns when a signal comes."""
    started = time.monotonic()
    ports = {name: port + options.port_offset for name, port in PORTS.items()}
    # Two demos (`make test` runs one) have two offsets, and must not share files.
    directory = ROOT / ".tools" / (f"run-{options.port_offset}" if options.port_offset else "run")
    directory.mkdir(parents=True, exist_ok=True)
    require_free(ports)
    config = options.config.resolve()
    secrets = demo.secrets_for(config.read_text(), ROOT / ".tools" / "demo.env")
    for name in ("stable", "canary"):
        command = [options.upstream, "--port", str(ports[name]), "--name", name]
        children.append(Child(directory, name, command))
    command = [
        options.envoy, "--config-path", str(moved(config, options.port_offset, directory)), "--concurrency", "2",
        "--disable-hot-restart", "--log-level", "warning", "--component-log-level", "wasm:info"]
    children.append(Child(directory, "envoy", command, env={**os.environ, **secrets}))
    paths = {"stable": "_control/ready", "canary": "_control/ready", "admin": "ready"}
    wait_until_ready(children, [f"http://127.0.0.1:{ports[name]}/{path}" for name, path in paths.items()])

    print(demo.banner(ports, secrets, directory.relative_to(ROOT), time.monotonic() - started), flush=True)
    while True:
        for child in children:
            child.check()
        time.sleep(0.2)


def interrupted(_signal, _frame):
    raise KeyboardInterrupt


def main():
    """Command line and clean end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--envoy", required=True)
    parser.add_argument("--upstream", required=True)
    parser.add_argument("--config", type=Path, default=ROOT / "envoy" / "configs" / "gateway.yaml")
    parser.add_argument("--port-offset", type=int, default=0)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, interrupted)
    signal.signal(signal.SIGINT, interrupted)
    os.chdir(ROOT)
    children = []
    status = 0
    try:
        serve(options, children)
    except KeyboardInterrupt:
        pass
    except Failure as failure:
        print(f"make run: {failure}", file=sys.stderr, flush=True)
        status = 1
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for child in reversed(children):
        child.stop()
    if children:
        print(f"\nstopped: {', '.join(child.name for child in reversed(children))}", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
