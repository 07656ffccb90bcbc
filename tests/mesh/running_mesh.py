"""The compose mesh under test: it is started, asked, and its counts are read."""

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
import mesh as meshes  # noqa: E402
from checks import equal  # noqa: E402

GATEWAY = "http://gateway:10000"
KEY = "x-api-key: ${WEB_APP_API_KEY}"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class RunningMesh:
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

    def start(self):
        self.services = self.mesh.services([*meshes.WANTED, "CLIENT_IMAGE"])
        if "client" not in self.services:
            raise meshes.Failure("no client container: neither pulled nor built")
        started = time.monotonic()
        self.mesh.compose("--profile", "client", "up", "-d", "--no-build", *self.services)
        self.mesh.wait_healthy(self.services)
        return f"{', '.join(self.services)} healthy after {time.monotonic() - started:.0f} s" + (
            f"; left out: {', '.join(self.mesh.left_out)}" if self.mesh.left_out else "")

    def in_client(self, *words, seconds=60):
        """Runs a program in the client container, whatever comes of it."""
        return meshes.run(["docker", "exec", self.mesh.container("client"), *words], seconds, env=self.engine.environment)

    def client(self, *words, background=False):
        """Runs client.py in the client container."""
        if background:
            command = ["docker", "exec", self.mesh.container("client"), "python3", "/mesh/client.py", *words]
            return subprocess.Popen(command, env=self.engine.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                    stderr=subprocess.PIPE, text=True)
        done = self.in_client("python3", "/mesh/client.py", *words, seconds=120)
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
