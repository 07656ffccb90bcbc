#!/usr/bin/env python3
"""envoy/configs/edge.yaml in a real Envoy: everything it switches on is seen to work.

    tests/mesh/edge.py --envoy PATH --upstream PATH

Ends with `N passed, N failed`.
"""

import argparse
import shutil
import sys

import edge_failures
import edge_records
import edge_requests
import edge_transport
from checks import Checks
from edge_stage import Edge
from proxy import never_trapped


def run(edge, checks):
    """All of it, in the order that leaves a good edge for the next check."""
    if not checks.check("starts", edge.start):
        print(edge.stage.log("envoy")[-3000:])
        return
    for name, test in (
            ("HTTP: 301 to HTTPS", edge_transport.redirects),
            ("TLS 1.2 and 1.3, not 1.1", edge_transport.tls_versions),
            ("HTTP/2", edge_transport.http2),
            ("a new certificate without a restart", edge_transport.new_certificate),
            ("security headers", edge_requests.security_headers),
            ("CORS", edge_requests.cors),
            ("/live, /ready, /health without a key", edge_requests.probes),
            ("JWT beside key auth", edge_requests.jwt),
            ("gzip after cost", edge_requests.gzip_after_cost),
            ("the upstream's own key", edge_requests.providers_key),
            ("streams are not held up", edge_requests.streams),
            ("WebSocket with a key", edge_requests.websocket),
            ("bodies up to 10 MB", edge_requests.body_limit),
            ("a webhook of 5 MB", edge_requests.large_webhook),
            ("three retries", edge_failures.retries),
            ("timeout of 5 s", edge_failures.timeouts),
            ("circuit breaking", edge_failures.circuit_breaking),
            ("circuit breaking, least request, keepalive as configured", edge_failures.settings),
            ("maintenance mode", edge_failures.maintenance),
            ("fault injection", edge_failures.faults),
            ("tracing tags", edge_records.tracing),
            ("access log", edge_records.access_log),
            ("metrics by endpoint, method and status", edge_records.own_metrics),
            ("outlier detection", edge_failures.outliers),
            ("no VM crashed", lambda edge: never_trapped(edge.stage, edge.admin)),
    ):
        checks.check(f"edge: {name}", test, edge)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--envoy", required=True)
    parser.add_argument("--upstream", required=True)
    options = parser.parse_args()
    if not shutil.which("openssl"):
        print("skipped: no openssl, which makes the test's certificate")
        return 0
    checks = Checks()
    edge = Edge(options)
    try:
        run(edge, checks)
    finally:
        edge.stage.stop()
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
