//! Server-sent events out of bytes cut anywhere; nothing is kept but the place in a line.
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream>

const DATA: &[u8] = b"data";

/// See the module.
#[derive(Debug, Default)]
pub struct Events {
    line: Line,
    /// The last byte was a CR: a LF now belongs to the same line end.
    after_cr: bool,
    /// The event has data.
    has_data: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Line {
    /// At its beginning.
    #[default]
    Start,
    /// This much of `data` has been read.
    Name(usize),
    /// After `data:`, where one space is dropped.
    Colon,
    /// In the value of `data:`.
    Data,
    /// In another field, or a comment.
    Other,
}

impl Events {
    /// Reads on. `found` is given the data of an event in pieces, then `None` when the event is over.
    /// An event whose empty line never comes counts when the stream ends.
    pub fn feed(&mut self, bytes: &[u8], end: bool, found: &mut impl FnMut(Option<&[u8]>)) {
        let mut rest = bytes;
        while let Some((&byte, tail)) = rest.split_first() {
            let is_end = matches!(byte, b'\r' | b'\n');
            if self.line == Line::Data && !is_end {
                let special = |b: &u8| matches!(b, b'\r' | b'\n');
                let length = rest.iter().position(special).unwrap_or(rest.len());
                found(rest.get(..length));
                rest = rest.get(length..).unwrap_or_default();
                continue;
            }
            rest = tail;
            if byte == b'\n' && std::mem::take(&mut self.after_cr) {
                continue;
            }
            self.after_cr = byte == b'\r';
            if is_end {
                self.end_line(found);
            } else {
                self.in_line(byte, found);
            }
        }
        if end {
            if self.line != Line::Start {
                self.end_line(found);
            }
            self.end_event(found);
        }
    }

    fn in_line(&mut self, byte: u8, found: &mut impl FnMut(Option<&[u8]>)) {
        let name = match self.line {
            Line::Start => 0,
            Line::Name(read) => read,
            Line::Colon => {
                self.line = Line::Data;
                if byte != b' ' {
                    found(Some(&[byte]));
                }
                return;
            }
            Line::Data | Line::Other => return,
        };
        self.line = match DATA.get(name) {
            Some(expected) if *expected == byte => Line::Name(name.saturating_add(1)),
            None if byte == b':' => {
                self.has_data = true;
                Line::Colon
            }
            _ => Line::Other,
        };
    }

    fn end_line(&mut self, found: &mut impl FnMut(Option<&[u8]>)) {
        match self.line {
            Line::Start => self.end_event(found),
            // Lines of data are joined by a line feed.
            Line::Data | Line::Colon => found(Some(b"\n")),
            Line::Name(_) | Line::Other => {}
        }
        self.line = Line::Start;
    }

    fn end_event(&mut self, found: &mut impl FnMut(Option<&[u8]>)) {
        if std::mem::take(&mut self.has_data) {
            found(None);
        }
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)] // in a test an overflow is a finding
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn events(pieces: &[&[u8]]) -> Vec<String> {
        let mut reader = Events::default();
        let mut all = Vec::new();
        let mut event = Vec::new();
        let last = pieces.len() - 1;
        for (i, piece) in pieces.iter().enumerate() {
            reader.feed(piece, i == last, &mut |data| match data {
                Some(data) => event.extend_from_slice(data),
                None => all.push(String::from_utf8_lossy(&std::mem::take(&mut event)).into_owned()),
            });
        }
        all
    }

    #[test]
    fn events_end_with_an_empty_line_or_the_stream() {
        assert_eq!(events(&[b"data: one\n\ndata: two\n\n"]), ["one\n", "two\n"]);
        assert_eq!(events(&[b"data: one\n\ndata: two"]), ["one\n", "two\n"]);
        assert_eq!(events(&[b"data: a\ndata: b\n\n"]), ["a\nb\n"]);
        assert_eq!(
            events(&[b"data:a\r\n\r\ndata:  b\r\rdata:c"]),
            ["a\n", " b\n", "c\n"]
        );
    }

    #[test]
    fn other_fields_and_comments_are_not_data() {
        let bytes = b": data: no\nevent: data\nid: 1\ndatax: no\ndat: no\nretry: 1\n\ndata\n\n";
        assert_eq!(events(&[bytes]), Vec::<String>::new());
        assert_eq!(events(&[b"event: x\ndata: yes\n\n"]), ["yes\n"]);
        assert_eq!(events(&[b"data:\n\n"]), ["\n"]);
    }

    proptest! {
        #[test]
        fn where_the_bytes_are_cut_changes_nothing(text in "(data|:| |\r|\n|a|\u{e9}){0,40}", cut: prop::sample::Index) {
            let bytes = text.as_bytes();
            let (head, tail) = bytes.split_at(cut.index(bytes.len() + 1));
            prop_assert_eq!(events(&[head, tail]), events(&[bytes]));
            let single: Vec<&[u8]> = bytes.chunks(1).chain([&[][..]]).collect();
            prop_assert_eq!(events(&single), events(&[bytes]));
        }
    }
}
