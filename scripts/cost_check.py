#!/usr/bin/env python3
"""Cost accounting under fire, in a real Envoy: `scripts/cost_check.py --envoy PATH [ledger|kill|hammer|advances|crowd|sdk]...`

  ledger   a receiver that fails half the time: sum of events = metrics = budget spent = access log, to the picounit
  kill     kill -9 under load: no answered call is missing in the log
  hammer   two workers and a budget of 1.00: never above it, and used up exactly
  advances two workers, and a budget large enough that they take money ahead: never above it, and spent is paid to the picounit
  crowd    eight workers, sixty consumers with a budget each, all spending at once: each gets exactly what its budget pays for (needs wrk)
  sdk      the Python packages `openai` and `anthropic` stream through Envoy; the first token is not later (needs them installed)

Standard library only (but sdk), servers on 127.0.0.1. Ends with status 1 when something is not as it must be."""

import argparse
import collections
import concurrent.futures
import decimal
import random
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time

from cost_proxy import CROWD_KEY, KEY, Client, Crowd, Envoy
from cost_servers import STREAM_PAUSE, Collector, Upstream, serve

PICO = decimal.Decimal(10) ** 12


def pico(text):
    return int(decimal.Decimal(text) * PICO)


def check(holds, what):
    print(("ok    " if holds else "FAIL  ") + what, flush=True)
    if not holds:
        check.failed = True


check.failed = False


PRICES = [
    {"name": "flat", "match": {"path": {"prefix": "/flat"}}, "base": "0.000000000003"},
    {"name": "tokens", "base": "0.0020", "per_token": {"input": "0.000010000001", "output": "0.000030000007"},
     "estimate": {"input": 20, "output": 20}},
]


def call(client, envoy, n, chance):
    body = {"input": chance.randrange(100), "output": chance.randrange(100),
            "how": chance.choices(["json", "stream", "fail", "cut"], [6, 3, 1, 1])[0]}
    if n % 50 == 0:
        return abort(envoy.port)
    return client.post(envoy.port, "/flat" if n % 5 == 0 else "/v1", body, f"id-{n}")


def abort(port):
    """Goes away in the middle of the answer."""
    with socket.create_connection(("127.0.0.1", port)) as s:
        body = b'{"how":"stream"}'
        s.sendall(b"POST /v1 HTTP/1.1\r\nhost: a\r\nx-api-key: %s\r\ncontent-length: %d\r\n\r\n%s" % (KEY.encode(), len(body), body))
        s.recv(10)


def load(envoy, calls, threads, chance):
    client = Client()
    seeds = [chance.random() for _ in range(calls)]
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda n: call(client, envoy, n, random.Random(seeds[n])), range(calls)))


def sums(envoy):
    lines = sum(pico(line["cost"]) for line in envoy.access_lines() if line["cost"])
    metrics = envoy.metrics()
    spent = pico(envoy.usage()[0]["spent"])
    reserved = pico(envoy.usage()[0]["reserved"])
    return lines, metrics, spent, reserved


