"""The fleet in the compose mesh: a limit and a budget over two gateways, and what happens when Redis or the service fails.

What must come out is what docs/fleet.md promises. `tests/fleet` measures the same without containers, under load and to the hit.
"""

import json
import time

from checks import equal, eventually

GATEWAYS = ("http://gateway:10000", "http://gateway-2:10000")
WEB, MOBILE = "x-api-key: ${WEB_APP_API_KEY}", "x-api-key: ${MOBILE_APP_API_KEY}"
# envoy/compose/envoy.yaml: /export has 120 a minute and consumer, the group of mobile-app 2.00 USD a day.
LIMIT, WINDOW, BUDGET = 120, 60, 2.0
# A call of which 0.0820 are set aside at least, and which costs 0.0820.
CALL = json.dumps({"model": "gpt-4", "max_tokens": 8000, "messages": [{"role": "user", "content": "Hi"}]})
USAGE = "x-test-usage: 0,8000"
COST = 0.082


def room(seconds):
    """Waits until that much of the service's window is left."""
    left = WINDOW - time.time() % WINDOW
    if left < seconds:
        time.sleep(left + 0.1)


def passed(results):
    return sum(result["statuses"].get("200", 0) for result in results)


def answered(results, allowed):
    """Every request has one of these answers."""
    for result in results:
        assert set(result["statuses"]) <= allowed and not result["errors"], json.dumps(result)


