//! Request cost accounting: what each request cost, exactly, and budgets that hold.
//!
//! | module | its one job |
//! |---|---|
//! | [`policy`], `call` | the life of a priced call |
//! | `begin`, `choose`, `admit` | before it: priced and charged |
//! | `answer`, `settle` | after it: the answer that a price depends on; the true cost, counted and published |
//! | [`price`] | the price table: which rule, how much |
//! | `ask`, [`request`], [`check`] | what a request asks for, and whether it may |
//! | [`budgets`] | which budgets apply to whom |
//! | [`accounts`] | charging and settling in the state that all workers share |
//! | [`advances`] | what a worker takes ahead from an account |
//! | [`usage`], [`json`], [`sse`] | token counts out of answers that arrive in pieces |
//! | [`ledger`] | what calls cost, as events to a receiver |
//! | `usage_page`, [`gauges`], [`show`] | what consumers and operators see of it |
//! | [`config`], [`meters`], [`replies`] | reading configuration; what is counted; what clients are told |
//!
//! The arithmetic of budgets is in `tollgate_state::budget`.
#![forbid(unsafe_code)]

// As WebAssembly, `#[test]` means wasm_bindgen_test: see tests/wasm-test.
#[cfg(all(test, target_arch = "wasm32", target_os = "unknown"))]
#[macro_use(test)]
extern crate tollgate_wasm_test;

pub mod accounts;
mod admit;
pub mod advances;
mod answer;
mod ask;
mod begin;
pub mod budgets;
mod call;
pub mod check;
mod choose;
pub mod config;
pub mod gauges;
pub mod json;
pub mod ledger;
pub mod meters;
pub mod policy;
pub mod price;
pub mod replies;
pub mod request;
mod settle;
pub mod shared;
pub mod show;
pub mod sse;
pub mod usage;
mod usage_page;

pub use config::compile;
pub use policy::Cost;
