//! A header map as the proxy holds it: ordered, with duplicates, values of bytes.
//!
//! Values may be any bytes but CR, LF and NUL (Envoy passes `\x80`-`\xff` on); names are
//! lower-case ASCII. The map is parsed in place from the wire form of the
//! [proxy-wasm ABI](https://github.com/proxy-wasm/spec/tree/main/abi-versions/v0.2.1#serialized-map) and
//! remembers what was changed, so that the adapter can send just the changes.

mod name;
mod wire;

pub use name::HeaderName;
pub use wire::MalformedMap;

use std::fmt;

/// One change that a policy made and the proxy has still to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderOp {
    /// Replace all values of the name by this one.
    Set(HeaderName, Vec<u8>),
    /// Add a line beside those of the same name.
    Append(HeaderName, Vec<u8>),
    /// Remove all values of the name.
    Remove(HeaderName),
}

impl HeaderOp {
    /// The header it is about.
    #[must_use]
    pub fn name(&self) -> &HeaderName {
        match self {
            Self::Set(name, _) | Self::Append(name, _) | Self::Remove(name) => name,
        }
    }
}

/// A header was sent more than once where one value was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Duplicate;

#[derive(Clone, Copy)]
struct Span {
    start: usize,
    len: usize,
}

/// Of a pair that was taken out. No name is that long.
const NO_NAME: Span = Span {
    start: 0,
    len: usize::MAX,
};

/// A pair. What was changed is marked here and not listed apart, and all names and values lie among the bytes of the map:
/// most requests set several headers, and an allocation for each would cost more than the setting.
struct Entry {
    name: Span,
    value: Span,
    change: Change,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    /// As it came, or told already.
    None,
    /// Replaces all values of the name.
    Set,
    /// A line beside the others.
    Append,
}

