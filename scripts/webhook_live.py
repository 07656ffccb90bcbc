#!/usr/bin/env python3
"""What only time shows about webhook signatures: when the upstream sees its first byte, what happens on a proxy without
allow_on_headers_stop_iteration, two deliveries at once, clients and upstreams that go away.

    scripts/webhook_live.py --envoy LABEL=PATH [--envoy LABEL=PATH] [--dist dist]

The upstream is a plain socket that notes the time of every byte. Ends with `N passed, N failed`.
"""

import argparse
import concurrent.futures
import hashlib
import hmac
import json
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

import real_envoy
from real_envoy import address

SECRET = "live-0123456789abcdef0123456789"
# The pause in the middle of a body; an upstream that saw something earlier saw it before the verdict.
PAUSE = 0.5


class Upstream:
    """Answers 200 after `delay` seconds, or closes without an answer; notes what came when."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.lock = threading.Lock()
        self.reset()
        threading.Thread(target=self.accept, daemon=True).start()

    def reset(self, delay=0.0, close=False):
        with self.lock:
            self.delay, self.close = delay, close
            # (time, bytes) of everything read, and how many whole requests there were.
            self.pieces, self.whole = [], 0

    def accept(self):
        while True:
            connection, _ = self.socket.accept()
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        data = b""
        with connection:
            while True:
                try:
                    piece = connection.recv(65536)
                except OSError:
                    return
                if not piece:
                    return
                with self.lock:
                    self.pieces.append((time.monotonic(), piece))
                    delay, close = self.delay, self.close
                data += piece
                if not is_whole(data):
                    continue
                with self.lock:
                    self.whole += 1
                data = b""
                time.sleep(delay)
                if close:
                    return
                try:
                    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                except OSError:
                    return

    def seen(self):
        """(time of the first byte or None, all bytes, whole requests)"""
        with self.lock:
            first = self.pieces[0][0] if self.pieces else None
            return first, b"".join(piece for _, piece in self.pieces), self.whole


def is_whole(data):
    head, separator, body = data.partition(b"\r\n\r\n")
    if not separator:
        return False
    if re.search(rb"(?i)transfer-encoding: *chunked", head):
        return bool(re.search(rb"(?:^|\r\n)0\r\n(?:[^\r\n]+\r\n)*\r\n$", body))
    length = re.search(rb"(?i)content-length: *(\d+)", head)
    return len(body) >= (int(length[1]) if length else 0)


def listener(dist, name, config, flag):
    plugin = {
        "name": name, "root_id": "webhook-signature", "failure_policy": "FAIL_RELOAD",
        "vm_config": {"vm_id": name, "runtime": "envoy.wasm.runtime.v8",
                      "code": {"local": {"filename": f"{dist}/webhook-signature.wasm"}}},
        "configuration": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": json.dumps(config)},
    }
    if flag:
        plugin["allow_on_headers_stop_iteration"] = True
    prefix = "type.googleapis.com/envoy.extensions.filters."
    manager = {
        "@type": prefix + "network.http_connection_manager.v3.HttpConnectionManager", "stat_prefix": name,
        "http_protocol_options": {"enable_trailers": True},
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
            {"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}]}]},
        "http_filters": [
            {"name": "webhook", "typed_config": {"@type": prefix + "http.wasm.v3.Wasm", "config": plugin}},
            {"name": "router", "typed_config": {"@type": prefix + "http.router.v3.Router"}}],
    }
    return {"name": name, "address": address(0), "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}]}


class Envoy(real_envoy.Envoy):
    def __init__(self, binary, directory, upstream, listeners):
        bootstrap = {
            "admin": {"address": address(0)},
            "static_resources": {
                "listeners": listeners,
                "clusters": [{"name": "upstream", "connect_timeout": "1s", "load_assignment": {
                    "cluster_name": "upstream", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(upstream.port)}}]}]}}]}}
        path = pathlib.Path(directory)
        (path / "envoy.json").write_text(json.dumps(bootstrap))
        self.admin_file = path / "admin"
        super().__init__(
            [binary, "-c", str(path / "envoy.json"), "--concurrency", "2", "--use-dynamic-base-id",
             "--admin-address-path", str(self.admin_file), "--log-level", "warning"], path, cwd=None)
        self.ports = {}
        for status in json.loads(self.admin("/listeners?format=json"))["listener_statuses"]:
            self.ports[status["name"]] = status["local_address"]["socket_address"]["port_value"]

    def admin_address(self):
        return self.admin_file.read_text().strip()

    def watchdog(self):
        found = re.findall(r"tollgate_hold_watchdog_total\S*request_refused\S*: (\d+)", self.admin("/stats?filter=watchdog"))
        return sum(map(int, found))


def signature(body):
    return hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()


def request(port, pieces, path="/", chunked=False, trailers=False, sign=None, method="POST", extra="", abort_after=None):
    """Sends a body in pieces (numbers are pauses). (status, body, when the last byte was sent, when the answer came)"""
    body = b"".join(p for p in pieces if isinstance(p, bytes))
    head = f"{method} {path} HTTP/1.1\r\nhost: hooks.example.com\r\nx-signature: {sign or signature(body)}\r\n{extra}"
    if chunked:
        head += "transfer-encoding: chunked\r\n"
    elif body:
        head += f"content-length: {len(body)}\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(head.encode() + b"\r\n")
        for piece in pieces:
            if isinstance(piece, bytes):
                connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
            else:
                time.sleep(piece)
        if chunked:
            connection.sendall(b"0\r\nx-trailer: 1\r\n\r\n" if trailers else b"0\r\n\r\n")
        sent = time.monotonic()
        if abort_after is not None:
            time.sleep(abort_after)
            return None, b"", sent, None
        answer, piece = b"", b"."
        while piece:
            head, separator, rest = answer.partition(b"\r\n\r\n")
            if separator and head.startswith(b"HTTP/1.1 100"):
                answer = rest  # the real answer may have come with it
                continue
            length = re.search(rb"(?i)content-length: *(\d+)", head)
            if separator and length and len(rest) >= int(length[1]):
                break
            piece = connection.recv(65536)
            answer += piece
        status = int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/") else 0
        return status, rest, sent, time.monotonic()


def listeners(dist):
    rule = {"scheme": "x-signature", "secrets": [{"value": SECRET}]}
    held_rules = {"rules": [
        {**rule, "name": "once", "match": {"path": {"prefix": "/once"}}, "replay": {"window": "10m"}},
        {**rule, "name": "empty", "match": {"path": {"prefix": "/empty"}}, "allow_empty_body": True},
        {**rule, "name": "held"}]}
    return [listener(dist, "held", held_rules, True), listener(dist, "unflagged", {"rules": [rule]}, False),
            listener(dist, "streaming", {"hold": "body", "rules": [rule]}, False)]


CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


def held(envoy, upstream, **how):
    status, _, sent, _ = request(envoy.ports["held"], [b'{"a":', PAUSE, b"1}"], **how)
    first, data, whole = upstream.seen()
    assert status == 200, status
    assert whole == 1 and b"x-webhook-verified: x-signature" in data, data
    # The last piece is sent at `sent` at the latest; a little before it is where the clocks of two threads differ.
    assert first > sent - 0.05, f"first byte {sent - first:.3f} s before the end of the body"


@check
def nothing_before_the_verdict_with_content_length(envoy, upstream):
    held(envoy, upstream)


@check
def nothing_before_the_verdict_chunked(envoy, upstream):
    held(envoy, upstream, chunked=True)


@check
def nothing_before_the_verdict_with_trailers(envoy, upstream):
    held(envoy, upstream, chunked=True, trailers=True)


@check
def nothing_before_the_verdict_after_100_continue(envoy, upstream):
    held(envoy, upstream, extra="expect: 100-continue\r\n")


@check
def nothing_before_the_verdict_over_http2(envoy, upstream):
    curl = shutil.which("curl")
    assert curl, "needs curl"
    body = b'{"a":1}'
    process = subprocess.Popen(
        [curl, "-sS", "--http2-prior-knowledge", "-X", "POST", "-T", "-", "-o", "/dev/null", "-w", "%{http_code}",
         "-H", f"x-signature: {signature(body)}", f"http://127.0.0.1:{envoy.ports['held']}/"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdin.write(body[:5])
    process.stdin.flush()
    time.sleep(PAUSE)
    sent = time.monotonic()
    process.stdin.write(body[5:])
    out, error = process.communicate(timeout=20)
    first, _, whole = upstream.seen()
    assert out == b"200" and whole == 1, (out, error)
    assert first > sent - 0.05, f"first byte {sent - first:.3f} s before the end of the body"


@check
def not_a_byte_of_a_wrong_one(envoy, upstream):
    for how in ({}, {"chunked": True}, {"chunked": True, "trailers": True}):
        status, *_ = request(envoy.ports["held"], [b"abc", 0.05, b"d"], sign="0" * 64, **how)
        assert status == 401, status
    time.sleep(0.1)
    assert upstream.seen() == (None, b"", 0)


@check
def headers_alone_refuse_before_the_body(envoy, upstream):
    with socket.create_connection(("127.0.0.1", envoy.ports["held"]), timeout=5) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 1000000\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 401"
    with socket.create_connection(("127.0.0.1", envoy.ports["held"]), timeout=5) as connection:
        head = f"POST / HTTP/1.1\r\nhost: h\r\nx-signature: {'0' * 64}\r\ncontent-length: 1048577\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.recv(12) == b"HTTP/1.1 413"
    assert upstream.seen()[1] == b""


@check
def no_body_at_all(envoy, upstream):
    status, *_ = request(envoy.ports["held"], [], path="/empty", method="GET")
    assert status == 200 and upstream.seen()[2] == 1, status


@check
def a_slow_client_is_left_alone(envoy, upstream):
    """Before anything else has shown that the setting is there, and with bytes that come late."""
    status, *_ = request(envoy.ports["held"], [b"a", 1.5, b"b", 1.5, b"c"])
    assert status == 200, status
    assert upstream.seen()[2] == 1


@check
def without_the_setting_an_answer_that_names_it(envoy, upstream):
    before = envoy.watchdog()
    start = time.monotonic()
    status, body, _, answered = request(envoy.ports["unflagged"], [b"abc"])
    assert status == 500 and b"allow_on_headers_stop_iteration" in body, (status, body)
    assert answered - start < 2, f"{answered - start:.2f} s"
    assert upstream.seen()[1] == b""
    for _ in range(20):
        if envoy.watchdog() > before:
            return
        time.sleep(0.1)
    raise AssertionError("not counted")


@check
def streaming_holds_the_body_but_not_the_headers(envoy, upstream):
    status, _, sent, _ = request(envoy.ports["streaming"], [b'{"a":', PAUSE, b"1}"])
    first, data, whole = upstream.seen()
    assert status == 200 and whole == 1, status
    assert first < sent - PAUSE / 2, "the headers were held"
    assert b"x-webhook-verified: pending" in data, data
    early = b"".join(piece for at, piece in upstream.pieces if at < sent - 0.05)
    assert b'{"a":' not in early, early


@check
def streaming_never_completes_a_wrong_one(envoy, upstream):
    for how in ({}, {"chunked": True}, {"chunked": True, "trailers": True}):
        upstream.reset()
        status, *_ = request(envoy.ports["streaming"], [b"first piece", 0.1, b"last piece"], sign="0" * 64, **how)
        time.sleep(0.1)
        _, data, whole = upstream.seen()
        assert status == 401, status
        assert whole == 0 and b"first piece" not in data and b"last piece" not in data, data


@check
def the_same_delivery_twice_at_once(envoy, upstream):
    upstream.reset(delay=0.6)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        first = pool.submit(request, envoy.ports["held"], [b"twice"], path="/once")
        time.sleep(0.3)
        status, body, *_ = request(envoy.ports["held"], [b"twice"], path="/once")
        assert status == 409 and b"webhook-in-flight" in body, (status, body)
        assert first.result()[0] == 200
    status, body, *_ = request(envoy.ports["held"], [b"twice"], path="/once")
    assert (status, body, upstream.seen()[2]) == (200, b"", 1), (status, body)


@check
def one_of_many_at_once_gets_through_two_workers(envoy, upstream):
    upstream.reset(delay=0.3)
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        results = [pool.submit(request, envoy.ports["held"], [b"many"], path="/once") for _ in range(24)]
        statuses = sorted(result.result()[0] for result in results)
    assert upstream.seen()[2] == 1, upstream.seen()[2]
    assert set(statuses) <= {200, 409} and statuses.count(409) > 0, statuses


@check
def a_client_that_goes_away_releases_its_delivery(envoy, upstream):
    upstream.reset(delay=0.5)
    request(envoy.ports["held"], [b"gone"], path="/once", abort_after=0.2)
    time.sleep(0.2)
    status, *_ = request(envoy.ports["held"], [b"gone"], path="/once")
    assert (status, upstream.seen()[2]) == (200, 2), (status, upstream.seen()[2])


@check
def an_upstream_that_goes_away_has_not_taken_it(envoy, upstream):
    upstream.reset(close=True)
    status, *_ = request(envoy.ports["held"], [b"closed"], path="/once")
    assert status == 503, status
    upstream.reset()
    status, *_ = request(envoy.ports["held"], [b"closed"], path="/once")
    assert (status, upstream.seen()[2]) == (200, 1), status


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--envoy", action="append", required=True, metavar="LABEL=PATH")
    parser.add_argument("--dist", default="dist")
    parser.add_argument("--filter", default="")
    options = parser.parse_args()
    dist = pathlib.Path(options.dist).resolve()
    passed = failed = 0
    for label, binary in (envoy.split("=", 1) for envoy in options.envoy):
        with tempfile.TemporaryDirectory() as directory:
            upstream = Upstream()
            envoy = Envoy(binary, directory, upstream, listeners(dist))
            try:
                # First: the watchdog learns from the first body that the setting is there.
                for function in sorted(CHECKS, key=lambda f: f is not a_slow_client_is_left_alone):
                    name = "webhook live: " + function.__name__.replace("_", " ")
                    if options.filter not in name:
                        continue
                    upstream.reset()
                    try:
                        function(envoy, upstream)
                        passed += 1
                        print(f"PASS {name} ({label})", flush=True)
                    except Exception as problem:  # whatever it is, the next check runs
                        failed += 1
                        print(f"FAIL {name} ({label})\n     {type(problem).__name__}: {problem}", flush=True)
            finally:
                envoy.stop()
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
