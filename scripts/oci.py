#!/usr/bin/env python3
"""The OCI image that Istio and Envoy Gateway load the filters from: one layer with plugin.wasm (FROM scratch; COPY plugin.wasm /).

    scripts/oci.py build MODULE --version 0.1.0 --layout dist/oci [--revision COMMIT]
    scripts/oci.py push --layout dist/oci REGISTRY/NAME:TAG [--plain-http]      REGISTRY_USER, REGISTRY_PASSWORD where it asks

`build` writes an OCI image layout (any tool can push it: `skopeo copy oci:dist/oci:0.1.0 docker://...`, `crane push dist/oci ...`)
and prints the manifest's digest, which is what `sha256` of a WasmPlugin names. The same module, version and revision give the same
digest on every machine: no time stamps, and the layer is "compressed" without compressing, because compressors differ.
"""

import argparse
import base64
import hashlib
import io
import json
import os
import re
import shutil
import struct
import sys
import tarfile
import urllib.error
import urllib.parse
import urllib.request
import zlib
from pathlib import Path

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
SOURCE = "https://github.com/tollgate-filters/tollgate"
STORED_BLOCK = 65535


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def tar_of(module):
    """A tar file with plugin.wasm alone."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        info = tarfile.TarInfo("plugin.wasm")
        info.size, info.mode = len(module), 0o644
        tar.addfile(info, io.BytesIO(module))
    return buffer.getvalue()


def gzip_of(data):
    """RFC 1952 with stored blocks (RFC 1951, 3.2.4)."""
    out = [b"\x1f\x8b\x08\0\0\0\0\0\0\xff"]
    for start in range(0, len(data), STORED_BLOCK):
        block = data[start:start + STORED_BLOCK]
        last = start + STORED_BLOCK >= len(data)
        out.append(struct.pack("<BHH", last, len(block), len(block) ^ 0xFFFF) + block)
    out.append(struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF))
    return b"".join(out)


def labels(version, revision, module):
    found = {
        "org.opencontainers.image.title": "tollgate",
        "org.opencontainers.image.description": "API keys, webhook signatures, rate limits, canary routing and request cost for Envoy and Istio",
        "org.opencontainers.image.version": version,
        "org.opencontainers.image.licenses": "Apache-2.0",
        "org.opencontainers.image.source": SOURCE,
        "org.opencontainers.image.documentation": f"{SOURCE}/blob/main/docs/istio.md",
        "org.opencontainers.image.vendor": "Tollgate",
        "io.tollgate.module.sha256": hashlib.sha256(module).hexdigest(),
    }
    if revision:
        found["org.opencontainers.image.revision"] = revision
    return found


def build(module, version, revision, layout):
    """Writes the layout; the manifest's digest."""
    tar = tar_of(module)
    layer = gzip_of(tar)
    described = labels(version, revision, module)
    config = canonical({
        "architecture": "wasm", "os": "wasip1",
        "config": {"Labels": described},
        "rootfs": {"type": "layers", "diff_ids": [digest(tar)]},
        "history": [{"created_by": "COPY plugin.wasm /", "created": "1970-01-01T00:00:00Z"}],
        "created": "1970-01-01T00:00:00Z",
    })
    manifest = canonical({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": digest(config), "size": len(config)},
        "layers": [{"mediaType": LAYER, "digest": digest(layer), "size": len(layer)}],
        "annotations": described,
    })
    blobs = layout / "blobs" / "sha256"
    shutil.rmtree(layout, ignore_errors=True)
    blobs.mkdir(parents=True)
    for blob in (layer, config, manifest):
        (blobs / hashlib.sha256(blob).hexdigest()).write_bytes(blob)
    (layout / "oci-layout").write_bytes(canonical({"imageLayoutVersion": "1.0.0"}))
    (layout / "index.json").write_bytes(canonical({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [
        {"mediaType": MANIFEST, "digest": digest(manifest), "size": len(manifest), "annotations": {"org.opencontainers.image.ref.name": version}}]}))
    return digest(manifest)


