//! What the upstream sends back: a value, written by both protocol servers.

use std::time::Duration;

/// Header or trailer lines, in order; any bytes.
pub type Lines = Vec<(Vec<u8>, Vec<u8>)>;

/// One part of an answer's body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Bytes sent at once (one chunk, or one DATA frame).
    Data(Vec<u8>),
    /// A wait before the next piece.
    Pause(Duration),
    /// The connection (HTTP/1) or stream (HTTP/2) is cut here.
    Abort,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// How long to wait before the first byte.
    pub delay: Duration,
    /// The status code.
    pub status: u16,
    /// The headers; the framing headers are added when written.
    pub headers: Lines,
    /// The body.
    pub body: Vec<Piece>,
    /// Trailers; they make an HTTP/1 answer chunked.
    pub trailers: Lines,
    /// Chunked instead of Content-Length (HTTP/1).
    pub chunked: bool,
}

impl Answer {
    /// An answer with one body and its content type.
    #[must_use]
    pub fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            delay: Duration::ZERO,
            status,
            headers: vec![(b"content-type".to_vec(), content_type.as_bytes().to_vec())],
            body: vec![Piece::Data(body.into())],
            trailers: Vec::new(),
            chunked: false,
        }
    }

    /// A JSON answer.
    #[must_use]
    pub fn json(status: u16, value: &serde_json::Value) -> Self {
        Self::new(status, "application/json", value.to_string())
    }

    /// The length of the whole body, unless it is cut.
    #[must_use]
    pub fn length(&self) -> usize {
        self.body
            .iter()
            .map(|piece| {
                if let Piece::Data(data) = piece {
                    data.len()
                } else {
                    0
                }
            })
            .sum()
    }

    /// Whether an HTTP/1 answer needs chunks.
    #[must_use]
    pub fn needs_chunks(&self) -> bool {
        self.chunked || !self.trailers.is_empty()
    }
}
