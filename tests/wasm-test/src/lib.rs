//! Lets ordinary tests run as WebAssembly under Node, in 32 bits, without a line about it in a test.
//!
//! `wasm-bindgen-test` needs its own attribute instead of `#[test]`. This crate exports that attribute under
//! the name `test`, and a crate (or a file in its `tests/`) that starts with
//! ```ignore
//! #[cfg(all(test, target_arch = "wasm32", target_os = "unknown"))]
//! #[macro_use(test)]
//! extern crate tollgate_wasm_test;
//! ```
//! has every `#[test]` in it mean that one, also inside `proptest!`. On other targets this crate is empty.
//! `make test` runs `cargo test --target wasm32-unknown-unknown` with `tests/wasm-runner`.
#![cfg(all(target_arch = "wasm32", target_os = "unknown"))]

pub use wasm_bindgen_test::wasm_bindgen_test as test;
