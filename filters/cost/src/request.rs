//! What a request asks for, read out of its JSON body as it arrives: model, messages, bounds, streaming.
//!
//! The bodies of all known providers are read with one table: what they call the same has the same name, what they call
//! differently does not clash. Memory is bounded; text is counted, not kept.

mod number;
mod places;
mod stream_options;

use crate::check::Invalid;
use crate::json::{Event, Node, ROOT, Scalar, Scanner, Table};
use places::*;
use std::rc::Rc;
use stream_options::StreamOptions;

pub use number::millionths;
pub use places::table;
pub use stream_options::Splice;

/// Reads a body; see the module.
#[derive(Debug)]
pub struct Reader {
    scanner: Scanner,
    asked: Asked,
}

/// What a request asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The model.
    pub model: Option<Vec<u8>>,
    /// How many messages there are.
    pub messages: u64,
    /// Characters of all text parts.
    pub chars: u64,
    /// Whether the answer shall be streamed.
    pub stream: bool,
    /// The numbers that were found, in millionths; `None`: not a number in bounds.
    numbers: Vec<(Node, Option<u64>)>,
    list: Option<Node>,
    message_full: bool,
    empty: Option<u64>,
    seen: u64,
    invalid: Option<Invalid>,
    options: StreamOptions,
}

impl Reader {
    /// A reader at the start of a body.
    #[must_use]
    pub fn new(table: Rc<Table>) -> Self {
        Self {
            scanner: Scanner::new(table),
            asked: Asked::default(),
        }
    }

    /// Reads the next piece.
    pub fn feed(&mut self, piece: &[u8]) {
        let asked = &mut self.asked;
        self.scanner
            .feed(piece, &mut |event, at| asked.note(event, at));
    }

    /// The body is over: what it asks for.
    ///
    /// # Errors
    /// It is not one JSON object, or says something twice or in a form that nobody can price.
    pub fn finish(mut self) -> Result<Asked, Invalid> {
        let asked = &mut self.asked;
        let whole = self.scanner.finish(&mut |event, at| asked.note(event, at));
        if !whole || self.asked.seen & bit(ROOT) == 0 {
            return Err(Invalid::new("body", "must be one JSON object"));
        }
        match self.asked.invalid.take() {
            Some(invalid) => Err(invalid),
            None => Ok(self.asked),
        }
    }
}

impl Asked {
    /// Tokens of the prompt: four characters are about one.
    #[must_use]
    pub fn input_tokens(&self) -> u64 {
        self.chars.div_ceil(4)
    }

    /// The most tokens that one answer may have, if the request says so.
    #[must_use]
    pub fn max_tokens(&self) -> Option<u64> {
        let whole = |n: Option<u64>| n.and_then(|n| n.checked_div(1_000_000));
        self.token_bounds().filter_map(|(_, n)| whole(n)).max()
    }

    /// How many answers are asked for.
    #[must_use]
    pub fn answers(&self) -> u64 {
        let choices = self
            .numbers
            .iter()
            .filter(|(node, _)| CHOICES.contains(node));
        let most = choices.filter_map(|(_, n)| n.and_then(|n| n.checked_div(1_000_000)));
        most.max().unwrap_or(1).max(1)
    }

    /// Every bound of tokens, by the field's name, in millionths.
    pub fn token_bounds(&self) -> impl Iterator<Item = (&'static str, Option<u64>)> {
        self.named(&MAX_TOKENS)
    }

    /// Every temperature, likewise.
    pub fn temperatures(&self) -> impl Iterator<Item = (&'static str, Option<u64>)> {
        self.named(&TEMPERATURES)
    }

    fn named<'a>(
        &'a self,
        wanted: &'static [Node],
    ) -> impl Iterator<Item = (&'static str, Option<u64>)> + use<'a> {
        self.numbers
            .iter()
            .filter(|(node, _)| wanted.contains(node))
            .map(|(node, number)| (name_of(*node), *number))
    }

    /// What the request calls its list of messages.
    #[must_use]
    pub fn messages_field(&self) -> &'static str {
        self.list.map_or("messages", name_of)
    }

    /// The first message without any content.
    #[must_use]
    pub fn empty_message(&self) -> Option<String> {
        let at = self.empty?;
        Some(format!("{}[{at}]", self.messages_field()))
    }

    /// The change to the body that makes a stream report its usage; `None` if it does already.
    #[must_use]
    pub fn usage_splice(&self) -> Option<Splice> {
        self.stream.then(|| self.options.splice()).flatten()
    }

    fn note(&mut self, event: Event<'_>, at: u64) {
        if self.options.note(&event, at) {
            return;
        }
        match event {
            Event::Open(ROOT, is_object) => {
                if is_object {
                    self.seen |= bit(ROOT);
                }
            }
            Event::Open(node, is_object) => {
                self.once(node);
                match node {
                    MESSAGE => self.message_full = false,
                    MESSAGES | CONTENTS if is_object => self.wrong(node),
                    MESSAGES | CONTENTS | INPUT => self.list = Some(node),
                    MODEL | STREAM => self.wrong(node),
                    _ if is_number(node) => self.wrong(node),
                    _ => {}
                }
            }
            Event::Close(MESSAGE, _) => {
                if !self.message_full && self.empty.is_none() {
                    self.empty = Some(self.messages);
                }
                self.messages = self.messages.saturating_add(1);
            }
            Event::Close(node @ (MESSAGES | CONTENTS), 0) => {
                self.fail(Invalid::new(name_of(node), "must not be empty"));
            }
            Event::Close(..) => {}
            // Something besides text: an image, a call of a tool.
            Event::Unknown(MESSAGE | PART) => self.message_full = true,
            Event::Unknown(_) => {}
            Event::Scalar(node, scalar) => self.scalar(node, scalar),
        }
    }

    fn scalar(&mut self, node: Node, scalar: Scalar<'_>) {
        if node != ROOT {
            self.once(node);
        }
        match (node, scalar) {
            (MODEL, Scalar::Text(text)) if text.whole && !text.bytes.is_empty() => {
                self.model = Some(text.bytes.to_vec());
            }
            (STREAM, Scalar::Bool(stream)) => self.stream = stream,
            (MESSAGE | CONTENT | PART | TEXT | INPUT | PROMPT, Scalar::Text(text)) => {
                self.chars = self.chars.saturating_add(text.chars);
                self.message_full |= !text.blank;
            }
            (_, Scalar::Null) => {}
            (MODEL | STREAM | MESSAGES | CONTENTS, _) => self.wrong(node),
            (node, scalar) if is_number(node) => {
                let number = match scalar {
                    Scalar::Number(digits) => millionths(digits),
                    _ => None,
                };
                self.numbers.push((node, number));
            }
            _ => {}
        }
    }

    /// What decides about money must be said once: of two values servers take the first or the last.
    fn once(&mut self, node: Node) {
        let bit = bit(node);
        if self.seen & bit != 0 && is_once(node) {
            self.fail(Invalid::new(name_of(node), "must not be given twice"));
        }
        self.seen |= bit;
    }

    fn wrong(&mut self, node: Node) {
        let kind = match node {
            MODEL => "must be a string of at most 128 bytes",
            STREAM => "must be true or false",
            MESSAGES | CONTENTS => "must be a list",
            _ => "must be a number",
        };
        self.fail(Invalid::new(name_of(node), kind));
    }

    fn fail(&mut self, invalid: Invalid) {
        self.invalid.get_or_insert(invalid);
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)] // in a test an overflow is a finding
mod tests;
