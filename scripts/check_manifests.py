#!/usr/bin/env python3
"""Every manifest under envoy/istio and envoy/envoy-gateway: `istioctl validate` (its warnings about EnvoyFilters are errors), the
official schemas, `kustomize build`, and `tollgate check`.

    scripts/check_manifests.py --tollgate PATH [--istioctl PATH] [--kustomize PATH] [--tools .tools/istio]

What is not there is skipped by name; `make check-manifests` builds it. Ends with `N passed, N failed`.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Said about every EnvoyFilter, whatever is in it.
ALWAYS = "EnvoyFilter exposes internal implementation details that may change at any time."
# Not Istio's: kustomizations and the patch of a Deployment.
NOT_OBJECTS = {"kustomization.yaml", "ingressgateway-patch.yaml"}


def run(command):
    done = subprocess.run([str(word) for word in command], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, (done.stdout + done.stderr).strip()


class Report:
    """Counts."""

    def __init__(self):
        self.passed = self.failed = 0

    def note(self, what, problem):
        self.passed += not problem
        self.failed += bool(problem)
        print(f"FAILED {what}\n{problem}" if problem else f"ok     {what}", flush=True)


def istioctl(program, file):
    """The problem, warnings included."""
    status, said = run([program, "validate", "-f", file])
    warnings = [line for line in said.splitlines() if line.lstrip().startswith("*") and ALWAYS not in line]
    return said if status != 0 or warnings else ""


def main():
    """Checks everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tollgate", required=True)
    parser.add_argument("--tools", type=Path, default=ROOT / ".tools" / "istio")
    parser.add_argument("--istioctl")
    parser.add_argument("--kustomize")
    options = parser.parse_args()
    tools = {name: getattr(options, name, None) or (str(options.tools / name) if (options.tools / name).exists() else shutil.which(name))
             for name in ("istioctl", "kustomize", "crdcheck")}
    for name, path in tools.items():
        if not path:
            print(f"skipped: no {name} here (make check-manifests builds it)", flush=True)
    report = Report()
    istio = sorted(file for file in (ROOT / "envoy" / "istio").rglob("*.yaml") if file.name not in NOT_OBJECTS)
    gateway = sorted((ROOT / "envoy" / "envoy-gateway").glob("*.yaml"))
    bases = sorted(file.parent for file in (ROOT / "envoy").rglob("kustomization.yaml"))
    with tempfile.TemporaryDirectory(prefix="tollgate-manifests-") as directory:
        built = []
        if tools["kustomize"]:
            for base in bases:
                status, text = run([tools["kustomize"], "build", base])
                name = base.relative_to(ROOT)
                report.note(f"kustomize build {name}", text if status else "")
                if not status:
                    out = Path(directory) / (str(name).replace("/", "-") + ".yaml")
                    out.write_text(text + "\n")
                    built.append(out)
        for file in [*istio, *built]:
            name = file.relative_to(ROOT) if file.is_relative_to(ROOT) else file.name
            if tools["istioctl"]:
                report.note(f"istioctl validate {name}", istioctl(tools["istioctl"], file))
            if tools["crdcheck"]:
                status, said = run([tools["crdcheck"], options.tools / "istio-crds.yaml", "--", file])
                report.note(f"schema {name}", said if status else "")
        for file in gateway:
            if tools["crdcheck"]:
                status, said = run([tools["crdcheck"], options.tools / "envoy-gateway-crds.yaml", "--", file])
                report.note(f"schema {file.relative_to(ROOT)}", said if status else "")
        for file in [*istio, *built, *gateway]:
            name = file.relative_to(ROOT) if file.is_relative_to(ROOT) else file.name
            status, said = run([options.tollgate, "check", file])
            report.note(f"tollgate check {name}", said if status else "")
    print(f"{report.passed} passed, {report.failed} failed", flush=True)
    return 1 if report.failed or not report.passed else 0


if __name__ == "__main__":
    sys.exit(main())
