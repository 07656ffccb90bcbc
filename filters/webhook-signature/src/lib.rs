//! Webhook signature verification.
#![forbid(unsafe_code)]
