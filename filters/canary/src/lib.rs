//! Canary routing: which variant of a service a request goes to.
//!
//! Every matching [experiment](Experiment) decides by the same steps, the first that applies wins:
//! kill switch, forced header, override for one key, segment, percentage by a hash, default. The
//! decision is a header for the proxy's routes; the same key gets the same variant on every worker
//! and proxy, with no stored state, because [the hash](bucket()) and [the clock](ramp) are all it
//! depends on.
//!
//! | module | its one job |
//! |---|---|
//! | [`bucket`](mod@bucket) | the hash: from flag and key to one of 10,000 buckets |
//! | [`split`] | from bucket and ramp weight to a variant, so that nobody leaves on the way up |
//! | [`ramp`] | the weight of a ramp at a moment |
//! | `sticky` | where a request's key comes from |
//! | `force`, `segment` | the rules that come before the percentage |
//! | `lifecycle` | owner, age and expiry of a flag |
//! | `visitor`, `marker`, `signing` | what the browser and the filters behind bring back, and how it is known to be genuine |
//! | `outcome`, `watch`, `watch_metrics` | what becomes of a variant's requests |
//! | `rollback`, `rules` | when that is bad enough to switch it off |
//! | `decision_log` | a line for a sample of the decisions |
//! | `experiment` | the order of the steps |
//! | `compile`, `variants`, `metrics`, `fingerprint` | reading the configuration |
//! | `policy` | the filter |
#![forbid(unsafe_code)]

// As WebAssembly, `#[test]` means wasm_bindgen_test: see tests/wasm-test.
#[cfg(all(test, target_arch = "wasm32", target_os = "unknown"))]
#[macro_use(test)]
extern crate tollgate_wasm_test;

pub mod bucket;
mod compile;
mod decision;
mod decision_log;
mod experiment;
mod fingerprint;
mod force;
mod lifecycle;
mod marker;
mod metrics;
mod outcome;
mod policy;
pub mod ramp;
mod rollback;
mod rules;
mod segment;
mod signing;
pub mod split;
mod sticky;
mod variants;
mod visitor;
mod watch;
mod watch_metrics;

#[cfg(test)]
mod tests;

pub use bucket::bucket;
pub use compile::compile;
pub use decision::{Decision, Reason};
pub use experiment::Experiment;
pub use policy::{Canary, CanaryStream};
pub use variants::VariantId;
