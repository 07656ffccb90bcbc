"""An Envoy with two workers and a rate limit, for the programs beside this file."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import real_envoy  # noqa: E402
from real_envoy import address  # noqa: E402

WASM = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"
MANAGER = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"


class Proxy(real_envoy.Envoy):
    """`config` is the gateway's or, with another root_id, that filter's. Answers come from Envoy itself."""

    def __init__(self, binary, config, *, root_id="rate-limit", concurrency=2, trusted_hops=0, log=()):
        self.port, admin = real_envoy.free_port(), real_envoy.free_port()
        self.directory = tempfile.TemporaryDirectory(prefix="tollgate-limits-")
        path = pathlib.Path(self.directory.name) / "envoy.json"
        path.write_text(json.dumps(self.bootstrap(config, root_id, trusted_hops, admin)))
        super().__init__(
            [binary, "-c", str(path), "--concurrency", str(concurrency), "--disable-hot-restart",
             *(log or ["--log-level", "error"])], self.directory.name, admin)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop(seconds=10)
        self.directory.cleanup()

    def bootstrap(self, config, root_id, trusted_hops, admin):
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
            "admin": {"address": address(admin)},
            "stats_config": {"stats_tags": [
                {"tag_name": name, "regex": rf"({name}=\.=(.*?);\.;)"} for name in ("policy", "rule", "reason")]},
            "static_resources": {"listeners": [{
                "name": "limits", "address": address(self.port), "filter_chains": [{"filters": [
                    {"name": "http", "typed_config": manager}]}]}]}}

    def metrics(self):
        """Tollgate's own, as Prometheus sees them: name(label=value,...) with sorted labels."""
        time.sleep(0.6)  # counters are reported by the tick
        return {f"{name}({','.join(f'{k}={v}' for k, v in sorted(labels.items()))})": number for name, labels, number in self.series()}

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
