#!/usr/bin/env python3
"""Every rate limit header of a real Envoy, read by a parser for structured fields (RFC 9651) that knows nothing of Tollgate.

Limits of many shapes are asked until they refuse. Each answer's headers are parsed with http_sfv and checked against
draft-ietf-httpapi-ratelimit-headers-10, against each other, and against X-RateLimit-* and Retry-After.

    python3 benches/limits/headers.py --envoy PATH        # needs: pip install http-sfv
"""

import argparse
import collections
import random
import sys

from proxy import Proxy, envoy_of

try:
    import http_sfv
except ImportError:
    sys.exit("missing: the parser. Install it with:  pip install http-sfv")


def bucket(most, fill, interval):
    return {"max_tokens": most, "tokens_per_fill": fill, "fill_interval": interval}


SHAPES = {
    "plain": [bucket(3, 3, "1m")],
    "two": [bucket(3, 3, "1m"), bucket(5, 5, "1h")],
    "six": [bucket(4, 4, i) for i in ("1s", "1m", "1h", "24h", "7d", "1000h")],
    "same": [bucket(5, 5, "1m"), bucket(4, 4, "1m"), bucket(3, 3, "1m")],
    "huge": [bucket(1_000_000_000, 1_000_000_000, "1h")],
    "leased": [bucket(2000, 2000, "1h"), bucket(5000, 5000, "24h")],
    "slow": [bucket(2, 1, "43800h")],
    "quick": [bucket(5, 1_000_000_000, "1ms")],
    "odd": [bucket(4, 7, "13s")],
    "a.b_c-d/e@f:g+h": [bucket(2, 2, "10s"), bucket(3, 3, "1m")],
    "1": [bucket(1, 1, "1s")],
}


def config(headers):
    limits = [{"name": name, "key": ["client_address"], "rules": [{
        "match": {"path": {"exact": f"/{at}"}}, "cost": {"header": "x-cost", "min": 0}, "buckets": buckets}]}
        for at, (name, buckets) in enumerate(SHAPES.items())]
    limits.append({"name": "all", "key": [{"constant": "all"}], "rules": [{"buckets": [bucket(900, 100, "1m")]}]})
    limits.append({"name": "unseen", "mode": "shadow", "key": [{"constant": "all"}], "rules": [{"buckets": [bucket(1, 1, "1h")]}]})
    return {"headers": headers, "limits": limits}


def number(value):
    assert value.isdigit() and value == str(int(value)), f"{value!r} is no plain integer"
    return int(value)


def items(text, required, optional):
    """[(name, {parameter: integer})] of a List of Items whose value is a String."""
    parsed = http_sfv.List()
    parsed.parse(text.encode())
    found = []
    for item in parsed:
        assert isinstance(item, http_sfv.Item) and isinstance(item.value, str), f"{item!r} is no String"
        assert not isinstance(item.value, http_sfv.Token), f"{item!r} is a Token"
        parameters = dict(item.params)
        assert required <= set(parameters) <= required | optional, f"{text}: {parameters}"
        assert all(type(v) is int and v >= 0 for v in parameters.values()), f"{text}: {parameters}"
        found.append((item.value, parameters))
    assert str(parsed) == text, f"{text} is not in canonical form: {parsed}"
    return found


def check(status, headers, seen):
    policies = items(headers["ratelimit-policy"], {"q", "w"}, set())
    current = items(headers["ratelimit"], {"r"}, {"t"})
    names = [name for name, _ in policies]
    assert names == [name for name, _ in current] and len(set(names)) == len(names), names
    assert "unseen" not in names
    for (_, policy), (_, now) in zip(policies, current):
        assert policy["w"] > 0 and now["r"] <= policy["q"]
        # A full bucket gets no more, another one does.
        assert ("t" in now) == (now["r"] < policy["q"]) and now.get("t", 1) > 0, (policy, now)
    limit, remaining, reset = (number(headers[f"x-ratelimit-{name}"]) for name in ("limit", "remaining", "reset"))
    assert (limit, remaining, reset) in [(p["q"], n["r"], n.get("t", 0)) for (_, p), (_, n) in zip(policies, current)]
    assert remaining == min(now["r"] for _, now in current) or int(seen["cost"]) > 1
    if status == 429:
        wait = number(headers["retry-after"])
        assert wait >= max(now["t"] for _, now in current if now["r"] < max(1, int(seen["cost"]))), (wait, current)
    else:
        assert "retry-after" not in headers


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--envoy", required=True)
    envoy, draw = envoy_of(parser.parse_args()), random.Random(1)
    answers, fields = collections.Counter(), 0
    with Proxy(envoy, config(["ietf", "x-ratelimit"])) as proxy:
        for at in range(len(SHAPES)):
            for i in range(60):
                cost = 1 if i % 3 else draw.choice((0, 1, 2, 3))
                status, headers = proxy.get(f"/{at}", x_cost=str(cost))
                check(status, headers, {"cost": cost})
                answers[status] += 1
                fields += 5
    assert answers[200] > 100 and answers[429] > 100 and set(answers) == {200, 429}, answers
    for chosen, expected in (([], 0), (["ietf"], 2), (["x-ratelimit"], 3)):
        with Proxy(envoy, config(chosen)) as proxy:
            for _ in range(5):
                status, headers = proxy.get("/0")
                assert sum("ratelimit" in name for name in headers) == expected, headers
                assert (status == 429) == ("retry-after" in headers)
    print(f"{sum(answers.values())} answers ({answers[200]} admitted, {answers[429]} refused), {fields} header fields: all as the draft says")


main()
