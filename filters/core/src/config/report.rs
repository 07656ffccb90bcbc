//! Where errors and warnings gather while a configuration is read.

use std::cell::RefCell;
use std::fmt;

/// One thing wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where, e.g. `key_auth.consumers[0].keys[1].sha256`.
    pub path: String,
    /// What, and what to write instead; never a value from the configuration.
    pub problem: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.problem)
        } else {
            write!(f, "{}: {}", self.path, self.problem)
        }
    }
}

/// Gathers errors (the configuration is refused) and warnings (it is not).
#[derive(Debug, Default)]
pub struct Report {
    errors: RefCell<Vec<ConfigError>>,
    warnings: RefCell<Vec<ConfigError>>,
}

impl Report {
    /// Notes an error.
    pub fn error(&self, path: &str, problem: impl Into<String>) {
        push(&self.errors, path, problem.into());
    }

    /// Notes a warning.
    pub fn warn(&self, path: &str, problem: impl Into<String>) {
        push(&self.warnings, path, problem.into());
    }

    /// Whether nothing is wrong so far.
    pub fn is_ok(&self) -> bool {
        self.errors.borrow().is_empty()
    }

    /// All errors in the order in which they were found.
    pub fn errors(&self) -> Vec<ConfigError> {
        self.errors.borrow().clone()
    }

    /// All warnings in the order in which they were found.
    pub fn warnings(&self) -> Vec<ConfigError> {
        self.warnings.borrow().clone()
    }
}

fn push(list: &RefCell<Vec<ConfigError>>, path: &str, problem: String) {
    let entry = ConfigError {
        path: path.to_owned(),
        problem,
    };
    let mut list = list.borrow_mut();
    if !list.contains(&entry) {
        list.push(entry);
    }
}
