"""A real Envoy with a shipped configuration, on ports of its own, and upstreams behind it."""

import http.client
import json
import os
import re
import socket
import ssl
import subprocess
import tempfile
import time
from pathlib import Path

from checks import eventually

ROOT = Path(__file__).resolve().parents[2]
SECRETS = {
    "WEB_APP_API_KEY": "ps_test_web_app_0123456789abcdef", "MOBILE_APP_API_KEY": "ps_test_mobile_0123456789abcdef",
    "WEBHOOK_SECRET": "webhook-secret-0123456789abcdef", "STRIPE_SECRET": "whsec_0123456789abcdef0123456789",
    "MODEL_API_KEY": "sk-the-providers-own-key-0123456789",
}


def free_offset(ports):
    """A number to add to every port of a configuration, so that all of them are free."""
    for offset in range(3000 + os.getpid() % 500, 50000, 557):
        try:
            for port in ports:
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port + offset))
        except (OSError, OverflowError):
            continue
        return offset
    raise AssertionError("no free ports")


def ports_of(text):
    return sorted({int(port) for port in re.findall(r"port_value: (\d+)", text)} | {int(port) for port in re.findall(r"port_redirect: (\d+)", text)})


class Answer:
    """What came back; header names in lower case."""

    def __init__(self, answer, body, seconds):
        self.status, self.body, self.seconds = answer.status, body, seconds
        self.lines = [(name.lower(), value) for name, value in answer.getheaders()]
        self.headers = dict(self.lines)

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.status} {self.headers} {self.body[:300]!r}"


def request(port, method="GET", path="/", headers=(), body=None, tls=None, timeout=15, chunked=False):
    """One request on a connection of its own."""
    if tls:
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=timeout, context=tls)
    else:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    started = time.monotonic()
    try:
        connection.putrequest(method, path, skip_accept_encoding=True, skip_host="host" in headers)
        for name, value in dict(headers).items():
            connection.putheader(name, value)
        if chunked:
            connection.putheader("transfer-encoding", "chunked")
        elif body is not None:
            connection.putheader("content-length", str(len(body)))
        connection.endheaders()
        try:
            if chunked:
                for start in range(0, len(body), 65536):
                    piece = body[start:start + 65536]
                    connection.send(b"%x\r\n%s\r\n" % (len(piece), piece))
                connection.send(b"0\r\n\r\n")
            elif body:
                connection.send(body)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            pass  # refused before all of it was sent; the answer says so
        answer = connection.getresponse()
        return Answer(answer, answer.read(), time.monotonic() - started)
    finally:
        connection.close()


class Stage:
    """Temporary directory, processes, and their end."""

    def __init__(self, envoy, upstream):
        self.envoy, self.upstream_program = envoy, upstream
        self.temporary = tempfile.TemporaryDirectory(prefix="tollgate-edge-")
        self.directory = Path(self.temporary.name)
        self.processes = []

    def spawn(self, name, command, **more):
        log = open(self.directory / f"{name}.log", "wb")
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **more)
        self.processes.append(process)
        return process

    def log(self, name):
        return (self.directory / f"{name}.log").read_text(errors="replace")

    def upstream(self, name, port):
        """One tollgate-upstream."""
        self.spawn(f"{name}-{port}", [self.upstream_program, "--port", str(port), "--name", name])
        eventually(lambda: self.answers(port, "/_control/ready"), 10, f"{name} is ready")

    @staticmethod
    def answers(port, path):
        try:
            return request(port, path=path, timeout=2).status == 200
        except (OSError, http.client.HTTPException):
            return False

    def start_envoy(self, config, admin, environment=None, name="envoy", more=()):
        """Envoy with a configuration file; returns once it is ready."""
        process = self.spawn(name, [self.envoy, "--config-path", str(config), "--concurrency", "2", "--disable-hot-restart",
                                    "--log-level", "warning", "--component-log-level", "wasm:info", "--file-flush-interval-msec", "100", *more],
                             env={**os.environ, **SECRETS, **(environment or {})})

        def ready():
            if process.poll() is not None:
                raise RuntimeError(f"Envoy ended with {process.returncode}:\n{self.log(name)[-3000:]}")
            return self.answers(admin, "/ready")
        eventually(ready, 30, "Envoy is ready")
        return process

    def copy(self, file, offset, replace=()):
        """A configuration with every port moved."""
        text = (ROOT / file).read_text()
        text = re.sub(r"(port_(?:value|redirect): )(\d+)", lambda m: f"{m[1]}{int(m[2]) + offset}", text)
        for old, new in replace:
            assert old in text, f"{file} has no {old!r}"
            text = text.replace(old, new)
        path = self.directory / Path(file).name
        path.write_text(text)
        return path

    def stats(self, admin, pattern):
        """{name: value} of Envoy's own statistics."""
        text = request(admin, path="/stats").body.decode()
        return {name: int(value) for name, value in re.findall(r"^(\S+): (\d+)$", text, re.MULTILINE) if re.search(pattern, name)}

    def seen(self, port):
        """The requests an upstream has seen."""
        return request(port, path="/_control/requests").json()["requests"]

    def forget(self, port):
        request(port, "DELETE", "/_control/requests")

    def control(self, port, what, value):
        assert request(port, "POST", f"/_control/{what}", body=json.dumps(value).encode()).status == 200

    def stop(self):
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.temporary.cleanup()


def never_trapped(stage, admin, name="envoy"):
    """No VM crashed, and no trap is in the log."""
    reloads = {name: value for name, value in stage.stats(admin, "vm_reload").items() if value}
    assert not reloads, reloads
    trapped = [line for line in stage.log(name).splitlines() if "RuntimeError" in line or "in-VM backtrace" in line]
    assert not trapped, trapped
