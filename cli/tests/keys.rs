//! `tollgate keys` as a program.

#![allow(clippy::unwrap_used)] // helpers are part of the tests

use std::io::Write;
use std::process::{Command, Stdio};

/// SHA-256 of "abc" (FIPS 180-2, appendix B.1).
const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// Status, output, errors.
fn keys(args: &[&str], input: &str) -> (i32, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .arg("keys")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that reads nothing may be gone already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn a_new_key_is_random_and_begins_with_the_prefix() {
    let (status, one, _) = keys(&["new", "--prefix", "ps_live_"], "");
    let (_, two, _) = keys(&["new", "--prefix", "ps_live_"], "");
    assert_eq!((status, one.len()), (0, 8 + 64 + 1));
    assert!(one.starts_with("ps_live_") && one != two);
}

#[test]
fn keys_are_hashed_line_by_line() {
    assert_eq!(
        keys(&["hash"], "abc\nabc\r\nabc").1,
        format!("{ABC}\n{ABC}\n{ABC}\n")
    );
    assert_eq!(
        keys(&["hash", "--base64"], "abc").1,
        "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0\n"
    );
    for bad in ["", "\n", "abc \n"] {
        let (status, out, error) = keys(&["hash"], bad);
        assert_eq!((status, &*out), (2, ""), "{bad:?}");
        assert!(
            error.starts_with("tollgate: ") && !error.contains("abc"),
            "{error}"
        );
    }
}

#[test]
fn a_key_set_is_checked_as_the_filter_does() {
    let set = format!("tollgate-keys 1 count=1\nweb-app q4 {ABC} groups=gold\n");
    let (status, out, _) = keys(&["check", "-"], &set);
    assert_eq!(status, 0);
    // sha256sum of it.
    let digest = keys(&["hash"], "abc").1;
    assert!(
        out.starts_with("-: 1 keys, sha256 ")
            && out.len() == "-: 1 keys, sha256 ".len() + digest.len()
    );
    let twice = format!("tollgate-keys 1\na k {ABC}\nb k {ABC}\n");
    let (status, out, _) = keys(&["check", "-"], &twice);
    assert_eq!(
        (status, &*out),
        (1, "-: error: line 3 has the same key twice: b/k as a/k\n")
    );
    assert_eq!(keys(&["check", "no-such-file"], "").0, 2);
}