/// What a change does to a header, as [`Headers::drain_changes`] shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderChange<'a> {
    /// Replace all values by this one.
    Set(&'a [u8]),
    /// Add a line.
    Append(&'a [u8]),
    /// Remove all values.
    Remove,
}

/// See the module. Lookups take lower-case names.
#[derive(Default)]
pub struct Headers {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// Names whose removal is to be told.
    removed: Vec<Span>,
    /// There are changes to be told.
    changed: bool,
}

/// Larger buffers are not kept for the next exchange.
const MOST_SPARE: usize = 128;
pub(crate) const MOST_SPARE_BYTES: usize = 8_192;

impl Headers {
    /// For tests and other hosts than a proxy. Names are lower-cased.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<[u8]>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let mut map = Self::default();
        for (name, value) in pairs {
            map.push(
                name.as_ref().to_ascii_lowercase().as_bytes(),
                value.as_ref(),
            );
        }
        map
    }

    /// The first value, where the proxy itself guarantees that there is only one (pseudo headers)
    /// or where any will do. For anything that decides something, use [`Headers::sole`].
    #[must_use]
    #[inline(never)]
    pub fn first(&self, name: &str) -> Option<&[u8]> {
        self.value_at(self.find(0, name))
    }

    /// The only value of the name.
    ///
    /// # Errors
    /// [`Duplicate`] when there are several: which of them an upstream reads is anybody's guess.
    pub fn sole(&self, name: &str) -> Result<Option<&[u8]>, Duplicate> {
        let at = self.find(0, name);
        let first = self.value_at(at);
        if first.is_some()
            && self
                .value_at(self.find(at.saturating_add(1), name))
                .is_some()
        {
            return Err(Duplicate);
        }
        Ok(first)
    }

    /// All values of the name, in the order in which they arrived.
    pub fn get_all<'a, 'n>(
        &'a self,
        name: &'n str,
    ) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        let mut from = 0;
        std::iter::from_fn(move || {
            let at = self.find(from, name);
            from = at.saturating_add(1);
            self.value_at(at)
        })
    }

    /// Whether the header is there, with whatever value.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.first(name).is_some()
    }

    /// All pairs in order. Names are bytes here, too: they are ASCII in practice.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.entries
            .iter()
            .filter(|e| e.name.len != NO_NAME.len)
            .map(|e| (slice(&self.bytes, e.name), slice(&self.bytes, e.value)))
    }

    /// Names of a length that fits. Most names need not be looked at to know that they are others.
    pub fn names_of_length(&self, fits: impl Fn(usize) -> bool) -> impl Iterator<Item = &[u8]> {
        self.entries
            .iter()
            .filter(move |e| fits(e.name.len) && e.name.len != NO_NAME.len)
            .map(|e| slice(&self.bytes, e.name))
    }

    /// How many pairs there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there is no pair.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Replaces all values of the name by one. CR, LF and NUL become spaces: Envoy does not check
    /// what a filter sets, so a value with a line break would split the message.
    #[inline]
    pub fn set(&mut self, name: &HeaderName, value: impl AsRef<[u8]>) {
        self.set_bytes(name, value.as_ref());
    }

    #[inline(never)]
    fn set_bytes(&mut self, name: &HeaderName, value: &[u8]) {
        self.forget(name.as_str());
        self.add(name, value, Change::Set);
    }

    /// Adds a line besides those that are there (`set-cookie`); values are cleaned as by [`Headers::set`].
    pub fn append(&mut self, name: &HeaderName, value: impl AsRef<[u8]>) {
        self.add(name, value.as_ref(), Change::Append);
    }

    fn add(&mut self, name: &HeaderName, value: &[u8], change: Change) {
        self.changed = true;
        let name = self.keep(name.as_str().as_bytes());
        let kept = self.keep(value);
        if value.iter().any(is_unclean) {
            self.clean(kept);
        }
        self.entries.push(Entry {
            name,
            value: kept,
            change,
        });
    }

    #[cold]
    fn clean(&mut self, span: Span) {
        for byte in self.bytes.iter_mut().skip(span.start).take(span.len) {
            if is_unclean(byte) {
                *byte = b' ';
            }
        }
    }

    /// Removes all values of the name; does nothing (and costs nothing) when there is none.
    /// Pseudo headers stay.
    #[inline(never)]
    pub fn remove(&mut self, name: &HeaderName) -> bool {
        if name.is_pseudo() || !self.forget(name.as_str()) {
            return false;
        }
        self.changed = true;
        let name = name.as_str().as_bytes();
        if !self.removed.iter().any(|r| slice(&self.bytes, *r) == name) {
            let name = self.keep(name);
            self.removed.push(name);
        }
        true
    }

    /// Shows the changes since the last call, for the proxy: names and what becomes of them. Removals come first (in no
    /// particular order), the others in the order in which they were made.
    pub fn drain_changes(&mut self, mut show: impl FnMut(&[u8], HeaderChange<'_>)) {
        if !std::mem::take(&mut self.changed) {
            return;
        }
        for name in &self.removed {
            let name = slice(&self.bytes, *name);
            let replaced =
                |e: &Entry| e.change == Change::Set && slice(&self.bytes, e.name) == name;
            if !self.entries.iter().any(replaced) {
                show(name, HeaderChange::Remove);
            }
        }
        self.removed.clear();
        for entry in &mut self.entries {
            let value = slice(&self.bytes, entry.value);
            let change = match std::mem::replace(&mut entry.change, Change::None) {
                Change::None => continue,
                Change::Set => HeaderChange::Set(value),
                Change::Append => HeaderChange::Append(value),
            };
            show(slice(&self.bytes, entry.name), change);
        }
    }

    /// The changes since the last call, as values of their own.
    pub fn take_ops(&mut self) -> Vec<HeaderOp> {
        let mut ops = Vec::new();
        self.drain_changes(|name, change| {
            // What was changed has a `HeaderName`.
            let name = HeaderName::known(std::str::from_utf8(name).unwrap_or_default());
            ops.push(match change {
                HeaderChange::Set(value) => HeaderOp::Set(name, value.to_vec()),
                HeaderChange::Append(value) => HeaderOp::Append(name, value.to_vec()),
                HeaderChange::Remove => HeaderOp::Remove(name),
            });
        });
        ops
    }

    /// Whether there is a change that nobody was shown yet.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        self.changed
    }

    /// The position of the first pair of the name, from a position on; the number of pairs, if there is none.
    #[inline(never)]
    fn find(&self, from: usize, name: &str) -> usize {
        let rest = self.entries.iter().skip(from);
        // Most names differ in length, which is cheaper to see than their bytes.
        let others = rest.take_while(|e| {
            e.name.len != name.len() || slice(&self.bytes, e.name) != name.as_bytes()
        });
        others.count().saturating_add(from)
    }

    fn value_at(&self, at: usize) -> Option<&[u8]> {
        self.entries.get(at).map(|e| slice(&self.bytes, e.value))
    }

    /// Takes out all pairs of the name: they stay where they are, without one. Whether there was any is returned.
    fn forget(&mut self, name: &str) -> bool {
        let mut any = false;
        loop {
            let at = self.find(0, name);
            let Some(entry) = self.entries.get_mut(at) else {
                return any;
            };
            entry.name = NO_NAME;
            entry.change = Change::None;
            any = true;
        }
    }

    fn push(&mut self, name: &[u8], value: &[u8]) {
        let name = self.keep(name);
        let value = self.keep(value);
        self.entries.push(Entry {
            name,
            value,
            change: Change::None,
        });
    }

    fn keep(&mut self, bytes: &[u8]) -> Span {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        Span {
            start,
            len: bytes.len(),
        }
    }

    /// Forgets all pairs, but not the room for them, unless there is a lot of it.
    #[inline(never)]
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
        self.removed.clear();
        self.changed = false;
        if self.entries.capacity() > MOST_SPARE || self.bytes.capacity() > MOST_SPARE_BYTES {
            *self = Self::default();
        }
    }
}

/// Would break a line apart, or end a text.
fn is_unclean(byte: &u8) -> bool {
    matches!(byte, b'\r' | b'\n' | 0)
}

/// Names only: values may be credentials.
impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.iter().map(|(n, _)| String::from_utf8_lossy(n)))
            .finish()
    }
}

fn slice(bytes: &[u8], span: Span) -> &[u8] {
    bytes
        .get(span.start..span.start.saturating_add(span.len))
        .unwrap_or_default()
}
