//! What goes over the wire: requests and answers.

use serde::Deserialize;

use crate::bytes::Bytes;
use crate::matcher::Yes;
use crate::sign::Sign;
use crate::time::Span;

/// A request.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Request {
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: Bytes,
    /// `Host` or `:authority`.
    pub authority: Bytes,
    /// 1 or 2.
    pub http: u8,
    /// `[[name, value], ...]` or `{name: "x-{i}", value: v, times: 1000}`.
    pub headers: Vec<HeaderItem>,
    /// The chunks, each written by itself.
    pub body: Vec<Chunk>,
    /// HTTP/1: chunked instead of Content-Length.
    pub chunked: bool,
    /// Trailers; with HTTP/1 they need `chunked`.
    pub trailers: Vec<HeaderItem>,
    /// The client's address (default 127.0.0.1).
    pub client: Option<String>,
    /// The client goes away when the given body is sent, without ending the request.
    pub abort: bool,
    /// Signatures to compute over the request; their headers come after `headers`.
    pub sign: Option<Sign>,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            method: "GET".to_owned(),
            path: "/".into(),
            authority: "api.example.test".into(),
            http: 1,
            headers: Vec::new(),
            body: Vec::new(),
            chunked: false,
            trailers: Vec::new(),
            client: None,
            abort: false,
            sign: None,
        }
    }
}

impl Request {
    /// All body bytes.
    #[must_use]
    pub fn whole_body(&self) -> Vec<u8> {
        whole(&self.body)
    }
}

/// All data of a body.
#[must_use]
pub fn whole(chunks: &[Chunk]) -> Vec<u8> {
    chunks
        .iter()
        .filter_map(Chunk::data)
        .flatten()
        .copied()
        .collect()
}

/// One header, or a series of them.
#[derive(Debug, Clone, Deserialize)]
#[serde(
    untagged,
    expecting = "[name, value] or {name: \"x-{i}\", value: v, times: n}"
)]
pub enum HeaderItem {
    /// `[name, value]`
    Pair(Bytes, Bytes),
    /// A series; `{i}` in the name is its number.
    Series(Series),
}

/// A series of headers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Series {
    /// The name, with `{i}`.
    pub name: String,
    /// The value of each.
    pub value: Bytes,
    /// How many.
    pub times: usize,
}

/// Header lines as they go over the wire.
pub type Lines = Vec<(Vec<u8>, Vec<u8>)>;

/// Writes the series out.
#[must_use]
pub fn lines(items: &[HeaderItem]) -> Lines {
    let mut lines = Lines::new();
    for item in items {
        match item {
            HeaderItem::Pair(name, value) => lines.push((name.0.clone(), value.0.clone())),
            HeaderItem::Series(series) => lines.extend((0..series.times).map(|i| {
                (
                    series.name.replace("{i}", &i.to_string()).into_bytes(),
                    series.value.0.clone(),
                )
            })),
        }
    }
    lines
}

/// A piece of a body.
#[derive(Debug, Clone, Deserialize)]
#[serde(
    untagged,
    expecting = "a text, {bytes:}, {repeat:, times:}, {pause: 10ms} or {cut: true}"
)]
pub enum Chunk {
    /// Bytes.
    Data(Bytes),
    /// A (real) wait; an engine without time ignores it.
    Pause {
        /// How long.
        pause: Span,
    },
    /// Only in an upstream's answer: the connection ends here.
    Cut {
        /// `true`
        cut: Yes,
    },
}

impl Chunk {
    /// The bytes, if it has any.
    #[must_use]
    pub fn data(&self) -> Option<&[u8]> {
        if let Self::Data(bytes) = self {
            Some(&bytes.0)
        } else {
            None
        }
    }
}

/// An upstream's answer; by default 200 with the body `ok`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: Vec<HeaderItem>,
    /// The body.
    pub body: Vec<Chunk>,
    /// The trailers.
    pub trailers: Vec<HeaderItem>,
    /// HTTP/1: chunked even without trailers.
    pub chunked: bool,
    /// Before the first byte (real time).
    pub delay: Span,
}

impl Default for Answer {
    fn default() -> Self {
        Self {
            status: 200,
            headers: vec![HeaderItem::Pair("content-type".into(), "text/plain".into())],
            body: vec![Chunk::Data("ok".into())],
            trailers: Vec::new(),
            chunked: false,
            delay: Span(0),
        }
    }
}
