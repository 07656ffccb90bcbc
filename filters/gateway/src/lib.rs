//! All five policies as one chain, and its configuration. Pure, like the policies.
//!
//! The same chain serves all root ids: `gateway` reads a section for each policy, a single filter's
//! root id reads that policy's section from the top level. A policy without a section lets everything pass, and one
//! whose Cargo feature is off is not even linked.
#![forbid(unsafe_code)]

mod chain;
mod compile;

pub use chain::Chain;
pub use compile::{Gateway, ROOT_IDS, compile};
