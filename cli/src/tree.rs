//! A document as it was written: order and duplicate keys kept, and the line of every value, so that
//! an error can name it.

use tollgate_core::config::Node;

/// A value and where it stands.
#[derive(Clone)]
pub(crate) struct Tree {
    /// Counted from 1; 0 where it is not known (JSON).
    pub(crate) line: usize,
    pub(crate) kind: Kind,
}

/// The same kinds as [`Node`] has.
#[derive(Clone)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    Integer(u64),
    Fraction(f64),
    Text(String),
    List(Vec<Tree>),
    Object(Vec<(String, Tree)>),
}

impl Tree {
    pub(crate) fn to_node(&self) -> Node {
        match &self.kind {
            Kind::Null => Node::Null,
            Kind::Bool(b) => Node::Bool(*b),
            Kind::Integer(n) => Node::Integer(*n),
            Kind::Fraction(f) => Node::Fraction(*f),
            Kind::Text(text) => Node::Text(text.clone()),
            Kind::List(items) => Node::List(items.iter().map(Self::to_node).collect()),
            Kind::Object(pairs) => Node::Object(
                pairs
                    .iter()
                    .map(|(key, value)| (key.clone(), value.to_node()))
                    .collect(),
            ),
        }
    }

    pub(crate) fn from_node(node: &Node) -> Self {
        let kind = match node {
            Node::Null => Kind::Null,
            Node::Bool(b) => Kind::Bool(*b),
            Node::Integer(n) => Kind::Integer(*n),
            Node::Fraction(f) => Kind::Fraction(*f),
            Node::Text(text) => Kind::Text(text.clone()),
            Node::List(items) => Kind::List(items.iter().map(Self::from_node).collect()),
            Node::Object(pairs) => Kind::Object(
                pairs
                    .iter()
                    .map(|(key, value)| (key.clone(), Self::from_node(value)))
                    .collect(),
            ),
        };
        Self { line: 0, kind }
    }

    /// The field of an object; `null` counts as absent.
    pub(crate) fn get(&self, field: &str) -> Option<&Self> {
        self.pairs()
            .iter()
            .find(|(key, value)| key == field && !matches!(value.kind, Kind::Null))
            .map(|(_, value)| value)
    }

    /// The field of a field of ... an object.
    pub(crate) fn at(&self, fields: &[&str]) -> Option<&Self> {
        fields.iter().try_fold(self, |tree, field| tree.get(field))
    }

    pub(crate) fn pairs(&self) -> &[(String, Self)] {
        match &self.kind {
            Kind::Object(pairs) => pairs,
            _ => &[],
        }
    }

    pub(crate) fn items(&self) -> &[Self] {
        match &self.kind {
            Kind::List(items) => items,
            _ => &[],
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn is_true(&self) -> bool {
        matches!(self.kind, Kind::Bool(true))
    }

    /// The text of the field, `""` without one.
    pub(crate) fn text_of(&self, field: &str) -> &str {
        self.get(field).and_then(Self::text).unwrap_or_default()
    }

    /// The line of the value that a configuration error's path names, or of the nearest thing around it.
    pub(crate) fn line_of(&self, path: &str) -> usize {
        self.find(path).0.line
    }

    /// The value that a path names.
    pub(crate) fn value_at(&self, path: &str) -> Option<&Self> {
        match self.find(path) {
            (tree, "") => Some(tree),
            _ => None,
        }
    }

    /// Walks as far as the path leads; the rest of it is what does not exist.
    fn find<'p>(&self, mut path: &'p str) -> (&Self, &'p str) {
        let mut tree = self;
        'walk: while !path.is_empty() {
            for (key, value) in tree.pairs() {
                if let Some(rest) = strip_step(path, &shown(key)) {
                    (tree, path) = (value, rest);
                    continue 'walk;
                }
            }
            for (i, item) in tree.items().iter().enumerate() {
                if let Some(rest) = strip_step(path, &format!("[{i}]")) {
                    (tree, path) = (item, rest);
                    continue 'walk;
                }
            }
            break;
        }
        (tree, path)
    }
}

/// A key as `tollgate_core::config` writes it in paths.
fn shown(key: &str) -> String {
    let plain = !key.is_empty()
        && key.len() <= 64
        && key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if plain {
        key.to_owned()
    } else {
        format!("[{:?}]", key.chars().take(64).collect::<String>())
    }
}

fn strip_step<'p>(path: &'p str, step: &str) -> Option<&'p str> {
    let rest = path.strip_prefix(step)?;
    if rest.is_empty() || rest.starts_with('[') {
        return Some(rest);
    }
    rest.strip_prefix('.')
}

/// `path.field`.
pub(crate) fn join(path: &str, field: &str) -> String {
    let shown = shown(field);
    match (path.is_empty(), shown.starts_with('[')) {
        (true, _) => shown,
        (false, true) => format!("{path}{shown}"),
        (false, false) => format!("{path}.{shown}"),
    }
}
