#!/usr/bin/env bash
# Builds what `make check-manifests` needs into .tools/istio, from the Go module proxy (tests/istio/go.mod pins istioctl); about five
# minutes once. ISTIOCTL=, KUSTOMIZE= name programs you have; the schema check is built in any case.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$PWD/.tools/istio
kustomize=v5.7.1
envoy_gateway=v1.9.1
mkdir -p "$out"
command -v go > /dev/null || { echo 'missing: go >= 1.26 (builds istioctl and the schema check). https://go.dev/dl/' >&2; exit 1; }
cd tests/istio
if [ ! -x "$out/crdcheck" ] || [ crdcheck/main.go -nt "$out/crdcheck" ]; then
  echo '== crdcheck'
  go build -o "$out/crdcheck" ./crdcheck
fi
if [ -z "${ISTIOCTL:-}" ] && [ ! -x "$out/istioctl" ]; then
  echo '== istioctl'
  go build -o "$out/istioctl" istio.io/istio/istioctl/cmd/istioctl
fi
if [ -z "${KUSTOMIZE:-}" ] && [ ! -x "$out/kustomize" ]; then
  echo '== kustomize'
  (cd "$out" && GOFLAGS= GOBIN=$out go install "sigs.k8s.io/kustomize/kustomize/v5@$kustomize")
fi
# The official schemas, as they come with both projects.
istio=$(go list -m -f '{{.Dir}}' istio.io/istio)
install -m 644 "$istio/manifests/charts/base/files/crd-all.gen.yaml" "$out/istio-crds.yaml"
gateway=$(cd "$out" && go mod download -json "github.com/envoyproxy/gateway@$envoy_gateway" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
grep -v '^{{' "$gateway/charts/gateway-crds-helm/templates/generated/gateway.envoyproxy.io_envoyextensionpolicies.yaml" > "$out/envoy-gateway-crds.yaml"
grep -v '^{{' "$gateway/charts/gateway-crds-helm/templates/generated/gateway.envoyproxy.io_envoypatchpolicies.yaml" >> "$out/envoy-gateway-crds.yaml"
