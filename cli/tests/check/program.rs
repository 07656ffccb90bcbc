//! Files, output and status of the program.

use super::{check, places, status, stdin, text, tollgate};
use serde_json::Value;
use std::path::Path;

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
