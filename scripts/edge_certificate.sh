#!/usr/bin/env bash
# A self-signed certificate for envoy/configs/edge.yaml, for trying things out: .tools/edge/tls.{crt,key}, 30 days, localhost.
set -eu
cd "$(dirname "$0")/.."
mkdir -p .tools/edge
umask 077
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=localhost \
  -addext 'subjectAltName=DNS:localhost,IP:127.0.0.1' -keyout .tools/edge/tls.key -out .tools/edge/tls.crt 2>/dev/null
echo '.tools/edge/tls.crt and .tools/edge/tls.key'
