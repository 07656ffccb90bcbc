#!/usr/bin/env python3
"""After a rollout: does this gateway do its five jobs? Fails loudly (exit status 1, every failure named).

    scripts/smoke.py --gateway https://api.example.com [--key-env WEB_APP_API_KEY] [--metrics http://127.0.0.1:9901] ...

Keys and secrets come from environment variables, never from the command line. Every check that needs something
that was not given is skipped, by name. Nothing is spent but a few requests of the key, and one call of the model if
`--chat` is given. Ends with `N passed, N failed`; a run that checked nothing has failed.
"""

import argparse
import hashlib
import hmac
import http.client
import json
import os
import re
import secrets
import ssl
import sys
import time
import urllib.error
import urllib.request

PROBLEM = "urn:tollgate:problem:"


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer, too."""

    def redirect_request(self, *_):
        return None


class Answer:
    """What came back."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def header(self, name):
        return self.headers.get(name)

    def json(self):
        try:
            return json.loads(self.body)
        except ValueError:
            return {}

    def __str__(self):
        lines = [f"{name}: {value}" for name, value in self.headers.items()]
        return f"{self.status}\n" + "\n".join(lines) + f"\n\n{self.body[:400].decode(errors='replace')}"


class Gateway:
    """The gateway under test."""

    def __init__(self, options):
        context = ssl.create_default_context(cafile=options.cacert)
        if options.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        self.opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context), NoRedirect())
        self.url, self.host, self.timeout = options.gateway.rstrip("/"), options.host, options.timeout

    def ask(self, path, headers=None, body=None, method=None):
        """One request; any status is an answer."""
        headers = {"user-agent": "tollgate-smoke", **({"host": self.host} if self.host else {}), **(headers or {})}
        request = urllib.request.Request(self.url + path, data=body, headers=headers, method=method)
        try:
            answer = self.opener.open(request, timeout=self.timeout)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            return Answer(answer.status, answer.headers, answer.read())


def expect(condition, what, answer):
    """Raises with what was expected and what came."""
    if not condition:
        raise AssertionError(f"expected {what}, got:\n{answer}")


def problem(answer, status, name):
    """A refusal of Tollgate's own."""
    expect(answer.status == status and answer.json().get("type") == PROBLEM + name, f"{status} {PROBLEM}{name}", answer)
    expect(answer.header("content-type") == "application/problem+json", "application/problem+json", answer)


def good(answer):
    expect(200 <= answer.status < 300, "2xx", answer)


class Smoke:
    """The checks; each method with a docstring is one."""

    def __init__(self, options):
        self.options = options
        self.gateway = Gateway(options)
        self.key = os.environ.get(options.key_env, "")
        self.webhook_secret = os.environ.get(options.webhook_secret_env, "")
        self.keyed = {"x-api-key": self.key}

    def needs(self, **what):
        """Skips a check that lacks something."""
        for name, value in what.items():
            if not value:
                raise Skipped(name.replace("_", " "))

    def passes_without_key(self):
        """the health path answers without a key"""
        self.needs(__health=self.options.health)
        good(self.gateway.ask(self.options.health))

    def refuses_without_key(self):
        """no key: 401 key-missing"""
        answer = self.gateway.ask(self.options.path)
        problem(answer, 401, "key-missing")
        expect(answer.header("www-authenticate"), "a www-authenticate header", answer)

    def refuses_wrong_key(self):
        """a wrong key: 401 key-invalid (or of the wrong environment)"""
        problem(self.gateway.ask(self.options.path, {"x-api-key": "ps_test_" + secrets.token_hex(12)}), 401, "key-invalid")

    def refuses_claimed_identity(self):
        """identity headers of the client's own do not stand in for a key"""
        problem(self.gateway.ask(self.options.path, {"x-consumer-id": "web-app", "x-consumer-groups": "admin"}), 401, "key-missing")

    def accepts_key(self):
        """the key: 2xx, and the upstream sees the consumer but not the key"""
        self.needs(_key=self.key)
        answer = self.gateway.ask(self.options.path, {**self.keyed, "x-consumer-id": "somebody-else"})
        good(answer)
        expect(self.key.encode() not in answer.body, "an upstream that does not see the key", answer)
        expect(b"somebody-else" not in answer.body, "an upstream that does not see a forged identity", answer)

    def limits(self):
        """answers carry the limit as plain integers"""
        self.needs(_key=self.key)
        answer = self.gateway.ask(self.options.path, self.keyed)
        for name in ("x-ratelimit-limit", "x-ratelimit-remaining"):
            expect(re.fullmatch(r"\d+", answer.header(name) or ""), f"{name} with an integer", answer)

    def limits_refuse(self):
        """a burst is stopped: 429 with retry-after"""
        self.needs(_key=self.key, __burst=self.options.burst)
        path, _, count = self.options.burst.partition("=")
        for _ in range(int(count)):
            answer = self.gateway.ask(path, self.keyed)
            if answer.status == 429:
                expect(re.fullmatch(r"[1-9]\d*", answer.header("retry-after") or ""), "retry-after with an integer", answer)
                expect(answer.header("x-ratelimit-remaining") == "0", "x-ratelimit-remaining: 0", answer)
                return
            good(answer)
        raise AssertionError(f"{count} requests to {path}, and none was refused")

    def canary(self):
        """a tester is sent to the canary"""
        self.needs(_key=self.key, __canary=self.options.canary)
        path, _, header = self.options.canary.partition("=")
        name, _, value = header.partition(":")
        answer = self.gateway.ask(path, {**self.keyed, name: value})
        good(answer)
        upstream = answer.header("x-upstream")
        expect(upstream in (None, "canary"), "x-upstream: canary", answer)

    def cost(self):
        """an answer of the model says its cost as a plain decimal"""
        self.needs(_key=self.key, __chat=self.options.chat)
        body = {"model": self.options.model, "max_tokens": 16, "messages": [{"role": "user", "content": "Say ok."}]}
        answer = self.gateway.ask(self.options.chat, {**self.keyed, "content-type": "application/json"}, json.dumps(body).encode())
        good(answer)
        cost = answer.header("x-request-cost") or answer.header("x-request-cost-estimate") or ""
        expect(re.fullmatch(r"\d+(\.\d+)?", cost) and float(cost) > 0, "x-request-cost above 0", answer)

    def webhook_unsigned(self):
        """a webhook without signature: 401"""
        self.needs(__webhook=self.options.webhook)
        problem(self.gateway.ask(self.options.webhook, {}, b"{}"), 401, "webhook-signature-missing")

    def webhook_forged(self):
        """a webhook with a wrong signature: 401"""
        self.needs(__webhook=self.options.webhook)
        problem(self.gateway.ask(self.options.webhook, {"x-signature": "0" * 64}, b"{}"), 401, "webhook-signature-mismatch")

    def webhook_signed(self):
        """a signed webhook reaches its receiver"""
        self.needs(__webhook=self.options.webhook, _webhook_secret=self.webhook_secret)
        body = json.dumps({"event": "tollgate.smoke", "id": secrets.token_hex(8)}).encode()
        mac = hmac.new(self.webhook_secret.encode(), body, hashlib.sha256).hexdigest()
        good(self.gateway.ask(self.options.webhook, {"x-signature": mac}, body))

    def metrics(self):
        """the gateway's own metrics: filters loaded, none crashed, no setting missing"""
        self.needs(__metrics=self.options.metrics)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(self.options.metrics.rstrip("/") + "/stats/prometheus", timeout=self.options.timeout) as answer:
            text = answer.read().decode()
        series = dict(re.findall(r"^([a-zA-Z_:][^ \n]*(?:\{[^\n]*\})?) ([0-9.e+]+)$", text, re.MULTILINE))
        if not any(name.startswith("tollgate_decisions_total") for name in series):
            raise AssertionError("no tollgate_decisions_total: the filter is not loaded")
        bad = [f"{name} {value}" for name, value in series.items() if float(value) > 0 and re.match(
            r"(envoy_)?wasm_.*vm_reload_|wasm_.*vm_reload_|tollgate_hold_watchdog_total", name)]
        if bad:
            raise AssertionError("crashed or lacks a setting: " + "; ".join(bad))


