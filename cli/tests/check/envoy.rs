//! Envoy's configurations.

use super::{assert_has, check, stdin};

#[test]
fn what_envoy_lets_through_is_an_error() {
    let (code, output) = check(&["envoy-unsafe.yaml"]);
    assert_eq!(code, 1);
    for (start, part) in [
        (
            "envoy-unsafe.yaml:14: hooks: config.allow_on_headers_stop_iteration: ",
            "must be true",
        ),
        (
            "envoy-unsafe.yaml:17: hooks: config.failure_policy: ",
            "FAIL_RELOAD",
        ),
        (
            "envoy-unsafe.yaml:20: warning: hooks: config.vm_config.nack_on_code_cache_miss: ",
            "unfiltered",
        ),
        (
            "envoy-unsafe.yaml:28: hooks: rules[0].secrets[0].env: ",
            "HOOK_SECRET is written in this file",
        ),
        (
            "envoy-unsafe.yaml:28: hooks: rules[0].secrets[1].env: ",
            "cannot see the environment variable OTHER_SECRET",
        ),
        (
            "envoy-unsafe.yaml:7: limits: use_remote_address: ",
            "X-Forwarded-For",
        ),
        (
            "envoy-unsafe.yaml:34: warning: limits: config.failure_policy: ",
            "FAIL_RELOAD",
        ),
        (
            "envoy-unsafe.yaml:48: typo: config.root_id: ",
            "must be one of gateway, key-auth",
        ),
        (
            "envoy-unsafe.yaml:56: note: somebody-elses: config.root_id: ",
            "skipped",
        ),
        (
            "envoy-unsafe.yaml:68: not-json: config.configuration: ",
            "not JSON: error at line 1 column 1",
        ),
    ] {
        assert_has(&output, start, part);
    }
    assert!(!output.contains("do-not-show-me"), "{output}");
}

/// The values of a struct in an Envoy file are those that Envoy sends, not those of some YAML reader.
#[test]
fn an_unquoted_on_in_an_envoy_file_is_refused() {
    let filter = |value: &str| {
        format!(
            "typed_config:\n  \"@type\": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm\n  config:\n    \
             root_id: key-auth\n    failure_policy: FAIL_RELOAD\n    configuration:\n      \
             \"@type\": type.googleapis.com/google.protobuf.Struct\n      value:\n        \
             consumers: [{{id: a, keys: [{{id: a, sha256: {}}}]}}]\n        \
             rules: [{{match: {{headers: [{{name: x-beta, exact: {value}}}]}}}}]\n",
            "ab".repeat(32)
        )
    };
    let (code, output) = stdin(&[], &filter("on"));
    assert_eq!(code, 1, "{output}");
    assert_has(
        &output,
        "-:10: key-auth: rules[0].match.headers[0].exact: ",
        "not a boolean (without quotes on, off",
    );
    let (code, output) = stdin(&[], &filter("'on'"));
    assert_eq!(code, 0, "{output}");
}

/// In Envoy 1.36 the second of two such plugins was refused: its secrets were "not set in the VM".
#[test]
fn one_vm_id_with_two_environments_is_reported() {
    let filter = |vm_id: &str, variable: &str| {
        format!(
            "- typed_config:\n    \"@type\": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm\n    config:\n      \
             root_id: key-auth\n      failure_policy: FAIL_RELOAD\n      vm_config:\n        vm_id: {vm_id}\n        \
             code: {{local: {{filename: dist/gateway.wasm}}}}\n        \
             environment_variables: {{host_env_keys: [{variable}]}}\n      configuration:\n        \
             \"@type\": type.googleapis.com/google.protobuf.Struct\n        \
             value: {{consumers: [{{id: a, keys: [{{id: a, env: {variable}}}]}}]}}\n"
        )
    };
    let both = |ids: [&str; 2], variables: [&str; 2]| {
        let file = format!(
            "http_filters:\n{}{}",
            filter(ids[0], variables[0]),
            filter(ids[1], variables[1])
        );
        stdin(&[], &file).1
    };
    assert_has(
        &both(["a", "a"], ["ONE", "TWO"]),
        "-:19: warning: key-auth: config.vm_config.vm_id: ",
        "give each its own vm_id",
    );
    for (ids, variables) in [(["a", "b"], ["ONE", "TWO"]), (["a", "a"], ["ONE", "ONE"])] {
        let output = both(ids, variables);
        assert!(output.ends_with("0 errors, 0 warnings\n"), "{output}");
    }
}
