//! All five policies as one chain, and its configuration.
#![forbid(unsafe_code)]
