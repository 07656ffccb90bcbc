//! What a check found.

use std::collections::BTreeSet;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    /// Good to know; nothing to do.
    Note,
    /// It loads, but probably not what is meant.
    Warning,
    /// It is refused by the proxy, or lets through what it should not.
    Error,
}

impl Severity {
    /// As it is printed.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One thing found in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    /// Counted from 1; 0 where it is not known.
    pub(crate) line: usize,
    /// Which plugin or manifest of the file, e.g. `WasmPlugin/istio-system.key-auth`; empty where the file is one plugin configuration.
    pub(crate) subject: String,
    /// Where in the plugin configuration (or, outside of it, in the document).
    pub(crate) path: String,
    /// What, and what to do.
    pub(crate) problem: String,
}

/// Gathers the findings of one file.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) all: Vec<Finding>,
    /// How many plugin configurations were read.
    pub(crate) configurations: usize,
    /// Labels of the metrics that the configurations of the document register.
    pub(crate) labels: BTreeSet<String>,
}

impl Findings {
    pub(crate) fn add(
        &mut self,
        severity: Severity,
        line: usize,
        subject: &str,
        path: &str,
        problem: impl Into<String>,
    ) {
        self.all.push(Finding {
            severity,
            line,
            subject: subject.to_owned(),
            path: path.to_owned(),
            problem: problem.into(),
        });
    }
}
