//! `tollgate check` as a program: files in, lines and exit status out.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // helpers are part of the tests

mod envoy;
mod mesh;
mod plugin;
mod program;

use std::io::Write;
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
