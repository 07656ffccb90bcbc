"""Load by wrk, and what the proxies' access logs and counters say."""

import collections
import re
import subprocess
import time

WINDOW = 10
results = []


def check(name, good, text):
    """One result, one line."""
    results.append(bool(good))
    print(f"{'PASS' if good else 'FAIL'} {name}: {text}", flush=True)


def limit(hits, interval, scope="global", **more):
    bucket = {"max_tokens": hits, "tokens_per_fill": hits, "fill_interval": interval}
    return {"name": "api", "scope": scope, "key": [{"constant": "all"}], "rules": [{"buckets": [bucket]}], **more}


def fleet(**more):
    return {"cluster": "ratelimit", "key": {"env": "FLEET_KEY"}, "expected_proxies": 3, **more}


def config(*limits, **more):
    used = any(one["scope"] == "global" for one in limits)
    return {"limits": list(limits), **({"fleet": fleet(**more)} if used else {})}


def wrk(port, seconds, connections=8):
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", f"http://127.0.0.1:{port}/"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def read_wrk(process):
    text = process.communicate()[0]
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", text)
    millis = float(p99[1]) * {"us": 0.001, "ms": 1, "s": 1000}[p99[2]] if p99 else 0
    requests = re.search(r"(\d+) requests in", text)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    errors = re.search(r"Socket errors: (.*)", text)
    return {"requests": int(requests[1]), "bad": int(bad[1]) if bad else 0, "p99": millis, "errors": errors and errors[1]}


def drive(envoys, name, seconds, connections=8):
    running = [wrk(e.ports[name], seconds, connections) for e in envoys]
    return [read_wrk(r) for r in running]


def next_window(seconds=WINDOW, ahead=0.0):
    """Sleeps until so long before a window of the unix clock begins; returns its beginning."""
    begin = (time.time() // seconds + 1) * seconds
    if begin - ahead < time.time() + 0.2:
        begin += seconds
    time.sleep(begin - ahead - time.time())
    return begin


class Windows:
    """What was admitted, by windows of the service's clock (it runs on this machine).

    A hit is charged somewhere between the beginning and the end of its request, which the access log knows to the microsecond. So
    requests with a border between the two may belong to either window; all others belong to one."""

    def __init__(self, envoys, name, seconds=WINDOW):
        self.within, self.over, self.log_time = collections.Counter(), collections.Counter(), collections.Counter()
        width = seconds * 1_000_000
        for envoy in envoys:
            for begin, end, status, _ in envoy.answers(name):
                if status == 200:
                    first, last = begin // width, end // width
                    self.log_time[first] += 1
                    (self.within if first == last else self.over)[first] += 1

    def most(self, hits):
        """Whether the requests can be told to their windows such that none has more than so many hits, and how many it
        takes at least: by (window, certain ones, ones on its last border)."""
        carried, most = 0, 0
        for window in range(min(self.log_time), max(self.log_time) + 2):
            certain = self.within[window] + carried
            most = max(most, certain)
            carried = max(0, self.over[window] - max(0, hits - certain))
        return most

    def full(self):
        """The windows between the first and the last."""
        return sorted(self.log_time)[1:-1]


def statuses(envoys, name, since=0.0, until=1e12):
    """(status, details) of the requests that ended then."""
    counts = collections.Counter()
    for envoy in envoys:
        for _, end, status, details in envoy.answers(name):
            if since <= end / 1e6 < until:
                counts[status, details] += 1
    return dict(counts)


def show(envoys):
    """What the fleets' counters say, all proxies together."""
    stats = collections.Counter()
    for envoy in envoys:
        for key, number in envoy.stats().items():
            found = re.search(r'tollgate_fleet_(\w+?)(?:_total)?\{.*?(?:reason="(\w+)")?\}', key)
            if found and number:
                stats[" ".join(part for part in found.groups() if part)] += int(number)
    print("   ", ", ".join(f"{name} {number}" for name, number in sorted(stats.items())))
