#!/usr/bin/env python3
"""`make mesh-test`: the compose mesh under a client's requests, and what happens when its parts fail.

    tests/mesh/drills.py --upstream PATH --envoy PATH [--keep]

Starts the mesh with ports and a project of its own (and the engine, where none runs), drives all five jobs from a client
container, then kills, slows and restarts things and checks each outcome. Without an engine it says so and ends with
status 0, unless `--require`. Ends with `N passed, N failed`.
"""

import argparse
import signal
import subprocess
import sys

import failure_drills
import fleet_drills
import job_checks
import monitoring_checks
from checks import Checks
from running_mesh import RunningMesh, meshes


def run(running, checks):
    """All of it, in the order that leaves a good mesh for the next check."""
    if not checks.check("the mesh starts", running.start):
        return
    job_checks.run(running, checks)
    monitoring_checks.run(running, checks)
    if "ratelimit" in running.services:
        fleet_drills.run(running, checks)
    failure_drills.run(running, checks)


def main():
    """Starts, drives, cleans up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--upstream", required=True)
    parser.add_argument("--envoy")
    parser.add_argument("--require", action="store_true", help="no engine is a failure")
    parser.add_argument("--keep", action="store_true", help="leaves the mesh running")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    checks = Checks()
    running = None
    try:
        meshes.require_module()
        running = RunningMesh(options)
        run(running, checks)
    except meshes.NoEngine as why:
        print(f"skipped: {why}", flush=True)
        checks.failed += options.require
    except meshes.Failure as failure:
        print(f"FAILED the mesh: {failure}", flush=True)
        checks.failed += 1
    finally:
        if running and not options.keep:
            try:
                running.mesh.down()
            except (meshes.Failure, subprocess.SubprocessError) as failure:
                print(f"FAILED to stop: {failure}", flush=True)
                checks.failed += 1
            finally:
                running.engine.stop()
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
