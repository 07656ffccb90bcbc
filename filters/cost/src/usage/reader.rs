//! Finds usage in an answer's body as it passes by.

use crate::json::{Event, Scanner, Table};
use crate::sse::Events;
use crate::usage::Findings;
use std::rc::Rc;

/// See the module.
#[derive(Debug)]
pub struct Reader {
    framing: Framing,
    scanner: Scanner,
    /// Of the document that is being read.
    current: Findings,
    /// Of all whole documents.
    findings: Findings,
    /// Whether a whole document was read.
    complete: bool,
}

/// How documents lie in a body.
#[derive(Debug)]
enum Framing {
    /// It is one.
    One,
    /// Server-sent events, one in each.
    Events(Events),
    /// One in each line.
    Lines,
}

impl Reader {
    fn new(framing: Framing, table: Rc<Table>) -> Self {
        Self {
            framing,
            scanner: Scanner::new(table),
            current: Findings::default(),
            findings: Findings::default(),
            complete: false,
        }
    }

    /// For `application/json`.
    #[must_use]
    pub fn json(table: Rc<Table>) -> Self {
        Self::new(Framing::One, table)
    }

    /// For `text/event-stream`.
    #[must_use]
    pub fn events(table: Rc<Table>) -> Self {
        Self::new(Framing::Events(Events::default()), table)
    }

    /// For `application/x-ndjson` (<https://github.com/ndjson/ndjson-spec>) and `application/jsonl`.
    #[must_use]
    pub fn lines(table: Rc<Table>) -> Self {
        Self::new(Framing::Lines, table)
    }

    /// By the media type, in lower case. `None`: no document can be expected in it.
    #[must_use]
    pub fn of_type(media_type: &[u8], table: Rc<Table>) -> Option<Self> {
        match media_type {
            b"text/event-stream" => Some(Self::events(table)),
            b"application/x-ndjson"
            | b"application/ndjson"
            | b"application/jsonl"
            | b"application/x-jsonlines"
            | b"application/jsonlines" => Some(Self::lines(table)),
            other => {
                let is_json = other == b"application/json" || other.ends_with(b"+json");
                is_json.then(|| Self::json(table))
            }
        }
    }

    /// Whether the answer is one document, not a stream of them.
    #[must_use]
    pub fn is_one_document(&self) -> bool {
        matches!(self.framing, Framing::One)
    }

    /// Reads the next piece; `end` with the last one.
    pub fn feed(&mut self, piece: &[u8], end: bool) {
        let Self {
            framing,
            scanner,
            current,
            findings,
            complete,
        } = self;
        let mut document = Document {
            scanner,
            current,
            findings,
            complete,
        };
        match framing {
            Framing::One => {
                document.feed(piece);
                if end {
                    document.end();
                }
            }
            Framing::Events(events) => {
                events.feed(piece, end, &mut |data| match data {
                    Some(data) => document.feed(data),
                    None => document.end(),
                });
            }
            Framing::Lines => {
                let mut lines = piece.split(|b| *b == b'\n');
                document.feed(lines.next().unwrap_or_default());
                for line in lines {
                    document.end();
                    document.feed(line);
                }
                if end {
                    document.end();
                }
            }
        }
    }

    /// Whether nothing that may still come can bring any usage.
    #[must_use]
    pub fn is_hopeless(&self) -> bool {
        self.is_one_document() && self.scanner.has_failed()
    }

    /// What the answer said, as far as it arrived. Half a document says nothing: what looks like its usage could still be
    /// contradicted. Of a stream every whole event or line counts.
    #[must_use]
    pub fn findings(&self) -> Option<&Findings> {
        (self.complete || !self.is_one_document()).then_some(&self.findings)
    }
}

struct Document<'r> {
    scanner: &'r mut Scanner,
    current: &'r mut Findings,
    findings: &'r mut Findings,
    complete: &'r mut bool,
}

impl Document<'_> {
    fn feed(&mut self, bytes: &[u8]) {
        let current = &mut *self.current;
        self.scanner
            .feed(bytes, &mut |event, _| note(current, event));
    }

    fn end(&mut self) {
        let current = &mut *self.current;
        let whole = self.scanner.finish(&mut |event, _| note(current, event));
        // `[DONE]` and others that are not JSON report nothing.
        if whole {
            self.findings.merge(self.current);
            *self.complete = true;
        }
        *self.current = Findings::default();
        self.scanner.reset();
    }
}

fn note(findings: &mut Findings, event: Event<'_>) {
    if let Event::Scalar(node, scalar) = event {
        findings.note(node, scalar);
    }
}
