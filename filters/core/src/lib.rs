//! The vocabulary every Tollgate policy is written in.
//!
//! A [`Policy`] is a pure state machine: it is shown the parts of one HTTP
//! [`Exchange`] as they arrive, may consult the [`World`] (time, shared state,
//! metrics, calls; all passed in), and answers with a [`Flow`]. It never talks
//! to a proxy, reads a clock or does I/O, so the same code runs in Envoy, in unit
//! and property tests, in fuzzers, in benchmarks and on the command line.
//!
//! | module | its one job |
//! |---|---|
//! | [`exchange`], [`headers`] | one request and its answer, as seen and as changed by policies |
//! | [`flow`] | what a policy decides: continue, hold, reply |
//! | [`policy`], [`chain`] | the trait, and how several policies run as one |
//! | [`drive`] | the request's life: who is asked next, what is held, which bytes are due |
//! | [`world`] | the outside: clock, shared state, metrics, calls, attributes |
//! | [`config`] | reading configuration: every error at once, each with its path |
//! | [`matcher`] | which requests a rule is about |
//! | [`cookie`] | the pairs of a cookie line |
//! | [`json`] | numbers and strings of JSON, for scanners that read it in pieces |
//! | [`money`], [`time`] | exact picodollars; durations, instants and calendar |
//! | [`problem`] | problem+json bodies of local replies |
#![forbid(unsafe_code)]

// As WebAssembly, `#[test]` means wasm_bindgen_test: see tests/wasm-test.
#[cfg(all(test, target_arch = "wasm32", target_os = "unknown"))]
#[macro_use(test)]
extern crate tollgate_wasm_test;

pub mod chain;
pub mod config;
pub mod cookie;
pub mod drive;
pub mod exchange;
mod facts;
pub mod flow;
pub mod headers;
pub mod json;
pub mod matcher;
pub mod metrics;
pub mod money;
pub mod policy;
pub mod problem;
pub mod testing;
pub mod time;
pub mod world;

pub use chain::Then;
pub use exchange::{Consumer, Exchange, Facts};
pub use flow::{Flow, LocalReply, ResponseFlow, ResponseRead};
pub use headers::{HeaderName, Headers};
pub use metrics::{MetricId, Metrics};
pub use money::Money;
pub use policy::Policy;
pub use time::{Duration, UnixNanos};
pub use world::World;
