//! Which places of a document somebody asks for.

use std::borrow::Cow;

/// A place in a document.
pub type Node = u8;

/// The document itself.
pub const ROOT: Node = 0;
/// Anything nobody asked for.
pub(super) const ELSEWHERE: Node = Node::MAX;
/// Nodes from here on are given out by [`Table::pointer`].
const FIRST_FREE: Node = 128;

/// "In an object at `of`, the member called `name` is the place `node`", "in a list at `of`, the items are". Several ways may
/// lead to one place.
#[derive(Clone, Debug, Default)]
pub struct Table {
    members: Vec<(Node, Cow<'static, str>, Node)>,
    /// With a position, or for all items.
    items: Vec<(Node, Option<u32>, Node)>,
    given_out: Node,
}

impl Table {
    /// A table of members with fixed names.
    #[must_use]
    pub fn new(members: &[(Node, &'static str, Node)]) -> Self {
        Self {
            members: members
                .iter()
                .map(|(of, name, node)| (*of, Cow::Borrowed(*name), *node))
                .collect(),
            ..Self::default()
        }
    }

    /// Every item of a list at `of` is the place `node`.
    #[must_use]
    pub fn with_items(mut self, of: Node, node: Node) -> Self {
        self.items.push((of, None, node));
        self
    }

    /// Adds a JSON pointer (RFC 6901) that leads to the place `leaf`. `None`: it is none, it asks for the whole
    /// document, or there are too many places.
    #[must_use]
    pub fn pointer(&mut self, pointer: &str, leaf: Node) -> Option<()> {
        let steps: Vec<&str> = pointer.strip_prefix('/')?.split('/').collect();
        let (last, way) = steps.split_last()?;
        let mut of = ROOT;
        for step in way {
            let step = unescape(step)?;
            let known = self
                .members
                .iter()
                .find(|(o, name, _)| *o == of && **name == step);
            of = match known {
                Some((.., node)) => *node,
                None => {
                    let node = FIRST_FREE.checked_add(self.given_out)?;
                    if node == ELSEWHERE {
                        return None;
                    }
                    self.given_out = self.given_out.checked_add(1)?;
                    self.lead(of, step, node);
                    node
                }
            };
        }
        self.lead(of, unescape(last)?, leaf);
        Some(())
    }

    /// A step of digits can mean a member or the position in a list.
    fn lead(&mut self, of: Node, step: String, node: Node) {
        let plain = step == "0" || !step.starts_with('0');
        if let (true, Ok(at)) = (plain, step.parse()) {
            self.items.push((of, Some(at), node));
        }
        self.members.push((of, Cow::Owned(step), node));
    }

    pub(super) fn member(&self, of: Node, name: &[u8]) -> Node {
        if of == ELSEWHERE {
            return ELSEWHERE;
        }
        self.members
            .iter()
            .find(|(o, n, _)| *o == of && n.as_bytes() == name)
            .map_or(ELSEWHERE, |(.., node)| *node)
    }

    pub(super) fn item(&self, of: Node, at: u32) -> Node {
        if of == ELSEWHERE {
            return ELSEWHERE;
        }
        self.items
            .iter()
            .find(|(o, position, _)| *o == of && position.is_none_or(|p| p == at))
            .map_or(ELSEWHERE, |(.., node)| *node)
    }
}

fn unescape(step: &str) -> Option<String> {
    let mut parts = step.split('~');
    let mut text = parts.next()?.to_owned();
    for part in parts {
        let mut chars = part.chars();
        text.push(match chars.next()? {
            '0' => '~',
            '1' => '/',
            _ => return None,
        });
        text.push_str(chars.as_str());
    }
    Some(text)
}
