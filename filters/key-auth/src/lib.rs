//! API-key authentication.
#![forbid(unsafe_code)]
