//! State shared by all workers of a proxy: bounded, exact, in bytes with compare-and-set.
//!
//! | module | what it holds | used by |
//! |---|---|---|
//! | [`gcra`] | the token bucket as one number | limits |
//! | [`table`] | a fixed number of pages of bucket entries | limits |
//! | [`lease`] | tokens that a worker takes ahead | limits |
//! | [`occupancy`] | how full the table is | limits |
//! | [`cas`] | load, change, store: bounded tries | all |
//! | [`sha256`] | the end of a hash, once for all policies | key auth, canary |
//! | [`seed`] | the secret of the seeded hash, one per proxy | limits |
//! | [`window`] | calendar days and months | budgets |
//! | [`rollback`] | what became of each variant's requests lately, whether that is chance, and what was rolled back | canary |
//! | [`budget`] | what was spent and reserved in a window | cost |
//! | [`replay`] | deliveries under way and delivered, never forgotten early | webhook signatures |
//! | [`fleet`] | leases of what a whole fleet may spend | limits, budgets, replay guard |
#![forbid(unsafe_code)]

// As WebAssembly, `#[test]` means wasm_bindgen_test: see tests/wasm-test.
#[cfg(all(test, target_arch = "wasm32", target_os = "unknown"))]
#[macro_use(test)]
extern crate tollgate_wasm_test;

pub mod budget;
pub mod cas;
pub mod fleet;
pub mod gcra;
pub mod lease;
pub mod occupancy;
pub mod replay;
pub mod rollback;
pub mod seed;
pub mod sha256;
pub mod table;
#[cfg(test)]
mod testing;
pub mod window;
