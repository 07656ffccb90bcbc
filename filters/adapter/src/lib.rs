//! The adapter between a proxy and the policies: the only crate that names proxy_wasm.
//!
//! | module | its one job |
//! |---|---|
//! | [`abi`] | hostcalls that return `Option`/`Result` and never panic |
//! | [`proxy`] | [`tollgate_core::World`] in terms of hostcalls |
//! | [`background`] | calls that belong to no exchange |
//! | [`root`] | one plugin in one VM: configurations come and go |
//! | [`running`] | a configuration at work: ticks, background calls, waking |
//! | [`callbacks`] | one HTTP exchange, as the SDK calls it |
//! | [`stream`], [`response`] | its state, its two halves: events in, actions out |
//! | [`watch`] | answers exchanges that the proxy cannot hold |
//!
//! See `docs/how-it-runs.md` for VMs, workers and phases.

mod abi;
mod background;
mod callbacks;
mod proxy;
mod response;
mod root;
mod running;
mod stream;
mod watch;

use proxy_wasm::traits::RootContext;

/// What `set_root_context` of a module is given.
#[must_use]
pub fn new_root(context_id: u32) -> Box<dyn RootContext> {
    Box::new(root::Root::new(context_id))
}
