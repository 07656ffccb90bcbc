//! Request cost accounting.
#![forbid(unsafe_code)]
