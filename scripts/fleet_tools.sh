#!/usr/bin/env bash
# What `make fleet-test` needs besides Envoy: redis-server and wrk (Debian packages), the rate limit service (Go).
# What is missing is named, and the tests that need it are skipped. With CI set, and as root, packages are installed.
set -euo pipefail
cd "$(dirname "$0")/.."
have() { command -v "$1" >/dev/null 2>&1; }

packages=()
for program in redis-server wrk; do have "$program" || packages+=("$program"); done
if [ ${#packages[@]} -gt 0 ] && [ -n "${CI:-}" ] && [ "$(id -u)" = 0 ] && have apt-get; then
  echo "== ${packages[*]} from Debian"
  # No daemon: the tests start their own.
  { apt-get update -qq && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${packages[@]}"; } >/dev/null ||
    echo "apt-get could not install ${packages[*]}" >&2
fi

bin=$PWD/.tools/ratelimit/bin
if [ ! -x "$bin/service_cmd" ] && have go; then
  echo '== the rate limit service from github.com/envoyproxy/ratelimit (once)'
  GOFLAGS= GOBIN=$bin go install github.com/envoyproxy/ratelimit/src/service_cmd@latest ||
    echo 'go could not build the rate limit service' >&2
fi