class Skipped(Exception):
    """Nothing to check it with."""


def main():
    """Runs every check, whatever the one before it said."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gateway", required=True, help="its URL")
    parser.add_argument("--host", help="Host header, where the URL is an address")
    parser.add_argument("--path", default="/api/hello", help="a path that needs a key (default %(default)s)")
    parser.add_argument("--health", default="/health", help="a path that needs none; '' skips it")
    parser.add_argument("--key-env", default="WEB_APP_API_KEY", help="the variable that holds a key (default %(default)s)")
    parser.add_argument("--webhook", default="", metavar="PATH", help="a path whose requests are signed with x-signature")
    parser.add_argument("--webhook-secret-env", default="WEBHOOK_SECRET", help="the variable that holds its secret")
    parser.add_argument("--canary", default="", metavar="PATH=HEADER:VALUE", help="what a tester sends")
    parser.add_argument("--burst", default="", metavar="PATH=N", help="N requests that must meet a limit (spends it)")
    parser.add_argument("--chat", default="", metavar="PATH", help="a chat completions path (costs one call)")
    parser.add_argument("--model", default="gpt-4")
    parser.add_argument("--metrics", default="", metavar="URL", help="where /stats/prometheus is")
    parser.add_argument("--cacert", help="certificate authority of the gateway")
    parser.add_argument("--insecure", action="store_true", help="does not verify the certificate")
    parser.add_argument("--timeout", type=float, default=10)
    parser.add_argument("--demo", action="store_true", help="everything that the demo (make run, make mesh) has")
    options = parser.parse_args()
    if options.demo:
        options.webhook, options.chat = options.webhook or "/hooks/orders", options.chat or "/v1/chat/completions"
        options.canary = options.canary or "/checkout=x-user-group:canary-testers"
        options.burst = options.burst or "/api/optimize=12"
    smoke = Smoke(options)
    failed = []
    passed = skipped = 0
    started = time.monotonic()
    for name, check in [(name, getattr(smoke, name)) for name in vars(Smoke) if not name.startswith("_") and name != "needs"]:
        try:
            check()
            passed += 1
            print(f"ok      {check.__doc__}", flush=True)
        except Skipped as missing:
            skipped += 1
            print(f"skipped {check.__doc__} (no{missing})", flush=True)
        except (AssertionError, OSError, ValueError, http.client.HTTPException) as error:
            failed.append(check.__doc__)
            print(f"FAILED  {check.__doc__}\n        " + str(error).replace("\n", "\n        "), flush=True)
    print(f"{passed} passed, {len(failed)} failed", flush=True)
    if failed or not passed:
        line = "!" * 72
        print(f"{line}\nSMOKE TEST FAILED after {time.monotonic() - started:.1f} s: roll back, see docs/runbook.md\n"
              + "\n".join(f"  - {name}" for name in failed or ["nothing could be checked"]) + f"\n{line}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
