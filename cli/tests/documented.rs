//! The documentation says what the code says: names, links, files and tests that it mentions exist.

#![allow(clippy::unwrap_used)] // helpers are part of the tests

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All files below a folder (or the file itself) with that extension.
fn files(start: &Path, extension: &str) -> Vec<PathBuf> {
    if start.is_file() {
        return vec![start.to_owned()];
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(start).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found
}

fn pages() -> Vec<(PathBuf, String)> {
    ["README.md", "docs", "envoy"]
        .iter()
        .flat_map(|start| files(&root().join(start), "md"))
        .map(|path| (path.clone(), fs::read_to_string(path).unwrap()))
        .collect()
}

/// The parts of a text between two marks.
fn between<'t>(text: &'t str, open: &'t str, close: &'t str) -> impl Iterator<Item = &'t str> {
    text.split(open)
        .skip(1)
        .filter_map(move |rest| rest.split_once(close).map(|(part, _)| part))
}

/// What an operator sees in metrics, logs and answers can be looked up.
#[test]
fn every_metric_and_every_reply_is_documented() {
    let all: String = pages().into_iter().map(|(_, text)| text).collect();
    let mut missing = Vec::new();
    let mut seen = 0;
    for path in files(&root().join("filters"), "rs") {
        let shown = path.display().to_string();
        if shown.contains("/tests") || shown.contains("/core/src/") && !shown.ends_with("drive.rs")
        {
            continue;
        }
        let source = fs::read_to_string(&path).unwrap();
        let source = source.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for name in between(source, "\"tollgate_", "\"") {
            if name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
                seen += 1;
                if !all.contains(&format!("tollgate_{name}")) {
                    missing.push(format!("tollgate_{name} ({shown})"));
                }
            }
        }
    }
    assert!(seen > 20, "the search itself is broken: {seen}");
    assert!(
        missing.is_empty(),
        "not in README.md or docs/: {missing:#?}"
    );
}

#[test]
fn every_link_leads_somewhere() {
    let mut broken = Vec::new();
    for (page, text) in pages() {
        for target in between(&text, "](", ")") {
            let file = target.split('#').next().unwrap();
            let outside = target.contains("://") || file.is_empty();
            if !outside && !page.parent().unwrap().join(file).exists() {
                broken.push(format!("{}: {target}", page.display()));
            }
            if let Some((_, anchor)) = target.split_once('#')
                && !target.contains("://")
            {
                let other = match file {
                    "" => text.clone(),
                    file => {
                        fs::read_to_string(page.parent().unwrap().join(file)).unwrap_or_default()
                    }
                };
                let anchors = other.lines().filter(|l| l.starts_with('#')).map(anchor_of);
                if !anchors.into_iter().any(|a| a == anchor) {
                    broken.push(format!("{}: {target}", page.display()));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// As GitHub makes it out of a heading.
fn anchor_of(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
            _ => None,
        })
        .collect()
}

#[test]
fn every_file_that_a_page_names_is_there() {
    let folders = [
        "filters/", "tests/", "cli/", "envoy/", "docs/", "benches/", "scripts/",
    ];
    let mut missing = Vec::new();
    for (page, text) in pages() {
        for name in between(&text, "`", "`") {
            if !folders.iter().any(|folder| name.starts_with(folder)) || name.contains(' ') {
                continue;
            }
            let (folder, pattern) = name.rsplit_once('/').unwrap();
            let found = match pattern.split_once('*') {
                None => root().join(name).exists(),
                Some((start, end)) => fs::read_dir(root().join(folder)).is_ok_and(|entries| {
                    entries.flatten().any(|entry| {
                        let file = entry.file_name().into_string().unwrap();
                        file.starts_with(start) && file.ends_with(end)
                    })
                }),
            };
            if !found {
                missing.push(format!("{}: {name}", page.display()));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

/// What stands first on the page of a policy is what people copy.
#[test]
fn the_first_example_of_every_policy_is_accepted() {
    for policy in [
        "key-auth",
        "webhook-signature",
        "rate-limit",
        "canary",
        "cost",
    ] {
        let page = fs::read_to_string(root().join(format!("docs/{policy}.md"))).unwrap();
        let example = between(&page, "```yaml\n", "```").next().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_tollgate"))
            .args(["check", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(example.as_bytes()).unwrap();
        drop(input);
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "docs/{policy}.md: {said}");
    }
}

#[test]
fn every_test_that_failure_modes_names_is_there() {
    let page = fs::read_to_string(root().join("docs/failure-modes.md")).unwrap();
    let scenarios: String = files(&root().join("tests/scenarios"), "yaml")
        .into_iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    // Drills and the edge have programs of their own, which name their checks.
    let programs: String = ["tests/mesh", "tests/fleet"]
        .into_iter()
        .flat_map(|folder| files(&root().join(folder), "py"))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let sources: String = files(&root().join("filters"), "rs")
        .into_iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let mut seen = 0;
    for row in page.lines().filter(|line| line.starts_with('|')) {
        let tests = row.trim_end_matches('|').rsplit('|').next().unwrap();
        for name in between(tests, "`", "`").filter(|n| !n.contains(['/', ' '])) {
            seen += 1;
            assert!(
                sources.contains(&format!("fn {name}(")),
                "no test has the name {name:?}"
            );
        }
        for name in tests.split('*').skip(1).step_by(2) {
            seen += 1;
            assert!(
                scenarios.contains(&format!("name: \"{name}\""))
                    || programs.contains(&format!("\"{name}\"")),
                "no scenario and no check has the name {name:?}"
            );
        }
    }
    assert!(seen > 20, "the search itself is broken: {seen}");
}
