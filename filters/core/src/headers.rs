//! A header map as the proxy holds it: ordered, with duplicates, values of bytes.
//!
//! Values may be any bytes but CR, LF and NUL (Envoy passes `\x80`-`\xff` on); names are
//! lower-case ASCII. The map is parsed in place from the wire form of the
//! [proxy-wasm ABI](https://github.com/proxy-wasm/spec/tree/main/abi-versions/v0.2.1#serialized-map) and
//! remembers what was changed, so that the adapter can send just the changes.

use std::fmt;
use std::rc::Rc;

/// A header name: lower-case, valid by RFC 9110, or a pseudo header such as `:path`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeaderName(Rc<str>);

impl HeaderName {
    /// Takes a name in any case. `None` if it is not a field name (RFC 9110, 5.1).
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let bare = name.strip_prefix(':').unwrap_or(name);
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if bare.is_empty() || bare.len() > 256 || !bare.bytes().all(token) {
            return None;
        }
        Some(Self(Rc::from(name.to_ascii_lowercase())))
    }

    /// For names written in the code, which must be lower-case already.
    #[must_use]
    pub fn from_static(name: &'static str) -> Self {
        Self(Rc::from(name))
    }

    /// The name, lower-case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is a pseudo header (`:path`, `:status`).
    #[must_use]
    pub fn is_pseudo(&self) -> bool {
        self.0.starts_with(':')
    }
}

impl fmt::Debug for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

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

/// The bytes were not a serialized header map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedMap;

#[derive(Clone, Copy)]
struct Span {
    start: usize,
    len: usize,
}

struct Entry {
    name: Span,
    value: Span,
}

/// A change, its new value among the bytes of the map: most requests set several headers, and an
/// allocation for each would cost more than the setting.
struct Change {
    name: HeaderName,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    Set(Span),
    Append(Span),
    Remove,
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
    changes: Vec<Change>,
}

