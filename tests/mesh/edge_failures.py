"""Upstreams that misbehave, and the switches for maintenance and faults."""

import threading

from checks import equal
from proxy import request


def retries(edge):
    """A read that fails is tried three times more; a write is not."""
    edge.forget()
    equal(edge.ask("/report", headers={"x-respond-status": "503"}).status, 503)
    equal(len(edge.one(edge.stable, edge.second)), 4)
    edge.forget()
    equal(edge.ask("/orders", "POST", {"x-respond-status": "503"}, b"{}").status, 503)
    equal(len(edge.one(edge.stable, edge.second)), 1)


def timeouts(edge):
    """Five seconds, then 504."""
    answer = edge.ask("/delay/8000/x", "POST", body=b"{}")
    equal(answer.status, 504)
    assert 4.8 < answer.seconds < 6, answer.seconds
    return f"after {answer.seconds:.2f} s"


def outliers(edge):
    """Five failures in a row take an instance out; nobody notices."""
    edge.stage.control(edge.second, "answer", {"status": 500, "body": "broken"})
    for number in range(40):
        edge.ask("/orders", "POST", body=b"{}")
        if edge.stage.stats(edge.admin, "cluster.stable.outlier_detection.ejections_active").popitem()[1]:
            break
    # Workers learn of it a moment after the main thread has counted it.
    for _ in range(5):
        asked = len(edge.stage.seen(edge.second))
        if all(edge.ask("/orders", "POST", body=b"{}").status == 200 for _ in range(10)):
            break
    else:
        raise AssertionError("the ejected instance is still asked")
    edge.stage.control(edge.second, "answer", None)
    equal(edge.stage.stats(edge.admin, r"cluster.stable.outlier_detection.ejections_active"), {"cluster.stable.outlier_detection.ejections_active": 1})
    equal(len(edge.stage.seen(edge.second)), asked, "requests to the ejected instance")
    return f"ejected after {number + 1} requests"


def settings(edge):
    """What cannot be seen from outside is in the running configuration."""
    dump = request(edge.admin, path="/config_dump?resource=static_clusters").json()["configs"]
    stable = next(c["cluster"] for c in dump if c["cluster"]["name"] == "stable")
    equal((stable["lb_policy"], stable["outlier_detection"]["base_ejection_time"], stable["outlier_detection"]["consecutive_5xx"]), ("LEAST_REQUEST", "60s", 5))
    equal(stable["upstream_connection_options"]["tcp_keepalive"]["keepalive_time"], 60)
    equal(edge.stage.stats(edge.admin, "cluster.stable.circuit_breakers.default.remaining_rq"), {"cluster.stable.circuit_breakers.default.remaining_rq": 1024})


def circuit_breaking(edge):
    """What is too much for a cluster is refused at once, not queued: with room for two (by runtime), two of eight pass."""
    edge.runtime(circuit_breakers__stable__default__max_requests=2)
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(edge.ask("/delay/1000/x", "POST", body=b"{}"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    edge.runtime(circuit_breakers__stable__default__max_requests=1024)
    refused = [answer for answer in answers if answer.status == 503]
    equal((len(answers) - len(refused), len(refused)), (2, 6), str(answers))
    assert all(answer.seconds < 0.9 and answer.headers.get("x-envoy-overloaded") == "true" for answer in refused), refused
    equal(edge.ask("/report").status, 200)


def maintenance(edge):
    """One POST, and everything but the probes is 503 with the exact body; one more, and it is over."""
    edge.runtime(tollgate__maintenance=100)
    for key in (True, False):
        answer = edge.ask("/report", key=key)
        equal((answer.status, answer.body, answer.headers.get("retry-after"), answer.headers.get("content-type")),
              (503, b'{"error": "Service temporarily unavailable for maintenance", "retry_after": 3600}', "3600", "application/json"))
    equal(edge.ask("/v1/chat/completions", "POST", body=b"{}").status, 503)
    equal([edge.ask(path, key=False).status for path in ("/health", "/live", "/ready")], [200, 200, 200])
    edge.runtime(tollgate__maintenance=0)
    equal((edge.ask("/report").status, edge.ask("/report", key=False).status), (200, 401))


def faults(edge):
    edge.runtime(fault__http__delay__fixed_delay_percent=100)
    answer = edge.ask("/report")
    edge.runtime(fault__http__delay__fixed_delay_percent=0, fault__http__abort__abort_percent=100)
    assert answer.status == 200 and 1 <= answer.seconds < 2.5, (answer, answer.seconds)
    equal((edge.ask("/report").status, edge.ask("/report", key=False).status), (503, 401), "faults are behind the key")
    edge.runtime(fault__http__abort__abort_percent=0)
    equal(edge.ask("/report").status, 200)
