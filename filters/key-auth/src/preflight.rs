//! CORS preflights.

use tollgate_core::Exchange;

/// The header that makes a request a preflight.
pub(crate) const PREFLIGHT: &str = "access-control-request-method";

/// A CORS preflight (<https://fetch.spec.whatwg.org/#cors-preflight-request>): browsers send it without
/// credentials and without a body. One that asks to be taken for another method is none.
#[inline(never)]
pub(crate) fn is_preflight(exchange: &Exchange) -> bool {
    const OVERRIDES: [&str; 3] = [
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
    ];
    let request = &exchange.request;
    exchange.method() == b"OPTIONS"
        && exchange.bodyless
        && request.contains("origin")
        && request.contains(PREFLIGHT)
        && !OVERRIDES.iter().any(|name| request.contains(name))
}
