//! The scenario table: one set of YAML files, one checker, several engines.
//!
//! A [`Scenario`] says which filters run with which configuration, what requests come in, and
//! what must be seen. An [`Engine`] carries the requests out: the policies natively, the same as
//! WebAssembly, or the shipped modules in a real Envoy. [`run`] drives one through the other and
//! compares. Nothing here knows files, sockets or clocks, so it compiles for
//! `wasm32-unknown-unknown` too. `tests/README.md` documents the format.

pub mod bytes;
pub mod check;
pub mod engine;
pub mod file;
pub mod matcher;
pub mod model;
pub mod native;
pub mod run;
pub mod sign;
pub mod time;

pub use engine::{Engine, Metric, Observed, Refusal, Reply, Seen, Wanted};
pub use file::{FILES, load, load_all};
pub use model::{EngineKind, Scenario};
pub use native::Native;
pub use run::run;
