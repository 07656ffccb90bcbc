//! Token-bucket rate limiting.
#![forbid(unsafe_code)]
