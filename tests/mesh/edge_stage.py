"""envoy/configs/edge.yaml in a real Envoy, on ports of its own, with everything that it talks to."""

import json
import ssl
import subprocess
from pathlib import Path

from checks import equal
from edge_upstreams import Collector, WebSockets
from proxy import ROOT, SECRETS, Stage, free_offset, ports_of, request

CONFIG = "envoy/configs/edge.yaml"
KEY = {"x-api-key": SECRETS["WEB_APP_API_KEY"]}


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