class Registry:
    """As much of the distribution API as a push needs."""

    def __init__(self, host, name, plain):
        self.base = f"{'http' if plain else 'https'}://{host}"
        self.name = name
        self.authorization = None
        self.user = (os.environ.get("REGISTRY_USER"), os.environ.get("REGISTRY_PASSWORD"))

    def basic(self):
        return "Basic " + base64.b64encode(":".join(self.user).encode()).decode()

    def token(self, challenge):
        """A bearer token for pushing, as the registry's challenge says."""
        fields = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        query = urllib.parse.urlencode({"service": fields.get("service", ""), "scope": f"repository:{self.name}:pull,push"})
        request = urllib.request.Request(f"{fields['realm']}?{query}", headers={"authorization": self.basic()} if self.user[0] else {})
        with urllib.request.urlopen(request, timeout=30) as answer:
            found = json.load(answer)
        return "Bearer " + (found.get("token") or found["access_token"])

    def ask(self, method, url, body=None, headers=None, retry=True):
        """One request; 401 is answered with what the registry asks for."""
        sent = {**({"authorization": self.authorization} if self.authorization else {}), **(headers or {})}
        request = urllib.request.Request(urllib.parse.urljoin(self.base, url), data=body, method=method, headers=sent)
        try:
            return urllib.request.urlopen(request, timeout=60)
        except urllib.error.HTTPError as error:
            challenge = error.headers.get("www-authenticate", "")
            if error.code != 401 or not retry:
                raise
            self.authorization = self.token(challenge) if challenge.lower().startswith("bearer") else self.basic()
            return self.ask(method, url, body, headers, retry=False)

    def has(self, digest_):
        try:
            self.ask("HEAD", f"/v2/{self.name}/blobs/{digest_}").close()
            return True
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return False
            raise

    def push(self, layout, tag):
        index = json.loads((layout / "index.json").read_text())
        manifest = self.blob(layout, index["manifests"][0]["digest"])
        for part in (json.loads(manifest)["config"], *json.loads(manifest)["layers"]):
            if not self.has(part["digest"]):
                with self.ask("POST", f"/v2/{self.name}/blobs/uploads/", b"") as answer:
                    place = urllib.parse.urljoin(self.base, answer.headers["location"])
                place += ("&" if "?" in place else "?") + urllib.parse.urlencode({"digest": part["digest"]})
                self.ask("PUT", place, self.blob(layout, part["digest"]), {"content-type": "application/octet-stream"}).close()
        self.ask("PUT", f"/v2/{self.name}/manifests/{tag}", manifest, {"content-type": MANIFEST}).close()
        return digest(manifest)

    @staticmethod
    def blob(layout, digest_):
        return (layout / "blobs" / "sha256" / digest_.split(":")[1]).read_bytes()


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("build")
    one.add_argument("module", type=Path)
    one.add_argument("--version", required=True)
    one.add_argument("--revision", default="")
    one.add_argument("--layout", type=Path, required=True)
    two = commands.add_parser("push")
    two.add_argument("reference")
    two.add_argument("--layout", type=Path, required=True)
    two.add_argument("--plain-http", action="store_true")
    options = parser.parse_args()
    if options.command == "build":
        print(build(options.module.read_bytes(), options.version, options.revision, options.layout))
        return 0
    reference = options.reference.removeprefix("oci://")
    host, _, rest = reference.partition("/")
    name, _, tag = rest.rpartition(":")
    if not name:
        name, tag = rest, "latest"
    try:
        found = Registry(host, name, options.plain_http).push(options.layout, tag)
    except urllib.error.URLError as error:
        print(f"oci: {options.reference}: {error}", file=sys.stderr)
        return 1
    print(f"oci://{host}/{name}@{found}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
