#!/usr/bin/env python3
"""Are limits exact under load? wrk with 64 connections against a real Envoy with two workers, with and without leases.

For each case the tokens that a limit gave out (by its own counters) are compared with what its buckets may give at most:
burst + rate x T. More is a fault, less than 99 % of it is one, too. So that T is known, one request takes half of the burst before wrk starts
(from then on the bucket is never full, so nothing runs over), and one that costs nothing reads at the end what nobody has asked for.

    python3 benches/limits/exact.py --envoy PATH [--seconds 10]
"""

import argparse
import pathlib
import subprocess
import sys
import time

from proxy import Proxy, envoy_of, real_envoy

OFF = {"enabled": False}
ON = {"min_tokens": 1}
# Name, buckets (max_tokens, tokens_per_fill, seconds), what leases are.
CASES = [
    ("20 at once, 10 a second; too small for leases", [(20, 10, 1)], {}),
    ("60 a minute and 1000 an hour; too small for leases", [(60, 60, 60), (1000, 1000, 3600)], {}),
    ("5000 at once, 1000 a second; without leases", [(5000, 1000, 1)], OFF),
    ("5000 at once, 1000 a second; default leases", [(5000, 1000, 1)], {}),
    ("5000 at once, 1000 a second; leases of up to 10 %", [(5000, 1000, 1)], {**ON, "max_percent": 10}),
    ("1000 a second and 9000 a minute; without leases", [(1000, 1000, 1), (9000, 9000, 60)], OFF),
    ("1000 a second and 9000 a minute; default leases", [(1000, 1000, 1), (9000, 9000, 60)], {}),
    ("60 per 7 s, no whole nanoseconds; leases from 1 token on", [(600, 60, 7)], {**ON, "max_percent": 10}),
]


def config(buckets, leases):
    return {"leases": leases, "limits": [{
        "name": name, "key": ["client_address"], "rules": [{
            "match": {"path": {"prefix": f"/{name}"}}, "cost": {"header": "x-cost", "min": 0},
            "buckets": [{"max_tokens": m, "tokens_per_fill": n, "fill_interval": f"{s}s"} for m, n, s in buckets]}]}
        for name in ("one", "two")]}


def most(buckets, seconds):
    return min(burst + rate * seconds / interval for burst, rate, interval in buckets)


def run(envoy, seconds, buckets, leases):
    """For each of two keys: name, requests, tokens given out, most in the longest and in the shortest T, tokens left."""
    half = min(burst for burst, _, _ in buckets) // 2
    with Proxy(envoy, config(buckets, leases)) as proxy:
        url, began, ended, left = f"http://127.0.0.1:{proxy.port}", {}, {}, {}
        for name in ("one", "two"):
            before = time.time()
            status, _ = proxy.get(f"/{name}", x_cost=str(half))
            began[name] = before, time.time()
            if status != 200:
                sys.exit(f"the first request was answered {status}")
        # Two keys at a time: 64 connections, all of them asking for more than there is.
        loads = [subprocess.Popen(["wrk", "-t1", "-c32", f"-d{seconds}s", f"{url}/{name}"], stdout=subprocess.DEVNULL)
                 for name in ("one", "two")]
        for load in loads:
            load.wait()
        for name in ("one", "two"):
            before = time.time()
            left[name] = int(proxy.get(f"/{name}", x_cost="0")[1]["x-ratelimit-remaining"])
            ended[name] = before, time.time()
        metrics = proxy.metrics()
        hits = metrics.get("tollgate_limit_leases_total(reason=hit)", 0)
        for name in ("one", "two"):
            counted = {reason: metrics.get(f"tollgate_decisions_total(policy=rate_limit,reason={reason},rule={name})", 0)
                       for reason in ("allowed", "limited", "contended")}
            # Besides wrk's requests the first one, at half of the burst, and the last one, at nothing.
            given = counted["allowed"] - 2 + half
            longest, shortest = ended[name][1] - began[name][0], ended[name][0] - began[name][1]
            yield name, sum(counted.values()), given, most(buckets, longest), most(buckets, shortest), left[name], hits


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--envoy", required=True)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--write", type=pathlib.Path, help="put the table into this page")
    arguments = parser.parse_args()
    envoy, faults = envoy_of(arguments), 0
    lines = ["| limit | requests | tokens given out | burst + rate x T | left | given out of the rest | lease hits |", "|---|---|---|---|---|---|---|"]
    print("\n".join(lines))
    for title, buckets, leases in CASES:
        # A machine that is too busy to ask for more than there is shows nothing: once more.
        for _ in range(5):
            seen = list(run(envoy, arguments.seconds, buckets, leases))
            if all(asked > 1.5 * upper for _, asked, _, upper, *_ in seen):
                break
        # What leases may keep from others: 1 % and less does not show under a load like this one.
        percent = leases.get("max_percent", 1)
        least = 0.99 if percent <= 1 else 1 - 2 * percent / 100
        for name, asked, given, upper, lower, left, hits in seen:
            share = given / (lower - left)
            good = given <= upper and share >= least and asked > upper
            faults += not good
            lines.append(f"| {title} ({name}) | {asked} | {given} | {lower:.1f} to {upper:.1f} | {left} | {100 * share:.2f} % | {hits} |")
            print(lines[-1] + ("" if good else " FAULT"), flush=True)
    if arguments.write and not faults:
        about = (f"Seen with `make limits` (two workers, 64 connections, {arguments.seconds} s, two keys at a time; T by the clocks of two requests around; "
                 "left is what nobody asked for at the end; lease hits of both keys):")
        real_envoy.put_into(arguments.write, "bench:limits", "\n".join([about, "", *lines]))
    print(f"{2 * len(CASES) - faults} passed, {faults} failed")
    sys.exit(faults > 0)


main()
