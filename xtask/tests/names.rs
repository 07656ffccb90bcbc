//! `names.txt`, read by both programs that must agree: names in the reports of one are those in the profile of the other.

use std::path::Path;
use std::process::Command;

use xtask::names::readable;

fn vectors() -> Vec<(&'static str, &'static str)> {
    let vectors: Vec<_> = include_str!("names.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split_once(' ').unwrap())
        .collect();
    assert_eq!(vectors.len(), 14);
    vectors
}

#[test]
fn the_profile_reads_them() {
    for (name, expected) in vectors() {
        assert_eq!(readable(name), expected, "{name}");
    }
}

#[test]
fn callgrind_py_reads_them() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/envoy");
    let names: Vec<_> = vectors().into_iter().map(|(name, _)| name).collect();
    let program =
        "import sys, callgrind\nfor name in sys.argv[1:]: print(callgrind.readable(name))";
    let output = Command::new("python3")
        .args(["-B", "-c", program])
        .args(&names)
        .env("PYTHONPATH", directory)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let expected: Vec<_> = vectors()
        .into_iter()
        .map(|(_, expected)| expected)
        .collect();
    assert_eq!(
        said.lines().collect::<Vec<_>>(),
        expected,
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
