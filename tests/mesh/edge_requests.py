"""What becomes of a request around the filters: headers, other credentials, bodies, streams."""

import gzip
import hashlib
import hmac
import json
import socket
import struct
import time

from checks import equal
from edge_stage import KEY
from edge_upstreams import read_head
from proxy import SECRETS, request

CORS = {"origin": "https://app.example.com"}
MEGABYTE = 1 << 20


def security_headers(edge):
    """On the upstream's answers and on the gateway's own."""
    expected = {"x-content-type-options": "nosniff", "x-frame-options": "DENY", "strict-transport-security": "max-age=31536000; includeSubDomains"}
    for answer, status in ((edge.ask("/report"), 200), (edge.ask("/report", key=False), 401), (edge.ask("/live", key=False), 200)):
        equal(answer.status, status)
        equal({name: answer.headers.get(name) for name in expected}, expected, f"on a {status}")
        assert "x-envoy-upstream-service-time" not in answer.headers, answer


def cors(edge):
    preflight = edge.ask("/report", "OPTIONS", {**CORS, "access-control-request-method": "PUT", "access-control-request-headers": "x-api-key"}, key=False)
    equal(preflight.status, 200)
    equal((preflight.headers.get("access-control-allow-origin"), preflight.headers.get("access-control-allow-credentials")),
          ("https://app.example.com", "true"))
    equal(preflight.headers.get("access-control-allow-methods"), "GET, POST, PUT, DELETE")
    assert {"accept", "content-type", "authorization"} <= set(preflight.headers["access-control-allow-headers"].split(", "))
    equal(edge.ask("/report", headers=CORS).headers.get("access-control-allow-origin"), "https://app.example.com")
    # A browser must be able to read why it was refused.
    equal(edge.ask("/report", headers=CORS, key=False).headers.get("access-control-allow-origin"), "https://app.example.com")
    stranger = edge.ask("/report", headers={"origin": "https://evil.example.com"})
    equal((stranger.status, stranger.headers.get("access-control-allow-origin")), (200, None))
    stranger = edge.ask("/report", "OPTIONS", {"origin": "https://evil.example.com", "access-control-request-method": "PUT"}, key=False)
    assert "access-control-allow-origin" not in stranger.headers, stranger


def probes(edge):
    """/live, /ready and /health pass without a key; /health is the upstream's."""
    for path, body in (("/live", b"live\n"), ("/ready", None), ("/health", None)):
        answer = edge.ask(path, key=False)
        equal(answer.status, 200, path)
        if body:
            equal(answer.body, body)
    equal(edge.ask("/health", key=False).headers.get("x-upstream") in ("stable", "second"), True)


def jwt(edge):
    bearer = lambda name: {"authorization": f"Bearer {edge.tokens[name]}"}  # noqa: E731
    equal(edge.ask("/account/me", key=False).status, 401)
    equal(edge.ask("/account/me", headers=bearer("expired"), key=False).status, 401)
    equal(edge.ask("/account/me").status, 401, "a key is no JWT")
    answer = edge.ask("/account/me", headers={**bearer("good"), "x-jwt-subject": "mallory"}, key=False)
    equal(answer.status, 200)
    equal([value for name, value in answer.json()["headers"] if name == "x-jwt-subject"], ["alice"])
    # Elsewhere the key counts; a JWT beside it is no second credential, but must be good.
    equal(edge.ask("/report", headers=bearer("good")).status, 200)
    equal(edge.ask("/report", headers=bearer("expired")).status, 401)
    refused = edge.ask("/report", headers=bearer("good"), key=False)
    equal((refused.status, refused.json()["type"]), (401, "urn:tollgate:problem:key-missing"))


