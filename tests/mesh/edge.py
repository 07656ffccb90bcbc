#!/usr/bin/env python3
"""envoy/configs/edge.yaml in a real Envoy: everything it switches on is seen to work.

    tests/mesh/edge.py --envoy PATH --upstream PATH

Ends with `N passed, N failed`.
"""

import argparse
import base64
import gzip
import hashlib
import hmac
import http.server
import json
import re
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

from checks import Checks, equal, eventually
from proxy import ROOT, SECRETS, Stage, free_offset, never_trapped, ports_of, request

CONFIG = "envoy/configs/edge.yaml"
CORS = {"origin": "https://app.example.com"}
KEY = {"x-api-key": SECRETS["WEB_APP_API_KEY"]}
MEGABYTE = 1 << 20
LOG_KEYS = {"timestamp", "event_type", "method", "endpoint", "status_code", "duration_ms", "consumer", "request_id", "cost_usd",
            "variant", "limit", "reason"}


class Collector(http.server.ThreadingHTTPServer):
    """Keeps what an OpenTelemetry collector would get."""

    def __init__(self, port):
        self.spans = []
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                collector.spans.append((self.path, self.body()))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def body(self):
                if "content-length" in self.headers:
                    return self.rfile.read(int(self.headers["content-length"]))
                data = b""
                while size := int(self.rfile.readline(), 16):
                    data += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return data

            def log_message(self, *_):
                pass
        super().__init__(("127.0.0.1", port), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class WebSockets:
    """Answers WebSocket handshakes and echoes frames."""

    def __init__(self, port):
        self.heads = []
        self.socket = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            connection, _ = self.socket.accept()
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        head = read_head(connection)
        self.heads.append(head)
        key = re.search(r"sec-websocket-key: (\S+)", head, re.IGNORECASE)[1]
        accept = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
        connection.sendall(f"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: {accept}\r\n\r\n".encode())
        while data := connection.recv(65536):
            connection.sendall(data)


def read_head(connection):
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        piece = connection.recv(1)
        if not piece:
            break
        data += piece
    return data.decode()


class Edge:
    """The edge with its upstreams."""

    def __init__(self, options):
        self.stage = Stage(options.envoy, options.upstream)
        text = (ROOT / CONFIG).read_text()
        self.offset = free_offset(ports_of(text))
        at = lambda port: port + self.offset  # noqa: E731
        self.https, self.http, self.admin = at(10443), at(10080), at(9901)
        self.stable, self.second, self.canary, self.model, self.collector_port, self.realtime = (
            at(port) for port in (10001, 10004, 10002, 10005, 10006, 10007))
        self.tokens = json.loads((Path(__file__).parent / "jwt.json").read_text())

    def certificate(self, name):
        paths = [self.stage.directory / f"{name}.{kind}" for kind in ("crt", "key")]
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                        "-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(paths[1]), "-out", str(paths[0])],
                       check=True, capture_output=True)
        return paths

    def write_sds(self, name):
        """edge/tls.yaml with a new certificate, by a rename."""
        certificate, key = self.certificate(name)
        text = (ROOT / "envoy/configs/edge/tls.yaml").read_text().replace(".tools/edge/tls.crt", str(certificate)).replace(".tools/edge/tls.key", str(key))
        new = self.stage.directory / "tls.yaml.new"
        new.write_text(text)
        new.rename(self.stage.directory / "tls.yaml")
        return certificate

    def start(self):
        self.authority = self.write_sds("first")
        config = self.stage.copy(CONFIG, self.offset, [("envoy/configs/edge/tls.yaml", str(self.stage.directory / "tls.yaml"))])
        for name, port in (("stable", self.stable), ("second", self.second), ("canary", self.canary), ("model", self.model)):
            self.stage.upstream(name, port)
        self.collector = Collector(self.collector_port)
        self.websockets = WebSockets(self.realtime)
        self.stage.start_envoy(config, self.admin)
        self.tls = ssl.create_default_context(cafile=str(self.authority))

    def ask(self, path="/", method="GET", headers=(), body=None, key=True, **more):
        headers = {"host": "api.example.com", **(KEY if key else {}), **dict(headers)}
        return request(self.https, method, path, headers, body, tls=self.tls, **more)

    def runtime(self, **values):
        for name, value in values.items():
            equal(request(self.admin, "POST", f"/runtime_modify?{name.replace('__', '.')}={value}").status, 200)

    def one(self, *ports):
        """All requests that these upstreams saw."""
        return [seen for port in ports for seen in self.stage.seen(port)]

    def forget(self):
        for port in (self.stable, self.second, self.canary, self.model):
            self.stage.forget(port)

    # ---- transport

    def redirects(self):
        answer = request(self.http, path="/a/b?c=d", headers={"host": "api.example.com"})
        equal((answer.status, answer.headers.get("location")), (301, f"https://api.example.com:{self.https}/a/b?c=d"))

    def tls_versions(self):
        def speaks(version):
            context = ssl.create_default_context(cafile=str(self.authority))
            context.set_ciphers("DEFAULT:@SECLEVEL=0")
            context.minimum_version = context.maximum_version = version
            try:
                with socket.create_connection(("127.0.0.1", self.https), 5) as raw, context.wrap_socket(raw, server_hostname="localhost") as tls:
                    return tls.version()
            except (ssl.SSLError, ConnectionResetError):
                return None
        import warnings
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            equal(speaks(ssl.TLSVersion.TLSv1_1), None)
        equal((speaks(ssl.TLSVersion.TLSv1_2), speaks(ssl.TLSVersion.TLSv1_3)), ("TLSv1.2", "TLSv1.3"))

    def http2(self):
        context = ssl.create_default_context(cafile=str(self.authority))
        context.set_alpn_protocols(["h2", "http/1.1"])
        with socket.create_connection(("127.0.0.1", self.https), 5) as raw, context.wrap_socket(raw, server_hostname="localhost") as tls:
            equal(tls.selected_alpn_protocol(), "h2")

    def new_certificate(self):
        """A new certificate is taken without a restart."""
        new = self.write_sds("second")

        def taken():
            try:
                context = ssl.create_default_context(cafile=str(new))
                return request(self.https, path="/live", tls=context).status == 200
            except ssl.SSLError:
                return False
        eventually(taken, 10, "the new certificate is served")
        self.authority, self.tls = new, ssl.create_default_context(cafile=str(new))

    # ---- around the filters

    def security_headers(self):
        """On the upstream's answers and on the gateway's own."""
        expected = {"x-content-type-options": "nosniff", "x-frame-options": "DENY", "strict-transport-security": "max-age=31536000; includeSubDomains"}
        for answer, status in ((self.ask("/report"), 200), (self.ask("/report", key=False), 401), (self.ask("/live", key=False), 200)):
            equal(answer.status, status)
            equal({name: answer.headers.get(name) for name in expected}, expected, f"on a {status}")
            assert "x-envoy-upstream-service-time" not in answer.headers, answer

    def cors(self):
        preflight = self.ask("/report", "OPTIONS", {**CORS, "access-control-request-method": "PUT", "access-control-request-headers": "x-api-key"}, key=False)
        equal(preflight.status, 200)
        equal((preflight.headers.get("access-control-allow-origin"), preflight.headers.get("access-control-allow-credentials")),
              ("https://app.example.com", "true"))
        equal(preflight.headers.get("access-control-allow-methods"), "GET, POST, PUT, DELETE")
        assert {"accept", "content-type", "authorization"} <= set(preflight.headers["access-control-allow-headers"].split(", "))
        equal(self.ask("/report", headers=CORS).headers.get("access-control-allow-origin"), "https://app.example.com")
        # A browser must be able to read why it was refused.
        equal(self.ask("/report", headers=CORS, key=False).headers.get("access-control-allow-origin"), "https://app.example.com")
        stranger = self.ask("/report", headers={"origin": "https://evil.example.com"})
        equal((stranger.status, stranger.headers.get("access-control-allow-origin")), (200, None))
        stranger = self.ask("/report", "OPTIONS", {"origin": "https://evil.example.com", "access-control-request-method": "PUT"}, key=False)
        assert "access-control-allow-origin" not in stranger.headers, stranger

    def probes(self):
        """/live, /ready and /health pass without a key; /health is the upstream's."""
        for path, body in (("/live", b"live\n"), ("/ready", None), ("/health", None)):
            answer = self.ask(path, key=False)
            equal(answer.status, 200, path)
            if body:
                equal(answer.body, body)
        equal(self.ask("/health", key=False).headers.get("x-upstream") in ("stable", "second"), True)

    def jwt(self):
        bearer = lambda name: {"authorization": f"Bearer {self.tokens[name]}"}  # noqa: E731
        equal(self.ask("/account/me", key=False).status, 401)
        equal(self.ask("/account/me", headers=bearer("expired"), key=False).status, 401)
        equal(self.ask("/account/me").status, 401, "a key is no JWT")
        answer = self.ask("/account/me", headers={**bearer("good"), "x-jwt-subject": "mallory"}, key=False)
        equal(answer.status, 200)
        equal([value for name, value in answer.json()["headers"] if name == "x-jwt-subject"], ["alice"])
        # Elsewhere the key counts; a JWT beside it is no second credential, but must be good.
        equal(self.ask("/report", headers=bearer("good")).status, 200)
        equal(self.ask("/report", headers=bearer("expired")).status, 401)
        refused = self.ask("/report", headers=bearer("good"), key=False)
        equal((refused.status, refused.json()["type"]), (401, "urn:tollgate:problem:key-missing"))

    def gzip_after_cost(self):
        """The client gets gzip, the upstream is not asked for it, and the price is exact all the same."""
        self.forget()
        body = json.dumps({"model": "gpt-4", "messages": [{"role": "user", "content": "Hello"}]}).encode()
        answer = self.ask("/v1/chat/completions", "POST", {"accept-encoding": "gzip", "x-test-usage": "100,50"}, body)
        equal((answer.status, answer.headers.get("content-encoding"), answer.headers.get("x-request-cost")), (200, "gzip", "0.0035"))
        equal(json.loads(gzip.decompress(answer.body))["usage"]["total_tokens"], 150)
        [seen] = self.one(self.model)
        equal(dict(seen["headers"]).get("accept-encoding"), "identity")

    def providers_key(self):
        """The model gets the provider's key and not the client's; nobody else gets it."""
        self.forget()
        self.ask("/v1/chat/completions", "POST", {"authorization": f"Bearer {self.tokens['good']}"}, b"{}")
        self.ask("/report")
        [model] = self.one(self.model)
        equal(dict(model["headers"]).get("authorization"), f"Bearer {SECRETS['MODEL_API_KEY']}")
        assert "x-api-key" not in dict(model["headers"]), model["headers"]
        equal(dict(model["headers"]).get("x-consumer-id"), "web-app")
        [other] = self.one(self.stable, self.second)
        assert SECRETS["MODEL_API_KEY"] not in json.dumps(other), other
        dump = request(self.admin, path="/config_dump").body.decode()
        assert '"root_id": "gateway"' in dump
        for name, value in SECRETS.items():
            assert value not in dump, f"{name} is in the config dump"

    def streams(self):
        """Server-sent events come as they are made, not at the end."""
        raw = self.tls.wrap_socket(socket.create_connection(("127.0.0.1", self.https), 5), server_hostname="localhost")
        with raw:
            raw.sendall(f"GET /sse?events=4&interval_ms=200 HTTP/1.1\r\nhost: a\r\nx-api-key: {KEY['x-api-key']}\r\naccept-encoding: gzip\r\n\r\n".encode())
            times, data = [], b""
            while b'"event":3' not in data:
                data += raw.recv(65536)
                times.append(time.monotonic())
        assert times[-1] - times[0] > 0.4, times

    def websocket(self):
        """With a key in a cookie, as browsers send it; 401 without."""
        def handshake(headers, path="/ws/chat"):
            connection = self.tls.wrap_socket(socket.create_connection(("127.0.0.1", self.https), 5), server_hostname="localhost")
            connection.sendall((f"GET {path} HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
                                f"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n").encode())
            return connection, read_head(connection)
        connection, head = handshake("")
        connection.close()
        assert head.startswith("HTTP/1.1 401 "), head
        connection, head = handshake(f"cookie: a=b; api_key={KEY['x-api-key']}\r\n")
        with connection:
            assert head.startswith("HTTP/1.1 101 ") and "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head, head
            for payload in (b"Hello", b"x" * 100):
                frame = struct.pack("!BB4s", 0x81, 0x80 | len(payload), b"\0\0\0\0") + payload
                connection.sendall(frame)
                got = b""
                while len(got) < len(frame):
                    got += connection.recv(65536)
                equal(got, frame)
        upstream = self.websockets.heads[-1].lower()
        assert "x-consumer-id: web-app" in upstream and KEY["x-api-key"] not in upstream, upstream
        connection, head = handshake(f"x-api-key: {KEY['x-api-key']}\r\n", "/report")
        connection.close()
        assert head.startswith("HTTP/1.1 403 "), f"upgrades elsewhere: {head}"

    def body_limit(self):
        """10 MB pass, a byte more does not, announced or chunked; without a key nothing is read."""
        ten = 10 * MEGABYTE
        # By the route with the long timeout: an upstream built for debugging takes its time for the digest.
        for chunked in (False, True):
            self.forget()
            equal(self.ask("/v1/files", "POST", body=b"x" * ten, chunked=chunked).status, 200)
            equal([seen["body_bytes"] for seen in self.one(self.model)], [ten])
            self.forget()
            equal(self.ask("/v1/files", "POST", body=b"x" * (ten + 1), chunked=chunked).status, 413)
            equal(self.one(self.model), [])

    def large_webhook(self):
        """A signed webhook of 5 MB is held until verified; one byte changed, and nothing arrives."""
        body = b"x" * (5 * MEGABYTE)
        mac = hmac.new(SECRETS["WEBHOOK_SECRET"].encode(), body, hashlib.sha256).hexdigest()
        self.forget()
        equal(self.ask("/hooks/orders", "POST", {"x-signature": mac}, body, key=False).status, 200)
        equal([seen["body_bytes"] for seen in self.one(self.stable, self.second)], [len(body)])
        self.forget()
        equal(self.ask("/hooks/orders", "POST", {"x-signature": mac}, body[:-1] + b"y", key=False).status, 401)
        equal(self.one(self.stable, self.second), [])

    # ---- when upstreams misbehave

    def retries(self):
        """A read that fails is tried three times more; a write is not."""
        self.forget()
        equal(self.ask("/report", headers={"x-respond-status": "503"}).status, 503)
        equal(len(self.one(self.stable, self.second)), 4)
        self.forget()
        equal(self.ask("/orders", "POST", {"x-respond-status": "503"}, b"{}").status, 503)
        equal(len(self.one(self.stable, self.second)), 1)

    def timeouts(self):
        """Five seconds, then 504."""
        answer = self.ask("/delay/8000/x", "POST", body=b"{}")
        equal(answer.status, 504)
        assert 4.8 < answer.seconds < 6, answer.seconds
        return f"after {answer.seconds:.2f} s"

    def outliers(self):
        """Five failures in a row take an instance out; nobody notices."""
        self.stage.control(self.second, "answer", {"status": 500, "body": "broken"})
        for number in range(40):
            self.ask("/orders", "POST", body=b"{}")
            if self.stage.stats(self.admin, "cluster.stable.outlier_detection.ejections_active").popitem()[1]:
                break
        asked = len(self.stage.seen(self.second))
        for _ in range(10):
            equal(self.ask("/orders", "POST", body=b"{}").status, 200)
        self.stage.control(self.second, "answer", None)
        equal(self.stage.stats(self.admin, r"cluster.stable.outlier_detection.ejections_active"), {"cluster.stable.outlier_detection.ejections_active": 1})
        equal(len(self.stage.seen(self.second)), asked, "requests to the ejected instance")
        return f"ejected after {number + 1} requests"

    def settings(self):
        """What cannot be seen from outside is in the running configuration."""
        dump = request(self.admin, path="/config_dump?resource=static_clusters").json()["configs"]
        stable = next(c["cluster"] for c in dump if c["cluster"]["name"] == "stable")
        equal((stable["lb_policy"], stable["outlier_detection"]["base_ejection_time"], stable["outlier_detection"]["consecutive_5xx"]), ("LEAST_REQUEST", "60s", 5))
        equal(stable["upstream_connection_options"]["tcp_keepalive"]["keepalive_time"], 60)
        equal(self.stage.stats(self.admin, "cluster.stable.circuit_breakers.default.remaining_rq"), {"cluster.stable.circuit_breakers.default.remaining_rq": 1024})

    def circuit_breaking(self):
        """What is too much for a cluster is refused at once, not queued: with room for two (by runtime), two of eight pass."""
        self.runtime(circuit_breakers__stable__default__max_requests=2)
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(self.ask("/delay/1000/x", "POST", body=b"{}"))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.runtime(circuit_breakers__stable__default__max_requests=1024)
        refused = [answer for answer in answers if answer.status == 503]
        equal((len(answers) - len(refused), len(refused)), (2, 6), str(answers))
        assert all(answer.seconds < 0.9 and answer.headers.get("x-envoy-overloaded") == "true" for answer in refused), refused
        equal(self.ask("/report").status, 200)

    # ---- switches

    def maintenance(self):
        """One POST, and everything but the probes is 503 with the exact body; one more, and it is over."""
        self.runtime(tollgate__maintenance=100)
        for key in (True, False):
            answer = self.ask("/report", key=key)
            equal((answer.status, answer.body, answer.headers.get("retry-after"), answer.headers.get("content-type")),
                  (503, b'{"error": "Service temporarily unavailable for maintenance", "retry_after": 3600}', "3600", "application/json"))
        equal(self.ask("/v1/chat/completions", "POST", body=b"{}").status, 503)
        equal([self.ask(path, key=False).status for path in ("/health", "/live", "/ready")], [200, 200, 200])
        self.runtime(tollgate__maintenance=0)
        equal((self.ask("/report").status, self.ask("/report", key=False).status), (200, 401))

    def faults(self):
        self.runtime(fault__http__delay__fixed_delay_percent=100)
        answer = self.ask("/report")
        self.runtime(fault__http__delay__fixed_delay_percent=0, fault__http__abort__abort_percent=100)
        assert answer.status == 200 and 1 <= answer.seconds < 2.5, (answer, answer.seconds)
        equal((self.ask("/report").status, self.ask("/report", key=False).status), (503, 401), "faults are behind the key")
        self.runtime(fault__http__abort__abort_percent=0)
        equal(self.ask("/report").status, 200)

    def tracing(self):
        """Spans carry the variant, the consumer and the price rule, and the upstream gets the context."""
        self.runtime(tracing__random_sampling=10000)
        self.forget()
        self.ask("/checkout", headers={"x-user-group": "canary-testers"})
        self.ask("/v1/chat/completions", "POST", body=b'{"model": "gpt-4"}')
        self.ask("/report", key=False)

        def arrived():
            return b"tollgate_key_missing" in b"".join(body for _, body in self.collector.spans) and b"gpt-4" in b"".join(b for _, b in self.collector.spans)
        eventually(arrived, 15, "spans arrive")
        self.runtime(tracing__random_sampling=0)
        spans = b"".join(body for _, body in self.collector.spans)
        equal({path for path, _ in self.collector.spans}, {"/v1/traces"})

        def tag(name, value):
            # OTLP: a KeyValue is the key's length and text, then an AnyValue with the text.
            return name + b"\x12" + bytes([len(value) + 2]) + b"\x0a" + bytes([len(value)]) + value
        for name, value in ((b"tollgate.consumer", b"web-app"), (b"tollgate.variant", b"checkout-v2:canary"), (b"tollgate.price", b"gpt-4"),
                            (b"tollgate.reason", b"tollgate_key_missing")):
            assert tag(name, value) in spans, f"no {name} = {value}"
        [seen] = self.one(self.canary)
        assert "traceparent" in dict(seen["headers"]), seen["headers"]

    def access_log(self):
        """One JSON line a request, with the keys that users ask for."""
        self.ask("/v1/chat/completions", "POST", {"x-test-usage": "10,5"}, b'{"model": "gpt-4"}')
        self.ask("/checkout", headers={"x-user-group": "canary-testers"})

        def lines():
            found = [json.loads(line) for line in self.stage.log("envoy").splitlines() if line.startswith("{")]
            return found if any(line["tokens"] == "10,5" for line in found) and any(line["variant"] for line in found) else None
        found = eventually(lines, 5, "the lines of these requests")
        assert all(LOG_KEYS <= set(line) for line in found)
        line = [line for line in found if line["tokens"] == "10,5"][-1]
        equal((line["consumer"], line["price"], line["cost_usd"], line["status_code"], line["method"], line["endpoint"]),
              ("web-app", "gpt-4", "0.00215", 200, "POST", "/v1/chat/completions"))
        for value in SECRETS.values():
            assert value not in self.stage.log("envoy")

    def own_metrics(self):
        """Requests by endpoint, method and status, the gateway's own answers included; odd methods make no series."""
        request(self.https, "BREW", "/report", {**KEY}, tls=self.tls)

        def counted():
            text = request(self.admin, path="/stats/prometheus").body.decode()
            found = re.findall(r'^envoy_tollgate_api_requests\{endpoint="(\w+)",method="(\w+)",status="(\d+)"\} (\d+)$', text, re.MULTILINE)
            return found if {("read", "GET", "401"), ("chat", "POST", "200"), ("maintenance", "GET", "503")} <= {row[:3] for row in found} else None
        found = eventually(counted, 5, "the series")
        assert "BREW" not in {row[1] for row in found}, found
        text = request(self.admin, path="/stats/prometheus").body.decode()
        assert 'envoy_tollgate_consumer_requests{consumer="web-app",status="200"}' in text
        assert re.search(r'envoy_tollgate_api_request_duration_ms_bucket\{endpoint="read",method="GET",le="1200"\}', text), "histogram buckets"

    def run(self, checks):
        if not checks.check("starts", self.start):
            print(self.stage.log("envoy")[-3000:])
            return
        for name, test in (
                ("HTTP: 301 to HTTPS", self.redirects), ("TLS 1.2 and 1.3, not 1.1", self.tls_versions), ("HTTP/2", self.http2),
                ("a new certificate without a restart", self.new_certificate),
                ("security headers", self.security_headers), ("CORS", self.cors), ("/live, /ready, /health without a key", self.probes),
                ("JWT beside key auth", self.jwt), ("gzip after cost", self.gzip_after_cost), ("the upstream's own key", self.providers_key),
                ("streams are not held up", self.streams), ("WebSocket with a key", self.websocket), ("bodies up to 10 MB", self.body_limit),
                ("a webhook of 5 MB", self.large_webhook), ("three retries", self.retries), ("timeout of 5 s", self.timeouts),
                ("circuit breaking", self.circuit_breaking), ("circuit breaking, least request, keepalive as configured", self.settings), ("maintenance mode", self.maintenance),
                ("fault injection", self.faults), ("tracing tags", self.tracing), ("access log", self.access_log),
                ("metrics by endpoint, method and status", self.own_metrics), ("outlier detection", self.outliers),
                ("no VM crashed", lambda: never_trapped(self.stage, self.admin))):
            checks.check(f"edge: {name}", test)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--envoy", required=True)
    parser.add_argument("--upstream", required=True)
    options = parser.parse_args()
    if not shutil.which("openssl"):
        print("skipped: no openssl, which makes the test's certificate")
        return 0
    checks = Checks()
    edge = Edge(options)
    try:
        edge.run(checks)
    finally:
        edge.stage.stop()
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
