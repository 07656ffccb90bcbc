//! tollgate: check configurations before a proxy sees them.
#![forbid(unsafe_code)]
