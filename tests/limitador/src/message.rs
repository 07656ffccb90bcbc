//! The fields of `envoy/service/ratelimit/v3/rls.proto` that Limitador reads and writes.

/// `RateLimitRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RateLimitRequest {
    /// Limitador's namespace.
    #[prost(string, tag = "1")]
    pub domain: String,
    /// In their order.
    #[prost(message, repeated, tag = "2")]
    pub descriptors: Vec<Descriptor>,
    /// 0 counts as 1.
    #[prost(uint32, tag = "3")]
    pub hits_addend: u32,
}

/// `envoy.extensions.common.ratelimit.v3.RateLimitDescriptor`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Descriptor {
    /// In their order.
    #[prost(message, repeated, tag = "1")]
    pub entries: Vec<Entry>,
}

/// An entry of it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Entry {
    /// Its key.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Its value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// `RateLimitResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RateLimitResponse {
    /// 0 unknown, 1 OK, 2 over the limit.
    #[prost(int32, tag = "1")]
    pub overall_code: i32,
    /// What the client is told.
    #[prost(message, repeated, tag = "3")]
    pub response_headers_to_add: Vec<Header>,
}

/// `envoy.config.core.v3.HeaderValue`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Header {
    /// Its name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Its value.
    #[prost(string, tag = "2")]
    pub value: String,
}
