//! The WebAssembly module: one Cargo feature a filter.
#![forbid(unsafe_code)]
