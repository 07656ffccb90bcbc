//! Reading the form in which a proxy hands a header map over.

use super::{Change, Entry, Headers, Span};

/// The bytes were not a serialized header map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedMap;

impl Headers {
    /// Takes the serialized map of the proxy-wasm ABI: `u32` count, then a `u32` name length and
    /// a `u32` value length for each pair, then each name and value followed by a NUL; little endian.
    ///
    /// # Errors
    /// [`MalformedMap`] when the lengths do not fit the bytes.
    pub fn from_wire(wire: &[u8]) -> Result<Self, MalformedMap> {
        let mut map = Self::default();
        map.read_wire(wire).map(|()| map)
    }

    /// Like [`Headers::from_wire`], into an empty map. What a proxy hands over is copied: changes need room behind it, and the
    /// map has some of an exchange before.
    ///
    /// # Errors
    /// [`MalformedMap`]: the map is still empty.
    pub fn read_wire(&mut self, wire: &[u8]) -> Result<(), MalformedMap> {
        let read = self.read_entries(wire);
        match read {
            Ok(()) => self.bytes.extend_from_slice(wire),
            Err(_) => self.entries.clear(),
        }
        read
    }

    fn read_entries(&mut self, bytes: &[u8]) -> Result<(), MalformedMap> {
        let Some((count, rest)) = bytes.split_first_chunk() else {
            return if bytes.is_empty() {
                Ok(())
            } else {
                Err(MalformedMap)
            };
        };
        let size = length(*count).saturating_mul(LENGTHS);
        // So a count cannot make us reserve more than the message itself.
        let lengths = rest.get(..size).ok_or(MalformedMap)?;
        let (lengths, _) = lengths.as_chunks::<LENGTHS>();
        // Saturating: what does not fit an address does not fit the bytes either.
        let mut at = size.saturating_add(count.len());
        let mut span = |len: usize| {
            let start = at;
            at = at.saturating_add(len).saturating_add(1);
            Span { start, len }
        };
        self.entries.extend(
            lengths
                .iter()
                .map(|&[n0, n1, n2, n3, v0, v1, v2, v3]| Entry {
                    name: span(length([n0, n1, n2, n3])),
                    value: span(length([v0, v1, v2, v3])),
                    change: Change::None,
                }),
        );
        if at > bytes.len() {
            return Err(MalformedMap);
        }
        Ok(())
    }
}

/// Bytes that tell the lengths of a pair.
const LENGTHS: usize = 8;

fn length(bytes: [u8; 4]) -> usize {
    usize::try_from(u32::from_le_bytes(bytes)).unwrap_or(usize::MAX)
}
