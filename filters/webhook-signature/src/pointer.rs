//! Values out of a JSON body by JSON pointer (RFC 6901), read as the body passes: nothing of it is kept but the
//! values that were asked for.
//!
//! Strict, since a verifier and a receiver must not read one body in two ways: a member on the way to a value that is
//! there twice makes the body unreadable, and so does everything that RFC 8259 does not allow. Memory is bounded by
//! [`MAX_DEPTH`] and [`MAX_TEXT`].

use std::rc::Rc;
use tollgate_core::json::{Escape, InText, Number, Utf16, plain_text};

/// Deeper documents are not read.
const MAX_DEPTH: usize = 128;
/// Longer values are none.
const MAX_TEXT: usize = 4096;
/// More reference tokens than this make no sense.
const MAX_TOKENS: usize = 16;

/// A compiled pointer: its reference tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pointer(Vec<Vec<u8>>);

impl Pointer {
    /// Reads `/signature/token`; `~1` stands for `/`, `~0` for `~`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let tokens: Vec<Vec<u8>> = text
            .strip_prefix('/')?
            .split('/')
            .map(unescaped)
            .collect::<Option<_>>()?;
        let fits = tokens.len() <= MAX_TOKENS && tokens.iter().all(|t| t.len() <= MAX_TEXT);
        fits.then_some(Self(tokens))
    }
}

fn unescaped(token: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(token.len());
    let mut bytes = token.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'~' => match bytes.next()? {
                b'0' => b'~',
                b'1' => b'/',
                _ => return None,
            },
            other => other,
        });
    }
    Some(out)
}

/// What a pointer leads to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing.
    #[default]
    Nothing,
    /// A string, its escapes undone, or a number as it was written.
    Value(Vec<u8>),
    /// `null`, `true`, `false`, an object, a list, or a text that is too long.
    Other,
}

/// Where a pointer stands.
#[derive(Default)]
struct Track {
    /// So many of its tokens lead to where the reader is.
    on: usize,
    /// The most that `on` ever was: a second way to the same place is a duplicate.
    reached: usize,
    found: Found,
}

/// Reads a document in pieces cut anywhere.
pub(crate) struct Scanner {
    pointers: Rc<[Pointer]>,
    tracks: Vec<Track>,
    open: Vec<Frame>,
    state: State,
    text: Vec<u8>,
    /// The text is wanted.
    keeping: bool,
    too_long: bool,
    utf16: Utf16,
}

