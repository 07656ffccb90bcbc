//! Plugin configurations.

use super::{assert_has, check, status, text, tollgate};

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