class FleetDrills:
    """Drills on a mesh that runs."""

    def __init__(self, running):
        self.running, self.engine, self.mesh = running, running.engine, running.mesh

    def loads(self, key, rps, seconds):
        """/export through both gateways at once."""
        return [self.running.load("/export", rps, seconds, key, at=at) for at in GATEWAYS]

    def call(self, key, at=GATEWAYS[0]):
        return self.running.ask("/v1/chat/completions", key, USAGE, "content-type: application/json", method="POST", body=CALL, at=at)

    def failures(self):
        """Questions that were not answered, as the first gateway counts them."""
        return self.running.metric(r'tollgate_fleet_asks_total\{policy="\w+",reason="(?:unavailable|error|unknown_\w+)"\}')

    def docker(self, *words):
        done = self.engine.docker(*words)
        equal(done.returncode, 0, done.stderr)
        return done.stdout

    def redis(self, *words):
        return self.docker("exec", self.mesh.container("redis"), "redis-cli", *words)

    def healthy(self):
        for gateway in ("gateway", "gateway-2"):
            eventually(lambda at=gateway: self.running.metric(r'envoy_cluster_membership_healthy\{envoy_cluster_name="ratelimit"\}', at) == 1,
                       30, f"{gateway} finds the rate limit service healthy")

    # ---- as long as all goes well

    def one_limit(self):
        """120 a minute through two gateways are never more than 120, and as good as all of them: what a question asked for that was not
        answered in time, on a busy machine, is lost until the next window."""
        room(20)
        results = [self.running.result(load) for load in self.loads(WEB, 20, 6)]
        answered(results, {"200", "429"})
        admitted = passed(results)
        assert LIMIT * 0.95 <= admitted <= LIMIT, f"{admitted} of {LIMIT}: {results}"
        return f"{admitted} of {sum(result['sent'] for result in results)} passed, {' + '.join(str(passed([result])) for result in results)}; the limit is {LIMIT}"

    def one_budget(self):
        """2.00 USD a day through two gateways are 2.00, by the record of what was spent: both access logs."""
        refused = set()
        for number in range(80):
            at = GATEWAYS[number % 2]
            if at in refused:
                continue
            answer = self.call(MOBILE, at)
            assert answer["status"] in (200, 402), answer
            if answer["status"] == 402:
                equal(json.loads(answer["body"])["budget"], "standard-plan")
                refused.add(at)
        equal(refused, set(GATEWAYS), "refused by")

        def spent():
            lines = [json.loads(line) for gateway in ("gateway", "gateway-2") for line in self.mesh.logs(gateway).splitlines() if line.startswith("{")]
            return sum(float(line["cost_usd"]) for line in lines if line["consumer"] == "mobile-app" and line["cost_usd"])
        time.sleep(1.5)
        total = spent()
        # Below it: what pays no whole call any more on either side, and what was asked for while nobody answered.
        assert BUDGET - 5 * COST < total <= BUDGET, total
        return f"{total:.4f} of {BUDGET:.2f} USD"

    # ---- when it does not

    def outage(self, begin, end):
        """While nobody counts: `local` goes on with each gateway's share, `deny` is closed, nobody gets in without a key, everybody is
        answered. Afterwards everything is as before."""
        self.call(MOBILE)  # what is left of its lease pays no further call
        before = self.failures()
        if self.running.ask("/export", MOBILE)["status"] == 429:
            room(WINDOW)  # the drill before spent this window
        loads = self.loads(MOBILE, 5, 9)
        nobody = self.running.load("/export", 10, 9)
        time.sleep(0.5)
        begin()
        try:
            closed = eventually(lambda: [a for a in [self.call(MOBILE)] if a["status"] == 503], 6, "a budget that nobody counts is closed")[0]
            equal((json.loads(closed["body"])["type"].rsplit("/", 1)[-1].rsplit(":", 1)[-1], closed["headers"].get("retry-after")), ("budget-service-unavailable", "1"))
            equal(self.running.ask("/v1/chat/completions", WEB, method="POST", body='{"model": "gpt-4", "max_tokens": 9}')["status"], 200, "a budget of one proxy")
        finally:
            end()
        results = [self.running.result(load) for load in loads]
        answered(results, {"200", "429"})
        answered([self.running.result(nobody)], {"401"})
        assert passed(results) > 0, results
        # Nobody waits longer than the timeout (100 ms), however long nothing answers.
        assert max(result["p99"] for result in results) < 0.5, results
        started = time.monotonic()
        eventually(lambda: self.call(MOBILE)["status"] in (200, 402), 40, "the budget is open again")
        failed = self.failures() - before
        assert failed > 0, "no question failed"
        return f"{passed(results)} of {sum(result['sent'] for result in results)} passed, p99 {max(result['p99'] for result in results) * 1000:.0f} ms, {failed:.0f} questions failed; back after {time.monotonic() - started:.0f} s"

    def redis_killed(self):
        """Redis is killed and started again: what it had counted is there."""
        container = self.mesh.container("redis")
        room(30)
        self.running.result(self.running.load("/export", 20, 1, WEB))
        keys = sorted(self.redis("--scan").split())
        assert keys, "no counter in Redis"

        def back():
            self.docker("start", container)
            self.mesh.wait_healthy(["redis"], 30)
        lost = self.running.metric(r'tollgate_fleet_counter_regressions_total\{policy="\w+"\}')
        said = self.outage(lambda: self.docker("kill", container), back)
        gone = set(keys) - set(self.redis("--scan").split())
        assert not [key for key in gone if "second" not in key and "minute" not in key], f"forgotten: {gone}"
        equal(self.running.metric(r'tollgate_fleet_counter_regressions_total\{policy="\w+"\}'), lost, "counters that went back")
        return said

    def redis_hangs(self):
        container = self.mesh.container("redis")
        return self.outage(lambda: self.docker("pause", container), lambda: self.docker("unpause", container))

    def service_killed(self):
        container = self.mesh.container("ratelimit")
        said = self.outage(lambda: self.docker("kill", container), lambda: self.docker("start", container))
        self.healthy()
        return said

    def service_hangs(self):
        container = self.mesh.container("ratelimit")
        said = self.outage(lambda: self.docker("pause", container), lambda: self.docker("unpause", container))
        self.healthy()
        return said

    def forgotten(self):
        """Redis loses its counters: the gateways notice and do not begin anew."""
        room(25)
        first = [self.running.result(load) for load in self.loads(MOBILE, 10, 3)]
        self.redis("FLUSHALL")
        then = [self.running.result(load) for load in self.loads(MOBILE, 20, 4)]
        answered(first + then, {"200", "429"})
        admitted = passed(first + then)
        # Nobody would have noticed: 60 before, and all of the limit again.
        assert admitted <= LIMIT * 1.25, f"{admitted} of {LIMIT}"
        noticed = sum(self.running.metric(r'tollgate_fleet_counter_regressions_total\{policy="rate_limit"\}', gateway) for gateway in ("gateway", "gateway-2"))
        assert noticed > 0, "nobody noticed"
        return f"{admitted} passed, the limit is {LIMIT}; noticed {noticed:.0f} times"

    def gateway_restarted(self):
        """One of two gateways is restarted within a window: the fleet's limit holds, the other one serves on."""
        room(30)
        loads = self.loads(WEB, 12, 12)
        time.sleep(2)
        self.docker("restart", "-t", "2", self.mesh.container("gateway-2"))
        results = [self.running.result(load) for load in loads]
        self.mesh.wait_healthy(["gateway-2"], 30)
        answered(results[:1], {"200", "429"})
        assert set(results[1]["statuses"]) <= {"200", "429"}, results[1]
        admitted = passed(results)
        assert LIMIT * 0.8 <= admitted <= LIMIT, f"{admitted} of {LIMIT}: {results}"
        return f"{admitted} passed, the limit is {LIMIT}; {sum(results[1]['errors'].values())} requests to the restarted one got no answer"


def run(running, checks):
    """All of them."""
    fleet = FleetDrills(running)
    checks.check("fleet: the service is healthy", fleet.healthy)
    checks.check("fleet: one limit over two gateways", fleet.one_limit)
    checks.check("fleet: Redis forgets", fleet.forgotten)
    checks.check("fleet: Redis is killed, and started again", fleet.redis_killed)
    checks.check("fleet: Redis hangs", fleet.redis_hangs)
    checks.check("fleet: the service is killed, and started again", fleet.service_killed)
    checks.check("fleet: the service hangs", fleet.service_hangs)
    checks.check("fleet: one budget over two gateways", fleet.one_budget)
    checks.check("fleet: one gateway is restarted", fleet.gateway_restarted)
