//! Versions that must agree between files.

use std::fs;
use std::path::Path;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap()
}

fn locked<'a>(lock: &'a str, package: &str) -> &'a str {
    let head = format!("name = \"{package}\"\nversion = \"");
    let (_, rest) = lock
        .split_once(&head)
        .unwrap_or_else(|| panic!("{package} is not locked"));
    rest.split('"').next().unwrap()
}

/// The runner refuses modules of any other version of wasm-bindgen.
#[test]
fn the_wasm_test_runner_has_the_locked_version_of_wasm_bindgen() {
    let ours = read("Cargo.lock");
    let runner = read("tests/wasm-runner/Cargo.lock");
    assert_eq!(
        locked(&runner, "wasm-bindgen-cli"),
        locked(&ours, "wasm-bindgen")
    );
}
