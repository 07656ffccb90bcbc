#!/usr/bin/env python3
"""CPU of a signed 1 MiB POST minus an unsigned one, against the bare hash loop in the same V8.

One Envoy, one worker. `signed` and `unsigned` are the same listener, module and configuration; the path decides whether a rule
applies. `bare` is a Wasm filter that does nothing but HMAC-SHA256 over 1 MiB in memory (benches/hash). In every round each is
loaded for a while, in random order, and what is read is the CPU time of the worker's thread (schedstat).

    python3 benches/envoy/webhook.py --envoy PATH --upstream target/debug/tollgate-upstream [--rounds 12] [--write FILE]
"""

import argparse
import hashlib
import hmac
import http.client
import json
import pathlib
import random
import subprocess
import sys
import tempfile

import cpu
import variants
import real_envoy
from rounds import median_interval

ROOT = pathlib.Path(__file__).resolve().parents[2]
MIB = b"Z" * (1024 * 1024)
SECRET = variants.ENV["BENCH_WEBHOOK_SECRET"]
HASHES = 20


def bootstrap(_):
    ports = {name: variants.free_port() for name in ("webhook", "bare", "admin", "upstream")}
    rules = {"rules": [{"match": {"path": {"prefix": "/signed"}}, "scheme": "x-signature",
                        "secrets": [{"id": "s", "env": "BENCH_WEBHOOK_SECRET"}]}]}
    http_filters = "type.googleapis.com/envoy.extensions.filters.http."
    listeners = []
    for name, root_id, module, config in [
            ("webhook", "webhook-signature", MODULE, rules), ("bare", "", HASH_MODULE, {})]:
        plugin = {"name": name, "root_id": root_id, "failure_policy": "FAIL_RELOAD", "allow_on_headers_stop_iteration": True,
                  "vm_config": {"vm_id": name, "runtime": "envoy.wasm.runtime.v8", "code": {"local": {"filename": str(module)}},
                                "environment_variables": {"host_env_keys": ["BENCH_WEBHOOK_SECRET"]}},
                  "configuration": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": json.dumps(config)}}
        manager = {"@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                   "stat_prefix": name,
                   "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
                       {"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}]}]},
                   "http_filters": [
                       {"name": "wasm", "typed_config": {"@type": http_filters + "wasm.v3.Wasm", "config": plugin}},
                       {"name": "router", "typed_config": {"@type": http_filters + "router.v3.Router"}}]}
        listeners.append({"name": name, "address": variants.address(ports[name]), "per_connection_buffer_limit_bytes": 4 << 20,
                          "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}]})
    cluster = {"name": "upstream", "connect_timeout": "1s", "per_connection_buffer_limit_bytes": 4 << 20,
               "load_assignment": {"cluster_name": "upstream", "endpoints": [
                   {"lb_endpoints": [{"endpoint": {"address": variants.address(ports["upstream"])}}]}]}}
    return ports, {"admin": {"address": variants.address(ports["admin"])},
                   "static_resources": {"listeners": listeners, "clusters": [cluster]}}


def post(connection, path, times):
    mac = hmac.new(SECRET.encode(), MIB, hashlib.sha256).hexdigest()
    for _ in range(times):
        connection.request("POST", path, MIB, {"x-signature": mac, "content-type": "application/octet-stream"})
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            sys.exit(f"{path}: {answer.status}")


def bare(connection, rounds):
    connection.request("GET", "/", headers={"x-rounds": str(rounds)})
    answer = connection.getresponse()
    answer.read()
    if answer.status != 200:
        sys.exit(f"bare: {answer.status}")


def round_of(envoy, connections, times, shuffler):
    """Milliseconds of the worker's CPU for one MiB, by variant."""
    def spent(work):
        before = envoy.cpu_ns()
        work()
        return (envoy.cpu_ns() - before) / 1e6

    jobs = {
        "signed": lambda: spent(lambda: post(connections["webhook"], "/signed", times)) / times,
        "unsigned": lambda: spent(lambda: post(connections["webhook"], "/unsigned", times)) / times,
        "bare": lambda: spent(lambda: [bare(connections["bare"], HASHES) for _ in range(max(times // HASHES, 1))])
        / (HASHES * max(times // HASHES, 1)),
    }
    order = list(jobs)
    shuffler.shuffle(order)
    return {name: jobs[name]() for name in order}


def main():
    global MODULE, HASH_MODULE
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--envoy", required=True)
    parser.add_argument("--upstream", required=True)
    parser.add_argument("--module", default=str(ROOT / "dist" / "webhook-signature.wasm"))
    parser.add_argument("--hash-module", default=str(ROOT / "target/wasm32-wasip1/release/tollgate_bench_hash.wasm"))
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--times", type=int, default=60, help="requests of a kind in a round")
    parser.add_argument("--write", help="a document; what stands between its bench markers is replaced")
    arguments = parser.parse_args()
    MODULE, HASH_MODULE = arguments.module, arguments.hash_module
    variants.bootstrap = bootstrap
    with tempfile.TemporaryDirectory() as directory:
        envoy = cpu.Envoy(arguments.envoy, directory, [], 0)
        upstream = subprocess.Popen([arguments.upstream, "--port", str(envoy.ports["upstream"]), "--name", "stable"],
                                    stdout=subprocess.DEVNULL)
        try:
            real_envoy.wait_for_port(envoy.ports["upstream"])
            connections = {name: http.client.HTTPConnection("127.0.0.1", envoy.ports[name], timeout=60)
                           for name in ("webhook", "bare")}
            shuffler = random.Random(1)
            round_of(envoy, connections, 20, shuffler)
            results = []
            for number in range(arguments.rounds):
                results.append(round_of(envoy, connections, arguments.times, shuffler))
                print(f"round {number + 1} of {arguments.rounds}: "
                      + ", ".join(f"{k} {v:.2f} ms" for k, v in results[-1].items()), file=sys.stderr, flush=True)
        finally:
            upstream.terminate()
            envoy.stop()
    added = [r["signed"] - r["unsigned"] for r in results]
    ratios = [a / r["bare"] for a, r in zip(added, results)]
    lines = ["| 1 MiB | ms of the worker's CPU (median, 95 % interval) |", "|---|---|"]
    for title, values in [("unsigned POST", [r["unsigned"] for r in results]), ("signed POST", [r["signed"] for r in results]),
                          ("signed minus unsigned", added), ("bare HMAC-SHA256 loop", [r["bare"] for r in results])]:
        middle, low, high = median_interval(values)
        lines.append(f"| {title} | {middle:.2f} ({low:.2f} to {high:.2f}) |")
    middle, low, high = median_interval(ratios)
    lines.append(f"| **signed minus unsigned, x bare loop** | **{middle:.2f}** ({low:.2f} to {high:.2f}) |")
    text = "\n".join([f"Envoy {real_envoy.version(arguments.envoy)}, one worker, {cpu.machine()}; {arguments.rounds} rounds of "
                      f"{arguments.times} requests of each kind.", "", *lines])
    print(text)
    if arguments.write:
        real_envoy.put_into(arguments.write, "bench:webhook", text)


if __name__ == "__main__":
    main()
