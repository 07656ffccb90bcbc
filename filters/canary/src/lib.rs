//! Header-based canary routing.
#![forbid(unsafe_code)]
