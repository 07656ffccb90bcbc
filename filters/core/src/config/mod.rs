//! Reading configuration: JSON in, every error at once, each with its path, no secret in any.
//!
//! A policy walks its section with [`Section`]s and [`Value`]s. Each accessor that fails writes an
//! error and returns `None` (or a default), so that reading goes on and the user sees all errors of
//! a file at once. Fields nobody asked for are errors, too. Messages never repeat a value: it could be a
//! secret in the wrong place.
//!
//! ```
//! use tollgate_core::config::{Compile, Report};
//! let report = Report::default();
//! let mut metrics = Default::default();
//! let root = tollgate_core::config::parse(r#"{"mode": "enfroce", "limit": 60.0, "windw": 1}"#, &report).unwrap();
//! let mut cx = Compile::new(&|_| None, &mut metrics);
//! # let _ = &mut cx;
//! let mut section = root.value(&report).section().unwrap();
//! assert_eq!(section.optional("limit").and_then(|v| v.integer(1..=100)), Some(60));
//! let mode = section.optional("mode").and_then(|v| v.one_of(&[("enforce", 1), ("shadow", 2)]));
//! assert_eq!(mode, None);
//! section.finish();
//! let errors: Vec<String> = report.errors().iter().map(ToString::to_string).collect();
//! assert_eq!(errors, [
//!     "mode: must be one of enforce, shadow",
//!     "windw: unknown field; known here: limit, mode",
//! ]);
//! ```

mod node;
mod report;
mod value;
mod wire;

pub use node::{Node, Root, parse, parse_bytes};
pub use report::{ConfigError, Report};
pub use value::{Section, Value};

use crate::metrics::Metrics;

/// Looks up an environment variable of the VM.
pub type EnvLookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What compiling a section may use besides the section itself.
pub struct Compile<'a> {
    /// Environment variables of the VM (`host_env_keys`, `valueFrom: HOST`).
    pub env: EnvLookup<'a>,
    /// Where metrics are registered.
    pub metrics: &'a mut Metrics,
    /// Whether this policy is loaded without key auth in the same chain, so that facts for (and
    /// from) filters loaded separately travel through filter state.
    pub alone: bool,
}

impl<'a> Compile<'a> {
    /// For a policy that is part of a chain.
    pub fn new(env: EnvLookup<'a>, metrics: &'a mut Metrics) -> Self {
        Self {
            env,
            metrics,
            alone: false,
        }
    }
}
