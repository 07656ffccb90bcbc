//! Reads JSON as it arrives, in pieces cut anywhere, and reports the few scalars somebody asked for.
//!
//! Memory is bounded whatever comes: nesting by [`MAX_DEPTH`], a kept name or value by [`MAX_TEXT`]. Text that nobody
//! asked for is skipped, not kept. Bytes of strings are not checked to be UTF-8; everything else of RFC 8259 is.

/// Deeper documents are given up.
pub const MAX_DEPTH: usize = 128;
/// Longer names are unknown, longer values are [`Scalar::Other`].
pub const MAX_TEXT: usize = 128;

/// A place in a document, as numbered by a table of [`Member`]s.
pub type Node = u8;

/// The document itself.
pub const ROOT: Node = 0;
/// Anything nobody asked for.
const ELSEWHERE: Node = Node::MAX;

/// "In an object at `of`, the member called `name` is the place `node`." Several may lead to one place.
#[derive(Debug)]
pub struct Member {
    /// Where the object is.
    pub of: Node,
    /// The member's name.
    pub name: &'static str,
    /// The number of the place.
    pub node: Node,
}

/// A value that is neither an object nor a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar<'a> {
    /// A string, escapes decoded.
    Text(&'a [u8]),
    /// A number as it was written.
    Number(&'a [u8]),
    /// `null`.
    Null,
    /// `true`, `false`, or something too long to keep.
    Other,
}

/// See the module.
#[derive(Debug)]
pub struct Scanner {
    table: &'static [Member],
    open: Vec<Frame>,
    /// The place of the value that is being read, or comes next.
    node: Node,
    state: State,
    /// A name or value that somebody may want.
    kept: Vec<u8>,
    keeping: bool,
    too_long: bool,
    /// First half of an escaped surrogate pair, or 0.
    high: u16,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    is_object: bool,
    node: Node,
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
    /// What is left of `true`, `false` or `null`.
    Literal(&'static [u8], bool),
    Done,
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escape {
    No,
    Backslash,
    Hex { left: u8, code: u16 },
}

/// Where in `-12.5e+3` the last byte was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    Minus,
    Zero,
    Whole,
    Point,
    Fraction,
    E,
    Sign,
    Exponent,
}

impl Number {
    fn next(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::Minus, b'0') => Self::Zero,
            (Self::Minus, b'1'..=b'9') | (Self::Whole, b'0'..=b'9') => Self::Whole,
            (Self::Zero | Self::Whole, b'.') => Self::Point,
            (Self::Point | Self::Fraction, b'0'..=b'9') => Self::Fraction,
            (Self::Zero | Self::Whole | Self::Fraction, b'e' | b'E') => Self::E,
            (Self::E, b'+' | b'-') => Self::Sign,
            (Self::E | Self::Sign | Self::Exponent, b'0'..=b'9') => Self::Exponent,
            _ => return None,
        })
    }

    fn may_end(self) -> bool {
        matches!(
            self,
            Self::Zero | Self::Whole | Self::Fraction | Self::Exponent
        )
    }
}

impl Scanner {
    /// A scanner at the start of a document.
    #[must_use]
    pub fn new(table: &'static [Member]) -> Self {
        Self {
            table,
            open: Vec::new(),
            node: ROOT,
            state: State::Value,
            kept: Vec::new(),
            keeping: false,
            too_long: false,
            high: 0,
        }
    }

    /// Back to the start of a document.
    pub fn reset(&mut self) {
        self.open.clear();
        self.node = ROOT;
        self.state = State::Value;
    }

