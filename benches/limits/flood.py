#!/usr/bin/env python3
"""A million clients against a bounded table: does Envoy's memory stay, does a drained client stay drained?

wrk sends each request with an address of its own (X-Forwarded-For behind one trusted hop) to a real Envoy with two workers. Meanwhile
clients that have used up their bucket ask again and again; each must get what its own bucket gains, and not a token more.

    python3 benches/limits/flood.py --envoy PATH [--keys 1000000] [--drained 20]
"""

import argparse
import pathlib
import re
import sys
import tempfile
import threading
import time

from proxy import Proxy, envoy_of

# Addresses in turn, each once: 10.x.x.x by the thread, the rest counted.
LUA = """
local thread = 0
function setup(t) t:set("number", thread); thread = thread + 1 end
function init() counter = number * 8388608 end
function request()
  counter = counter + 1
  local address = "10." .. math.floor(counter / 65536) % 256 .. "." .. math.floor(counter / 256) % 256 .. "." .. counter % 256
  return wrk.format("GET", "/", {["X-Forwarded-For"] = address})
end
"""
# One an hour and five at once: whoever is drained gets nothing for the time of the run.
SLOW = {"max_tokens": 5, "tokens_per_fill": 5, "fill_interval": "5h"}


def drained(proxy, n):
    return proxy.get(X_Forwarded_For=f"203.0.113.{n}")


class Watch(threading.Thread):
    """Asks as the drained clients, one after the other, until stopped."""

    def __init__(self, proxy, clients):
        super().__init__(daemon=True)
        self.proxy, self.clients, self.stopped = proxy, clients, False
        self.asked = self.freed = 0

    def run(self):
        while not self.stopped:
            for n in range(self.clients):
                status, _ = drained(self.proxy, n)
                self.asked += 1
                self.freed += status != 429
            time.sleep(0.05)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--envoy", required=True)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--drained", type=int, default=20)
    arguments = parser.parse_args()
    limit = {"name": "address", "key": ["client_address"], "rules": [{"buckets": [SLOW]}]}
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script, \
            Proxy(envoy_of(arguments), {"limits": [limit]}, trusted_hops=1) as proxy:
        script.write(LUA)
        script.flush()
        for n in range(arguments.drained):
            statuses = [drained(proxy, n)[0] for _ in range(7)]
            if statuses != [200] * 5 + [429] * 2:
                sys.exit(f"client {n} was not drained: {statuses}")
        print("| clients so far | RSS MB | keys in the table | evicted | floored | drained clients asked | freed |\n|---|---|---|---|---|---|---|")
        watch = Watch(proxy, arguments.drained)
        watch.start()
        keys, first = 0, None
        while keys < arguments.keys:
            out = proxy.wrk(5, threads=1, script=script.name)
            keys += int(re.search(r"(\d+) requests in", out).group(1))
            # wrk starts anew each time, so the next run begins where this one has ended.
            text = LUA.replace("number * 8388608", f"number * 8388608 + {keys}")
            pathlib.Path(script.name).write_text(text)
            metrics = proxy.metrics()
            table = {reason: metrics.get(f"tollgate_limit_table_total(reason={reason})", 0) for reason in ("evicted", "floored")}
            rss = proxy.rss_mb()
            first = first or rss
            print(f"| {keys} | {rss:.1f} | {metrics.get('tollgate_limit_table_keys()', 0)} | {table['evicted']} | {table['floored']} "
                  f"| {watch.asked} | {watch.freed} |", flush=True)
        watch.stopped = True
        watch.join()
        passed = sum(v for k, v in metrics.items() if "allowed" in k)
        limited = sum(v for k, v in metrics.items() if "reason=limited" in k)
        print(f"{passed} admitted, {limited} refused; {watch.freed} of {watch.asked} answers to drained clients were not 429")
        grown = rss - first
        print(f"RSS grew by {grown:.1f} MB after the first 5 s; the table may take 8.4 MB")
        sys.exit(watch.freed > 0 or grown > 16)


main()
