#!/usr/bin/env python3
"""A remote key set in a real Envoy: how long it takes to load, whether requests wait meanwhile, memory, cost of a lookup.

    python3 benches/envoy/keys.py --envoy PATH [--keys 100000] [--rounds 12] [--write docs/performance.md]

What is measured:
- load: from the moment the source is asked to the first answer 200 for a key of the set, on the slowest worker.
- waiting: a client sends requests with a key of the configuration without pause while a set is loaded and while it is replaced by
  another one; its longest waits, beside those of the same client while nothing is loaded.
- memory: resident memory with the set of 10 keys and with the large one, with 1 and with 5 workers; the difference of the
  differences is what a worker takes. After each of three refreshes, too.
- lookup: CPU time of the worker a request, 10 keys against many, in turns; wrk sends 64 different keys of the set.
"""

import argparse
import base64
import hashlib
import http.client
import http.server
import json
import multiprocessing
import os
import pathlib
import random
import re
import statistics
import subprocess
import tempfile
import threading
import time

import cpu
import variants
import real_envoy
from rounds import median_interval

INLINE = "inline-key-0123456789abcdef"


def key(i):
    return f"ps_live_remote-{i:06d}-0123456789abcdef"


def key_set(count, salt=""):
    lines = [f"tollgate-keys 1 count={count}"]
    for i in range(count):
        digest = base64.b64encode(hashlib.sha256(key(i).encode()).digest()).decode().rstrip("=")
        lines.append(f"consumer-{i:06d} 2026-q4 {digest} groups=gold{i % 7}{salt} expires_at=2026-12-30T00:00:{i % 60:02d}Z")
    return ("\n".join(lines) + "\n").encode()


def serve(connection, bodies):
    """The source: /NAME is bodies[NAME], with an ETag. Tells when it is asked, and takes new bodies."""
    etags = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            name = self.path.lstrip("/")
            body = bodies[name]
            etag = etags.setdefault(id(body), f'"{len(etags)}"')
            if self.headers.get("if-none-match") == etag:
                self.send_response(304)
                self.send_header("etag", etag)
                self.end_headers()
                return
            connection.send((name, time.monotonic()))
            self.send_response(200)
            self.send_header("etag", etag)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    connection.send(server.server_address[1])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    while True:
        name, body = connection.recv()
        bodies[name] = body


class Source:
    def __init__(self, bodies):
        self.pipe, theirs = multiprocessing.Pipe()
        self.process = multiprocessing.Process(target=serve, args=(theirs, bodies), daemon=True)
        self.process.start()
        self.port = self.pipe.recv()

    def asked(self, timeout=20):
        """When a set was handed out."""
        if not self.pipe.poll(timeout):
            raise SystemExit("the source was not asked")
        return self.pipe.recv()[1]

    def put(self, name, body):
        self.pipe.send((name, body))

    def stop(self):
        self.process.terminate()


def bootstrap(ports, source, sets, poll="1s"):
    def plugin(name):
        config = {
            "consumers": [{"id": "inline", "keys": [{"id": "k", "sha256": hashlib.sha256(INLINE.encode()).hexdigest()}]}],
            "remote_keys": {"cluster": "keys", "path": f"/{name}", "poll_interval": poll, "max_bytes": 32 << 20}}
        return variants.wasm("key-auth", config, name)

    return {
        "admin": {"address": variants.address(ports["admin"])},
        "static_resources": {
            "listeners": [variants.listener(name, ports[name], [plugin(name)]) for name in sets],
            "clusters": [{"name": "keys", "connect_timeout": "1s", "load_assignment": {
                "cluster_name": "keys", "endpoints": [{"lb_endpoints": [{"endpoint": {
                    "address": variants.address(source.port)}}]}]}}]}}


class Envoy(cpu.Envoy):
    def __init__(self, binary, directory, source, sets, workers=1, poll="1s"):
        self.ports = {name: variants.free_port() for name in [*sets, "admin"]}
        path = pathlib.Path(directory) / "envoy.json"
        path.write_text(json.dumps(bootstrap(self.ports, source, sets, poll)))
        real_envoy.Envoy.__init__(
            self, [binary, "-c", str(path), "--concurrency", str(workers), "--log-level", "error", "--disable-hot-restart"],
            directory, self.ports["admin"])
        self.schedstat = self.worker_schedstat()

    def gauge(self, name):
        return int(re.search(rf"{name}: (\d+)", self.admin(f"/stats?filter={name}"))[1])

    def wait_keys(self, count):
        """Until every worker answers for a key of the set: connections go to workers by chance."""
        name = next(n for n in self.ports if n != "admin")
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            answers = [status(self.ports[name], key(count - 1)) for _ in range(24)]
            if all(answer == 200 for answer in answers):
                return time.monotonic()
        self.fail("the set was not loaded within a minute")


def status(port, with_key):
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    client.request("GET", "/", headers={"x-api-key": with_key})
    answer = client.getresponse().status
    client.close()
    return answer


