//! Values out of a JSON body by JSON pointer (RFC 6901), read as the body passes: nothing of it is kept but the
//! values that were asked for.
//!
//! Strict, since a verifier and a receiver must not read one body in two ways: a member on the way to a value that is
//! there twice makes the body unreadable, and so does everything that RFC 8259 does not allow. Memory is bounded by
//! [`MAX_DEPTH`] and [`MAX_TEXT`].

use std::rc::Rc;

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
    high: u16,
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
        !matches!(self, Self::Minus | Self::Point | Self::E | Self::Sign)
    }
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
            high: 0,
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
                State::Number(match byte {
                    b'-' => Number::Minus,
                    b'0' => Number::Zero,
                    _ => Number::Whole,
                })
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
        let escape = match (escape, byte) {
            (Escape::No, b'"') => return self.end_text(is_key),
            (Escape::No, b'\\') => Escape::Backslash,
            // A control character must be escaped.
            (Escape::No, _) => return self.state = State::Failed,
            (Escape::Backslash, b'u') => Escape::Hex { left: 4, code: 0 },
            (Escape::Backslash, _) => {
                let char = match byte {
                    b'"' | b'\\' | b'/' => byte,
                    b'b' => 8,
                    b'f' => 12,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    _ => return self.state = State::Failed,
                };
                self.keep(&[char]);
                Escape::No
            }
            (Escape::Hex { left, code }, _) => {
                let digit = char::from(byte).to_digit(16);
                let Some(digit) = digit.and_then(|d| u16::try_from(d).ok()) else {
                    return self.state = State::Failed;
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
        };
        self.state = State::Text { is_key, escape };
    }

    fn end_text(&mut self, is_key: bool) {
        self.flush_high();
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
        self.high = 0;
        State::Text {
            is_key,
            escape: Escape::No,
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.flush_high();
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

    fn keep_utf16(&mut self, code: u16) {
        let high = std::mem::take(&mut self.high);
        if high == 0 && (0xd800..0xdc00).contains(&code) {
            self.high = code;
            return;
        }
        let units = [high, code];
        let units = units.get(usize::from(high == 0)..).unwrap_or_default();
        for char in char::decode_utf16(units.iter().copied()) {
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scan(pointers: &[&str], pieces: &[&[u8]]) -> Option<Vec<Found>> {
        let pointers: Rc<[Pointer]> = pointers
            .iter()
            .map(|p| Pointer::parse(p).unwrap())
            .collect();
        let mut scanner = Scanner::new(pointers);
        for piece in pieces {
            scanner.feed(piece);
        }
        scanner.finish()
    }

    fn find(pointer: &str, json: &str) -> Option<Found> {
        let whole = scan(&[pointer], &[json.as_bytes()]);
        let bytes: Vec<&[u8]> = json.as_bytes().chunks(1).collect();
        assert_eq!(scan(&[pointer], &bytes), whole, "{pointer} in {json}");
        whole.map(|mut found| found.remove(0))
    }

    fn text(value: &str) -> Option<Found> {
        Some(Found::Value(value.as_bytes().to_vec()))
    }

    #[test]
    fn values_are_found_as_they_were_written() {
        let json = r#" {"x": [1, {"a": "no"}], "a": {"b": "t\u00e9\n\"\ud83d\ude00", "n": -1.50e+3, "": "empty"},
            "m~/n": "odd", "list": [[], ["p", 17]], "big": 123456789012345678901234567890} "#;
        assert_eq!(find("/a/b", json), text("té\n\"😀"));
        assert_eq!(find("/a/n", json), text("-1.50e+3"));
        assert_eq!(find("/a/", json), text("empty"));
        assert_eq!(find("/m~0~1n", json), text("odd"));
        assert_eq!(find("/list/1/1", json), text("17"));
        assert_eq!(find("/x/1/a", json), text("no"));
        assert_eq!(find("/big", json), text("123456789012345678901234567890"));
        for nothing in [
            "/b", "/a/b/c", "/list/2", "/list/01", "/list/-", "/x/0/a", "/A/b",
        ] {
            assert_eq!(find(nothing, json), Some(Found::Nothing), "{nothing}");
        }
        for other in ["/a", "/list", "/list/0"] {
            assert_eq!(find(other, json), Some(Found::Other), "{other}");
        }
        assert_eq!(find("/a", "[true]"), Some(Found::Nothing));
        assert_eq!(find("/0", "[true]"), Some(Found::Other));
        assert_eq!(find("/0", "[null, 1]"), Some(Found::Other));
        assert_eq!(find("/1", "[null, 1]"), text("1"));
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_not_read() {
        for json in [
            r#"{"a": 1, "a": 2}"#,
            r#"{"a": {"b": 1}, "a": {}}"#,
            r#"{"a": {"b": 1}, "\u0061": {"b": 2}}"#,
            r#"{"a": {"b": 1, "b": 1}}"#,
        ] {
            let pointer = if json.contains("\"b\"") { "/a/b" } else { "/a" };
            assert_eq!(find(pointer, json), None, "{json}");
        }
        // Elsewhere it is nobody's business.
        assert_eq!(
            find("/a", r#"{"x": {"a": 1, "a": 2}, "x": 1, "a": 3}"#),
            text("3")
        );
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for bad in [
            "",
            " ",
            "{",
            "}",
            "[1,]",
            "{\"a\":1,}",
            "{\"a\" 1}",
            "{a:1}",
            "[1 2]",
            "01",
            "-",
            "1.",
            ".5",
            "1e",
            "+1",
            "nul",
            "nullx",
            "\"a",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"\t\"",
            "{} {}",
            "[1}",
            "{\"a\":1]",
            "'a'",
            "\u{feff}{}",
            "[]]",
            "{\"a\":}",
        ] {
            assert_eq!(find("/a", bad), None, "{bad:?}");
        }
        for good in ["0", "-0.1E-2", "\"a\"", "null", "true ", "\n[]", "{}", "1"] {
            assert_eq!(find("/a", good), Some(Found::Nothing), "{good:?}");
        }
    }

    #[test]
    fn memory_is_bounded() {
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(find("/a", &deep(128)).is_some());
        assert!(find("/a", &deep(129)).is_none());
        let long = |n: usize| format!("{{\"a\": \"{}\", \"b\": 1}}", "x".repeat(n));
        assert_eq!(find("/a", &long(4096)), text(&"x".repeat(4096)));
        assert_eq!(find("/a", &long(4097)), Some(Found::Other));
        assert_eq!(find("/b", &long(100_000)), text("1"));
        let key = |n: usize| format!("{{\"{}\": 1, \"b\": 2}}", "b".repeat(n));
        assert_eq!(find("/b", &key(5000)), text("2"));
        assert!(Pointer::parse(&"/a".repeat(16)).is_some());
        assert!(Pointer::parse(&"/a".repeat(17)).is_none());
    }

    #[test]
    fn pointers_are_read_strictly() {
        for bad in ["", "a", "a/b", "/a~", "/a~2b", "~0"] {
            assert_eq!(Pointer::parse(bad), None, "{bad:?}");
        }
    }

    fn documents() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            "\\PC{0,8}".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 30, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                proptest::collection::vec(("[ab~/\"é]{0,2}", inner), 0..4)
                    .prop_map(|pairs| pairs.into_iter().collect::<serde_json::Map<_, _>>().into()),
            ]
        })
    }

    proptest! {
        /// Every pointer into every document leads to what serde_json says, wherever the bytes are cut.
        #[test]
        fn agrees_with_serde_json(json in documents(), tokens in proptest::collection::vec("[ab~/\"é01]{0,2}", 1..4), cut in 0_usize..200) {
            let pointer: String = tokens.iter().map(|t| format!("/{}", t.replace('~', "~0").replace('/', "~1"))).collect();
            let bytes = json.to_string().into_bytes();
            let cut = cut.min(bytes.len());
            let found = scan(&[&pointer], &[&bytes[..cut], &bytes[cut..]]).unwrap().remove(0);
            let expected = match json.pointer(&pointer) {
                None => Found::Nothing,
                Some(serde_json::Value::String(text)) => Found::Value(text.clone().into_bytes()),
                Some(number @ serde_json::Value::Number(_)) => Found::Value(number.to_string().into_bytes()),
                Some(_) => Found::Other,
            };
            prop_assert_eq!(found, expected);
        }

        /// What is accepted is JSON, and what is JSON is accepted (short of depth and duplicates).
        #[test]
        fn accepts_what_serde_json_accepts(text in "[\\[\\]{}\",:0-9.eE+\\-ntrufalse \\\\]{0,12}") {
            let ours = scan(&["/zzz"], &[text.as_bytes()]).is_some();
            let theirs = serde_json::from_str::<serde_json::Value>(&text);
            // serde_json refuses numbers beyond f64 and lone surrogates.
            if theirs.is_ok() {
                prop_assert!(ours);
            }
            if ours && !text.contains(['e', 'E', '\\']) {
                prop_assert!(theirs.is_ok());
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = scan(&["/a", "/0/b"], &[&bytes]);
        }
    }
}
