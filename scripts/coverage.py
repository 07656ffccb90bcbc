#!/usr/bin/env python3
"""Line coverage of what ends up in a module by the native tests: core, state, gateway and the policies.

    scripts/coverage.py [--minimum 80] [--lines]

Uses the compiler's own instrumentation and the llvm-tools component; test code itself does not count.
Prints a table, and ends with status 1 when a crate is below the minimum or a test fails.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CRATES = ["core", "state", "gateway", "key-auth", "webhook-signature", "rate-limit", "canary", "cost"]
# Whose tests are run: the crates' own and the scenario table.
PACKAGES = [f"tollgate-{name}" for name in [*CRATES, "scenario"]]


def llvm(tool):
    """A program of the llvm-tools component."""
    sysroot = subprocess.run(["rustc", "--print", "sysroot"], cwd=ROOT, capture_output=True, text=True, check=True)
    found = list(Path(sysroot.stdout.strip()).glob(f"lib/rustlib/*/bin/{tool}"))
    if not found:
        sys.exit(f"no {tool}: rustup component add llvm-tools")
    return str(found[0])


def build(target):
    """Builds the tests with instrumentation: (executable, directory it expects to run in)."""
    environment = {**os.environ, "RUSTFLAGS": "-C instrument-coverage", "CARGO_TARGET_DIR": str(target)}
    packages = [word for package in PACKAGES for word in ("-p", package)]
    command = ["cargo", "test", "--tests", "--no-run", "--message-format", "json-render-diagnostics", *packages]
    built = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if built.returncode != 0:
        sys.exit(built.returncode)
    programs = []
    for line in built.stdout.splitlines():
        message = json.loads(line)
        if message["reason"] == "compiler-artifact" and message["executable"] and message["profile"]["test"]:
            programs.append((message["executable"], Path(message["manifest_path"]).parent))
    return programs


def lines_of(lcov):
    """{file: {line: times it was reached}} of an lcov report."""
    files = {}
    for entry in lcov.splitlines():
        if entry.startswith("SF:"):
            lines = files.setdefault(entry[3:], {})
        elif entry.startswith("DA:"):
            number, count = map(int, entry[3:].split(",")[:2])
            lines[number] = lines.get(number, 0) + count
    return files


def without_tests(file, lines):
    """Drops what follows a `#[cfg(test)] mod tests {`: test modules are the last item of a file."""
    text = file.read_text().splitlines()
    for number, (this, following) in enumerate(zip(text, text[1:]), 1):
        if this.strip() == "#[cfg(test)]" and following.startswith("mod ") and following.endswith("{"):
            return {line: count for line, count in lines.items() if line < number}
    return lines


def ranges(numbers):
    """[1, 2, 3, 7] -> "1-3, 7"."""
    out = []
    for number in sorted(numbers):
        if out and out[-1][1] == number - 1:
            out[-1][1] = number
        else:
            out.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in out)


def main():
    """Builds, runs, merges, reports."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minimum", type=float, default=80)
    parser.add_argument("--lines", action="store_true", help="name the lines that no test reached")
    options = parser.parse_args()
    target = ROOT / "target" / "coverage"
    profiles = target / "profiles"
    programs = build(target)
    for old in profiles.glob("*.profraw"):
        old.unlink()

    failed = []
    for program, directory in programs:
        environment = {**os.environ, "LLVM_PROFILE_FILE": f"{profiles}/%p-%m.profraw",
                       "CARGO_MANIFEST_DIR": str(directory)}
        done = subprocess.run([program, "--quiet"], cwd=directory, env=environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode != 0:
            failed.append(Path(program).name)
            print(done.stdout)
    merged = target / "merged.profdata"
    subprocess.run([llvm("llvm-profdata"), "merge", "--sparse", "-o", merged, *profiles.glob("*.profraw")], check=True)
    objects = [word for program, _ in programs for word in ("--object", program)]
    lcov = subprocess.run([llvm("llvm-cov"), "export", "--format=lcov", "--instr-profile", merged, *objects[1:]],
                          capture_output=True, text=True, check=True).stdout

    totals = {crate: [0, 0] for crate in CRATES}
    for name, lines in sorted(lines_of(lcov).items()):
        file = Path(name)
        if not file.is_relative_to(ROOT / "filters"):
            continue
        crate, *inside = file.relative_to(ROOT / "filters").parts
        if crate not in totals or inside[0] != "src" or "tests" in inside or file.name in ("tests.rs", "testing.rs"):
            continue
        lines = without_tests(file, lines)
        missed = [line for line, count in lines.items() if count == 0]
        totals[crate][0] += len(lines) - len(missed)
        totals[crate][1] += len(lines)
        if options.lines and missed:
            print(f"{file.relative_to(ROOT)}: {ranges(missed)}")

    print(f"{'crate':<20}{'lines':>8}{'reached':>9}")
    low = []
    totals["all"] = [sum(reached for reached, _ in totals.values()), sum(count for _, count in totals.values())]
    for crate, (reached, count) in totals.items():
        percent = 100 * reached / count if count else 0
        if percent < options.minimum:
            low.append(crate)
        print(f"{crate:<20}{count:>8}{percent:>8.1f}%{'  <-- too low' if crate in low else ''}")
    if failed:
        print(f"tests failed: {', '.join(failed)}")
    if low:
        print(f"below {options.minimum:.0f} %: {', '.join(low)}")
    return 1 if failed or low else 0


if __name__ == "__main__":
    sys.exit(main())
