#!/usr/bin/env python3
"""What requests run in a module: which functions, and which way its branches go. Not a measurement; `make wasm` puts what comes of it into
the modules (xtask/profile.txt).

A module that counts what it runs (`xtask instrument`) serves requests in a real Envoy; then the counters are read out of the proxy's
memory. They are globals, and V8 keeps those one after the other, behind a mark.

    python3 benches/envoy/what_runs.py --envoy PATH --module key-auth --wasm COUNTING.wasm --write COUNTS

What is written are numbers of 64 bits: how many requests there were, then the counters.
"""

import argparse
import hashlib
import hmac
import json
import os
import pathlib
import re
import socket
import struct
import tempfile

import variants
import real_envoy

REQUESTS = 1000
# `MARK` in xtask/src/instrument.rs; behind it stands how many counters follow.
MARK = struct.pack("<QQ", 0x7F0E_6C6C_6761_7465, 0x2B99_2DDF_A232_49D6)
LARGEST_REGION = 1 << 30


def requests(module):
    """What is sent in turn; what is asked for in `benches/gateway.yaml`."""
    first = [f"GET {variants.PATH} HTTP/1.1", "host: api.example.com", *variants.REQUEST_HEADERS]
    usual = "\r\n".join([*first, "", ""]).encode()
    if module != "webhook-signature":
        return [usual]
    # That no rule matches is only half of what it is there for.
    body = b'{"event": "order.paid", "id": 4711}'
    signature = hmac.new(variants.ENV["BENCH_WEBHOOK_SECRET"].encode(), body, hashlib.sha256).hexdigest()
    signed = ["POST /hooks/orders HTTP/1.1", "host: api.example.com", f"content-length: {len(body)}", f"x-signature: {signature}"]
    return [usual, "\r\n".join([*signed, "", ""]).encode() + body]


class Envoy(real_envoy.Envoy):
    def __init__(self, binary, directory, module, wasm):
        variant = {"webhook-signature": "webhook"}.get(module, module.replace("-", "_"))
        filters = variants.all_filters()[variant]
        filters[0]["typed_config"]["config"]["vm_config"]["code"]["local"]["filename"] = wasm
        ports, bootstrap = variants.bootstrap([variant], {variant: filters})
        self.port = ports[variant]
        path = pathlib.Path(directory) / "envoy.json"
        path.write_text(json.dumps(bootstrap))
        command = [binary, "-c", str(path), "--concurrency", "1", "--log-level", "error", "--disable-hot-restart"]
        super().__init__(command, directory, ports["admin"], {**os.environ, **variants.ENV})

    def serve(self, sent, times):
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
            answers = connection.makefile("rb")
            for number in range(times):
                connection.sendall(sent[number % len(sent)])
                status = answers.readline()
                assert status.startswith(b"HTTP/1.1 200"), status
                length = 0
                while (line := answers.readline()) != b"\r\n":
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                answers.read(length)

    def counters(self):
        """By where they are: the main thread has a VM, too."""
        found = {}
        for line in pathlib.Path(f"/proc/{self.process.pid}/maps").read_text().splitlines():
            start, end, rights = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+)", line).groups()
            start, end = int(start, 16), int(end, 16)
            if not rights.startswith("rw") or end - start > LARGEST_REGION:
                continue
            memory = self.read(start, end - start)
            at = memory.find(MARK)
            while at >= 0:
                first = at + len(MARK) + 8
                (size,) = struct.unpack_from("<Q", memory[first - 8:first].ljust(8, b"\0"))
                # What only looks like the mark is followed by anything.
                if 0 < size < 1 << 24 and first + 8 * size <= len(memory):
                    found[start + at] = struct.unpack_from(f"<{size}Q", memory, first)
                at = memory.find(MARK, at + 1)
        return found

    def counted(self, sent):
        """What the VM that serves has counted between the first request and the last."""
        self.serve(sent, len(sent))
        before = self.counters()
        self.serve(sent, REQUESTS)
        differences = [
            tuple(b - a for a, b in zip(before[at], after, strict=True))
            for at, after in self.counters().items()
            if at in before and len(before[at]) == len(after)
        ]
        plausible = [d for d in differences if min(d) >= 0]
        if not plausible:
            self.fail("the counters are not in its memory")
        # The main thread's VM has only ticked.
        return max(plausible, key=sum)

    def read(self, start, size):
        try:
            with open(f"/proc/{self.process.pid}/mem", "rb", buffering=0) as memory:
                memory.seek(start)
                return memory.read(size)
        except OSError:
            return b""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for option in ["--envoy", "--module", "--wasm", "--write"]:
        parser.add_argument(option, required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tollgate-profile-") as directory:
        envoy = Envoy(arguments.envoy, directory, arguments.module, str(pathlib.Path(arguments.wasm).resolve()))
        try:
            counters = envoy.counted(requests(arguments.module))
        finally:
            envoy.stop()
    pathlib.Path(arguments.write).write_bytes(struct.pack(f"<{1 + len(counters)}Q", REQUESTS, *counters))


if __name__ == "__main__":
    main()
