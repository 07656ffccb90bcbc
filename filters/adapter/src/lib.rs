//! The only crate that talks to the proxy.
#![forbid(unsafe_code)]
