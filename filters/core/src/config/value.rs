//! Cursors into a configuration that know their path.

use super::node::Node;
use super::report::Report;
use crate::headers::HeaderName;
use crate::money::Money;
use crate::time::{Duration, UnixNanos};
use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::rc::Rc;

/// One value and where it stands.
#[derive(Clone)]
pub struct Value<'a> {
    node: &'a Node,
    path: String,
    report: &'a Report,
}

impl<'a> Value<'a> {
    pub(super) fn new(node: &'a Node, path: String, report: &'a Report) -> Self {
        Self { node, path, report }
    }

    /// Where it stands, e.g. `rate_limit.limits[0].name`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The value as it was written.
    #[must_use]
    pub fn node(&self) -> &'a Node {
        self.node
    }

    /// Notes an error here. `problem` must not repeat the value.
    pub fn error(&self, problem: impl Into<String>) {
        self.report.error(&self.path, problem);
    }

    /// Notes a warning here.
    pub fn warn(&self, problem: impl Into<String>) {
        self.report.warn(&self.path, problem);
    }

    /// An object.
    #[must_use]
    pub fn section(self) -> Option<Section<'a>> {
        match self.node {
            Node::Object(pairs) => {
                let mut seen: Vec<&str> = Vec::with_capacity(pairs.len());
                for (key, _) in pairs {
                    if seen.contains(&key.as_str()) {
                        self.report.error(&join(&self.path, key), "written twice");
                    }
                    seen.push(key);
                }
                Some(Section {
                    pairs,
                    path: self.path,
                    report: self.report,
                    asked: RefCell::new(Vec::new()),
                })
            }
            other => self.wrong("an object", other),
        }
    }

    /// A list; its items.
    #[must_use]
    pub fn list(self) -> Option<Vec<Value<'a>>> {
        match self.node {
            Node::List(items) => Some(
                items
                    .iter()
                    .enumerate()
                    .map(|(i, node)| Value {
                        node,
                        path: format!("{}[{i}]", self.path),
                        report: self.report,
                    })
                    .collect(),
            ),
            other => self.wrong("a list", other),
        }
    }

    /// A string, may be empty.
    #[must_use]
    pub fn text(&self) -> Option<&'a str> {
        match self.node {
            Node::Text(text) => Some(text),
            other => self.wrong("a string", other),
        }
    }

    /// A string that is not empty.
    #[must_use]
    pub fn nonempty(&self) -> Option<&'a str> {
        self.text()
            .and_then(|t| self.accept((!t.is_empty()).then_some(t), "must not be empty"))
    }

    /// `true` or `false`.
    #[must_use]
    pub fn boolean(&self) -> Option<bool> {
        match self.node {
            Node::Bool(b) => Some(*b),
            other => self.wrong("true or false", other),
        }
    }

    /// A whole number within bounds.
    #[must_use]
    pub fn integer(&self, bounds: RangeInclusive<u64>) -> Option<u64> {
        match self.node {
            Node::Integer(n) if bounds.contains(n) => Some(*n),
            Node::Integer(_) | Node::Fraction(_) => {
                self.error(format!(
                    "must be a whole number from {} to {}",
                    bounds.start(),
                    bounds.end()
                ));
                None
            }
            other => self.wrong("a whole number", other),
        }
    }

    /// A number with up to `decimals` decimals, as a multiple of 10^-decimals: `2.5` with two decimals is 250.
    /// Written as a number or as a string.
    #[must_use]
    #[allow(clippy::float_arithmetic)] // a JSON number may arrive as a double; it is shown and read as text
    pub fn decimal(&self, decimals: u32, max: u64) -> Option<u64> {
        let text = match self.node {
            Node::Integer(n) => n.to_string(),
            Node::Fraction(f) => f.to_string(),
            Node::Text(text) => text.clone(),
            other => return self.wrong("a number", other),
        };
        let scale = 10_u64.checked_pow(12_u32.saturating_sub(decimals));
        let scaled = Money::parse(&text).and_then(|m| {
            let scale = scale?;
            (m.pico().checked_rem(scale)? == 0).then_some(m.pico().checked_div(scale)?)
        });
        self.accept(
            scaled.filter(|n| *n <= max),
            "must be a number, not negative, in bounds and with no more decimals than are allowed here",
        )
    }

    /// A time span such as `60s`, `24h`, `1h30m`.
    #[must_use]
    pub fn duration(&self) -> Option<Duration> {
        let text = self.text()?;
        self.accept(
            Duration::parse(text),
            "must be a time span such as 250ms, 60s, 10m, 24h, 90d",
        )
    }

    /// An instant in RFC 3339, or a date.
    #[must_use]
    pub fn instant(&self) -> Option<UnixNanos> {
        let text = self.text()?;
        self.accept(
            UnixNanos::parse(text),
            "must be a time such as 2026-12-31T00:00:00Z, or a date such as 2026-12-31",
        )
    }

    /// Money, as a string: `"0.0020"`.
    #[must_use]
    pub fn money(&self) -> Option<Money> {
        match self.node {
            Node::Integer(_) | Node::Fraction(_) => {
                self.error(
                    "money is a string, such as \"0.0020\": numbers lose precision on their way",
                );
                None
            }
            _ => {
                let text = self.text()?;
                self.accept(
                    Money::parse(text),
                    "must be an amount such as \"0.0020\": digits, at most 12 decimals, at most 18 million",
                )
            }
        }
    }

    /// A name that may stand in headers, logs and metric labels: 1 to 128 characters out of
    /// letters, digits and `. _ - / @ : +`.
    #[must_use]
    pub fn identifier(&self) -> Option<Rc<str>> {
        let text = self.text()?;
        let good = |b: u8| b.is_ascii_alphanumeric() || b"._-/@:+".contains(&b);
        let fits = !text.is_empty() && text.len() <= 128 && text.bytes().all(good);
        self.accept(
            fits.then(|| Rc::from(text)),
            "must be 1 to 128 characters out of A-Z a-z 0-9 . _ - / @ : +",
        )
    }

    /// A header name; lower-cased.
    #[must_use]
    pub fn header_name(&self) -> Option<HeaderName> {
        let text = self.text()?;
        self.accept(
            HeaderName::parse(text).filter(|n| !n.is_pseudo()),
            "must be a header name",
        )
    }

    /// One of the words.
    #[must_use]
    pub fn one_of<T: Clone>(&self, words: &[(&str, T)]) -> Option<T> {
        let text = self.text()?;
        let found = words.iter().find(|(w, _)| *w == text);
        if found.is_none() {
            let words: Vec<&str> = words.iter().map(|(w, _)| *w).collect();
            self.error(format!("must be one of {}", words.join(", ")));
        }
        found.map(|(_, t)| t.clone())
    }

    /// Passes a value on, or notes the error.
    pub fn accept<T>(&self, value: Option<T>, problem: &str) -> Option<T> {
        if value.is_none() {
            self.error(problem);
        }
        value
    }

    fn wrong<T>(&self, expected: &str, found: &Node) -> Option<T> {
        self.error(format!("must be {expected}, not {}", found.kind()));
        None
    }
}

