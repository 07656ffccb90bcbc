#!/usr/bin/env python3
"""CPU per request of the filters in a real Envoy, beside no filter, an empty filter and Envoy's own filters.

An Envoy with one worker holds a listener for each variant. In every round each variant is loaded for a
moment by wrk, four times, in random order; what is read is the CPU time of the worker's thread (schedstat) over the
requests it answered. Variants of one round are compared with each other, so that a machine whose speed drifts
moves all of them. After some rounds Envoy is started anew: where in memory a filter's code happens to lie decides how
much of it the second-level cache can keep; from one process to the next that moved the gateway by a sixth, the empty filter
by a third.
Printed: the median of the differences to "no filter" with its 95 % interval, and the ratio to the empty filter.

    python3 benches/envoy/cpu.py --envoy PATH [--rounds 24] [--processes 6] [--seconds 1] [--write docs/performance.md]
"""

import argparse
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import time

import variants
import real_envoy
from rounds import median_interval, ratio_interval

ROOT = pathlib.Path(__file__).resolve().parents[2]
# How often each variant is loaded in a round.
TURNS = 4


class Envoy(real_envoy.Envoy):
    """The proxy under load; its worker thread's CPU time is what is measured."""

    def __init__(self, binary, directory, chosen, cpu):
        self.ports, bootstrap = variants.bootstrap(chosen)
        path = pathlib.Path(directory) / "envoy.json"
        path.write_text(json.dumps(bootstrap))
        super().__init__(self.command(binary, path, cpu), directory, self.ports["admin"], {**os.environ, **variants.ENV})

    def command(self, binary, path, cpu):
        pin = ["taskset", "-c", str(cpu)] if os.cpu_count() > 1 else []
        return [*pin, binary, "-c", str(path), "--concurrency", "1", "--log-level", "error", "--disable-hot-restart"]

    def worker_schedstat(self):
        for task in pathlib.Path(f"/proc/{self.process.pid}/task").iterdir():
            if (task / "comm").read_text().strip() == "wrk:worker_0":
                return task / "schedstat"
        self.fail("no worker thread found")

    def cpu_ns(self):
        return int(self.worker_schedstat().read_text().split()[0])

    def answered(self, name):
        """(answers with 200, all answers)"""
        text = self.admin(f"/stats?filter=^http\\.{name}\\.downstream_rq_(2xx|completed)$")
        numbers = dict(re.findall(r"downstream_rq_(\w+): (\d+)", text))
        return int(numbers.get("2xx", 0)), int(numbers.get("completed", 0))


def load(envoy, name, seconds, cpu):
    """What the worker did meanwhile: microseconds of CPU, and requests."""
    good, every = envoy.answered(name)
    start = envoy.cpu_ns()
    pin = ["taskset", "-c", str(cpu)] if os.cpu_count() > 1 else []
    # wrk itself counts whole seconds.
    command = ["timeout", "-s", "INT", str(seconds), *pin, "wrk", "-t1", "-c16", "-d60s"]
    for header in variants.REQUEST_HEADERS:
        command += ["-H", header]
    command.append(f"http://127.0.0.1:{envoy.ports[name]}{variants.PATH}")
    subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
    time.sleep(0.05)
    spent = envoy.cpu_ns() - start
    good_after, every_after = envoy.answered(name)
    if every_after - every != good_after - good or every_after == every:
        envoy.fail(f"{name}: {every_after - every} answers, {good_after - good} of them 2xx")
    return spent / 1000, every_after - every


def one_round(envoy, chosen, seconds):
    """Microseconds of CPU a request, by variant. Each variant's time is spread over the round: what disturbs a machine for a second
    or two disturbs all of them."""
    spent, requests = dict.fromkeys(chosen, 0), dict.fromkeys(chosen, 0)
    for _ in range(TURNS):
        for name in random.sample(chosen, len(chosen)):
            microseconds, answers = load(envoy, name, seconds / TURNS, 1)
            spent[name] += microseconds
            requests[name] += answers
    return {name: spent[name] / requests[name] for name in chosen}


def table(results, chosen):
    none = results["none"]
    empty = [value - base for value, base in zip(results["empty"], none)]
    lines = ["| variant | us a request over no filter (median, 95 % interval) | x empty filter |", "|---|---|---|"]
    for name in chosen:
        if name == "none":
            continue
        over = [value - base for value, base in zip(results[name], none)]
        middle, low, high = median_interval(over)
        ratio, ratio_low, ratio_high = ratio_interval([[value] for value in over], [[value] for value in empty])
        lines.append(f"| {variants.TITLES[name]} | {middle:.2f} ({low:.2f} to {high:.2f}) "
                     f"| {ratio:.1f} ({ratio_low:.1f} to {ratio_high:.1f}) |")
    middle, low, high = median_interval(none)
    return lines, f"No filter: {middle:.2f} us a request ({low:.2f} to {high:.2f})."


def measure(arguments, chosen, rounds, results):
    """Some rounds in an Envoy of their own."""
    with tempfile.TemporaryDirectory() as directory:
        envoy = Envoy(arguments.envoy, directory, chosen, 0)
        try:
            for name in chosen:
                load(envoy, name, 1, 1)
            for _ in range(rounds):
                for name, microseconds in one_round(envoy, chosen, arguments.seconds).items():
                    results[name].append(microseconds)
                print(f"round {len(results['none'])} of {arguments.rounds}", file=sys.stderr, flush=True)
        finally:
            envoy.stop()


def shares(rounds, processes):
    """[5, 5, 4] of 14 rounds in 3 processes."""
    all_of_them = [(rounds + left) // processes for left in reversed(range(processes))]
    return [share for share in all_of_them if share]


def machine():
    model = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    return f"{os.cpu_count()} x {model.group(1) if model else 'unknown CPU'}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--envoy", required=True)
    parser.add_argument("--rounds", type=int, default=24)
    parser.add_argument("--processes", type=int, default=6, help="Envoys one after the other that share the rounds")
    parser.add_argument("--seconds", type=int, default=1)
    parser.add_argument("--only", help="variants, joined by commas (none and empty are always there)")
    parser.add_argument("--write", help="a document; what stands between its bench markers is replaced")
    arguments = parser.parse_args()
    chosen = list(variants.TITLES)
    if arguments.only:
        wanted = {"none", "empty", *arguments.only.split(",")}
        chosen = [name for name in chosen if name in wanted]
    results = {name: [] for name in chosen}
    random.seed(1)
    for rounds in shares(arguments.rounds, arguments.processes):
        measure(arguments, chosen, rounds, results)
    lines, base = table(results, chosen)
    head = (f"Envoy {real_envoy.version(arguments.envoy)}, one worker, {machine()}; {arguments.rounds} rounds of "
            f"{arguments.seconds} s in {arguments.processes} processes, 16 connections, direct response. {base}")
    text = "\n".join([head, "", *lines])
    print(text)
    if arguments.write:
        real_envoy.put_into(arguments.write, "bench:cpu", text)


if __name__ == "__main__":
    main()
