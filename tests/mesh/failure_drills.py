"""Parts of the mesh are slowed, killed and restarted under load."""

import json
import time

from checks import equal, eventually
from running_mesh import KEY


def all_good(result, upstreams=None):
    equal((result["statuses"], result["errors"]), ({"200": result["sent"]}, {}), json.dumps(result))
    if upstreams:
        equal(set(result["upstreams"]), set(upstreams))


def slow_instance(running):
    """One of two instances answers a second late: nobody fails, and most go to the other one."""
    running.control("stable-1", "slow", {"ms": 1000})
    result = running.result(running.load("/report", 40, 5, KEY))
    running.control("stable-1", "slow", {"ms": 0})
    all_good(result, ["stable-1", "stable-2"])
    slow, quick = result["upstreams"]["stable-1"], result["upstreams"]["stable-2"]
    assert slow < quick / 1.3 and result["p50"] < 0.2, result
    return f"{quick} to the quick one, {slow} to the slow one, p50 {result['p50'] * 1000:.0f} ms"


def hanging_instance(running):
    """Both instances hang: a write is answered 504 within the route's 5 seconds, and not sent again."""
    for name in ("stable-1", "stable-2"):
        running.control(name, "slow", {"ms": 8000})
    answer = running.ask("/orders", KEY, method="POST", body="{}")
    for name in ("stable-1", "stable-2"):
        running.control(name, "slow", {"ms": 0})
    equal(answer["status"], 504)
    assert 4.5 < answer["seconds"] < 6.5, answer["seconds"]
    return f"after {answer['seconds']:.1f} s"


def killed_instance(running):
    """An instance is killed under load: no request fails; it comes back and takes part again."""
    process = running.load("/report", 60, 6, KEY)
    time.sleep(1.5)
    try:
        killed = running.engine.docker("kill", running.mesh.container("stable-2"))
        equal(killed.returncode, 0, killed.stderr)
        result = running.result(process)
        all_good(result, ["stable-1", "stable-2"])
        all_good(running.result(running.load("/report", 50, 1, KEY)), ["stable-1"])
    finally:
        running.engine.docker("start", running.mesh.container("stable-2"))
    started = time.monotonic()
    eventually(lambda: "stable-2" in running.result(running.load("/report", 50, 0.4, KEY))["upstreams"], 90, "stable-2 answers again")
    return f"{result['sent']} requests, {result['upstreams']}; back after {time.monotonic() - started:.0f} s"


def gone_cluster(running):
    """The model is gone: 503 at once, nothing is charged, the others go on."""
    before = running.metric(r'tollgate_cost_pico_total\{price="gpt-4"\}')
    running.engine.docker("kill", running.mesh.container("model"))
    try:
        answer = running.ask("/v1/chat/completions", KEY, method="POST", body='{"model": "gpt-4", "messages": []}')
        equal(answer["status"], 503, answer["body"])
        assert answer["seconds"] < 8, answer["seconds"]
        equal(running.ask("/report", KEY)["status"], 200)
        equal(running.metric(r'tollgate_cost_pico_total\{price="gpt-4"\}'), before, "charged for no answer")
    finally:
        running.engine.docker("start", running.mesh.container("model"))
    eventually(lambda: running.ask("/v1/chat/completions", KEY, method="POST", body='{"model": "gpt-4"}')["status"] == 200, 60, "the model is back")
    return f"503 after {answer['seconds'] * 1000:.0f} ms"


def failing_instance(running):
    """One instance answers 503: reads are answered by the other one, and after five failures it is ejected."""
    running.control("stable-1", "answer", {"status": 503, "body": "broken"})
    result = running.result(running.load("/report", 50, 4, KEY))
    ejected = running.metric(r'envoy_cluster_outlier_detection_ejections_active\{envoy_cluster_name="stable"\}')
    running.control("stable-1", "answer", None)
    all_good(result, ["stable-2"])
    equal(ejected, 1)
    return f"{result['sent']} requests, all 200; ejected"


def restarted_gateway(running, how):
    """The gateway stops and comes back: requests fail meanwhile, and none gets in without a key."""
    with_key = running.load("/report", 40, 8, KEY)
    without = running.load("/report", 40, 8)
    time.sleep(1)
    began = time.monotonic()
    how(running)
    running.mesh.wait_healthy(["gateway"], 30)
    away = time.monotonic() - began
    good, bad = running.result(with_key), running.result(without)
    equal(set(bad["statuses"]), {"401"}, "without a key")
    equal(set(good["statuses"]), {"200"}, "with a key")
    eventually(lambda: running.ask("/report", KEY)["status"] == 200, 10, "answers again")
    return f"healthy after {away:.1f} s; {sum(good['errors'].values())} of {good['sent']} requests got no answer, {good['statuses']['200']} were served"


def restart(running):
    equal(running.engine.docker("restart", "-t", "2", running.mesh.container("gateway")).returncode, 0)


def crash(running):
    """As a crash would: Envoy aborts, the restart policy brings it back."""
    before = running.mesh.inspect("gateway")["RestartCount"]
    running.engine.docker("exec", running.mesh.container("gateway"), "bash", "-c",
                          'for p in /proc/[0-9]*; do read -r n < $p/comm; [ "$n" = envoy ] && kill -ABRT ${p#/proc/}; done')
    eventually(lambda: running.mesh.inspect("gateway")["RestartCount"] > before, 20, "restarted by the engine")


def without_prometheus(running):
    """Prometheus is stopped: nobody notices."""
    running.engine.docker("kill", running.mesh.container("prometheus"))
    all_good(running.result(running.load("/report", 30, 1, KEY)))
    running.engine.docker("start", running.mesh.container("prometheus"))


def never_trapped(running):
    for gateway in ("gateway", "gateway-2"):
        equal(running.metric(r"envoy_wasm_\S+_vm_reload_(?:success|failure)\S*", gateway), 0, gateway)
        trapped = [line for line in running.mesh.logs(gateway).splitlines() if "RuntimeError" in line or "Proxy-Wasm plugin in-VM backtrace" in line]
        assert not trapped, trapped


def run(running, checks):
    """All of them."""
    checks.check("one instance slow by a second", slow_instance, running)
    checks.check("both instances hang", hanging_instance, running)
    checks.check("one instance killed", killed_instance, running)
    checks.check("a cluster without instances", gone_cluster, running)
    if "prometheus" in running.services:
        checks.check("without Prometheus", without_prometheus, running)
    checks.check("the gateway is restarted", restarted_gateway, running, restart)
    checks.check("the gateway crashes", restarted_gateway, running, crash)
    checks.check("one instance fails", failing_instance, running)
    checks.check("no VM crashed", never_trapped, running)