/// Pairs that policies add without the map having to grow, and bytes for them.
const ROOM: usize = 8;
const ROOM_BYTES: usize = 512;

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

    /// Takes the serialized map of the proxy-wasm ABI: `u32` count, then a `u32` name length and
    /// a `u32` value length for each pair, then each name and value followed by a NUL; little endian.
    ///
    /// # Errors
    /// [`MalformedMap`] when the lengths do not fit the bytes.
    pub fn from_wire(bytes: Vec<u8>) -> Result<Self, MalformedMap> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let count = read_len(&bytes, 0)?;
        // Each pair takes at least 8 bytes of lengths and two NULs, so a count cannot make us
        // reserve more than the message itself.
        if count > bytes.len() / 10 {
            return Err(MalformedMap);
        }
        let mut entries = Vec::with_capacity(count.saturating_add(ROOM));
        let mut lengths_at = 4_usize;
        let mut at = count
            .checked_mul(8)
            .and_then(|n| n.checked_add(4))
            .ok_or(MalformedMap)?;
        for _ in 0..count {
            let name = Span {
                start: at,
                len: read_len(&bytes, lengths_at)?,
            };
            let value = Span {
                start: after(name)?,
                len: read_len(&bytes, lengths_at.checked_add(4).ok_or(MalformedMap)?)?,
            };
            at = after(value)?;
            if at > bytes.len() {
                return Err(MalformedMap);
            }
            lengths_at = lengths_at.checked_add(8).ok_or(MalformedMap)?;
            entries.push(Entry { name, value });
        }
        Ok(Self {
            bytes,
            entries,
            changes: Vec::new(),
        })
    }

    /// The first value, where the proxy itself guarantees that there is only one (pseudo headers)
    /// or where any will do. For anything that decides something, use [`Headers::sole`].
    #[must_use]
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
            .filter(move |e| is_named(&self.bytes, e, name))
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
            .map(|e| (self.slice(e.name), self.slice(e.value)))
    }

    /// How many pairs there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no pair.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Replaces all values of the name by one. CR, LF and NUL become spaces: Envoy does not check
    /// what a filter sets, so a value with a line break would split the message.
    pub fn set(&mut self, name: &HeaderName, value: impl AsRef<[u8]>) {
        if self.changes.is_empty() {
            self.changes.reserve(ROOM);
            self.entries.reserve(ROOM);
            self.bytes.reserve(ROOM_BYTES);
        }
        self.forget(name.as_str());
        let value = self.add(name, value.as_ref());
        self.record(name, Kind::Set(value));
    }

    /// Adds a line besides those that are there (`set-cookie`); values are cleaned as by [`Headers::set`].
    pub fn append(&mut self, name: &HeaderName, value: impl AsRef<[u8]>) {
        let value = self.add(name, value.as_ref());
        self.changes.push(Change {
            name: name.clone(),
            kind: Kind::Append(value),
        });
    }

    fn add(&mut self, name: &HeaderName, value: &[u8]) -> Span {
        let start = self.bytes.len();
        let clean = |b: &u8| {
            if matches!(b, b'\r' | b'\n' | 0) {
                b' '
            } else {
                *b
            }
        };
        self.bytes.extend(value.iter().map(clean));
        let value = Span {
            start,
            len: value.len(),
        };
        let name = self.keep(name.as_str().as_bytes());
        self.entries.push(Entry { name, value });
        value
    }

    /// Removes all values of the name; does nothing (and costs nothing) when there is none.
    /// Pseudo headers stay.
    pub fn remove(&mut self, name: &HeaderName) -> bool {
        if name.is_pseudo() || !self.contains(name.as_str()) {
            return false;
        }
        self.forget(name.as_str());
        self.record(name, Kind::Remove);
        true
    }

    /// Shows the changes since the last call, in order, for the proxy.
    pub fn drain_changes(&mut self, mut show: impl FnMut(&HeaderName, HeaderChange<'_>)) {
        for change in std::mem::take(&mut self.changes) {
            let kind = match change.kind {
                Kind::Set(span) => HeaderChange::Set(self.slice(span)),
                Kind::Append(span) => HeaderChange::Append(self.slice(span)),
                Kind::Remove => HeaderChange::Remove,
            };
            show(&change.name, kind);
        }
    }

    /// The changes since the last call, as values of their own.
    pub fn take_ops(&mut self) -> Vec<HeaderOp> {
        let mut ops = Vec::new();
        self.drain_changes(|name, change| {
            ops.push(match change {
                HeaderChange::Set(value) => HeaderOp::Set(name.clone(), value.to_vec()),
                HeaderChange::Append(value) => HeaderOp::Append(name.clone(), value.to_vec()),
                HeaderChange::Remove => HeaderOp::Remove(name.clone()),
            });
        });
        ops
    }

    /// Whether there is a change that nobody was shown yet.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        !self.changes.is_empty()
    }

    fn record(&mut self, name: &HeaderName, kind: Kind) {
        self.changes.retain(|c| c.name != *name);
        self.changes.push(Change {
            name: name.clone(),
            kind,
        });
    }

    fn forget(&mut self, name: &str) {
        let bytes = &self.bytes;
        self.entries.retain(|e| !is_named(bytes, e, name));
    }

    fn push(&mut self, name: &[u8], value: &[u8]) {
        let name = self.keep(name);
        let value = self.keep(value);
        self.entries.push(Entry { name, value });
    }

    fn keep(&mut self, bytes: &[u8]) -> Span {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        Span {
            start,
            len: bytes.len(),
        }
    }

    fn slice(&self, span: Span) -> &[u8] {
        slice(&self.bytes, span)
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
fn is_named(bytes: &[u8], entry: &Entry, name: &str) -> bool {
    entry.name.len == name.len() && slice(bytes, entry.name) == name.as_bytes()
}

fn slice(bytes: &[u8], span: Span) -> &[u8] {
    bytes
        .get(span.start..span.start.saturating_add(span.len))
        .unwrap_or_default()
}

fn read_len(bytes: &[u8], at: usize) -> Result<usize, MalformedMap> {
    let end = at.checked_add(4).ok_or(MalformedMap)?;
    let four: [u8; 4] = bytes
        .get(at..end)
        .and_then(|s| s.try_into().ok())
        .ok_or(MalformedMap)?;
    usize::try_from(u32::from_le_bytes(four)).map_err(|_| MalformedMap)
}

/// The position after a span and its NUL.
fn after(span: Span) -> Result<usize, MalformedMap> {
    span.start
        .checked_add(span.len)
        .and_then(|n| n.checked_add(1))
        .ok_or(MalformedMap)
}
