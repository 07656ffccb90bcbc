//! The adapter between a proxy and the policies: the only crate that names proxy_wasm.
//!
//! | module | its one job |
//! |---|---|
//! | [`abi`] | hostcalls that return `Option`/`Result` and never panic |
//! | [`proxy`] | [`tollgate_core::World`] in terms of hostcalls |
//! | [`root`] | one plugin in one VM: configure, tick |
//! | [`stream`] | one HTTP exchange: callbacks in, actions out |
//! | [`watch`] | answers exchanges that the proxy cannot hold |
//!
//! See `docs/how-it-runs.md` for VMs, workers and phases.

mod abi;
mod proxy;
mod root;
mod stream;
mod watch;

use proxy_wasm::traits::RootContext;

/// What `set_root_context` of a module is given.
#[must_use]
pub fn new_root(context_id: u32) -> Box<dyn RootContext> {
    Box::new(root::Root::new(context_id))
}
