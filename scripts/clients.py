#!/usr/bin/env python3
"""Real clients, unchanged, through Envoy and key auth: curl and the Python SDKs of OpenAI and Anthropic.

    make clients             # or, with the two SDKs installed:
    python3 scripts/clients.py --envoy PATH [--module dist/key-auth.wasm]

Each client sends its key in its own way: openai as `Authorization: Bearer`, anthropic as `X-Api-Key`, curl as either, in the
query and in a cookie. A good key must get through and not reach the upstream; a wrong one must arrive in the
client as its own error for a refused key. Ends with `N passed, N failed`.
"""

import argparse
import hashlib
import http.server
import json
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

import real_envoy
from real_envoy import address, free_port

ROOT = pathlib.Path(__file__).resolve().parents[1]
GOOD = "ps_live_clients-0123456789abcdef0123456789abcdef"
EXPIRED = "ps_live_expired-0123456789abcdef0123456789abcdef"
WRONG = "ps_live_wrong-0123456789abcdef0123456789abcdef"
SEEN = []


class Upstream(http.server.BaseHTTPRequestHandler):
    """Answers as the two services do, and remembers what it was sent."""
    protocol_version = "HTTP/1.1"

    def answer(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        SEEN.append((self.path, dict((k.lower(), v) for k, v in self.headers.items()), body))
        if self.path.startswith("/v1/chat/completions"):
            answer = {"id": "c1", "object": "chat.completion", "created": 1, "model": "gpt-4", "choices": [{
                "index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hello"}}],
                "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}
        elif self.path.startswith("/v1/messages"):
            answer = {"id": "m1", "type": "message", "role": "assistant", "model": "claude", "stop_reason": "end_turn",
                      "stop_sequence": None, "content": [{"type": "text", "text": "hello"}],
                      "usage": {"input_tokens": 1, "output_tokens": 1}}
        else:
            answer = {"ok": True}
        text = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = answer

    def log_message(self, *_):
        pass


def bootstrap(port, admin, upstream, module, access_log):
    def sha(key):
        return hashlib.sha256(key.encode()).hexdigest()

    config = {
        "key_sources": [{"header": "x-api-key"}, {"header": "authorization", "scheme": "Bearer"},
                        {"query": "api_key"}, {"cookie": "api_key"}],
        "consumers": [{"id": "client", "keys": [
            {"id": "good", "sha256": sha(GOOD)}, {"id": "old", "sha256": sha(EXPIRED), "expires_at": "2020-01-01"}]}]}
    wasm = {"name": "key-auth", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
        "config": {"name": "key-auth", "root_id": "key-auth", "failure_policy": "FAIL_RELOAD",
                   "allow_on_headers_stop_iteration": True,
                   "configuration": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": json.dumps(config)},
                   "vm_config": {"vm_id": "clients", "runtime": "envoy.wasm.runtime.v8",
                                 "code": {"local": {"filename": str(module)}}}}}}
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "http", "use_remote_address": True, "normalize_path": True,
        "access_log": [{"name": "file", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog", "path": str(access_log)}}],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
            {"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}]}]},
        "http_filters": [wasm, {"name": "router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}
    return {
        "admin": {"address": address(admin)},
        "static_resources": {
            "listeners": [{"name": "http", "address": address(port), "filter_chains": [{"filters": [
                {"name": "http", "typed_config": manager}]}]}],
            "clusters": [{"name": "upstream", "connect_timeout": "1s", "load_assignment": {
                "cluster_name": "upstream", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(upstream)}}]}]}}]}}


def reached(key):
    """What reached the upstream: it must know the consumer and must not see the key."""
    assert len(SEEN) == 1, f"{len(SEEN)} requests at the upstream"
    path, headers, body = SEEN.pop()
    assert headers.get("x-consumer-id") == "client", headers
    whole = path + json.dumps(headers) + body.decode()
    assert key not in whole, f"the key reached the upstream: {path} {headers}"


def keys_are_told_apart(ask, refusal):
    """`ask` says with a key what the model says: the good one passes, the others end as the SDK's own `refusal`."""
    assert ask(GOOD) == "hello"
    reached(GOOD)
    for key, problem in [(WRONG, "key-invalid"), (EXPIRED, "key-expired")]:
        try:
            ask(key)
        except refusal as error:
            assert error.status_code == 401 and error.body["type"] == f"urn:tollgate:problem:{problem}", error.body
        else:
            raise AssertionError("passed")
    assert SEEN == []


