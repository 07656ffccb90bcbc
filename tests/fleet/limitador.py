"""The second rate limit service: Limitador, whose answers carry no position, in mode `classic`."""

import collections
import concurrent.futures
import math
import re
import time

from measure import check, config, limit
from processes import Limitador
from suites import World, get

HITS = 500
NAME = "shop-api"


def limits():
    """The same limit in Limitador's words: one counter for each value of the descriptor."""
    return [{
        "namespace": "tollgate", "max_value": HITS, "seconds": 60, "conditions": [], "variables": [f"descriptors[0]['{NAME}']"],
    }]


def tenants(name, mode, descriptor=NAME):
    return limit(HITS, "60s", failure_mode=mode, descriptor=descriptor, key=[{"header": "x-tenant"}]) | {"name": name}


def burst(envoys, listener, count, tenant):
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        port = lambda i: envoys[i % len(envoys)].ports[listener]
        return collections.Counter(pool.map(lambda i: get(port(i), {"x-tenant": tenant})[0], range(count)))


def suite(options):
    """Limitador counts: exactly the limit, a limit that it does not know, killed and back."""
    with World(options, service=False) as world:
        server = world.start(Limitador(world.directory, options.limitador, limits()))
        one = lambda *args: config(tenants(*args), mode="classic", timeout="1s")
        listeners = {
            "deny": one("deny", "deny"), "local": one("local", "local"), "unknown": one("unknown", "deny", "nobody"),
        }
        envoys = world.envoys(listeners, port=server.port)
        seen = burst(envoys, "deny", HITS + 150, "acme")
        check("Limitador: exactly the limit over three proxies", seen == {200: HITS, 429: 150}, f"{dict(seen)} of {HITS}")
        seen = burst(envoys, "deny", 60, "other")
        check("Limitador: each key has a counter of its own", seen == {200: 60}, f"{dict(seen)}")
        status, headers = get(envoys[0].ports["deny"], {"x-tenant": "acme"})
        fine = status == 429 and 1 <= int(headers["retry-after"]) <= 61
        check("Limitador: a refusal says for how long", fine, f"{status}, retry-after {headers.get('retry-after')}")
        status, headers = get(envoys[0].ports["deny"], {"x-tenant": "third"})
        fine = (status, headers.get("x-ratelimit-remaining")) == (200, str(HITS - 1))
        check("Limitador: what is left is shown", fine, f"{status}, x-ratelimit-remaining {headers.get('x-ratelimit-remaining')}")
        lines = server.seen.read_text().splitlines()
        hashed = re.compile(rf"tollgate ({NAME}|nobody)=[0-9a-f]{{32}}")
        check("Limitador: sees keyed hashes", lines and all(hashed.fullmatch(line) for line in lines), f"{len(lines)} like {lines[0]}")
        seen = burst(envoys, "unknown", 12, "acme")
        logged = any("no limit for domain tollgate and descriptor nobody" in e.log.read_text(errors="replace") for e in envoys)
        check("Limitador: a limit that it does not know is never OK", seen == {503: 12} and logged, f"{dict(seen)}")
        share = HITS // 3
        server.kill()
        time.sleep(0.2)
        seen = burst(envoys, "deny", 30, "outage")
        check("Limitador killed, deny: 503", seen == {503: 30}, f"{dict(seen)}")
        began = time.monotonic()
        seen = burst(envoys, "local", 900, "outage")
        # Three full buckets, and what flows into them while the burst goes on (a token for each proxy may be under way).
        filled = math.ceil((time.monotonic() - began) * HITS / 60) + len(envoys)
        fine = set(seen) == {200, 429} and share * 3 <= seen[200] <= share * 3 + filled
        check("Limitador killed, local: a third each", fine, f"{dict(seen)}, {share} each and at most {filled} more meanwhile")
        server.start()
        end = time.monotonic() + 15
        while time.monotonic() < end and set(get(e.ports["deny"], {"x-tenant": "back"})[0] for e in envoys) != {200}:
            time.sleep(0.2)
        seen = burst(envoys, "deny", HITS + 100, "back again")
        check("Limitador back: exactly the limit again", seen == {200: HITS, 429: 100}, f"{dict(seen)} of {HITS}")
        reasons = {r: int(sum(e.count("limit_service_total", f'reason="{r}"') for e in envoys)) for r in ("ok", "over_limit", "unavailable", "unknown_limit", "breaker_open")}
        print("   ", reasons)
        for process in (server, *envoys):
            process.kill()
        mute = world.start(Limitador(world.directory, options.limitador, limits(), headers="NONE"))
        envoys = world.envoys({"mute": one("mute", "deny")}, count=1, port=mute.port)
        seen = burst(envoys, "mute", 5, "acme")
        text = envoys[0].log.read_text(errors="replace")
        fine = seen == {503: 5} and "DRAFT_VERSION_03" in text
        check("Limitador without its headers is found out", fine, f"{dict(seen)}")