/// An object being read. Call [`Section::finish`] at the end, or unknown fields go unnoticed.
pub struct Section<'a> {
    pairs: &'a [(String, Node)],
    path: String,
    report: &'a Report,
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Section<'a> {
    /// Where it stands.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Where errors go.
    #[must_use]
    pub fn report(&self) -> &'a Report {
        self.report
    }

    /// Notes an error about the section as a whole.
    pub fn error(&self, problem: impl Into<String>) {
        self.report.error(&self.path, problem);
    }

    /// Notes a warning about the section as a whole.
    pub fn warn(&self, problem: impl Into<String>) {
        self.report.warn(&self.path, problem);
    }

    /// A field that may be missing (or `null`).
    #[must_use]
    pub fn optional(&self, field: &'static str) -> Option<Value<'a>> {
        self.ask(field);
        self.pairs
            .iter()
            .find(|(key, node)| key == field && *node != Node::Null)
            .map(|(key, node)| Value {
                node,
                path: join(&self.path, key),
                report: self.report,
            })
    }

    /// A field that must be there.
    #[must_use]
    pub fn required(&self, field: &'static str) -> Option<Value<'a>> {
        let value = self.optional(field);
        if value.is_none() {
            self.report.error(&join(&self.path, field), "is missing");
        }
        value
    }

    /// The items of a list that may be missing.
    #[must_use]
    pub fn items(&self, field: &'static str) -> Vec<Value<'a>> {
        self.optional(field)
            .and_then(Value::list)
            .unwrap_or_default()
    }

    /// All fields, for objects whose keys are the user's own names (`groups: {gold: ...}`).
    /// They count as known. Order means nothing: hosts sort keys.
    #[must_use]
    pub fn entries(&self) -> Vec<(&'a str, Value<'a>)> {
        self.pairs
            .iter()
            .map(|(key, node)| {
                let path = join(&self.path, key);
                (
                    key.as_str(),
                    Value {
                        node,
                        path,
                        report: self.report,
                    },
                )
            })
            .collect()
    }

    /// Notes every field that nobody asked for.
    pub fn finish(self) {
        let mut asked = self.asked.into_inner();
        asked.sort_unstable();
        for (key, _) in self.pairs {
            if !asked.contains(&key.as_str()) {
                self.report.error(
                    &join(&self.path, key),
                    format!("unknown field; known here: {}", asked.join(", ")),
                );
            }
        }
    }

    fn ask(&self, field: &'static str) {
        let mut asked = self.asked.borrow_mut();
        if !asked.contains(&field) {
            asked.push(field);
        }
    }
}

fn join(path: &str, field: &str) -> String {
    let plain = !field.is_empty()
        && field.len() <= 64
        && field
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    let shown = if plain {
        field.to_owned()
    } else {
        // Somebody's odd key; shown escaped and short, so that a path stays one line.
        format!("[{:?}]", field.chars().take(64).collect::<String>())
    };
    if path.is_empty() {
        shown
    } else if plain {
        format!("{path}.{shown}")
    } else {
        format!("{path}{shown}")
    }
}