def openai_client(url):
    import openai

    def ask(key):
        client = openai.OpenAI(api_key=key, base_url=f"{url}/v1", max_retries=0)
        return client.chat.completions.create(model="gpt-4", messages=[{"role": "user", "content": "hi"}]).choices[0].message.content

    keys_are_told_apart(ask, openai.AuthenticationError)
    return f"openai {openai.__version__}"


def anthropic_client(url):
    import anthropic

    def ask(key):
        client = anthropic.Anthropic(api_key=key, base_url=url, max_retries=0)
        return client.messages.create(model="claude", max_tokens=10, messages=[{"role": "user", "content": "hi"}]).content[0].text

    keys_are_told_apart(ask, anthropic.AuthenticationError)
    # The same SDK with a token instead of a key.
    token = anthropic.Anthropic(auth_token=GOOD, base_url=url, max_retries=0)
    token.messages.create(model="claude", max_tokens=10, messages=[{"role": "user", "content": "hi"}])
    reached(GOOD)
    return f"anthropic {anthropic.__version__}"


def curl(url):
    def ask(*arguments):
        command = ["curl", "--silent", "--output", "-", "--write-out", "\n%{http_code}", *arguments]
        *_, status = subprocess.run(command, capture_output=True, text=True, check=True).stdout.rsplit("\n", 1)
        return int(status)

    forms = {
        "header": lambda key: ["-H", f"X-API-Key: {key}", f"{url}/a"],
        "bearer": lambda key: ["--oauth2-bearer", key, f"{url}/a"],
        "query": lambda key: ["--get", "--data-urlencode", f"api_key={key}", "--data", "b=1", f"{url}/a"],
        "cookie": lambda key: ["--cookie", f"session=1; api_key={key}", f"{url}/a"],
        "http2": lambda key: ["--http2-prior-knowledge", "-H", f"x-api-key: {key}", f"{url}/a"],
    }
    for name, form in forms.items():
        assert ask(*form(GOOD)) == 200, name
        reached(GOOD)
        assert ask(*form(WRONG)) == 401, name
        assert ask(*form(EXPIRED)) == 401, name
    assert ask("-H", f"x-api-key: {GOOD}", "--oauth2-bearer", GOOD, f"{url}/a") == 400
    assert ask(f"{url}/a") == 401
    assert SEEN == []
    return subprocess.run(["curl", "--version"], capture_output=True, text=True).stdout.split(" (")[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--envoy", required=True)
    parser.add_argument("--module", type=pathlib.Path, default=ROOT / "dist" / "key-auth.wasm")
    args = parser.parse_args()
    upstream = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    threading.Thread(target=upstream.serve_forever, daemon=True).start()
    port, admin = free_port(), free_port()
    failed = []
    with tempfile.TemporaryDirectory() as directory:
        directory = pathlib.Path(directory)
        config = directory / "envoy.json"
        access_log = directory / "access.log"
        config.write_text(json.dumps(bootstrap(port, admin, upstream.server_address[1], args.module.resolve(), access_log)))
        envoy = real_envoy.Envoy([args.envoy, "-c", config, "--disable-hot-restart", "--log-level", "warning"], directory, admin,
                                 cwd=None)
        try:
            passed = 0
            for client in [curl, openai_client, anthropic_client]:
                SEEN.clear()
                try:
                    print(f"PASS {client(f'http://127.0.0.1:{port}')}")
                    passed += 1
                except Exception as error:  # what a client raises is the client's own
                    print(f"FAIL {client.__name__}: {type(error).__name__}: {error}")
                    failed.append(client.__name__)
            time.sleep(1.2)
            logs = access_log.read_text() + envoy.logged()
            for key in [GOOD, EXPIRED, WRONG]:
                if key in logs:
                    print("FAIL a key is in Envoy's log or access log")
                    failed.append("logs")
        finally:
            envoy.stop(seconds=10)
    print(f"{passed} passed, {len(failed)} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