def test_ledger(binary, calls=3000):
    collector = serve(Collector)
    cost = {"usage_path": "/.tollgate/usage", "prices": PRICES, "metrics": {"consumers": ["ann"]},
            "budgets": [{"name": "all", "monthly": "1000000"}],
            "ledger": {"cluster": "ledger", "path": "/events", "queue_events": 200, "batch_events": 50, "timeout": "2s"}}
    envoy = Envoy(binary, cost, serve(Upstream), collector)
    load(envoy, calls, 8, random.Random(7))
    deadline = time.time() + 120
    while time.time() < deadline:
        time.sleep(0.5)
        outcome = {o: envoy.metrics()["tollgate_ledger_events_total", f'outcome="{o}"'] for o in ("entered", "delivered", "logged")}
        if outcome["entered"] == outcome["delivered"] + outcome["logged"] and outcome["entered"] >= calls:
            break
    logged = envoy.events_in_log()
    lines, metrics, spent, reserved = sums(envoy)
    events = dict(Collector.events) | logged
    total = sum(int(e["data"]["cost_pico"]) for e in events.values())
    print(f"      {outcome}, batches {Collector.batches}, of them failed {Collector.failures}, events in the log {len(logged)}")
    check(Collector.failures > 10 and Collector.differing == 0, "batches failed, and no event changed between tries")
    check(len(events) == outcome["entered"] == calls, f"{calls} calls are {len(events)} events, {outcome['entered']} entered")
    by_price = metrics["tollgate_cost_pico_total"]
    by_consumer = metrics["tollgate_consumer_cost_pico_total", 'consumer="ann"']
    check(lines == by_price == by_consumer == spent == total and reserved == 0,
          f"access log {lines} = metrics {by_price}, {by_consumer} = budget {spent} = events {total}; reserved {reserved}")
    # And what is under way when Envoy is stopped.
    Collector.chance = random.Random(3)
    load(envoy, 400, 8, random.Random(9))
    envoy.stop()
    time.sleep(0.3)
    events = dict(Collector.events) | envoy.events_in_log()
    total = sum(int(e["data"]["cost_pico"]) for e in events.values())
    lines = sum(pico(line["cost"]) for line in envoy.access_lines() if line["cost"])
    check(len(events) == calls + 400 and total == lines,
          f"after SIGTERM: {len(events)} events, {total} = access log {lines}; {len(envoy.events_in_log())} in the log")


def test_kill(binary):
    for life in range(3):
        cost = {"prices": PRICES, "ledger": {"log": "all"}}
        envoy = Envoy(binary, cost, serve(Upstream))
        answered, stop, client = {}, threading.Event(), Client()

        def work(thread):
            chance = random.Random(thread)
            for n in range(100000):
                if stop.is_set():
                    return
                request_id = f"{thread}-{n}"
                answer = client.post(envoy.port, "/v1", {"input": chance.randrange(100)}, request_id)
                if answer and "x-request-cost" in answer[1]:
                    answered[request_id] = pico(answer[1]["x-request-cost"])

        threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
        for thread in threads:
            thread.start()
        time.sleep(1.5 + life * 0.3)
        envoy.stop(signal.SIGKILL)
        stop.set()
        for thread in threads:
            thread.join()
        events = {e["data"]["request_id"]: int(e["data"]["cost_pico"]) for e in envoy.events_in_log().values()}
        missing = [i for i, cost in answered.items() if events.get(i) != cost]
        check(len(answered) > 20 and not missing,
              f"kill -9: {len(answered)} answered calls, {len(events)} events in the log, missing {len(missing)}")


def test_hammer(binary):
    prices = [{"name": "flat", "match": {"path": {"prefix": "/flat"}}, "base": "0.0017"},
              {"name": "tokens", "per_token": {"input": "0.0001", "output": "0.0001"}, "estimate": {"input": 20, "output": 20}}]
    for path, price in (("/flat", "0.0017"), ("/v1", None)):
        cost = {"usage_path": "/.tollgate/usage", "prices": prices, "budgets": [{"name": "one", "daily": "1.00"}]}
        envoy = Envoy(binary, cost, serve(Upstream))
        highest, stop = [0], threading.Event()

        def watch():
            while not stop.is_set():
                budget = envoy.usage()[0]
                highest[0] = max(highest[0], pico(budget["spent"]) + pico(budget["reserved"]))

        watcher = threading.Thread(target=watch)
        watcher.start()
        client = Client()

        def one(n):
            chance = random.Random(n)
            # Never more than the estimate: then nothing may ever exceed the budget.
            body = {"input": chance.randrange(21), "output": chance.randrange(21)}
            answer = client.post(envoy.port, path, body, f"h-{n}")
            return answer and (answer[0], answer[1].get("x-request-cost"))

        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            answers = [a for a in pool.map(one, range(2500)) if a]
        stop.set()
        watcher.join()
        paid = sum(pico(cost) for status, cost in answers if status == 200)
        budget = envoy.usage()[0]
        spent, reserved = pico(budget["spent"]), pico(budget["reserved"])
        served = sum(status == 200 for status, _ in answers)
        refused = sum(status == 402 for status, _ in answers)
        check(highest[0] <= pico("1.00"), f"{path}: spent + reserved was never above 1.00, but up to {highest[0] / 1e12}")
        check(spent == paid and reserved == 0, f"{path}: {served} served, {refused} refused, spent {spent} = paid {paid}")
        left = pico("1.00") - spent
        dearest = pico(price) if price else pico("0.004")
        check(left < dearest and served + refused == 2500, f"{path}: less left ({left}) than one more call takes ({dearest})")
        envoy.stop()


