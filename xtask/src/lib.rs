//! Build steps that cargo does not have.
#![forbid(unsafe_code)]
