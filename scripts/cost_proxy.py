"""The gateway that `cost_check.py` tests, with a smaller and a larger crowd of consumers, and a client of it."""

import collections
import hashlib
import http.client
import json
import os
import pathlib
import tempfile
import threading
import urllib.request

import real_envoy
from real_envoy import address, free_port

ROOT = pathlib.Path(__file__).resolve().parent.parent
KEY = "a-key-for-the-cost-checks-0123456789"
CROWD_KEY = "crowd-key-0123456789-"


class Envoy(real_envoy.Envoy):
    """A gateway with key auth and a cost section."""

    workers = 2
    consumers = [{"id": "ann", "keys": [{"id": "k", "env": "COST_KEY"}]}]
    action = {"route": {"cluster": "upstream", "timeout": "60s"}}

    def __init__(self, binary, cost, upstream, collector=None):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="tollgate-cost-"))
        self.access_log = self.directory / "access.log"
        (self.directory / "envoy.json").write_text(json.dumps(self.config(cost, upstream, collector)))
        command = [binary, "-c", str(self.directory / "envoy.json"), "--concurrency", str(self.workers), "--use-dynamic-base-id",
                   "--file-flush-interval-msec", "50", "-l", "warning"]
        super().__init__(command, self.directory, self.admin_port, {"COST_KEY": KEY, "PATH": os.environ["PATH"]})

    def config(self, cost, upstream, collector):
        self.port, self.admin_port = free_port(), free_port()
        key_auth = {"key_sources": [{"header": "x-api-key"}, {"header": "authorization", "scheme": "Bearer"}],
                    "consumers": self.consumers}
        plugin = {
            "name": "gateway", "root_id": "gateway", "fail_open": False, "allow_on_headers_stop_iteration": True,
            "vm_config": {"vm_id": "cost", "runtime": "envoy.wasm.runtime.v8",
                          "code": {"local": {"filename": str(ROOT / "dist/gateway.wasm")}},
                          "environment_variables": {"host_env_keys": ["COST_KEY"]}},
            "configuration": {"@type": "type.googleapis.com/google.protobuf.StringValue",
                              "value": json.dumps({"key_auth": key_auth, "cost": cost})}}
        wasm = {"name": "envoy.filters.http.wasm", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm", "config": plugin}}
        router = {"name": "envoy.filters.http.router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}
        access = {"name": "file", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": str(self.access_log), "log_format": {"json_format": {
                "id": "%REQ(x-request-id)%", "consumer": "%FILTER_STATE(wasm.tollgate.consumer:PLAIN)%", "cost": "%FILTER_STATE(wasm.tollgate.cost:PLAIN)%",
                "status": "%RESPONSE_CODE%", "details": "%RESPONSE_CODE_DETAILS%"}}}}
        manager = {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "in", "preserve_external_request_id": True, "access_log": [access], "http_filters": [wasm, router],
            "http_protocol_options": {"enable_trailers": True},
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
                {"match": {"prefix": "/"}, **self.action}]}]}}
        listener = {"name": "in", "address": address(self.port), "enable_reuse_port": True, "filter_chains": [
            {"filters": [{"name": "hcm", "typed_config": manager}]}]}
        ports = {"upstream": upstream.server_port, "ledger": (collector or upstream).server_port}
        clusters = [{"name": name, "type": "STATIC", "connect_timeout": "5s", "load_assignment": {
            "cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(port)}}]}]},
            "circuit_breakers": {"thresholds": [{"max_connections": 10000, "max_requests": 10000, "max_pending_requests": 10000}]}}
            for name, port in ports.items()]
        tags = [{"tag_name": t, "regex": f"({t}=\\.=(.*?);\\.;)"} for t in
                ("policy", "reason", "price", "budget", "consumer", "outcome", "kind", "period", "model")]
        return {"admin": {"address": address(self.admin_port)}, "stats_config": {"stats_tags": tags},
                "static_resources": {"listeners": [listener], "clusters": clusters}}

    @staticmethod
    def get(port, path, headers=()):
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=dict(headers))
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read()

    def metrics(self):
        """Sums by name and labels."""
        found = collections.Counter()
        for name, labels, number in self.series():
            found[name] += number
            for label, value in labels.items():
                found[name, f'{label}="{value}"'] += number
        return found

    def usage(self):
        page = json.loads(self.get(self.port, "/.tollgate/usage", {"x-api-key": KEY}))
        return page["budgets"]

    def access_lines(self):
        return [json.loads(line) for line in self.access_log.read_text().splitlines()]

    def events_in_log(self):
        """What the ledger wrote to Envoy's log, by id."""
        mark = "cost ledger event "
        text = self.logged()
        events = [json.loads(line.split(mark, 1)[1]) for line in text.splitlines() if mark in line]
        return {event["id"]: event for event in events}


class Client(threading.local):
    """One connection a thread."""

    connection = None

    def post(self, port, path, body, request_id):
        """The status and headers of an answer that came completely; else None."""
        try:
            if self.connection is None:
                self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            headers = {"x-api-key": KEY, "x-request-id": request_id, "content-type": "application/json"}
            self.connection.request("POST", path, json.dumps(body), headers)
            answer = self.connection.getresponse()
            answer.read()
            return answer.status, answer.headers
        except (OSError, http.client.HTTPException):
            self.connection = None
            return None


class Crowd(Envoy):
    """Eight workers, and consumers whose keys end in their numbers."""

    workers = 8
    keys = [f"{CROWD_KEY}{n}" for n in range(60)]
    consumers = [{"id": f"c{n}", "keys": [{"id": "k", "sha256": hashlib.sha256(key.encode()).hexdigest()}]} for n, key in enumerate(keys)]
    action = {"direct_response": {"status": 200}}
