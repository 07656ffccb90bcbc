"""The listeners that `cpu.py` compares: one a variant, all answering by direct response."""

import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from real_envoy import address, free_ports  # noqa: E402

KEY = "bench-key-0123456789abcdef"
ENV = {"BENCH_WEBHOOK_SECRET": "bench-webhook-secret-0123456789"}
PATH = "/api/orders?page=2"
# What a client sends besides host and user-agent; "x-user-id" is the canary's sticky key.
REQUEST_HEADERS = [f"x-api-key: {KEY}", "x-user-id: user-4711", "accept: application/json"]

TITLES = {
    "none": "no filter",
    "empty": "empty Wasm filter, all callbacks exported",
    "native": "Envoy's own api_key_auth + local_ratelimit, a filter for each bucket (two of the five jobs)",
    "lua": "Lua: variant by the same hash, cost, daily budget of the worker, log fields (what it can of two more jobs)",
    "native_lua": "native + Lua",
    "key_auth": "key-auth",
    "webhook": "webhook-signature (no rule matches)",
    "rate_limit": "rate-limit, two buckets",
    "canary": "canary",
    "cost": "cost, flat price without a budget",
    "five": "the five single filters in a row",
    "gateway": "**gateway, all five active**",
    "calls": "its calls into the proxy and nothing else",
    "gateway_lean": "gateway, all five active, told to say less",
    "calls_lean": "the calls of that and nothing else",
}

# Makes the calls of `gateway` without doing anything: what is said cannot be said for less.
CALLS = "target/wasm32-wasip1/release/tollgate_bench_calls.wasm"
LUA = (ROOT / "benches" / "envoy" / "jobs.lua").read_text()


def bootstrap(chosen, filters=None):
    """(ports by name, an Envoy bootstrap)"""
    ports = dict(zip([*chosen, "admin"], free_ports(len(chosen) + 1)))
    filters = filters or all_filters()
    return ports, {
        "admin": {"address": address(ports["admin"])},
        "static_resources": {"listeners": [listener(name, ports[name], filters[name]) for name in chosen]},
    }


def read_config():
    lines = (ROOT / "benches" / "gateway.yaml").read_text().splitlines()
    return json.loads("\n".join(line for line in lines if not line.startswith("#")))


def all_filters():
    config = read_config()
    # By itself a filter knows no consumer, so its limit is by user there, and the price has no budget.
    alone = json.loads(json.dumps(config))
    alone["rate_limit"]["limits"][0]["key"] = [{"header": "x-user-id"}]
    del alone["cost"]["budgets"]
    singles = {name: wasm(name.replace("_", "-"), alone[name], f"single-{name}") for name in alone}
    native = [api_key_auth(), local_ratelimit("60s"), local_ratelimit("3600s")]
    lua = [{"name": "lua", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
        "default_source_code": {"inline_string": LUA}}}]
    return {
        "none": [],
        "empty": [wasm_file("target/wasm32-wasip1/release/tollgate_bench_empty.wasm", "", {}, "empty")],
        "native": native,
        "lua": lua,
        # Between them: it needs the consumer, and sees the limits' headers in the answer, which comes by in reverse.
        "native_lua": [native[0], *lua, *native[1:]],
        "key_auth": [singles["key_auth"]],
        "webhook": [singles["webhook_signature"]],
        "rate_limit": [singles["rate_limit"]],
        "canary": [singles["canary"]],
        "cost": [singles["cost"]],
        "five": [wasm(name.replace("_", "-"), config[name], f"five-{name}") for name in config],
        "gateway": [wasm("gateway", config, "gateway")],
        "calls": [wasm_file(CALLS, "", {}, "calls")],
        "gateway_lean": [wasm("gateway", say_less(config), "gateway-lean")],
        "calls_lean": [wasm_file(CALLS, "", {"less": True}, "calls-lean")],
    }


def say_less(config):
    """The same jobs: one family of limit headers, the cost but not what is left, one value in filter state, errors cost, too."""
    config = json.loads(json.dumps(config))
    config["filter_state"] = ["cost"]
    config["key_auth"]["forwarding"] = {"consumer": "x-consumer-id"}
    config["rate_limit"]["headers"] = ["x-ratelimit"]
    config["cost"]["headers"] = {"remaining": False}
    for price in config["cost"]["prices"]:
        price["free_status"] = []
    return config


def module(name):
    """The file of a variant with one Wasm filter."""
    return ROOT / "dist" / f"{ {'webhook': 'webhook-signature', 'gateway_lean': 'gateway'}.get(name, name).replace('_', '-')}.wasm"


def wasm(root_id, config, name):
    return wasm_file(f"dist/{root_id}.wasm", root_id, config, name)


def wasm_file(path, root_id, config, name):
    return {"name": name, "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
        "config": {
            "name": name, "root_id": root_id, "failure_policy": "FAIL_RELOAD",
            "allow_on_headers_stop_iteration": True,
            "configuration": {"@type": "type.googleapis.com/google.protobuf.StringValue",
                              "value": json.dumps(config)},
            "vm_config": {
                "vm_id": name, "runtime": "envoy.wasm.runtime.v8", "code": {"local": {"filename": path}},
                "environment_variables": {"host_env_keys": list(ENV)}}}}}


def api_key_auth():
    return {"name": "api_key_auth", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuth",
        "credentials": [{"key": KEY, "client": "web-app"}],
        "key_sources": [{"header": "x-api-key"}],
        "forwarding": {"header": "x-consumer-id", "hide_credentials": True}}}


def local_ratelimit(fill_interval):
    full = {"numerator": 100, "denominator": "HUNDRED"}
    return {"name": "local_ratelimit", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
        "stat_prefix": "bench", "enable_x_ratelimit_headers": "DRAFT_VERSION_03",
        "token_bucket": {"max_tokens": 1000000000, "tokens_per_fill": 1000000000, "fill_interval": fill_interval},
        "filter_enabled": {"default_value": full}, "filter_enforced": {"default_value": full},
        "max_dynamic_descriptors": 1000,
        "rate_limits": [{"actions": [{"request_headers": {
            "header_name": "x-consumer-id", "descriptor_key": "consumer"}}]}],
        "descriptors": [{"entries": [{"key": "consumer"}], "token_bucket": {
            "max_tokens": 1000000000, "tokens_per_fill": 1000000000, "fill_interval": fill_interval}}]}}


def listener(name, port, filters):
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name, "use_remote_address": True, "normalize_path": True, "merge_slashes": True,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{
            "match": {"prefix": "/"},
            "direct_response": {"status": 200, "body": {"inline_string": "{\"ok\": true}\n"}}}]}]},
        "http_filters": [*filters, {"name": "router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}
    return {"name": name, "address": address(port), "filter_chains": [{"filters": [
        {"name": "http", "typed_config": manager}]}]}
