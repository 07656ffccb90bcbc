"""What the programs that start a real Envoy have in common: ports, start, readiness, statistics, end; and tables in pages.

A module, not a program. Outside of scripts/ it is found after `sys.path.insert(0, str(ROOT / "scripts"))`.
"""

import pathlib
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[1]


def free_ports(count):
    """Ports of 127.0.0.1 that nobody has now, no two alike: one that is let go at once may be the next one, too."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def free_port():
    """One of them."""
    return free_ports(1)[0]


def address(port):
    """A port of 127.0.0.1 as Envoy's configuration has it."""
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def wait_for_port(port, seconds=30):
    """Until somebody listens."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise RuntimeError(f"nothing listens on {port}")


def version(binary):
    """`1.40.0`"""
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"/(\d+\.\d+\.\d+)/", said)
    return found[1] if found else "?"


def put_into(page, mark, text):
    """Replaces what stands in a page between <!-- mark --> and <!-- /mark -->."""
    page = pathlib.Path(page)
    before, begin, rest = page.read_text().partition(f"<!-- {mark} -->\n")
    _, end, after = rest.partition(f"<!-- /{mark} -->")
    if not end:
        sys.exit(f"{page} has no place for {mark}")
    page.write_text(before + begin + text + "\n" + end + after)


# No proxy from the environment: this is loopback.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Envoy:
    """A process of `command`, whose output goes to envoy.log in `directory`; it is ready when this returns."""

    ready_seconds = 60

    def __init__(self, command, directory, admin_port=None, env=None, cwd=ROOT):
        self.admin_port = admin_port
        self.log_path = pathlib.Path(directory) / "envoy.log"
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, cwd=cwd)
        self.wait_ready()

    def wait_ready(self):
        until = time.monotonic() + self.ready_seconds
        while time.monotonic() < until:
            if self.process.poll() is not None:
                self.fail("Envoy ended at once")
            try:
                if self.admin("/ready").strip() == "LIVE":
                    return
            except OSError:
                pass
            time.sleep(0.1)
        self.process.kill()
        self.process.wait()
        self.fail(f"Envoy did not become ready within {self.ready_seconds} s")

    def logged(self):
        return self.log_path.read_text(errors="replace")

    def fail(self, why):
        """Ends the program."""
        sys.exit(f"{why}; its log:\n{self.logged()[-4000:]}")

    def admin_address(self):
        return f"127.0.0.1:{self.admin_port}"

    def admin(self, path):
        with DIRECT.open(f"http://{self.admin_address()}{path}", timeout=20) as answer:
            return answer.read().decode()

    def series(self):
        """(name, {label: value}, number) of the modules' own counters and gauges, as Prometheus sees them."""
        text = self.admin("/stats/prometheus?filter=tollgate")
        for name, labels, number in re.findall(r"^(tollgate_\w+)\{(.*)\} (\d+)$", text, re.M):
            yield name, dict(re.findall(r'(\w+)="([^"]*)"', labels)), int(number)

    def rss_mb(self):
        """Resident memory in MiB."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024

    def stop(self, how=signal.SIGTERM, seconds=60):
        self.process.send_signal(how)
        self.process.wait(seconds)
