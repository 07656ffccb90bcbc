//! Reads JSON as it arrives, in pieces cut anywhere, and reports what somebody asked for.
//!
//! Memory is bounded whatever comes: nesting by [`MAX_DEPTH`], a kept name or value by [`MAX_TEXT`]. Text that nobody
//! asked for is skipped, not kept. Bytes of strings are not checked to be UTF-8; everything else of RFC 8259 is.

mod strings;
mod table;

pub use table::{Node, ROOT, Table};

use std::rc::Rc;
use table::ELSEWHERE;
use tollgate_core::json::{Escape, Number, Utf16, plain_text};

/// Deeper documents are given up.
pub const MAX_DEPTH: usize = 128;
/// Longer names are unknown; of longer texts only the beginning is kept.
pub const MAX_TEXT: usize = 128;

/// Something at a place of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A value that is neither an object nor a list.
    Scalar(Node, Scalar<'a>),
    /// An object (`true`) or a list begins.
    Open(Node, bool),
    /// It ends; how many members or items it had.
    Close(Node, u32),
    /// An object at this place has a member that the table does not know, and that is not null.
    Unknown(Node),
}

/// A value that is neither an object nor a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar<'a> {
    /// A string, escapes decoded.
    Text(Text<'a>),
    /// A number as it was written.
    Number(&'a [u8]),
    /// `true`, `false`.
    Bool(bool),
    /// `null`.
    Null,
    /// A number too long to keep.
    Other,
}

/// A string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text<'a> {
    /// It, or its beginning.
    pub bytes: &'a [u8],
    /// Whether `bytes` is all of it.
    pub whole: bool,
    /// How many characters all of it has.
    pub chars: u64,
    /// Whether all of it is blanks.
    pub blank: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Scanner {
    table: Rc<Table>,
    open: Vec<Frame>,
    /// The place of the value that is being read, or comes next.
    node: Node,
    state: State,
    /// Bytes read of the document.
    at: u64,
    /// A name or value that somebody may want.
    kept: Vec<u8>,
    keeping: bool,
    too_long: bool,
    chars: u64,
    blank: bool,
    utf16: Utf16,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    is_object: bool,
    node: Node,
    count: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Value,
    ValueOrClose,
    Key,
    KeyOrClose,
    Colon,
    CommaOrClose,
    Text {
        is_key: bool,
        escape: Escape,
    },
    Number(Number),
    /// What is left of `true`, `false` or `null`, and which of them it is.
    Literal(&'static [u8], Scalar<'static>),
    Done,
    Failed,
}

impl Scanner {
    /// A scanner at the start of a document.
    #[must_use]
    pub fn new(table: Rc<Table>) -> Self {
        Self {
            table,
            open: Vec::new(),
            node: ROOT,
            state: State::Value,
            at: 0,
            kept: Vec::new(),
            keeping: false,
            too_long: false,
            chars: 0,
            blank: true,
            utf16: Utf16::default(),
        }
    }

    /// Back to the start of a document.
    pub fn reset(&mut self) {
        self.open.clear();
        self.node = ROOT;
        self.state = State::Value;
        self.at = 0;
    }

    /// Whether the rest cannot be JSON any more (or is nested too deep); feeding on changes nothing.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.state == State::Failed
    }

    /// Reads on. `found` is told everything at a place of the table, in order, and how many bytes of the document
    /// had been read then.
    pub fn feed(&mut self, bytes: &[u8], found: &mut impl FnMut(Event<'_>, u64)) {
        let mut rest = bytes;
        while let Some((&byte, tail)) = rest.split_first() {
            match self.state {
                State::Failed => return,
                State::Text { is_key, escape } => {
                    if escape == Escape::No {
                        let plain = plain_text(rest);
                        if !plain.is_empty() {
                            self.keep(plain);
                            rest = rest.get(plain.len()..).unwrap_or_default();
                            self.advance(plain.len());
                            continue;
                        }
                    }
                    self.advance(1);
                    self.text(byte, is_key, escape, found);
                }
                State::Number(number) => match number.next(byte) {
                    Some(number) => {
                        self.advance(1);
                        self.keep(&[byte]);
                        self.state = State::Number(number);
                    }
                    // The byte belongs to what comes after the number.
                    None => {
                        self.end_number(number, found);
                        continue;
                    }
                },
                State::Literal(left, scalar) => {
                    self.advance(1);
                    match left.split_first() {
                        Some((&expected, left)) if expected == byte => {
                            self.state = State::Literal(left, scalar);
                            if left.is_empty() {
                                self.tell(scalar, found);
                                self.end_value();
                            }
                        }
                        _ => self.state = State::Failed,
                    }
                }
                _ if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') => self.advance(1),
                _ => {
                    self.advance(1);
                    self.structure(byte, found);
                }
            }
            rest = tail;
        }
    }

    /// The bytes are over: whether they were one whole document.
    pub fn finish(&mut self, found: &mut impl FnMut(Event<'_>, u64)) -> bool {
        if let (State::Number(number), true) = (self.state, self.open.is_empty()) {
            self.end_number(number, found);
        }
        self.state == State::Done
    }

    fn advance(&mut self, by: usize) {
        let by = u64::try_from(by).unwrap_or(u64::MAX);
        self.at = self.at.saturating_add(by);
    }

    fn tell(&self, scalar: Scalar<'_>, found: &mut impl FnMut(Event<'_>, u64)) {
        if self.node != ELSEWHERE {
            found(Event::Scalar(self.node, scalar), self.at);
        }
    }

    fn structure(&mut self, byte: u8, found: &mut impl FnMut(Event<'_>, u64)) {
        self.state = match (self.state, byte) {
            (State::Value | State::ValueOrClose, _) if byte != b']' => {
                return self.begin_value(byte, found);
            }
            (State::ValueOrClose, b']') => return self.close(false, found),
            (State::Key | State::KeyOrClose, b'"') => {
                let wanted = self.open.last().is_some_and(|f| f.node != ELSEWHERE);
                self.start_keeping(wanted);
                State::Text {
                    is_key: true,
                    escape: Escape::No,
                }
            }
            (State::KeyOrClose, b'}') => return self.close(true, found),
            (State::Colon, b':') => State::Value,
            (State::CommaOrClose, b'}') => return self.close(true, found),
            (State::CommaOrClose, b']') => return self.close(false, found),
            (State::CommaOrClose, b',') => match self.open.last() {
                Some(frame) if frame.is_object => State::Key,
                Some(frame) => {
                    self.node = self.table.item(frame.node, frame.count);
                    State::Value
                }
                None => State::Failed,
            },
            _ => State::Failed,
        };
    }

    fn begin_value(&mut self, byte: u8, found: &mut impl FnMut(Event<'_>, u64)) {
        if let Some(parent) = self.open.last_mut() {
            parent.count = parent.count.saturating_add(1);
            if parent.is_object
                && parent.node != ELSEWHERE
                && self.node == ELSEWHERE
                && byte != b'n'
            {
                found(Event::Unknown(parent.node), self.at);
            }
        }
        self.state = match byte {
            b'{' => self.begin(true, found),
            b'[' => self.begin(false, found),
            b'"' => {
                self.start_keeping(self.node != ELSEWHERE);
                State::Text {
                    is_key: false,
                    escape: Escape::No,
                }
            }
            b'-' | b'0'..=b'9' => {
                self.start_keeping(self.node != ELSEWHERE);
                self.keep(&[byte]);
                State::Number(Number::start(byte))
            }
            b't' => State::Literal(b"rue", Scalar::Bool(true)),
            b'f' => State::Literal(b"alse", Scalar::Bool(false)),
            b'n' => State::Literal(b"ull", Scalar::Null),
            _ => State::Failed,
        };
    }

    fn begin(&mut self, is_object: bool, found: &mut impl FnMut(Event<'_>, u64)) -> State {
        if self.open.len() >= MAX_DEPTH {
            return State::Failed;
        }
        if self.node != ELSEWHERE {
            found(Event::Open(self.node, is_object), self.at);
        }
        self.open.push(Frame {
            is_object,
            node: self.node,
            count: 0,
        });
        if is_object {
            State::KeyOrClose
        } else {
            self.node = self.table.item(self.node, 0);
            State::ValueOrClose
        }
    }

    fn close(&mut self, is_object: bool, found: &mut impl FnMut(Event<'_>, u64)) {
        match self.open.pop() {
            Some(frame) if frame.is_object == is_object => {
                if frame.node != ELSEWHERE {
                    found(Event::Close(frame.node, frame.count), self.at);
                }
                self.end_value();
            }
            _ => self.state = State::Failed,
        }
    }

    fn end_value(&mut self) {
        self.state = if self.open.is_empty() {
            State::Done
        } else {
            State::CommaOrClose
        };
    }

    fn end_number(&mut self, number: Number, found: &mut impl FnMut(Event<'_>, u64)) {
        if !number.may_end() {
            self.state = State::Failed;
            return;
        }
        let scalar = if self.too_long {
            Scalar::Other
        } else {
            Scalar::Number(&self.kept)
        };
        self.tell(scalar, found);
        self.end_value();
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)] // in a test an overflow is a finding
mod tests;
