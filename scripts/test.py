#!/usr/bin/env python3
"""`make test`: runs the stages one after the other and ends with one line, `N passed, N failed`.

    scripts/test.py --envoy newest=PATH [--envoy oldest=PATH] [--target-dir DIR] [STAGE...]

Every stage's output is shown as it comes; its counts are read from the `test result:` lines of cargo and the
`N passed, N failed` line of our own programs. A stage that fails without having counted a failure
(it does not compile, say) counts as one. A stage that counted nothing at all is a failure, too.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# The crates that also run as WebAssembly: everything that ends up in a module, short of the adapter.
PURE = ["core", "state", "key-auth", "webhook-signature", "rate-limit", "canary", "cost", "gateway"]
RUNNER = ".tools/wasm-runner/debug/tollgate-wasm-runner"
CARGO_RESULT = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed;")
OUR_RESULT = re.compile(r"^(\d+) passed, (\d+) failed$")
ANSI = re.compile(r"\x1b\[[0-9;]*m")


def stages(options):
    """(name, what it is, commands) in the order of cost."""
    envoys = [word for envoy in options.envoy for word in ("--envoy", envoy)]
    newest = options.envoy[0].split("=", 1)[1]
    pure = [word for crate in PURE + options.wasm for word in ("-p", f"tollgate-{crate}")]
    built = f"{options.target_dir}/debug"
    programs = ["cargo", "build", "-p", "tollgate-cli", "-p", "tollgate-e2e", "-p", "tollgate-upstream"]
    return [
        ("native", "unit, property and scenario tests on this machine",
         [["cargo", "test", "--workspace", "--no-fail-fast"]]),
        ("wasm", "the same pure tests and scenarios as WebAssembly under Node",
         [["make", "--silent", "--no-print-directory", RUNNER],
          ["cargo", "test", "--target", "wasm32-unknown-unknown", "--no-fail-fast", *pure]]),
        ("modules", "the modules that ship",
         [["make", "--silent", "--no-print-directory", "wasm"]]),
        ("configs", "every configuration under envoy/: tollgate check, and Envoy itself",
         [programs,
          [sys.executable, "scripts/check_configs.py", "--tollgate", f"{built}/tollgate"],
          [f"{built}/tollgate-e2e", *envoys, "--suite", "configs"]]),
        ("envoy", "scenarios, webhook vectors, hostile requests and reloads through the shipped modules in Envoy",
         [programs,
          [f"{built}/tollgate-e2e", *envoys, "--suite", "scenarios,vectors,hostile,reload,secrets"]]),
        ("webhook", "when the upstream sees the first byte of a webhook, and what two deliveries at once do",
         [[sys.executable, "scripts/webhook_live.py", *envoys]]),
        ("mesh", "configurations started and used, rolling update, edge, observability, dashboard, OCI image, manifests (no container engine)",
         [programs,
          [sys.executable, "tests/mesh/observability.py"],
          ["make", "--silent", "--no-print-directory", "check-dashboard"],
          [sys.executable, "tests/mesh/oci.py"],
          [sys.executable, "scripts/check_manifests.py", "--tollgate", f"{built}/tollgate"],
          [sys.executable, "tests/mesh/edge.py", "--envoy", newest, "--upstream", f"{built}/tollgate-upstream"],
          [sys.executable, "tests/mesh/configs.py", "--envoy", f"newest={newest}", "--upstream", f"{built}/tollgate-upstream"],
          *[[sys.executable, "tests/mesh/configs.py", "--only", "files", "--envoy", envoy, "--upstream", f"{built}/tollgate-upstream"]
            for envoy in options.envoy[1:]]]),
        ("fleet", "three Envoys under one limit: the real rate limit service with Redis (Go, redis-server, wrk), Limitador",
         [["make", "--silent", "--no-print-directory", "fleet-test", "FLEET=short", f"ENVOY={newest}"]]),
        ("run", "make run, and the commands it prints",
         [programs,
          [sys.executable, "scripts/run_smoke.py", "--envoy", newest, "--upstream", f"{built}/tollgate-upstream"]]),
    ]


# Stages that only build: nothing to count when they succeed.
BUILDS = {"modules"}


class Tally:
    """What was counted, and what went wrong."""

    def __init__(self):
        self.passed = 0
        self.failed = 0
        self.problems = []

    def line(self, text):
        """Counts one line of output."""
        text = ANSI.sub("", text).rstrip()
        if found := CARGO_RESULT.match(text) or OUR_RESULT.match(text):
            self.passed += int(found[1])
            self.failed += int(found[2])


def stream(command, environment, tally):
    """Runs a command, shows and counts its output; its exit status."""
    try:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace")
    except OSError as error:
        print(error, flush=True)
        return 127
    for line in process.stdout:
        print(line, end="", flush=True)
        tally.line(line)
    return process.wait()


def run(name, commands, environment):
    """One stage."""
    tally = Tally()
    for command in commands:
        failed = tally.failed
        status = stream(command, environment, tally)
        if status != 0:
            if tally.failed == failed:
                tally.failed += 1
            tally.problems.append(f"{' '.join(map(str, command))[:100]}: exit status {status}")
            break
    if name not in BUILDS and tally.passed + tally.failed == 0:
        tally.failed += 1
        tally.problems.append("ran no test")
    return tally


def main():
    """Runs what the command line names, everything by default."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--envoy", action="append", required=True, metavar="LABEL=PATH")
    parser.add_argument("--target-dir", default="target")
    parser.add_argument("--wasm", action="append", default=["scenario"], help=argparse.SUPPRESS)
    parser.add_argument("stage", nargs="*", help="only these stages")
    options = parser.parse_args()
    chosen = stages(options)
    if unknown := set(options.stage) - {name for name, _, _ in chosen}:
        parser.error(f"no stage {', '.join(sorted(unknown))}; there are {', '.join(name for name, _, _ in chosen)}")
    # A stage is a build of its own, not a part of the make that started us.
    environment = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    environment["CARGO_TERM_COLOR"] = "never"

    results = []
    for name, what, commands in chosen:
        if options.stage and name not in options.stage:
            continue
        print(f"\n==== {name}: {what}", flush=True)
        started = time.monotonic()
        if name == "wasm":
            # Without debug information the runner is four times as fast.
            tally = run(name, commands, {**environment, "CARGO_PROFILE_DEV_DEBUG": "0"})
        else:
            tally = run(name, commands, environment)
        seconds = time.monotonic() - started
        print(f"---- {name}: {tally.passed} passed; {tally.failed} failed; {seconds:.0f} s", flush=True)
        results.append((name, tally, seconds))

    print()
    for name, tally, seconds in results:
        print(f"  {name:<8} {tally.passed:>6} passed {tally.failed:>4} failed {seconds:>6.0f} s")
        for problem in tally.problems:
            print(f"           {problem}")
    passed = sum(tally.passed for _, tally, _ in results)
    failed = sum(tally.failed for _, tally, _ in results)
    print(f"{passed} passed, {failed} failed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
