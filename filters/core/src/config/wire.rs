//! `google.protobuf.Struct` as bytes: what Envoy really hands to a filter whose configuration is written as a structure.
//!
//! Envoy's API documents that a `Struct` reaches a plugin as JSON. Seen in 1.36 and 1.40: it arrives as the serialized message
//! ([its definition](https://github.com/protocolbuffers/protobuf/blob/main/src/google/protobuf/struct.proto),
//! [the encoding](https://protobuf.dev/programming-guides/encoding/)).

use super::node::{Node, number};

/// Deeper than any configuration; bounds the stack.
const MAX_DEPTH: u32 = 64;

/// Reads a `Struct`. `None` if the bytes are anything else; nothing is skipped or guessed.
pub(super) fn decode(bytes: &[u8]) -> Option<Node> {
    object(bytes, 0)
}

/// One field: its number and value.
enum Wire<'b> {
    Varint(u64),
    Fixed64([u8; 8]),
    Bytes(&'b [u8]),
}

/// `map<string, Value> fields = 1`.
fn object(mut bytes: &[u8], depth: u32) -> Option<Node> {
    let mut pairs = Vec::new();
    while !bytes.is_empty() {
        match field(&mut bytes)? {
            (1, Wire::Bytes(entry)) => pairs.push(pair(entry, depth)?),
            _ => return None,
        }
    }
    Some(Node::Object(pairs))
}

/// An entry of the map: `key = 1`, `value = 2`.
fn pair(mut bytes: &[u8], depth: u32) -> Option<(String, Node)> {
    let mut key = String::new();
    let mut node = Node::Null;
    while !bytes.is_empty() {
        match field(&mut bytes)? {
            (1, Wire::Bytes(text)) => key = utf8(text)?,
            (2, Wire::Bytes(inner)) => node = value(inner, depth)?,
            _ => return None,
        }
    }
    Some((key, node))
}

/// `Value`: one of null = 1, number = 2, string = 3, bool = 4, struct = 5, list = 6.
fn value(mut bytes: &[u8], depth: u32) -> Option<Node> {
    let deeper = depth.checked_add(1).filter(|d| *d <= MAX_DEPTH)?;
    let mut node = Node::Null;
    while !bytes.is_empty() {
        node = match field(&mut bytes)? {
            (1, Wire::Varint(_)) => Node::Null,
            (2, Wire::Fixed64(double)) => number(f64::from_le_bytes(double)),
            (3, Wire::Bytes(text)) => Node::Text(utf8(text)?),
            (4, Wire::Varint(b)) => Node::Bool(b != 0),
            (5, Wire::Bytes(inner)) => object(inner, deeper)?,
            (6, Wire::Bytes(inner)) => list(inner, deeper)?,
            _ => return None,
        };
    }
    Some(node)
}

/// `repeated Value values = 1`.
fn list(mut bytes: &[u8], depth: u32) -> Option<Node> {
    let mut items = Vec::new();
    while !bytes.is_empty() {
        match field(&mut bytes)? {
            (1, Wire::Bytes(item)) => items.push(value(item, depth)?),
            _ => return None,
        }
    }
    Some(Node::List(items))
}

fn field<'b>(bytes: &mut &'b [u8]) -> Option<(u64, Wire<'b>)> {
    let tag = varint(bytes)?;
    let wire = match tag & 7 {
        0 => Wire::Varint(varint(bytes)?),
        1 => Wire::Fixed64(take(bytes, 8)?.try_into().ok()?),
        2 => {
            let len = usize::try_from(varint(bytes)?).ok()?;
            Wire::Bytes(take(bytes, len)?)
        }
        _ => return None,
    };
    Some((tag >> 3, wire))
}

/// Seven bits a byte, the lowest first.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64_u32).step_by(7) {
        let byte = *take(bytes, 1)?.first()?;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return None;
        }
        value |= bits.checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn take<'b>(bytes: &mut &'b [u8], len: usize) -> Option<&'b [u8]> {
    let (taken, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(taken)
}

fn utf8(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).ok().map(str::to_owned)
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)] // in a test an overflow is a finding
mod tests {
    use super::super::{Report, parse, parse_bytes};
    use super::*;
    use proptest::prelude::*;

    fn len(tag: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![tag];
        let mut n = bytes.len();
        while n > 0x7f {
            out.push(u8::try_from(n & 0x7f).unwrap() | 0x80);
            n >>= 7;
        }
        out.push(u8::try_from(n).unwrap());
        out.extend_from_slice(bytes);
        out
    }

