//! Criterion benchmarks of the policies.
#![forbid(unsafe_code)]