def probe(port, stop, result):
    """Requests without pause on one connection; the waits in milliseconds."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    waits = []
    while not stop.is_set():
        begin = time.monotonic()
        client.request("GET", "/", headers={"x-api-key": INLINE})
        answer = client.getresponse()
        answer.read()
        waits.append((time.monotonic() - begin) * 1000)
        assert answer.status == 200, answer.status
    result.put(sorted(waits)[-5:])


class Prober:
    def __init__(self, port):
        self.stop_flag, self.queue = multiprocessing.Event(), multiprocessing.Queue()
        self.process = multiprocessing.Process(target=probe, args=(port, self.stop_flag, self.queue))
        self.process.start()

    def longest(self):
        self.stop_flag.set()
        waits = self.queue.get(timeout=20)
        self.process.join()
        return waits


def loading(binary, count):
    """Seconds to load, longest waits while loading, while refreshing, and while nothing happens."""
    source = Source({"large": b"", })
    with tempfile.TemporaryDirectory() as directory:
        # Empty at first, so that the client is at work when the load begins.
        envoy = Envoy(binary, directory, source, ["large"], workers=2)
        source.asked()
        prober = Prober(envoy.ports["large"])
        body = key_set(count)
        time.sleep(3)
        idle = prober.longest()
        prober = Prober(envoy.ports["large"])
        time.sleep(0.3)
        while source.pipe.poll(0.01):
            source.pipe.recv()
        source.put("large", body)
        begin = source.asked()
        end = envoy.wait_keys(count)
        first = prober.longest()
        other = key_set(count, "-b")
        prober = Prober(envoy.ports["large"])
        time.sleep(0.3)
        source.put("large", other)
        source.asked()
        time.sleep(4)
        refresh = prober.longest()
        assert envoy.gauge("tollgate_key_set_keys") == count
        envoy.stop()
    source.stop()
    return end - begin, idle, first, refresh, len(body)


def memory(binary, count):
    """MiB a worker, after the load and after each refresh."""
    result = {}
    for size in [10, count]:
        bodies = [key_set(size, salt) for salt in ["", "-b", "-c", "-d"]]
        for workers in [1, 5]:
            source = Source({"set": bodies[0]})
            with tempfile.TemporaryDirectory() as directory:
                envoy = Envoy(binary, directory, source, ["set"], workers=workers)
                seen = []
                for i, body in enumerate(bodies):
                    if i:
                        source.put("set", body)
                    source.asked()
                    envoy.wait_keys(size)
                    time.sleep(5)
                    seen.append(envoy.rss_mb())
                envoy.stop()
            source.stop()
            result[size, workers] = seen
    per_worker = [(b - a) / 4 - (d - c) / 4 for a, b, c, d in zip(
        result[count, 1], result[count, 5], result[10, 1], result[10, 5])]
    return per_worker


def lookups(binary, count, rounds):
    """Microseconds of CPU a request with 10 keys and with many, pairs of one round."""
    few = key_set(10)
    source = Source({"few": few, "many": key_set(count)})
    pairs = []
    with tempfile.TemporaryDirectory() as directory:
        script = pathlib.Path(directory) / "keys.lua"
        # The same number of different keys both times: the first ten, or 64 from all over the set.
        chosen = {"few": [key(i) for i in range(10)],
                  "many": [key(i) for i in random.Random(1).sample(range(count), 64)]}
        envoy = Envoy(binary, directory, source, ["few", "many"], poll="3600s")
        for name, size in [("few", 10), ("many", count)]:
            while status(envoy.ports[name], key(size - 1)) != 200:
                time.sleep(0.05)

        def load(name):
            keys = ",".join(f'"{k}"' for k in chosen[name])
            script.write_text(f"""
local keys = {{{keys}}}
local i = 0
request = function()
  i = i % #keys + 1
  return wrk.format("GET", "/", {{["x-api-key"] = keys[i]}})
end
""")
            good, every = envoy.answered(name)
            start = envoy.cpu_ns()
            subprocess.run(["wrk", "-t1", "-c16", "-d1s", "-s", str(script), f"http://127.0.0.1:{envoy.ports[name]}/"],
                           check=True, stdout=subprocess.DEVNULL)
            time.sleep(0.05)
            spent = envoy.cpu_ns() - start
            good_after, every_after = envoy.answered(name)
            assert good_after - good == every_after - every > 0
            return spent / 1000 / (every_after - every)

        for name in ["few", "many"]:
            load(name)
        for i in range(rounds):
            order = ["few", "many"] if i % 2 else ["many", "few"]
            spent = {name: load(name) for name in order}
            pairs.append((spent["few"], spent["many"]))
        envoy.stop()
    source.stop()
    return pairs


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--envoy", required=True)
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--only", choices=["loading", "memory", "lookups"])
    parser.add_argument("--write", type=pathlib.Path)
    args = parser.parse_args()
    rows = []
    if args.only in (None, "loading"):
        seconds, idle, first, refresh, size = loading(args.envoy, args.keys)
        rows += [
            (f"from the fetch ({size / 1e6:.1f} MB) to the first answer on the slowest of 2 workers", f"{seconds:.2f} s"),
            ("longest waits of a client that sends without pause, while nothing is loaded", waits(idle)),
            ("the same while the first set is loaded", waits(first)),
            ("the same while it is replaced by another one", waits(refresh))]
    if args.only in (None, "memory"):
        per_worker = memory(args.envoy, args.keys)
        rows.append(("memory a worker over a set of 10 keys: after the load, after 1, 2, 3 refreshes",
                     ", ".join(f"{m:.1f}" for m in per_worker) + " MiB"))
    if args.only in (None, "lookups"):
        pairs = lookups(args.envoy, args.keys, args.rounds)
        ratio, low, high = median_interval([many / few for few, many in pairs])
        rows.append((f"CPU a request, {args.keys} keys against 10, median of {args.rounds} pairs and its 95 % interval",
                     f"{ratio:.3f} ({low:.3f} to {high:.3f}) x, {statistics.median(f for f, _ in pairs):.1f} us with 10"))
    lines = [f"Envoy {real_envoy.version(args.envoy)}, {args.keys} keys, {cpu.machine()}", "", "| what | measured |", "|---|---|"]
    lines += [f"| {what} | {value} |" for what, value in rows]
    print("\n".join(lines))
    if args.write:
        real_envoy.put_into(args.write, "bench:keys", "\n".join(lines))


def waits(longest):
    return ", ".join(f"{wait:.1f}" for wait in reversed(longest)) + " ms"


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    main()
