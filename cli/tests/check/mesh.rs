//! Manifests for Istio and Envoy Gateway.

use super::{assert_has, check};

#[test]
fn what_istio_lets_through_is_an_error() {
    let (code, output) = check(&["istio-unsafe.yaml"]);
    assert_eq!(code, 1);
    let keys = "WasmPlugin/istio-system.keys";
    let hooks = "TrafficExtension/istio-system.hooks";
    let gateway = "EnvoyFilter/istio-system.gateway/tollgate.gateway";
    for (line, subject, path, part) in [
        (5, keys, "spec.url", "requests pass unfiltered"),
        (6, keys, "spec.sha256", "quoted"),
        (8, keys, "spec.failStrategy", "FAIL_RELOAD"),
        (
            13,
            keys,
            "consumers[0].keys[0].env",
            "KEY_A is written in this file",
        ),
        (13, keys, "consumers[0].keys[1].env", "KEY_B"),
        (19, hooks, "spec.wasm", "EnvoyFilter"),
        (20, hooks, "spec.wasm.url", "must begin with oci://"),
        (21, hooks, "spec.wasm.sha256", "64 hexadecimal digits"),
        (
            33,
            "WasmPlugin/istio-system.tollgate-limits",
            "spec.pluginName",
            "must be the root id",
        ),
        (
            52,
            gateway,
            "config.allow_on_headers_stop_iteration",
            "must be true",
        ),
    ] {
        assert_has(
            &output,
            &format!("istio-unsafe.yaml:{line}: {subject}: {path}: "),
            part,
        );
    }
    assert_has(
        &output,
        "istio-unsafe.yaml: note: VirtualService/shop: ",
        "skipped",
    );
    assert!(!output.contains("do-not-show-me"), "{output}");
}

#[test]
fn patches_that_istio_ignores_are_errors() {
    let (code, output) = check(&["istio-ignored.yaml"]);
    assert_eq!(code, 1);
    for (start, part) in [
        (
            "istio-ignored.yaml:9: EnvoyFilter/istio-system.gateway: patch.operation: ",
            "must be ADD",
        ),
        (
            "istio-ignored.yaml:19: EnvoyFilter/istio-system.gateway: config.vm_config.code.remote.http_uri.uri: ",
            "scheme",
        ),
        (
            "istio-ignored.yaml:27: EnvoyFilter/istio-system.gateway: patch.value.name: ",
            "500",
        ),
        (
            "istio-ignored.yaml:29: warning: EnvoyFilter/istio-system.gateway: patch.value.config_discovery.type_urls: ",
            "RBAC",
        ),
        (
            "istio-ignored.yaml:5: EnvoyFilter/istio-system.gateway: configPatches: ",
            "tollgate.gateway is in no filter chain",
        ),
        (
            "istio-ignored.yaml:38: WasmPlugin/istio-system.canary: spec.sha256: ",
            "403",
        ),
        (
            "istio-ignored.yaml:48: warning: WasmPlugin/istio-system.latest: spec.url: ",
            "names no version",
        ),
    ] {
        assert_has(&output, start, part);
    }
}

#[test]
fn an_extension_policy_of_envoy_gateway_is_judged_by_its_own_fields() {
    let (code, output) = check(&["envoy-gateway-unsafe.yaml"]);
    assert_eq!(code, 1);
    let hooks = "EnvoyExtensionPolicy/default.tollgate/hooks: ";
    for (line, path, part) in [
        (9, "failOpen: ", "must be false"),
        (10, "code.sha256: ", "64 hexadecimal digits"),
        (7, "code.image.url: ", "no scheme"),
        (7, "config: ", "allow_on_headers_stop_iteration"),
        (13, "rules[0].secrets[1].env: ", "OTHER_SECRET"),
    ] {
        let start = format!("envoy-gateway-unsafe.yaml:{line}: {hooks}{path}");
        assert_has(&output, &start, part);
    }
    assert_has(
        &output,
        "envoy-gateway-unsafe.yaml:14: EnvoyExtensionPolicy/default.tollgate/tollgate.limits: rootID: ",
        "one of",
    );
    assert!(!output.contains("somebody-elses"), "{output}");
}