#[derive(Clone, Copy)]
enum Frame {
    Object,
    /// With the index of the next item.
    List(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Value,
    ValueOrClose,
    Key,
    KeyOrClose,
    Colon,
    CommaOrClose,
    Text { is_key: bool, escape: Escape },
    Number(Number),
    Literal(&'static [u8]),
    Done,
    Failed,
}

impl Scanner {
    /// A scanner at the start of a document.
    pub(crate) fn new(pointers: Rc<[Pointer]>) -> Self {
        Self {
            tracks: pointers.iter().map(|_| Track::default()).collect(),
            pointers,
            open: Vec::new(),
            state: State::Value,
            text: Vec::new(),
            keeping: false,
            too_long: false,
            utf16: Utf16::default(),
        }
    }

    /// Reads on.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
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
                    self.in_text(byte, is_key, escape);
                }
                State::Number(number) => match number.next(byte) {
                    Some(number) => {
                        self.keep(&[byte]);
                        self.state = State::Number(number);
                    }
                    // The byte belongs to what comes after the number.
                    None => {
                        self.end_number(number);
                        continue;
                    }
                },
                State::Literal(left) => match left.split_first() {
                    Some((&expected, left)) if expected == byte => {
                        self.state = State::Literal(left);
                        if left.is_empty() {
                            self.value(|_, _| Found::Other);
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

    /// The bytes are over: what the pointers lead to, in their order. `None`: this was no JSON, or one that can be
    /// read in two ways.
    pub(crate) fn finish(mut self) -> Option<Vec<Found>> {
        if let (State::Number(number), true) = (self.state, self.open.is_empty()) {
            self.end_number(number);
        }
        (self.state == State::Done).then(|| self.tracks.into_iter().map(|t| t.found).collect())
    }

    fn structure(&mut self, byte: u8) {
        self.state = match (self.state, byte) {
            (State::ValueOrClose, b']') => return self.close(),
            (State::Value | State::ValueOrClose, _) => return self.begin_value(byte),
            (State::Key | State::KeyOrClose, b'"') => {
                let level = self.open.len().saturating_sub(1);
                let wanted = self.tracks.iter().any(|t| t.on >= level);
                self.begin_text(wanted, true)
            }
            (State::KeyOrClose, b'}') => return self.close(),
            (State::Colon, b':') => State::Value,
            (State::CommaOrClose, _) => match (self.open.last(), byte) {
                (Some(Frame::Object), b',') => State::Key,
                (Some(Frame::List(_)), b',') => State::Value,
                (Some(Frame::Object), b'}') | (Some(Frame::List(_)), b']') => return self.close(),
                _ => State::Failed,
            },
            _ => State::Failed,
        };
    }

    fn begin_value(&mut self, byte: u8) {
        if let Some(Frame::List(next)) = self.open.last_mut() {
            let index = *next;
            *next = next.saturating_add(1);
            let mut digits = [0; 20];
            let digits = decimal(index, &mut digits);
            self.step_to(digits);
        }
        if self.state == State::Failed {
            return;
        }
        let wanted = self.is_wanted();
        self.state = match byte {
            b'{' => self.open(Frame::Object, State::KeyOrClose),
            b'[' => self.open(Frame::List(0), State::ValueOrClose),
            b'"' => self.begin_text(wanted, false),
            b'-' | b'0'..=b'9' => {
                self.begin_text(wanted, false);
                self.keep(&[byte]);
                State::Number(Number::start(byte))
            }
            b't' => State::Literal(b"rue"),
            b'f' => State::Literal(b"alse"),
            b'n' => State::Literal(b"ull"),
            _ => State::Failed,
        };
    }

    fn open(&mut self, frame: Frame, state: State) -> State {
        self.value(|_, _| Found::Other);
        if self.open.len() >= MAX_DEPTH {
            return State::Failed;
        }
        self.open.push(frame);
        state
    }

    fn close(&mut self) {
        self.open.pop();
        let depth = self.open.len();
        for track in &mut self.tracks {
            track.on = track.on.min(depth);
        }
        self.end_value();
    }

    fn end_value(&mut self) {
        self.state = if self.open.is_empty() {
            State::Done
        } else {
            State::CommaOrClose
        };
    }

    /// The reader enters the member or item `name` of the innermost container.
    fn step_to(&mut self, name: &[u8]) {
        let depth = self.open.len();
        let above = depth.saturating_sub(1);
        for (track, pointer) in self.tracks.iter_mut().zip(self.pointers.iter()) {
            if track.on < above {
                continue;
            }
            let leads = pointer.0.get(above).is_some_and(|token| token == name);
            track.on = if leads { depth } else { above };
            if leads {
                if track.reached >= depth {
                    self.state = State::Failed;
                    return;
                }
                track.reached = depth;
            }
        }
    }

    fn is_wanted(&self) -> bool {
        let depth = self.open.len();
        let mut tracks = self.tracks.iter().zip(self.pointers.iter());
        tracks.any(|(t, p)| t.on == depth && p.0.len() == depth)
    }

    /// The reader is at a value: whoever wants it gets what `make` makes of the text.
    fn value(&mut self, make: impl Fn(&[u8], bool) -> Found) {
        let depth = self.open.len();
        for (track, pointer) in self.tracks.iter_mut().zip(self.pointers.iter()) {
            if track.on == depth && pointer.0.len() == depth {
                track.found = make(&self.text, self.too_long);
            }
        }
    }

    fn text_value(&mut self) {
        self.value(|text, too_long| {
            if too_long {
                Found::Other
            } else {
                Found::Value(text.to_vec())
            }
        });
        self.end_value();
    }

    fn end_number(&mut self, number: Number) {
        if number.may_end() {
            self.text_value();
        } else {
            self.state = State::Failed;
        }
    }

    /// One byte of a string that is not plain text.
    fn in_text(&mut self, byte: u8, is_key: bool, escape: Escape) {
        let escape = match escape.next(byte) {
            InText::Within(escape) => escape,
            InText::Char(char) => {
                self.keep(&[char]);
                Escape::No
            }
            InText::Unit(unit) => {
                for char in self.utf16.unit(unit) {
                    self.keep(char.encode_utf8(&mut [0; 4]).as_bytes());
                }
                Escape::No
            }
            InText::End => return self.end_text(is_key),
            InText::Invalid => return self.state = State::Failed,
        };
        self.state = State::Text { is_key, escape };
    }

    fn end_text(&mut self, is_key: bool) {
        self.end_pair();
        if !is_key {
            return self.text_value();
        }
        self.state = State::Colon;
        if self.keeping {
            let name = std::mem::take(&mut self.text);
            self.step_to(&name);
            self.text = name;
        } else {
            // Too long for any token, or nobody is on the way.
            let above = self.open.len().saturating_sub(1);
            for track in &mut self.tracks {
                track.on = track.on.min(above);
            }
        }
    }

    fn begin_text(&mut self, wanted: bool, is_key: bool) -> State {
        self.text.clear();
        self.keeping = wanted;
        self.too_long = false;
        self.utf16 = Utf16::default();
        State::Text {
            is_key,
            escape: Escape::No,
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.end_pair();
        if !self.keeping {
            return;
        }
        if self.text.len().saturating_add(bytes.len()) > MAX_TEXT {
            self.too_long = true;
            self.keeping = false;
        } else {
            self.text.extend_from_slice(bytes);
        }
    }

    /// Half a pair alone is no character.
    fn end_pair(&mut self) {
        if self.utf16.is_broken_off() {
            self.keep("\u{fffd}".as_bytes());
        }
    }
}

/// A number as text, without an allocation.
fn decimal(number: usize, digits: &mut [u8; 20]) -> &[u8] {
    let mut rest = number;
    let mut start = digits.len();
    loop {
        start = start.saturating_sub(1);
        if let Some(place) = digits.get_mut(start) {
            *place = b'0'.saturating_add(u8::try_from(rest % 10).unwrap_or(0));
        }
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    digits.get(start..).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests;