def test_advances(binary):
    """Cheap calls are paid from advances, dear ones from the account, failed ones are free; all of them at once."""
    prices = [{"name": "cheap", "match": {"path": {"prefix": "/flat/cheap"}}, "base": "0.00001"},
              {"name": "dear", "match": {"path": {"prefix": "/flat/dear"}}, "base": "0.0017"}]
    cost = {"usage_path": "/.tollgate/usage", "prices": prices, "budgets": [{"name": "one", "daily": "1.00", "warn_percent": 0}]}
    envoy = Envoy(binary, cost, serve(Upstream))
    taken, ahead, stop = [0], [0], threading.Event()

    def watch():
        while not stop.is_set():
            budget = envoy.usage()[0]
            taken[0] = max(taken[0], pico(budget["spent"]) + pico(budget["reserved"]))
            ahead[0] = max(ahead[0], pico(budget["reserved"]))

    watcher = threading.Thread(target=watch)
    watcher.start()
    client = Client()

    def one(n):
        answer = client.post(envoy.port, "/flat/dear" if n % 6 == 0 else "/flat/cheap", {"input": 1, "output": 1}, f"a-{n}")
        return answer and (answer[0], answer[1].get("x-request-cost"))

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = [a for a in pool.map(one, range(6000)) if a]
    stop.set()
    watcher.join()
    time.sleep(1)
    paid = sum(pico(cost) for status, cost in answers if status == 200)
    budget = envoy.usage()[0]
    spent, reserved = pico(budget["spent"]), pico(budget["reserved"])
    refused = sum(status == 402 for status, _ in answers)
    check(0 < ahead[0] <= 2 * pico("0.0001"), f"advances: {ahead[0]} were reserved at once, at most a ten-thousandth of the budget for each worker")
    check(taken[0] <= pico("1.00"), f"advances: spent + reserved was never above 1.00, but up to {taken[0] / 1e12}")
    check(spent == paid and reserved == 0 and refused > 0, f"advances: {len(answers)} calls, {refused} refused, spent {spent} = paid {paid}")
    envoy.stop()


def test_crowd(binary):
    """Most calls are paid from advances of whichever worker they come to; all budgets end while all workers are at it."""
    if not shutil.which("wrk"):
        print("skipped, there is no wrk (Debian: apt-get install wrk)", flush=True)
        return
    calls = 5_000
    prices = [{"name": "flat", "base": "0.0001"}]
    budget = str(decimal.Decimal("0.0001") * calls)
    envoy = Crowd(binary, {"usage_path": "/.tollgate/usage", "prices": prices, "budgets": [{"name": "one", "daily": budget}]}, serve(Upstream))
    script = envoy.directory / "crowd.lua"
    script.write_text(f'''
        function init() math.randomseed(os.time()) end
        function request()
          return wrk.format("GET", "/", {{ ["x-api-key"] = "{CROWD_KEY}" .. math.random(0, {len(Crowd.keys) - 1}) }})
        end''')
    sent, rounds = 0, 0
    while sent < 1.3 * calls * len(Crowd.keys) and rounds < 60:
        command = ["wrk", "-t2", "-c64", "-d10s", "-s", str(script), f"http://127.0.0.1:{envoy.port}/"]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        sent, rounds = sent + int(re.search(r"(\d+) requests in", text)[1]), rounds + 1
    time.sleep(1)
    lines = envoy.access_lines()
    served = collections.Counter(line["consumer"] for line in lines if line["status"] == 200)
    statuses = collections.Counter(line["status"] for line in lines)
    exact = len(served) == len(Crowd.keys) and set(served.values()) == {calls}
    check(exact and set(statuses) == {200, 402}, f"crowd: {len(served)} consumers, {min(served.values())} to {max(served.values())} calls each of {calls}; {dict(statuses)}")
    envoy.stop()


