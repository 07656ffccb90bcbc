//! Findings for people and for programs.

use crate::finding::{Finding, Findings, Severity};
use serde_json::json;
use std::io::{self, Write};

/// What was found in one file.
pub(crate) struct Checked {
    pub(crate) file: String,
    pub(crate) findings: Findings,
}

/// Sums over all files.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    pub(crate) files: usize,
    pub(crate) configurations: usize,
    pub(crate) errors: usize,
    pub(crate) warnings: usize,
}

/// Counts.
pub(crate) fn summary(all: &[Checked]) -> Summary {
    let count = |severity| {
        all.iter()
            .flat_map(|c| &c.findings.all)
            .filter(|f| f.severity == severity)
            .count()
    };
    Summary {
        files: all.len(),
        configurations: all.iter().map(|c| c.findings.configurations).sum(),
        errors: count(Severity::Error),
        warnings: count(Severity::Warning),
    }
}

/// `FILE:LINE: subject: path: problem`, one line each, and a summary.
pub(crate) fn text(all: &[Checked], out: &mut impl Write) -> io::Result<()> {
    for checked in all {
        for finding in &checked.findings.all {
            writeln!(out, "{}", line(&checked.file, finding))?;
        }
    }
    let sum = summary(all);
    writeln!(
        out,
        "{}: {}, {}; {}, {}",
        if sum.errors == 0 { "ok" } else { "refused" },
        plural(sum.files, "file"),
        plural(sum.configurations, "configuration"),
        plural(sum.errors, "error"),
        plural(sum.warnings, "warning"),
    )
}

fn plural(n: usize, word: &str) -> String {
    format!("{n} {word}{}", if n == 1 { "" } else { "s" })
}

fn line(file: &str, finding: &Finding) -> String {
    let mut text = String::from(file);
    if finding.line > 0 {
        text.push_str(&format!(":{}", finding.line));
    }
    let severity = match finding.severity {
        Severity::Error => "",
        other => other.word(),
    };
    for part in [severity, &finding.subject, &finding.path, &finding.problem] {
        if !part.is_empty() {
            text.push_str(": ");
            text.push_str(part);
        }
    }
    text
}

/// One JSON object.
pub(crate) fn json(all: &[Checked], out: &mut impl Write) -> io::Result<()> {
    let findings: Vec<serde_json::Value> = all
        .iter()
        .flat_map(|c| c.findings.all.iter().map(move |f| (c, f)))
        .map(|(checked, f)| {
            json!({
                "file": checked.file,
                "line": (f.line > 0).then_some(f.line),
                "severity": f.severity.word(),
                "subject": f.subject,
                "path": f.path,
                "problem": f.problem,
            })
        })
        .collect();
    let sum = summary(all);
    let whole = json!({
        "ok": sum.errors == 0,
        "files": sum.files,
        "configurations": sum.configurations,
        "errors": sum.errors,
        "warnings": sum.warnings,
        "findings": findings,
    });
    writeln!(out, "{whole:#}")
}
