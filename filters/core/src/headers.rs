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

/// A pair. What was changed is marked here and not listed apart, and values lie among the bytes of the map: most requests
/// set several headers, and an allocation for each would cost more than the setting.
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
    /// No pair any more: stands for the removal of all values, until that is told.
    Removed,
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
    /// As the proxy handed them over.
    bytes: Vec<u8>,
    /// What was added; spans count on from the end of `bytes`.
    added: Vec<u8>,
    entries: Vec<Entry>,
    /// There are changes to be told.
    changed: bool,
}

/// The room that a map had.
#[derive(Default)]
pub(crate) struct Buffers {
    added: Vec<u8>,
    entries: Vec<Entry>,
}

/// Pairs that policies add without the map having to grow, and bytes for them.
const ROOM: usize = 8;
const ROOM_BYTES: usize = 512;

/// Larger buffers are not kept for the next exchange.
const MOST_SPARE: usize = 128;
pub(crate) const MOST_SPARE_BYTES: usize = 4_096;

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
        self.get_all(name).next()
    }

    /// The only value of the name.
    ///
    /// # Errors
    /// [`Duplicate`] when there are several: which of them an upstream reads is anybody's guess.
    pub fn sole(&self, name: &str) -> Result<Option<&[u8]>, Duplicate> {
        let mut all = self.get_all(name);
        let first = all.next();
        if all.next().is_some() {
            return Err(Duplicate);
        }
        Ok(first)
    }

    /// All values of the name, in the order in which they arrived.
    pub fn get_all<'a, 'n>(
        &'a self,
        name: &'n str,
    ) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.entries
            .iter()
            .filter(move |e| is_named(&self.bytes, &self.added, e, name))
            .map(|e| self.slice(e.value))
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
            .filter(|e| e.change != Change::Removed)
            .map(|e| (self.slice(e.name), self.slice(e.value)))
    }

    /// Names of a length that fits. Most names need not be looked at to know that they are others.
    pub fn names_of_length(&self, fits: impl Fn(usize) -> bool) -> impl Iterator<Item = &[u8]> {
        self.entries
            .iter()
            .filter(move |e| fits(e.name.len) && e.change != Change::Removed)
            .map(|e| self.slice(e.name))
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
        if !self.changed {
            self.changed = true;
            self.entries.reserve(ROOM);
            self.added.reserve(ROOM_BYTES);
        }
        let start = self.bytes.len().saturating_add(self.added.len());
        let clean = |b: &u8| {
            if matches!(b, b'\r' | b'\n' | 0) {
                b' '
            } else {
                *b
            }
        };
        self.added.extend(value.iter().map(clean));
        let value = Span {
            start,
            len: value.len(),
        };
        let name = self.keep(name.as_str().as_bytes());
        self.entries.push(Entry {
            name,
            value,
            change,
        });
    }

    /// Removes all values of the name; does nothing (and costs nothing) when there is none.
    /// Pseudo headers stay.
    #[inline(never)]
    pub fn remove(&mut self, name: &HeaderName) -> bool {
        if name.is_pseudo() || !self.contains(name.as_str()) {
            return false;
        }
        self.forget(name.as_str());
        self.add(name, b"", Change::Removed);
        true
    }

    /// Shows the changes since the last call, in order, for the proxy: names and what becomes of them.
    pub fn drain_changes(&mut self, mut show: impl FnMut(&[u8], HeaderChange<'_>)) {
        if !std::mem::take(&mut self.changed) {
            return;
        }
        let (bytes, added) = (&self.bytes, &self.added);
        self.entries.retain_mut(|entry| {
            let value = slice(bytes, added, entry.value);
            let change = match std::mem::replace(&mut entry.change, Change::None) {
                Change::None => return true,
                Change::Set => HeaderChange::Set(value),
                Change::Append => HeaderChange::Append(value),
                Change::Removed => HeaderChange::Remove,
            };
            show(slice(bytes, added, entry.name), change);
            change != HeaderChange::Remove
        });
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

    fn forget(&mut self, name: &str) {
        let (bytes, added) = (&self.bytes, &self.added);
        self.entries
            .retain(|e| e.name.len != name.len() || slice(bytes, added, e.name) != name.as_bytes());
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
        let start = self.bytes.len().saturating_add(self.added.len());
        self.added.extend_from_slice(bytes);
        Span {
            start,
            len: bytes.len(),
        }
    }

    /// Forgets all pairs, but not the room for them, unless there is a lot of it.
    pub(crate) fn clear(&mut self) {
        self.bytes = Vec::new();
        self.added.clear();
        self.entries.clear();
        self.changed = false;
        if self.entries.capacity() > MOST_SPARE || self.added.capacity() > MOST_SPARE_BYTES {
            *self = Self::default();
        }
    }

    pub(crate) fn swap_buffers(&mut self, buffers: &mut Buffers) {
        std::mem::swap(&mut self.added, &mut buffers.added);
        std::mem::swap(&mut self.entries, &mut buffers.entries);
    }

    fn slice(&self, span: Span) -> &[u8] {
        slice(&self.bytes, &self.added, span)
    }
}

impl fmt::Debug for Buffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffers").finish_non_exhaustive()
    }
}

/// Names only: values may be credentials.
impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.iter().map(|(n, _)| String::from_utf8_lossy(n)))
            .finish()
    }
}

/// Most names differ in length, which is cheaper to see than their bytes.
fn is_named(bytes: &[u8], added: &[u8], entry: &Entry, name: &str) -> bool {
    entry.name.len == name.len()
        && entry.change != Change::Removed
        && slice(bytes, added, entry.name) == name.as_bytes()
}

fn slice<'a>(bytes: &'a [u8], added: &'a [u8], span: Span) -> &'a [u8] {
    let (from, start) = match span.start.checked_sub(bytes.len()) {
        Some(start) => (added, start),
        None => (bytes, span.start),
    };
    from.get(start..start.saturating_add(span.len))
        .unwrap_or_default()
}