def gzip_after_cost(edge):
    """The client gets gzip, the upstream is not asked for it, and the price is exact all the same."""
    edge.forget()
    body = json.dumps({"model": "gpt-4", "messages": [{"role": "user", "content": "Hello"}]}).encode()
    answer = edge.ask("/v1/chat/completions", "POST", {"accept-encoding": "gzip", "x-test-usage": "100,50"}, body)
    equal((answer.status, answer.headers.get("content-encoding"), answer.headers.get("x-request-cost")), (200, "gzip", "0.0035"))
    equal(json.loads(gzip.decompress(answer.body))["usage"]["total_tokens"], 150)
    [seen] = edge.one(edge.model)
    equal(dict(seen["headers"]).get("accept-encoding"), "identity")


def providers_key(edge):
    """The model gets the provider's key and not the client's; nobody else gets it."""
    edge.forget()
    edge.ask("/v1/chat/completions", "POST", {"authorization": f"Bearer {edge.tokens['good']}"}, b"{}")
    edge.ask("/report")
    [model] = edge.one(edge.model)
    equal(dict(model["headers"]).get("authorization"), f"Bearer {SECRETS['MODEL_API_KEY']}")
    assert "x-api-key" not in dict(model["headers"]), model["headers"]
    equal(dict(model["headers"]).get("x-consumer-id"), "web-app")
    [other] = edge.one(edge.stable, edge.second)
    assert SECRETS["MODEL_API_KEY"] not in json.dumps(other), other
    dump = request(edge.admin, path="/config_dump").body.decode()
    assert '"root_id": "gateway"' in dump
    for name, value in SECRETS.items():
        assert value not in dump, f"{name} is in the config dump"


def streams(edge):
    """Server-sent events come as they are made, not at the end."""
    raw = edge.tls.wrap_socket(socket.create_connection(("127.0.0.1", edge.https), 5), server_hostname="localhost")
    with raw:
        raw.sendall(f"GET /sse?events=4&interval_ms=200 HTTP/1.1\r\nhost: a\r\nx-api-key: {KEY['x-api-key']}\r\naccept-encoding: gzip\r\n\r\n".encode())
        times, data = [], b""
        while b'"event":3' not in data:
            data += raw.recv(65536)
            times.append(time.monotonic())
    assert times[-1] - times[0] > 0.4, times


def websocket(edge):
    """With a key in a cookie, as browsers send it; 401 without."""
    def handshake(headers, path="/ws/chat"):
        connection = edge.tls.wrap_socket(socket.create_connection(("127.0.0.1", edge.https), 5), server_hostname="localhost")
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
    upstream = edge.websockets.heads[-1].lower()
    assert "x-consumer-id: web-app" in upstream and KEY["x-api-key"] not in upstream, upstream
    connection, head = handshake(f"x-api-key: {KEY['x-api-key']}\r\n", "/report")
    connection.close()
    assert head.startswith("HTTP/1.1 403 "), f"upgrades elsewhere: {head}"


def body_limit(edge):
    """10 MB pass, a byte more does not, announced or chunked; without a key nothing is read."""
    ten = 10 * MEGABYTE
    # By the route with the long timeout: an upstream built for debugging takes its time for the digest.
    for chunked in (False, True):
        edge.forget()
        equal(edge.ask("/v1/files", "POST", body=b"x" * ten, chunked=chunked).status, 200)
        equal([seen["body_bytes"] for seen in edge.one(edge.model)], [ten])
        edge.forget()
        equal(edge.ask("/v1/files", "POST", body=b"x" * (ten + 1), chunked=chunked).status, 413)
        equal(edge.one(edge.model), [])


def large_webhook(edge):
    """A signed webhook of 5 MB is held until verified; one byte changed, and nothing arrives."""
    body = b"x" * (5 * MEGABYTE)
    mac = hmac.new(SECRETS["WEBHOOK_SECRET"].encode(), body, hashlib.sha256).hexdigest()
    edge.forget()
    equal(edge.ask("/hooks/orders", "POST", {"x-signature": mac}, body, key=False).status, 200)
    equal([seen["body_bytes"] for seen in edge.one(edge.stable, edge.second)], [len(body)])
    edge.forget()
    equal(edge.ask("/hooks/orders", "POST", {"x-signature": mac}, body[:-1] + b"y", key=False).status, 401)
    equal(edge.one(edge.stable, edge.second), [])
