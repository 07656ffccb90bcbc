//! Benchmarks live in `benches/policies.rs` (Criterion, native) and `envoy/` (CPU per request in a real Envoy).
