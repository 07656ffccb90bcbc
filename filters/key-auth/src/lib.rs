//! API-key authentication: who is calling, may they, and nothing of the key goes any further.
//!
//! [`compile`] reads the configuration, [`KeyAuth`] decides. Only SHA-256 digests of keys are kept.
//!
//! | module | its one job |
//! |---|---|
//! | `policy`, `refuse` | one exchange: prepare, judge, answer or forward |
//! | `preflight` | requests of browsers that come without a key |
//! | `config` | the section `key_auth` as a whole |
//! | `consumers` | consumers and their keys, as written |
//! | `rules` | which requests need a key, and whose |
//! | `source`, `query`, `cookie` | where a credential may stand: find it, take it out |
//! | `digest`, `index`, `table` | SHA-256 of a key, and the search for it |
//! | `remote`, `remote_keys` | a key set from somewhere else, and what the configuration says about its consumers |
//! | `forward`, `marks` | headers that name the consumer to the upstream; seeing at once that a client sent none |
//! | `reason`, `reply` | the closed set of outcomes, and what the client is told |
//! | `meters` | counters |
//! | `rotation` | keys that expire soon, and old ones that are still in use: log lines, metrics |
#![forbid(unsafe_code)]

// As WebAssembly, `#[test]` means wasm_bindgen_test: see tests/wasm-test.
#[cfg(all(test, target_arch = "wasm32", target_os = "unknown"))]
#[macro_use(test)]
extern crate tollgate_wasm_test;

mod config;
mod consumers;
mod cookie;
mod digest;
mod forward;
mod index;
mod marks;
mod meters;
mod policy;
mod preflight;
mod query;
mod reason;
mod refuse;
mod remote;
mod remote_keys;
mod reply;
mod rotation;
mod rules;
mod source;
mod table;
#[cfg(test)]
mod tests;

pub use config::compile;
pub use digest::Digest;
pub use policy::{KeyAuth, Stream};
pub use remote::KeySet;
pub use table::{Key, KeyTable};
