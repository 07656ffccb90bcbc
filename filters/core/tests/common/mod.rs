//! What several tests of header maps need.

/// A map as a proxy hands it over.
pub(crate) fn wire(pairs: &[(&[u8], &[u8])]) -> Vec<u8> {
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap().to_le_bytes();
    let mut wire = u32::try_from(pairs.len()).unwrap().to_le_bytes().to_vec();
    for (name, value) in pairs {
        wire.extend(length(name));
        wire.extend(length(value));
    }
    for (name, value) in pairs {
        for text in [name, value] {
            wire.extend_from_slice(text);
            wire.push(0);
        }
    }
    wire
}
