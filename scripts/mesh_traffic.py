#!/usr/bin/env python3
"""`make mesh-traffic`: what a day of users would send, so that the dashboard of `make mesh` has something to show.

    scripts/mesh_traffic.py [--gateway URL]... [--minutes 5] [--scale 1]

Takes the keys and secrets of the mesh from the environment (WEB_APP_API_KEY, MOBILE_APP_API_KEY, WEBHOOK_SECRET, STRIPE_SECRET). Pages, models
by JSON and as streams, canary users and testers, webhooks with good, wrong and old signatures, callers without a key or with a wrong
one, and one who asks for more than the limits give. It spends the demo budgets. Ends with a table of the answers.
"""

import argparse
import collections
import hashlib
import hmac
import http.client
import json
import math
import os
import random
import sys
import threading
import time
import urllib.parse

PERIOD = 300  # seconds of one wave of load


def chat(model, tokens, stream=False):
    """A call of a model; the demo upstream says that it used so many tokens."""
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 200}
    if stream:
        body.update(stream=True, stream_options={"include_usage": True})
    return "POST", "/v1/chat/completions", {"content-type": "application/json", "x-test-usage": f"{tokens},{tokens // 2}"}, json.dumps(body)


class Senders:
    """One function for each kind of request: (method, path, headers, body)."""

    def __init__(self, environment):
        def need(name):
            if name not in environment:
                raise SystemExit(f"mesh_traffic: {name} is not set (make mesh-traffic takes it from envoy/compose)")
            return environment[name]
        self.web, self.mobile = {"x-api-key": need("WEB_APP_API_KEY")}, {"authorization": "Bearer " + need("MOBILE_APP_API_KEY")}
        self.hook, self.stripe = need("WEBHOOK_SECRET").encode(), need("STRIPE_SECRET").encode()

    def page(self):
        return "GET", "/report", random.choice([self.web, self.mobile]), None

    def api(self):
        return "GET", "/api/items", random.choice([self.web, self.web, self.mobile]), None

    def optimize(self):
        return "GET", "/api/optimize", self.web, None

    def export(self):
        return "GET", "/export", self.web, None

    def checkout(self):
        user = {"x-user-id": f"user-{random.randrange(400)}"}
        return "GET", "/checkout", {**self.web, **user, **({"x-user-group": "canary-testers"} if random.random() < 0.05 else {})}, None

    def gpt4(self):
        method, path, headers, body = chat("gpt-4", random.randrange(20, 400), stream=random.random() < 0.5)
        return method, path, {**headers, **self.web}, body

    def gpt35(self):
        method, path, headers, body = chat("gpt-3.5", random.randrange(20, 800))
        return method, path, {**headers, **random.choice([self.web, self.mobile])}, body

    def nobody(self):
        return "GET", "/report", random.choice([{}, {}, {"x-api-key": "ps_test_a_key_that_nobody_has"}]), None

    def forbidden(self):
        return "GET", "/admin/users", self.mobile, None

    def order(self):
        body = json.dumps({"order": random.randrange(10**9)})
        secret = self.hook if random.random() < 0.95 else b"not the secret"
        return "POST", "/hooks/orders", {"x-signature": hmac.new(secret, body.encode(), hashlib.sha256).hexdigest()}, body

    def payment(self):
        body = json.dumps({"id": f"evt_{random.randrange(10**9)}", "type": "charge.succeeded"})
        at = int(time.time()) - (3600 if random.random() < 0.03 else 0)
        mac = hmac.new(self.stripe, f"{at}.{body}".encode(), hashlib.sha256).hexdigest()
        return "POST", "/hooks/stripe", {"stripe-signature": f"t={at},v1={mac}"}, body

    def rates(self):
        """(requests a second, kind)"""
        return [(6, self.page), (1.2, self.api), (0.4, self.optimize), (1.6, self.export), (4, self.checkout), (0.25, self.gpt4), (0.5, self.gpt35),
                (0.6, self.nobody), (0.1, self.forbidden), (0.8, self.order), (0.5, self.payment)]


class Traffic:
    """Threads that send until it is time."""

    def __init__(self, gateways, scale, seconds):
        self.gateways = [urllib.parse.urlsplit(gateway) for gateway in gateways]
        self.scale, self.began, self.ends = scale, time.monotonic(), time.monotonic() + seconds
        self.lock, self.seen = threading.Lock(), collections.Counter()

    def run(self, rate, kind):
        connections = {}
        while (now := time.monotonic()) < self.ends:
            wave = 1 + 0.5 * math.sin(2 * math.pi * (now - self.began) / PERIOD)
            time.sleep(min(random.expovariate(rate * self.scale * wave), max(0, self.ends - now)))
            gateway = random.choice(self.gateways)
            method, path, headers, body = kind()
            try:
                connection = connections.get(gateway) or http.client.HTTPConnection(gateway.hostname, gateway.port or 80, timeout=10)
                connections[gateway] = connection
                connection.request(method, path, body, headers)
                answer = connection.getresponse()
                answer.read()
                outcome = str(answer.status)
            except (OSError, http.client.HTTPException) as error:
                connections.pop(gateway).close()
                outcome = type(error).__name__
            with self.lock:
                self.seen[method, path, outcome] += 1


def main():
    """Sends, then says what came back."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gateway", action="append", help="may be given again; default: both gateways of make mesh")
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--scale", type=float, default=1, help="1 is about 16 requests a second")
    options = parser.parse_args()
    gateways = options.gateway or [f"http://127.0.0.1:{os.environ.get(name, default)}" for name, default in (("GATEWAY_PORT", 10000), ("GATEWAY_2_PORT", 10001))]
    traffic = Traffic(gateways, options.scale, options.minutes * 60)
    print(f"mesh_traffic: {' '.join(gateways)} for {options.minutes:g} min (Ctrl-C ends it)", flush=True)
    threads = [threading.Thread(target=traffic.run, args=work, daemon=True) for work in Senders(os.environ).rates()]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except KeyboardInterrupt:
        traffic.ends = 0
    for (method, path, outcome), count in sorted(traffic.seen.items()):
        print(f"{count:7} {method:4} {path:22} {outcome}")
    # Answers of any kind are what is wanted; silence is not.
    return 0 if any(outcome.isdigit() for _, _, outcome in traffic.seen) else 1


if __name__ == "__main__":
    sys.exit(main())
