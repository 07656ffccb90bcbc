"""An Envoy with two workers and a rate limit, for the programs beside this file."""

import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
WASM = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"
MANAGER = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def address(port):
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


class Proxy:
    """`config` is the gateway's or, with another root_id, that filter's. Answers come from Envoy itself."""

    def __init__(self, binary, config, *, root_id="rate-limit", concurrency=2, trusted_hops=0, log=()):
        self.port, self.admin_port = free_port(), free_port()
        self.directory = tempfile.TemporaryDirectory(prefix="tollgate-limits-")
        path = pathlib.Path(self.directory.name) / "envoy.json"
        path.write_text(json.dumps(self.bootstrap(config, root_id, trusted_hops)))
        self.log = open(pathlib.Path(self.directory.name) / "envoy.log", "w+")
        self.process = subprocess.Popen(
            [binary, "-c", str(path), "--concurrency", str(concurrency), "--disable-hot-restart",
             *(log or ["--log-level", "error"])],
            stdout=self.log, stderr=subprocess.STDOUT, cwd=ROOT)
        for _ in range(600):
            if self.process.poll() is not None:
                sys.exit(f"Envoy ended at once:\n{self.logged()[-4000:]}")
            try:
                if self.admin("/ready").strip() == "LIVE":
                    return
            except OSError:
                pass
            time.sleep(0.1)
        sys.exit("Envoy did not become ready within a minute")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(10)
        self.log.close()
        self.directory.cleanup()

    def bootstrap(self, config, root_id, trusted_hops):
        wasm = {"@type": WASM, "config": {
            "name": root_id, "root_id": root_id, "failure_policy": "FAIL_RELOAD",
            "allow_on_headers_stop_iteration": True,
            "configuration": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": json.dumps(config)},
            "vm_config": {"vm_id": root_id, "runtime": "envoy.wasm.runtime.v8",
                          "code": {"local": {"filename": f"dist/{root_id}.wasm"}},
                          "environment_variables": {"host_env_keys": ["BENCH_WEBHOOK_SECRET"]}}}}
        manager = {
            "@type": MANAGER, "stat_prefix": "limits", "use_remote_address": True, "xff_num_trusted_hops": trusted_hops,
            "normalize_path": True, "merge_slashes": True,
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{
                "match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "ok\n"}}}]}]},
            "http_filters": [{"name": root_id, "typed_config": wasm},
                             {"name": "router", "typed_config": {"@type": ROUTER}}]}
        return {
            "admin": {"address": address(self.admin_port)},
            "stats_config": {"stats_tags": [
                {"tag_name": name, "regex": rf"({name}=\.=(.*?);\.;)"} for name in ("policy", "rule", "reason")]},
            "static_resources": {"listeners": [{
                "name": "limits", "address": address(self.port), "filter_chains": [{"filters": [
                    {"name": "http", "typed_config": manager}]}]}]}}

    def logged(self):
        self.log.flush()
        self.log.seek(0)
        return self.log.read()

    def admin(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}{path}", timeout=10) as answer:
            return answer.read().decode()

    def metrics(self):
        """Tollgate's own, as Prometheus sees them: name(label=value,...) with sorted labels."""
        time.sleep(0.6)  # counters are reported by the tick
        found = {}
        text = self.admin("/stats/prometheus")
        for name, labels, value in re.findall(r"^(tollgate_\w+)\{(.*?)\} (\d+)$", text, re.M):
            pairs = sorted(re.findall(r'(\w+)="(.*?)"', labels))
            found[f"{name}({','.join(f'{k}={v}' for k, v in pairs)})"] = int(value)
        return found

    def rss_mb(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1)) / 1024

    def get(self, path="/", **headers):
        """(status, headers in lower case)"""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}",
                                         headers={k.replace("_", "-"): v for k, v in headers.items()})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, {k.lower(): v for k, v in answer.getheaders()}
        except urllib.error.HTTPError as answer:
            return answer.code, {k.lower(): v for k, v in answer.headers.items()}

    def wrk(self, seconds, *, connections=64, threads=1, script=None, path="/", headers=()):
        command = ["wrk", f"-t{threads}", f"-c{connections}", f"-d{seconds}s"]
        for header in headers:
            command += ["-H", header]
        if script:
            command += ["-s", str(script)]
        return subprocess.run([*command, f"http://127.0.0.1:{self.port}{path}"], check=True, capture_output=True,
                              text=True).stdout


def envoy_of(arguments):
    binary = arguments.envoy
    if not os.access(binary, os.X_OK):
        sys.exit(f"no Envoy at {binary}: --envoy PATH")
    return binary
