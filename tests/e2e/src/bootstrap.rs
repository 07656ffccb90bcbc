//! The Envoy configuration that scenarios run in.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};
use tollgate_scenario::Scenario;
use tollgate_scenario::model::Form;

/// The labels that metrics of the modules have, as in the shipped configurations; each becomes a stats tag. Labels that scenarios
/// name are added.
const LABELS: [&str; 21] = [
    "policy", "reason", "rule", "mode", "consumer", "key", "secret", "limit", "flag", "variant",
    "owner", "team", "price", "budget", "kind", "model", "period", "group", "outcome", "severity",
    "quantile",
];

/// Addresses of the upstreams.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Addresses {
    pub(crate) stable: SocketAddr,
    pub(crate) canary: SocketAddr,
    pub(crate) ratelimit: SocketAddr,
    /// Nothing listens here.
    pub(crate) dead: SocketAddr,
}

/// Everything but the listeners.
pub(crate) fn bootstrap(addresses: &Addresses, labels: &BTreeSet<String>) -> Value {
    let tags: Vec<Value> = labels
        .iter()
        .map(|label| json!({"tag_name": label, "regex": format!(r"({label}=\.=(.*?);\.;)")}))
        .collect();
    json!({
        "node": {"id": "tollgate-e2e", "cluster": "tollgate-e2e"},
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
        "stats_config": {"stats_tags": tags},
        "static_resources": {"clusters": [
            cluster("stable", addresses.stable, false),
            cluster("canary", addresses.canary, false),
            cluster("ratelimit", addresses.ratelimit, true),
            cluster("dead", addresses.dead, false),
        ]},
    })
}

/// What access logs usually show of a request and of its answer.
const LINE: &str = "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS% \
    %REQ(:AUTHORITY)% %REQ(X-FORWARDED-FOR)% %REQ(USER-AGENT)% %ROUTE_NAME%";

/// The stats tags for a run of these scenarios.
pub(crate) fn labels(scenarios: &[Scenario]) -> BTreeSet<String> {
    let mut labels: BTreeSet<String> = LABELS.iter().map(|&label| label.to_owned()).collect();
    for key in scenarios
        .iter()
        .flat_map(|scenario| &scenario.steps)
        .flat_map(|step| step.expect.metrics.keys().chain(step.expect.gauges.keys()))
    {
        let inner = key
            .split_once('{')
            .map_or("", |(_, rest)| rest.trim_end_matches('}'));
        labels.extend(
            inner
                .split(',')
                .filter_map(|pair| Some(pair.split_once('=')?.0.trim().to_owned())),
        );
    }
    labels
}

fn cluster(name: &str, address: SocketAddr, http2: bool) -> Value {
    let protocol = if http2 {
        json!({"http2_protocol_options": {}})
    } else {
        json!({"http_protocol_options": {"enable_trailers": true}})
    };
    json!({
        "name": name,
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {
            "socket_address": {"address": address.ip().to_string(), "port_value": address.port()}}}}]}]},
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": protocol,
            "common_http_protocol_options": {"max_headers_count": 4000},
        }},
    })
}

/// One Wasm plugin in a listener.
pub(crate) struct Plugin<'a> {
    /// Unique: the state of the plugin is keyed by it.
    pub(crate) name: &'a str,
    pub(crate) root_id: &'a str,
    pub(crate) vm_id: &'a str,
    pub(crate) module: &'a Path,
    pub(crate) config: &'a Value,
    pub(crate) form: Form,
    /// Read from Envoy's own environment.
    pub(crate) host_env: Vec<String>,
    /// Given in the configuration.
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) flag: bool,
}

/// The HTTP filter.
pub(crate) fn filter(plugin: &Plugin<'_>) -> Value {
    let mut config = json!({
        "name": plugin.name,
        "root_id": plugin.root_id,
        "failure_policy": "FAIL_RELOAD",
        "vm_config": {
            "vm_id": plugin.vm_id,
            "runtime": "envoy.wasm.runtime.v8",
            "code": {"local": {"filename": plugin.module}},
            "environment_variables": {"host_env_keys": plugin.host_env, "key_values": plugin.env},
        },
    });
    if plugin.flag {
        config["allow_on_headers_stop_iteration"] = json!(true);
    }
    if !plugin.config.is_null() {
        let (kind, value) = match plugin.form {
            Form::Json => ("StringValue", json!(doubles(plugin.config).to_string())),
            Form::Struct => ("Struct", plugin.config.clone()),
        };
        config["configuration"] =
            json!({"@type": format!("type.googleapis.com/google.protobuf.{kind}"), "value": value});
    }
    json!({
        "name": format!("tollgate.{}", plugin.name),
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm", "config": config},
    })
}

/// The configuration as it comes through Istio: keys sorted (by `serde_json`) and every number a double, `60` as `60.0`.
fn doubles(value: &Value) -> Value {
    match value {
        Value::Number(number) => number
            .as_f64()
            .map_or_else(|| value.clone(), |number| json!(number)),
        Value::Array(list) => list.iter().map(doubles).collect(),
        Value::Object(map) => Value::Object(
            map.iter()
                .map(|(key, value)| (key.clone(), doubles(value)))
                .collect(),
        ),
        other => other.clone(),
    }
}

/// One listener.
pub(crate) struct Listener<'a> {
    pub(crate) name: &'a str,
    pub(crate) filters: Vec<Value>,
    pub(crate) access_log: &'a Path,
    /// Keys of filter state for the access log, without `wasm.`.
    pub(crate) state: BTreeSet<String>,
    /// Clients may name their address by the PROXY protocol.
    pub(crate) proxy_protocol: bool,
    pub(crate) settings: &'a tollgate_scenario::model::Listener,
}

/// The listener, on a port that Envoy chooses.
pub(crate) fn listener(listener: Listener<'_>) -> Value {
    let Listener {
        name,
        mut filters,
        access_log,
        state,
        proxy_protocol,
        settings,
    } = listener;
    filters.push(json!({
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
    }));
    let state: BTreeMap<String, String> = state
        .into_iter()
        .map(|key| (key.clone(), format!("%FILTER_STATE(wasm.{key}:PLAIN)%")))
        .collect();
    let normalize = settings.normalize.unwrap_or(true);
    let mut manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "use_remote_address": true,
        "normalize_path": normalize,
        "merge_slashes": normalize,
        "http_protocol_options": {"enable_trailers": true},
        "max_request_headers_kb": 256,
        "common_http_protocol_options": {"max_headers_count": 4000},
        "access_log": [{
            "name": "envoy.access_loggers.file",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
                "path": access_log,
                "log_format": {"json_format": {"details": "%RESPONSE_CODE_DETAILS%", "state": state, "line": LINE}},
            },
        }],
        "route_config": {"name": name, "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
            {"name": "canary", "match": {"prefix": "/", "headers": [{"name": "x-variant", "string_match": {"exact": "canary"}}]},
             "route": {"cluster": "canary"}},
            {"name": "stable", "match": {"prefix": "/"}, "route": {"cluster": "stable"}},
        ]}]},
        "http_filters": filters,
    });
    if let Some(hops) = settings.trusted_hops {
        manager["xff_num_trusted_hops"] = json!(hops);
    }
    let mut value = json!({
        "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [{"filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": manager,
        }]}],
    });
    if let Some(limit) = settings.buffer_limit {
        value["per_connection_buffer_limit_bytes"] = json!(limit);
    }
    if proxy_protocol {
        value["listener_filters"] = json!([{
            "name": "envoy.filters.listener.proxy_protocol",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol",
                "allow_requests_without_proxy_protocol": true,
            },
        }]);
    }
    value
}