    #[allow(clippy::cast_precision_loss)]
    fn encode(node: &Node) -> Vec<u8> {
        match node {
            Node::Null => vec![0x08, 0],
            Node::Integer(n) => [&[0x11][..], &(*n as f64).to_le_bytes()].concat(),
            Node::Fraction(f) => [&[0x11][..], &f.to_le_bytes()].concat(),
            Node::Text(text) => len(0x1a, text.as_bytes()),
            Node::Bool(b) => vec![0x20, u8::from(*b)],
            Node::Object(_) => len(0x2a, &encode_struct(node)),
            Node::List(items) => {
                let items: Vec<u8> = items.iter().flat_map(|i| len(0x0a, &encode(i))).collect();
                len(0x32, &items)
            }
        }
    }

    fn encode_struct(node: &Node) -> Vec<u8> {
        let Node::Object(pairs) = node else {
            panic!("not an object")
        };
        let entry = |(key, value): &(String, Node)| {
            len(
                0x0a,
                &[len(0x0a, key.as_bytes()), len(0x12, &encode(value))].concat(),
            )
        };
        pairs.iter().flat_map(entry).collect()
    }

    fn shape(node: &Node) -> String {
        match node {
            Node::Integer(n) => n.to_string(),
            Node::Fraction(f) => f.to_string(),
            Node::Bool(b) => b.to_string(),
            Node::Null => "null".to_owned(),
            Node::Text(text) => format!("{text:?}"),
            Node::List(items) => format!("{:?}", items.iter().map(shape).collect::<Vec<_>>()),
            Node::Object(pairs) => format!(
                "{:?}",
                pairs.iter().map(|(k, v)| (k, shape(v))).collect::<Vec<_>>()
            ),
        }
    }

    /// `{state_id: abc}`, byte by byte as Envoy 1.40 handed it over.
    #[test]
    fn a_struct_of_envoy_is_read() {
        let bytes = b"\x0a\x11\x0a\x08state_id\x12\x05\x1a\x03abc";
        let report = Report::default();
        let root = parse_bytes(bytes, &report).unwrap();
        assert_eq!(
            shape(root.value(&report).node()),
            "[(\"state_id\", \"\\\"abc\\\"\")]"
        );
        assert!(report.is_ok());
    }

    #[test]
    fn what_is_neither_json_nor_a_struct_is_refused() {
        for bytes in [
            &b"\xff"[..],
            b"[1",
            b"key: value",
            b"\x0a\x02\x0a",
            b"\x0a\x00\x08\x01",
        ] {
            let report = Report::default();
            assert!(parse_bytes(bytes, &report).is_none(), "{bytes:?}");
            assert!(!report.is_ok(), "{bytes:?}");
        }
        let deep = (0..100).fold(Node::Null, |node, _| Node::List(vec![node]));
        let deep = Node::Object(vec![("a".to_owned(), deep)]);
        assert!(decode(&encode_struct(&deep)).is_none());
    }

    #[test]
    fn an_empty_configuration_is_an_empty_object() {
        let report = Report::default();
        let root = parse_bytes(b"", &report).unwrap();
        assert_eq!(shape(root.value(&report).node()), "[]");
    }

    fn trees() -> impl Strategy<Value = Node> {
        let leaf = prop_oneof![
            Just(Node::Null),
            any::<bool>().prop_map(Node::Bool),
            (0_u64..1 << 53).prop_map(Node::Integer),
            Just(Node::Fraction(0.5)),
            "\\PC{0,200}".prop_map(Node::Text),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Node::List),
                proptest::collection::vec(("\\PC{0,20}", inner), 0..6).prop_map(Node::Object),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_structure_reads_back(pairs in proptest::collection::vec(("\\PC{0,20}", trees()), 0..6)) {
            let node = Node::Object(pairs);
            let read = decode(&encode_struct(&node)).unwrap();
            prop_assert_eq!(shape(&read), shape(&node));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
        }

        /// Text that is JSON is never taken for something else.
        #[test]
        fn json_stays_json(blanks in "[ \\n\\t]{0,5}", n: u32) {
            let text = format!("{blanks}{{\"a\": {n}}}");
            let report = Report::default();
            let by_text = parse(&text, &report).unwrap();
            let by_bytes = parse_bytes(text.as_bytes(), &report).unwrap();
            prop_assert_eq!(shape(by_bytes.value(&report).node()), shape(by_text.value(&report).node()));
        }
    }
}