    /// Whether the rest cannot be JSON any more (or is nested too deep); feeding on changes nothing.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.state == State::Failed
    }

    /// Reads on. `found` is told every scalar at a place of the table, in order.
    pub fn feed(&mut self, bytes: &[u8], found: &mut impl FnMut(Node, Scalar<'_>)) {
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
                            continue;
                        }
                    }
                    self.text(byte, is_key, escape, found);
                }
                State::Number(number) => match number.next(byte) {
                    Some(number) => {
                        self.keep(&[byte]);
                        self.state = State::Number(number);
                    }
                    // The byte belongs to what comes after the number.
                    None => {
                        self.end_number(number, found);
                        continue;
                    }
                },
                State::Literal(left, null) => match left.split_first() {
                    Some((&expected, left)) if expected == byte => {
                        self.state = State::Literal(left, null);
                        if left.is_empty() {
                            let scalar = if null { Scalar::Null } else { Scalar::Other };
                            if self.node != ELSEWHERE {
                                found(self.node, scalar);
                            }
                            self.end_value();
                        }
                    }
                    _ => self.state = State::Failed,
                },
                _ if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') => {}
                _ => self.structure(byte),
            }
            rest = tail;
        }
    }

    /// The bytes are over: whether they were one whole document.
    pub fn finish(&mut self, found: &mut impl FnMut(Node, Scalar<'_>)) -> bool {
        if let (State::Number(number), true) = (self.state, self.open.is_empty()) {
            self.end_number(number, found);
        }
        self.state == State::Done
    }

    fn structure(&mut self, byte: u8) {
        self.state = match (self.state, byte) {
            (State::Value | State::ValueOrClose, _) if byte != b']' => self.begin_value(byte),
            (State::ValueOrClose, b']') => return self.close(false),
            (State::Key | State::KeyOrClose, b'"') => {
                let wanted = self.open.last().is_some_and(|f| f.node != ELSEWHERE);
                self.start_keeping(wanted);
                State::Text {
                    is_key: true,
                    escape: Escape::No,
                }
            }
            (State::KeyOrClose, b'}') => return self.close(true),
            (State::Colon, b':') => State::Value,
            (State::CommaOrClose, b'}') => return self.close(true),
            (State::CommaOrClose, b']') => return self.close(false),
            (State::CommaOrClose, b',') => match self.open.last() {
                Some(frame) if frame.is_object => State::Key,
                // Whatever is inside a list is elsewhere, and so still is the next item.
                Some(_) => State::Value,
                None => State::Failed,
            },
            _ => State::Failed,
        };
    }

    fn begin_value(&mut self, byte: u8) -> State {
        match byte {
            b'{' => self.begin(true),
            b'[' => self.begin(false),
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
                State::Number(match byte {
                    b'-' => Number::Minus,
                    b'0' => Number::Zero,
                    _ => Number::Whole,
                })
            }
            b't' => State::Literal(b"rue", false),
            b'f' => State::Literal(b"alse", false),
            b'n' => State::Literal(b"ull", true),
            _ => State::Failed,
        }
    }

    fn begin(&mut self, is_object: bool) -> State {
        if self.open.len() >= MAX_DEPTH {
            return State::Failed;
        }
        let node = if is_object { self.node } else { ELSEWHERE };
        self.open.push(Frame { is_object, node });
        if is_object {
            State::KeyOrClose
        } else {
            self.node = ELSEWHERE;
            State::ValueOrClose
        }
    }

    fn close(&mut self, is_object: bool) {
        match self.open.pop() {
            Some(frame) if frame.is_object == is_object => self.end_value(),
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

    fn end_number(&mut self, number: Number, found: &mut impl FnMut(Node, Scalar<'_>)) {
        if !number.may_end() {
            self.state = State::Failed;
            return;
        }
        if self.node != ELSEWHERE {
            let number = Scalar::Number(&self.kept);
            found(
                self.node,
                if self.too_long { Scalar::Other } else { number },
            );
        }
        self.end_value();
    }

    /// One byte of a string that is not plain text.
    fn text(
        &mut self,
        byte: u8,
        is_key: bool,
        escape: Escape,
        found: &mut impl FnMut(Node, Scalar<'_>),
    ) {
        let escape = match (escape, byte) {
            (Escape::No, b'"') => return self.end_text(is_key, found),
            (Escape::No, b'\\') => Escape::Backslash,
            (Escape::Backslash, b'u') => Escape::Hex { left: 4, code: 0 },
            (Escape::Backslash, _) => {
                let Some(char) = unescaped(byte) else {
                    self.state = State::Failed;
                    return;
                };
                self.keep(&[char]);
                Escape::No
            }
            (Escape::Hex { left, code }, _) => {
                let digit = char::from(byte).to_digit(16);
                let Some(digit) = digit.and_then(|d| u16::try_from(d).ok()) else {
                    self.state = State::Failed;
                    return;
                };
                let code = code.wrapping_shl(4) | digit;
                if left > 1 {
                    Escape::Hex {
                        left: left.saturating_sub(1),
                        code,
                    }
                } else {
                    self.keep_utf16(code);
                    Escape::No
                }
            }
            // A control character must be escaped.
            (Escape::No, _) => {
                self.state = State::Failed;
                return;
            }
        };
        self.state = State::Text { is_key, escape };
    }

    fn end_text(&mut self, is_key: bool, found: &mut impl FnMut(Node, Scalar<'_>)) {
        self.flush_high();
        if is_key {
            let of = self.open.last().map_or(ELSEWHERE, |f| f.node);
            let known = self
                .table
                .iter()
                .find(|m| m.of == of && m.name.as_bytes() == self.kept);
            self.node = match known {
                Some(member) if of != ELSEWHERE && !self.too_long => member.node,
                _ => ELSEWHERE,
            };
            self.state = State::Colon;
            return;
        }
        if self.node != ELSEWHERE {
            let text = Scalar::Text(&self.kept);
            found(self.node, if self.too_long { Scalar::Other } else { text });
        }
        self.end_value();
    }

    fn start_keeping(&mut self, wanted: bool) {
        self.kept.clear();
        self.keeping = wanted;
        self.too_long = false;
        self.high = 0;
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.flush_high();
        if !self.keeping {
            return;
        }
        if self.kept.len().saturating_add(bytes.len()) > MAX_TEXT {
            self.too_long = true;
            self.keeping = false;
        } else {
            self.kept.extend_from_slice(bytes);
        }
    }

    fn keep_utf16(&mut self, code: u16) {
        let high = std::mem::take(&mut self.high);
        if high == 0 && (0xd800..0xdc00).contains(&code) {
            self.high = code;
            return;
        }
        let units = [high, code];
        let units = if high == 0 {
            units.get(1..)
        } else {
            units.get(..)
        };
        for char in char::decode_utf16(units.unwrap_or_default().iter().copied()) {
            let char = char.unwrap_or(char::REPLACEMENT_CHARACTER);
            self.keep(char.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }

    /// Half a pair alone is no character.
    fn flush_high(&mut self) {
        if std::mem::take(&mut self.high) != 0 {
            self.keep("\u{fffd}".as_bytes());
        }
    }
}

/// The start of the bytes up to a quote, a backslash or a control character.
fn plain_text(bytes: &[u8]) -> &[u8] {
    let special = |b: &u8| *b == b'"' || *b == b'\\' || *b < 0x20;
    let length = bytes.iter().position(special).unwrap_or(bytes.len());
    bytes.get(..length).unwrap_or_default()
}

fn unescaped(byte: u8) -> Option<u8> {
    Some(match byte {
        b'"' | b'\\' | b'/' => byte,
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        _ => return None,
    })
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)] // in a test an overflow is a finding
mod tests;
