#!/usr/bin/env python3
"""`tollgate check` on every configuration under envoy/ that holds a plugin configuration.

    scripts/check_configs.py --tollgate PATH [DIR...]

Ends with `N passed, N failed`.
"""

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# A file with one of these holds a plugin configuration of ours: an Envoy bootstrap, or an Istio resource.
MARKS = ("root_id:", "kind: WasmPlugin")


def main():
    """Checks file after file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tollgate", required=True)
    parser.add_argument("directory", nargs="*", type=Path, default=[Path("envoy")])
    options = parser.parse_args()
    tollgate = str(Path(options.tollgate).resolve())
    passed = failed = 0
    files = sorted(file for directory in options.directory for file in (ROOT / directory).rglob("*.yaml"))
    for file in files:
        if not any(mark in file.read_text() for mark in MARKS):
            continue
        name = file.relative_to(ROOT)
        done = subprocess.run([tollgate, "check", str(name)], cwd=ROOT, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=False)
        if done.returncode == 0:
            passed += 1
            print(f"ok     tollgate check {name}")
        else:
            failed += 1
            print(f"FAILED tollgate check {name}\n{done.stdout}{done.stderr}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
