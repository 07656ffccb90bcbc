//! A number for a part of the configuration that changes when it does, and not when keys are sorted or 60 becomes 60.0.

use tollgate_core::config::Node;

/// FNV-1a, 64 bits: <http://www.isthe.com/chongo/tech/comp/fnv/>.
pub(crate) fn fingerprint(node: &Node) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325;
    add(node, &mut hash);
    hash
}

fn bytes(bytes: &[u8], hash: &mut u64) {
    for byte in bytes {
        *hash = (*hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
}

fn text(kind: u8, content: &str, hash: &mut u64) {
    let length = u64::try_from(content.len()).unwrap_or(0);
    bytes(&[kind], hash);
    bytes(&length.to_le_bytes(), hash);
    bytes(content.as_bytes(), hash);
}

fn add(node: &Node, hash: &mut u64) {
    match node {
        Node::Null => bytes(b"n", hash),
        Node::Bool(yes) => bytes(&[b'b', u8::from(*yes)], hash),
        Node::Integer(n) => text(b'i', &n.to_string(), hash),
        Node::Fraction(f) => text(b'f', &f.to_string(), hash),
        Node::Text(t) => text(b't', t, hash),
        Node::List(items) => {
            bytes(b"[", hash);
            items.iter().for_each(|item| add(item, hash));
            bytes(b"]", hash);
        }
        Node::Object(pairs) => {
            let mut sorted: Vec<_> = pairs.iter().collect();
            sorted.sort_by(|a, b| a.0.cmp(&b.0));
            bytes(b"{", hash);
            for (key, value) in sorted {
                text(b'k', key, hash);
                add(value, hash);
            }
            bytes(b"}", hash);
        }
    }
}
