#!/usr/bin/env python3
"""`make fleet-test`: three Envoys, the real rate limit service, Redis; all on loopback. Ends with `N passed, N failed`.

run.py --envoy PATH [--module dist/rate-limit.wasm] [--service PATH] [--limitador PATH] [--only NAME,NAME] [--short] [--keep]

--short leaves out what takes long: a part of the windows and outages, and latency, which needs a quiet machine.
"""

import argparse
import pathlib
import shutil
import sys

import limitador
import suites
from measure import results
from processes import ROOT

SUITES = {
    "exact": suites.exact_windows,
    "latency": suites.latency,
    "deny": lambda o: suites.outage(o, "deny"),
    "local": lambda o: suites.outage(o, "local"),
    "allow": lambda o: suites.outage(o, "allow"),
    "replay": suites.replay,
    "budget": suites.budget,
    "configuration": suites.wrong_configuration,
    "limitador": limitador.suite,
}
LONG = {"latency", "deny", "allow"}
LOADED = {"exact", "latency", "deny", "local", "allow"}


def main():
    sys.stdout.reconfigure(line_buffering=True)
    parser = argparse.ArgumentParser()
    parser.add_argument("--envoy", required=True)
    parser.add_argument("--module", default=str(ROOT / "dist/rate-limit.wasm"))
    parser.add_argument("--cost", default=str(ROOT / "dist/cost.wasm"))
    parser.add_argument("--webhook", default=str(ROOT / "dist/webhook-signature.wasm"))
    parser.add_argument("--service")
    parser.add_argument("--limitador", default=str(ROOT / ".tools/limitador/debug/tollgate-limitador"))
    parser.add_argument("--redis", default=shutil.which("redis-server"))
    parser.add_argument("--only", default="")
    parser.add_argument("--rounds", type=int, default=24)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    options.limitador = pathlib.Path(options.limitador).resolve()
    if not options.service:
        names = [ROOT / ".tools/ratelimit/bin/service_cmd", pathlib.Path.home() / "go/bin/service_cmd"]
        options.service = next((str(n) for n in names if n.exists()), None)
    chosen = options.only.split(",") if options.only else [n for n in SUITES if not (options.short and n in LONG)]
    if unknown := set(chosen) - set(SUITES):
        parser.error(f"no suite {', '.join(unknown)}; there are {', '.join(SUITES)}")
    programs = {
        "redis-server": (options.redis, set(SUITES) - {"limitador"}),
        "rate limit service (scripts/fleet_tools.sh installs it where there is Go)": (options.service, set(SUITES) - {"limitador"}),
        "wrk": (shutil.which("wrk"), LOADED),
        "Limitador (make fleet-test builds it)": (options.limitador.exists(), {"limitador"}),
    }
    for name in chosen:
        if missing := [program for program, (there, suites_of) in programs.items() if name in suites_of and not there]:
            print(f"== {name}: skipped, there is no {', no '.join(missing)}")
            continue
        suite = SUITES[name]
        print(f"== {name}: {(suite.__doc__ or 'an outage of everything, one after the other').splitlines()[0]}")
        suite(options)
    print(f"{results.count(True)} passed, {results.count(False)} failed")
    return results.count(False) != 0


if __name__ == "__main__":
    sys.exit(main())
