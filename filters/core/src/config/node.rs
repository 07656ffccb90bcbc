//! JSON as it was written: order kept, duplicate keys noticed.

use super::report::Report;
use super::value::Value;
use super::wire;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// A JSON value. Numbers keep both readings: hosts may hand over 60 as `60.0`.
#[derive(Clone, PartialEq)]
pub enum Node {
    /// `null`; treated as an absent field.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number that is a whole one, not negative and exact.
    Integer(u64),
    /// Any other number.
    Fraction(f64),
    /// A string.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// An object; pairs in the order of the text.
    Object(Vec<(String, Node)>),
}

/// Shows the shape, not the content: it could hold secrets.
impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())
    }
}

impl Node {
    /// What it is, for messages.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Integer(_) | Self::Fraction(_) => "a number",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }
}

/// A parsed configuration.
#[derive(Debug)]
pub struct Root(Node);

impl Root {
    /// Wraps a tree that came from somewhere else than JSON text (the command line reads YAML).
    #[must_use]
    pub fn new(node: Node) -> Self {
        Self(node)
    }

    /// The value to read, with the place for its errors.
    #[must_use]
    pub fn value<'a>(&'a self, report: &'a Report) -> Value<'a> {
        Value::new(&self.0, String::new(), report)
    }
}

/// Parses JSON. An empty text is an empty object: that is how Istio hands over "no configuration".
pub fn parse(text: &str, report: &Report) -> Option<Root> {
    if text.trim().is_empty() {
        return Some(Root(Node::Object(Vec::new())));
    }
    match serde_json::from_str::<Node>(text) {
        Ok(node) => Some(Root(node)),
        Err(e) => {
            // The position, not serde's text: that may quote the input.
            report.error(
                "",
                format!("not JSON: error at line {} column {}", e.line(), e.column()),
            );
            None
        }
    }
}

/// Parses what a proxy hands over: JSON, or a serialized `google.protobuf.Struct`.
pub fn parse_bytes(bytes: &[u8], report: &Report) -> Option<Root> {
    let text = std::str::from_utf8(bytes);
    if let Some(node) = text.ok().and_then(|t| serde_json::from_str::<Node>(t).ok()) {
        return Some(Root(node));
    }
    match (wire::decode(bytes), text) {
        (Some(node), _) => Some(Root(node)),
        (None, Ok(text)) => parse(text, report),
        (None, Err(_)) => {
            report.error("", "neither JSON nor a google.protobuf.Struct");
            None
        }
    }
}

/// A double: whole numbers that are exact count as whole.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // checked: whole and below 2^53
pub(super) fn number(v: f64) -> Node {
    let exact = v.fract() == 0.0 && (0.0..9_007_199_254_740_992.0).contains(&v);
    if exact {
        Node::Integer(v as u64)
    } else {
        Node::Fraction(v)
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, v: bool) -> Result<Node, E> {
        Ok(Node::Bool(v))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Node, E> {
        Ok(Node::Integer(v))
    }

    #[allow(clippy::cast_precision_loss)] // only its being negative matters
    fn visit_i64<E>(self, v: i64) -> Result<Node, E> {
        Ok(match u64::try_from(v) {
            Ok(v) => Node::Integer(v),
            Err(_) => Node::Fraction(v as f64),
        })
    }

    fn visit_f64<E>(self, v: f64) -> Result<Node, E> {
        Ok(number(v))
    }

    fn visit_str<E>(self, v: &str) -> Result<Node, E> {
        Ok(Node::Text(v.to_owned()))
    }

    fn visit_string<E>(self, v: String) -> Result<Node, E> {
        Ok(Node::Text(v))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(node) = seq.next_element()? {
            list.push(node);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry::<String, Node>()? {
            pairs.push(pair);
        }
        Ok(Node::Object(pairs))
    }
}
