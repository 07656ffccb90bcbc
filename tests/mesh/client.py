#!/usr/bin/env python3
"""The client inside the mesh: what it is told on the command line, as one line of JSON.

    client.py ask  METHOD URL [--header 'name: value']... [--body TEXT]     status, headers, body
    client.py load URL --rps N --seconds S [--header ...] [--workers N]     `started`, then counts by status and upstream, errors, latencies

`${NAME}` in a header's value is taken from the environment, so that no key stands on a command line.
"""

import argparse
import collections
import http.client
import json
import os
import re
import threading
import time
import urllib.parse


def headers_of(options):
    def value(text):
        return re.sub(r"\$\{(\w+)\}", lambda found: os.environ[found[1]], text)
    return [(name.strip(), value(text.strip())) for name, _, text in (header.partition(":") for header in options.header)]


def once(connection, method, path, headers, body=None):
    """One request on a connection."""
    connection.putrequest(method, path, skip_accept_encoding=True)
    for name, value in headers:
        connection.putheader(name, value)
    if body is not None:
        connection.putheader("content-length", str(len(body)))
    connection.endheaders(body)
    return connection.getresponse()


def ask(options):
    url = urllib.parse.urlsplit(options.url)
    connection = http.client.HTTPConnection(url.hostname, url.port or 80, timeout=options.timeout)
    body = options.body.encode() if options.body is not None else None
    started = time.monotonic()
    try:
        answer = once(connection, options.method, url.path + (f"?{url.query}" if url.query else ""), headers_of(options), body)
        content = answer.read()
        return {"status": answer.status, "headers": {name.lower(): value for name, value in answer.getheaders()},
                "body": content.decode(errors="replace"), "seconds": time.monotonic() - started}
    except (OSError, http.client.HTTPException) as error:
        return {"status": 0, "error": repr(error), "headers": {}, "body": "", "seconds": time.monotonic() - started}


def load(options):
    """Requests at a steady rate (open loop: a slow answer does not slow the next request down)."""
    url = urllib.parse.urlsplit(options.url)
    headers = headers_of(options)
    total = int(options.rps * options.seconds)
    lock = threading.Lock()
    state = {"next": 0}
    statuses, upstreams, errors, times = collections.Counter(), collections.Counter(), collections.Counter(), []
    started = time.monotonic()

    def worker():
        connection = None
        while True:
            with lock:
                number = state["next"]
                if number >= total:
                    return
                state["next"] += 1
            time.sleep(max(0, started + number / options.rps - time.monotonic()))
            begun = time.monotonic()
            try:
                fresh = connection is None
                if fresh:
                    connection = http.client.HTTPConnection(url.hostname, url.port or 80, timeout=options.timeout)
                answer = once(connection, "GET", url.path, headers)
                answer.read()
                with lock:
                    statuses[answer.status] += 1
                    upstreams[answer.getheader("x-upstream", "-")] += 1
                    times.append(time.monotonic() - begun)
                if answer.will_close:
                    connection.close()
                    connection = None
            except (OSError, http.client.HTTPException) as error:
                with lock:
                    errors[type(error).__name__] += 1
                connection.close()
                connection = None

    threads = [threading.Thread(target=worker) for _ in range(options.workers)]
    print("started", flush=True)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    times.sort()

    def quantile(share):
        return round(times[min(len(times) - 1, int(share * len(times)))], 4) if times else None
    return {"sent": total, "statuses": statuses, "upstreams": upstreams, "errors": errors,
            "p50": quantile(0.5), "p95": quantile(0.95), "p99": quantile(0.99)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("ask")
    one.add_argument("method")
    one.add_argument("url")
    one.add_argument("--body")
    one.set_defaults(run=ask)
    many = commands.add_parser("load")
    many.add_argument("url")
    many.add_argument("--rps", type=float, default=50)
    many.add_argument("--seconds", type=float, default=5)
    many.add_argument("--workers", type=int, default=32)
    many.set_defaults(run=load)
    for command in (one, many):
        command.add_argument("--header", action="append", default=[])
        command.add_argument("--timeout", type=float, default=10)
    options = parser.parse_args()
    print(json.dumps(options.run(options)))


if __name__ == "__main__":
    main()