def test_sdk(binary):
    import anthropic
    import openai
    prices = [{"name": "openai", "match": {"path": {"prefix": "/v1/chat"}}, "model": {"prefix": "gpt-4o"},
               "per_token": {"input": "0.01", "output": "1"}, "force_stream_usage": True,
               "estimate": {"from_request": True, "output": 10}, "checks": {"max_messages": 50, "max_tokens": {"min": 1, "max": 4000}}},
              {"name": "anthropic", "match": {"path": {"prefix": "/v1/messages"}}, "per_token": {"input": "0.01", "output": "1"}}]
    upstream = serve(Upstream)
    envoy = Envoy(binary, {"prices": prices}, upstream)
    first = collections.defaultdict(list)
    for where, port in (("direct", upstream.server_port), ("envoy", envoy.port)) * 10:
        client = openai.OpenAI(api_key=KEY, base_url=f"http://127.0.0.1:{port}/v1", max_retries=0)
        text, start = "", time.perf_counter()
        for chunk in client.chat.completions.create(model="gpt-4o", stream=True, max_tokens=100, messages=[{"role": "user", "content": "hi"}]):
            if not text:
                first["openai", where].append(time.perf_counter() - start)
            text += "".join(c.delta.content or "" for c in chunk.choices)
        if text != "Hello w\u00f6rld":
            check(False, f"openai {where}: {text!r}")
        client = anthropic.Anthropic(api_key=KEY, base_url=f"http://127.0.0.1:{port}", max_retries=0)
        text, start = "", time.perf_counter()
        with client.messages.stream(model="claude-sonnet-4", max_tokens=100, messages=[{"role": "user", "content": "hi"}]) as stream:
            for word in stream.text_stream:
                if not text:
                    first["anthropic", where].append(time.perf_counter() - start)
                text += word
            usage = stream.get_final_message().usage
        if (text, usage.output_tokens) != ("Hello w\u00f6rld", 15):
            check(False, f"anthropic {where}: {text!r} {usage}")
    for sdk in ("openai", "anthropic"):
        direct, through = (statistics.median(first[sdk, w]) * 1000 for w in ("direct", "envoy"))
        # The stream takes at least three pauses: a held one would be that much later.
        check(through - direct < STREAM_PAUSE * 1000 / 2,
              f"{sdk}: first token after {direct:.1f} ms direct, {through:.1f} ms through Envoy (a pause of the stream is {STREAM_PAUSE * 1000:.0f} ms)")
    try:
        openai.OpenAI(api_key=KEY, base_url=f"http://127.0.0.1:{envoy.port}/v1", max_retries=0).chat.completions.create(
            model="gpt-4o", max_tokens=5000, messages=[{"role": "user", "content": "hi"}])
        check(False, "openai: a request that must be refused was not")
    except openai.BadRequestError as error:
        told = error.response.text or str(error.body)
        check("max_tokens" in told, f"openai: a bad request is an error that names the field: {told}")
    time.sleep(0.3)
    costs = collections.Counter(line["cost"] for line in envoy.access_lines())
    # 11 x 0.01 + 3; 25 x 0.01 + 15
    check(costs["3.11"] == 10 and costs["15.25"] == 10, f"costs in the access log: {dict(costs)}")
    forced = [a["stream_options"] for a in Upstream.seen if "stream_options" in a]
    check(len(forced) == 10, "usage was asked for on behalf of the client")
    envoy.stop()


TESTS = {"ledger": test_ledger, "kill": test_kill, "hammer": test_hammer, "advances": test_advances, "crowd": test_crowd, "sdk": test_sdk}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--envoy", required=True)
    parser.add_argument("tests", nargs="*", choices=[*TESTS, []])
    arguments = parser.parse_args()
    for name in arguments.tests or TESTS:
        print(f"== {name}", flush=True)
        TESTS[name](arguments.envoy)
    sys.exit(check.failed)


if __name__ == "__main__":
    main()
