#!/usr/bin/env python3
"""`make oci`: the digest is reproducible, and the image goes to a real registry and comes back.

    tests/mesh/oci.py [--registry PROGRAM]      Debian: apt-get install docker-registry

Ends with `N passed, N failed`.
"""

import argparse
import hashlib
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
from pathlib import Path

from checks import Checks, Skip, equal, eventually

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "dist" / "gateway.wasm"
OCI = [sys.executable, str(ROOT / "scripts" / "oci.py")]
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def oci(*words, environment=None):
    done = subprocess.run([*OCI, *map(str, words)], capture_output=True, text=True, timeout=60, check=False,
                          env={**os.environ, **(environment or {})})
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def reproducible(directory):
    """Another time, another umask, another directory, another locale: the same digest. Another module or version: another one."""
    first = oci("build", MODULE, "--version", "1.2.3", "--layout", directory / "a")
    copy = directory / "copy.wasm"
    copy.write_bytes(MODULE.read_bytes())
    os.utime(copy, (1, 1))
    copy.chmod(0o600)
    second = oci("build", copy, "--version", "1.2.3", "--layout", directory / "elsewhere" / "b", environment={"TZ": "Asia/Tokyo", "LC_ALL": "C", "SOURCE_DATE_EPOCH": "7"})
    equal(second, first)
    copy.write_bytes(MODULE.read_bytes() + b"\0\2\1x")
    assert len({first, oci("build", copy, "--version", "1.2.3", "--layout", directory / "c"),
                oci("build", MODULE, "--version", "1.2.4", "--layout", directory / "d")}) == 3
    return first


def wellformed(directory):
    """What the layout holds is what Istio and Envoy Gateway accept."""
    layout = directory / "a"
    index = json.loads((layout / "index.json").read_text())
    manifest = json.loads(blob(layout, index["manifests"][0]))
    equal(len(manifest["layers"]), 1)
    equal(manifest["layers"][0]["mediaType"], "application/vnd.oci.image.layer.v1.tar+gzip")
    config = json.loads(blob(layout, manifest["config"]))
    labels = config["config"]["Labels"]
    equal((labels["org.opencontainers.image.version"], labels["org.opencontainers.image.licenses"]), ("1.2.3", "Apache-2.0"))
    equal(labels["io.tollgate.module.sha256"], hashlib.sha256(MODULE.read_bytes()).hexdigest())
    layer = blob(layout, manifest["layers"][0])
    check_layer(layer)
    done = subprocess.run(["gzip", "-dc"], input=layer, capture_output=True, check=True)
    equal(config["rootfs"]["diff_ids"], ["sha256:" + hashlib.sha256(done.stdout).hexdigest()])


def blob(layout, part):
    data = (layout / "blobs" / "sha256" / part["digest"].split(":")[1]).read_bytes()
    equal((len(data), "sha256:" + hashlib.sha256(data).hexdigest()), (part["size"], part["digest"]))
    return data


def check_layer(layer):
    with tarfile.open(fileobj=io.BytesIO(layer), mode="r:gz") as tar:
        equal(tar.getnames(), ["plugin.wasm"])
        equal(tar.extractfile("plugin.wasm").read() == MODULE.read_bytes(), True, "the module in the layer")


class Registry:
    """A real registry on loopback."""

    def __init__(self, program, directory):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.host = f"127.0.0.1:{probe.getsockname()[1]}"
        config = directory / "registry.yml"
        config.write_text(f"version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {directory}/registry}}}}\nhttp: {{addr: \"{self.host}\"}}\n")
        self.process = subprocess.Popen([program, "serve", str(config)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        eventually(lambda: self.get("/v2/"), 20, "the registry answers")

    def get(self, path, accept=None):
        try:
            request = urllib.request.Request(f"http://{self.host}{path}", headers={"accept": accept} if accept else {})
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=5) as answer:
                return answer.read()
        except OSError:
            return None

    def stop(self):
        self.process.terminate()
        self.process.wait()


def pushed_and_pulled(program, directory, digest):
    if not program:
        raise Skip("no docker-registry here (Debian: apt-get install docker-registry)")
    registry = Registry(program, directory)
    try:
        for _ in range(2):  # the second push finds everything there
            equal(oci("push", "--layout", directory / "a", "--plain-http", f"oci://{registry.host}/tollgate/gateway:1.2.3"),
                  f"oci://{registry.host}/tollgate/gateway@{digest}")
        for reference in ("1.2.3", digest):
            manifest = registry.get(f"/v2/tollgate/gateway/manifests/{reference}", MANIFEST)
            equal("sha256:" + hashlib.sha256(manifest).hexdigest(), digest, reference)
        layer = json.loads(manifest)["layers"][0]["digest"]
        check_layer(registry.get(f"/v2/tollgate/gateway/blobs/{layer}"))
    finally:
        registry.stop()
    return digest


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--registry", default=shutil.which("docker-registry") or shutil.which("registry"))
    options = parser.parse_args()
    checks = Checks()
    with tempfile.TemporaryDirectory(prefix="tollgate-oci-") as name:
        directory = Path(name)
        digest = checks.check("oci: the digest is reproducible", reproducible, directory)
        if digest:
            checks.check("oci: layers, labels, plugin.wasm", wellformed, directory)
            checks.check("oci: pushed to a registry and pulled again", pushed_and_pulled, options.registry, directory, digest)
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
