//! Reading the form in which a proxy hands a header map over.

use super::{Change, Entry, Headers, ROOM, Span};

/// The bytes were not a serialized header map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedMap;

impl Headers {
    /// Takes the serialized map of the proxy-wasm ABI: `u32` count, then a `u32` name length and
    /// a `u32` value length for each pair, then each name and value followed by a NUL; little endian.
    ///
    /// # Errors
    /// [`MalformedMap`] when the lengths do not fit the bytes.
    pub fn from_wire(bytes: Vec<u8>) -> Result<Self, MalformedMap> {
        let mut map = Self::default();
        map.read_wire(bytes).map(|()| map)
    }

    /// Like [`Headers::from_wire`], into an empty map.
    ///
    /// # Errors
    /// [`MalformedMap`]: the map is still empty.
    pub fn read_wire(&mut self, bytes: Vec<u8>) -> Result<(), MalformedMap> {
        let read = self.read_entries(&bytes);
        match read {
            Ok(()) => self.bytes = bytes,
            Err(_) => self.entries.clear(),
        }
        read
    }

    fn read_entries(&mut self, bytes: &[u8]) -> Result<(), MalformedMap> {
        if bytes.is_empty() {
            return Ok(());
        }
        let count = read_len(bytes, 0)?;
        // Each pair takes at least 8 bytes of lengths and two NULs, so a count cannot make us
        // reserve more than the message itself.
        if count > bytes.len() / 10 {
            return Err(MalformedMap);
        }
        self.entries.reserve(count.saturating_add(ROOM));
        let mut lengths_at = 4_usize;
        let mut at = count
            .checked_mul(8)
            .and_then(|n| n.checked_add(4))
            .ok_or(MalformedMap)?;
        for _ in 0..count {
            let name = Span {
                start: at,
                len: read_len(bytes, lengths_at)?,
            };
            let value = Span {
                start: after(name)?,
                len: read_len(bytes, lengths_at.checked_add(4).ok_or(MalformedMap)?)?,
            };
            at = after(value)?;
            if at > bytes.len() {
                return Err(MalformedMap);
            }
            lengths_at = lengths_at.checked_add(8).ok_or(MalformedMap)?;
            self.entries.push(Entry {
                name,
                value,
                change: Change::None,
            });
        }
        Ok(())
    }
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
