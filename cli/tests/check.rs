//! `tollgate check` as a program: files in, lines and exit status out.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // helpers are part of the tests

use serde_json::Value;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn tollgate(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command
        .args(args)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/files"))
        .env_remove("TOLLGATE_TEST_KEY");
    command
}

fn check(args: &[&str]) -> (i32, String) {
    let output = tollgate(&[&["check"], args].concat()).output().unwrap();
    (status(&output), text(&output.stdout))
}

fn status(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The lines that are no notes, up to and including the part before the last `: `.
fn places(output: &str) -> Vec<String> {
    output
        .lines()
        .filter(|line| !line.contains(": note: "))
        .map(str::to_owned)
        .collect()
}

fn assert_has(output: &str, start: &str, part: &str) {
    assert!(
        output
            .lines()
            .any(|line| line.starts_with(start) && line.contains(part)),
        "no line starts with {start:?} and has {part:?}:\n{output}"
    );
}

fn stdin(args: &[&str], input: &str) -> (i32, String) {
    let mut child = tollgate(&[&["check"], args, &["-"]].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    (status(&output), text(&output.stdout))
}

#[test]
fn every_error_of_a_configuration_is_named_with_its_line_and_path() {
    let (code, output) = check(&["plugin-bad.yaml"]);
    assert_eq!(code, 1);
    for (start, part) in [
        (
            "plugin-bad.yaml:5: key_auth.consumers[0].keys[0].sha256: ",
            "SHA-256",
        ),
        (
            "plugin-bad.yaml:7: key_auth.consumers[0].keys[2].id: ",
            "already",
        ),
        (
            "plugin-bad.yaml:7: key_auth.consumers[0].keys[2].expires_at: ",
            "2026-12-31",
        ),
        ("plugin-bad.yaml:8: key_auth.consumers[1].id: ", "already"),
        (
            "plugin-bad.yaml:9: key_auth.consumers[1].keys[0].sha256: ",
            "empty",
        ),
        (
            "plugin-bad.yaml:11: key_auth.rules[0].match.methods[0]: ",
            "write \"off\"",
        ),
        ("plugin-bad.yaml:12: key_auth.colour: ", "unknown field"),
        (
            "plugin-bad.yaml:18: rate_limit.limits[0].rules[0].buckets[0].tokens_per_fill: ",
            "missing",
        ),
        ("plugin-bad.yaml:22: cost.prices[0].base: ", "string"),
    ] {
        assert_has(&output, start, part);
    }
    assert_has(
        &output,
        "plugin-bad.yaml: note: read as the configuration of root id gateway",
        "--root",
    );
    assert!(
        !output.contains("not a digest") && !output.contains("green"),
        "{output}"
    );
}

#[test]
fn numbers_may_be_written_as_doubles_and_json_is_read() {
    let (code, output) = check(&["plugin-good.json"]);
    assert_eq!(code, 0, "{output}");
    assert!(
        output.ends_with("ok: 1 file, 1 configuration; 0 errors, 0 warnings\n"),
        "{output}"
    );
}

#[test]
fn a_variable_that_is_not_set_is_a_note_or_an_error_as_asked() {
    let (code, output) = check(&["key-auth.yaml"]);
    assert_eq!(code, 0, "{output}");
    assert_has(
        &output,
        "key-auth.yaml:4: note: consumers[0].keys[0].env: ",
        "TOLLGATE_TEST_KEY is not set",
    );
    let (code, output) = check(&["--require-env", "key-auth.yaml"]);
    assert_eq!(code, 1);
    assert_has(
        &output,
        "key-auth.yaml:4: consumers[0].keys[0].env: ",
        "TOLLGATE_TEST_KEY is not set",
    );
    let set = tollgate(&["check", "--require-env", "key-auth.yaml"])
        .env("TOLLGATE_TEST_KEY", "a-key-of-more-than-16-bytes")
        .output()
        .unwrap();
    assert_eq!(status(&set), 0, "{}", text(&set.stdout));
    let empty = tollgate(&["check", "key-auth.yaml"])
        .env("TOLLGATE_TEST_KEY", "")
        .output()
        .unwrap();
    assert_eq!(status(&empty), 1, "{}", text(&empty.stdout));
}

#[test]
fn the_root_id_can_be_given_and_a_wrong_one_is_seen() {
    let (code, output) = check(&["--root", "canary", "key-auth.yaml"]);
    assert_eq!(code, 1);
    assert_has(&output, "key-auth.yaml:1: consumers: ", "unknown field");
    assert!(!output.contains("read as the configuration"));
}

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

#[test]
fn programs_get_json() {
    let (code, output) = check(&["--format", "json", "plugin-bad.yaml", "plugin-good.json"]);
    assert_eq!(code, 1);
    let json: Value = serde_json::from_str(&output).unwrap();
    assert_eq!(json["ok"], false);
    assert_eq!(json["files"], 2);
    assert_eq!(json["configurations"], 2);
    let colour = json["findings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|f| f["path"] == "key_auth.colour")
        .unwrap();
    assert_eq!(colour["file"], "plugin-bad.yaml");
    assert_eq!(colour["line"], 12);
    assert_eq!(colour["severity"], "error");
    let errors = json["findings"].as_array().unwrap().iter();
    let errors = errors.filter(|f| f["severity"] == "error").count();
    assert_eq!(json["errors"], errors);
}

#[test]
fn a_file_that_cannot_be_read_is_status_2_and_the_others_are_checked_all_the_same() {
    let output = tollgate(&["check", "nowhere.yaml", "plugin-good.json"])
        .output()
        .unwrap();
    assert_eq!(status(&output), 2);
    assert!(text(&output.stderr).starts_with("tollgate: nowhere.yaml: "));
    assert!(text(&output.stdout).ends_with("ok: 1 file, 1 configuration; 0 errors, 0 warnings\n"));
    let output = tollgate(&["check"]).output().unwrap();
    assert_eq!(status(&output), 2);
    let output = tollgate(&["check", "--root", "nonsense", "key-auth.yaml"])
        .output()
        .unwrap();
    assert_eq!(status(&output), 2);
}

#[test]
fn nothing_to_check_is_not_ok() {
    for (input, part) in [
        ("", "the file is empty"),
        ("# nothing\n", "the file is empty"),
        ("colour: green\n", "--root"),
        ("just text\n", "--root"),
        ("a: [1, 2\n", "not YAML"),
        ("{\"a\": ", "not YAML"),
    ] {
        let (code, output) = stdin(&[], input);
        assert_eq!(code, 1, "{input:?}: {output}");
        assert!(output.contains(part), "{input:?}: {output}");
        assert!(
            output.lines().last().unwrap().starts_with("refused: "),
            "{output}"
        );
    }
    let (code, output) = stdin(&[], "static_resources: {}\n");
    assert_eq!(code, 0);
    assert!(output.contains("without a Tollgate filter"), "{output}");
}

fn yaml_below(folder: &Path, files: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            yaml_below(&path, files);
        } else if path.extension().is_some_and(|e| e == "yaml") {
            files.push(path.to_str().unwrap().to_owned());
        }
    }
}

/// Samples are what users copy.
#[test]
fn every_shipped_sample_passes_without_a_warning() {
    let envoy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../envoy");
    let mut files = Vec::new();
    for folder in ["configs", "compose", "istio", "envoy-gateway"] {
        yaml_below(&envoy.join(folder), &mut files);
    }
    files.sort();
    assert_eq!(files.len(), 27, "{files:?}");
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let (code, output) = check(&files);
    let found = places(&output);
    assert_eq!(
        found,
        ["ok: 27 files, 24 configurations; 0 errors, 0 warnings"],
        "{output}"
    );
    assert_eq!(code, 0);
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
