//! `stream_options.include_usage`: whether a stream will report its usage, and how to make it.

use super::places::{INCLUDE_USAGE, OPTIONS};
use crate::json::{Event, ROOT, Scalar};

/// A change to a body: `remove` bytes from `at` on are replaced by `insert`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Splice {
    /// Where.
    pub at: u64,
    /// How many bytes go.
    pub remove: u64,
    /// What comes in their place.
    pub insert: &'static str,
}

/// What a body says about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct StreamOptions {
    /// After the brace that begins the body.
    root: u64,
    options: Options,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Options {
    #[default]
    Absent,
    /// `null`, which ends there.
    Null(u64),
    /// An object, whose brace ends there.
    Object {
        start: u64,
        members: u32,
        include: Include,
    },
    /// Something else: the upstream will say what it thinks of it.
    Other,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Include {
    #[default]
    Absent,
    True,
    /// `false` or `null`: its end and its length.
    No(u64, u64),
    Other,
}

impl StreamOptions {
    /// Whether the event was about nothing else.
    pub(super) fn note(&mut self, event: &Event<'_>, at: u64) -> bool {
        match event {
            Event::Open(ROOT, _) if self.root == 0 => {
                self.root = at;
                false
            }
            Event::Open(OPTIONS, true) => {
                self.options = Options::Object {
                    start: at,
                    members: 0,
                    include: Include::Absent,
                };
                false
            }
            Event::Open(OPTIONS, false) => {
                self.options = Options::Other;
                false
            }
            Event::Scalar(OPTIONS, scalar) => {
                self.options = match scalar {
                    Scalar::Null => Options::Null(at),
                    _ => Options::Other,
                };
                false
            }
            Event::Close(OPTIONS, count) => {
                if let Options::Object { members, .. } = &mut self.options {
                    *members = *count;
                }
                true
            }
            Event::Scalar(INCLUDE_USAGE, scalar) => {
                if let Options::Object { include, .. } = &mut self.options {
                    *include = match scalar {
                        Scalar::Bool(true) => Include::True,
                        Scalar::Bool(false) => Include::No(at, 5),
                        Scalar::Null => Include::No(at, 4),
                        _ => Include::Other,
                    };
                }
                false
            }
            Event::Open(INCLUDE_USAGE, _) => {
                if let Options::Object { include, .. } = &mut self.options {
                    *include = Include::Other;
                }
                false
            }
            _ => false,
        }
    }

    pub(super) fn splice(&self) -> Option<Splice> {
        let insert = |at, insert| {
            Some(Splice {
                at,
                remove: 0,
                insert,
            })
        };
        match &self.options {
            // A body that asks for a stream has another member, so the comma is right.
            Options::Absent => insert(self.root, "\"stream_options\":{\"include_usage\":true},"),
            Options::Null(end) => Some(Splice {
                at: end.saturating_sub(4),
                remove: 4,
                insert: "{\"include_usage\":true}",
            }),
            Options::Object {
                include: Include::No(end, length),
                ..
            } => Some(Splice {
                at: end.saturating_sub(*length),
                remove: *length,
                insert: "true",
            }),
            Options::Object {
                start,
                members,
                include: Include::Absent,
            } => insert(
                *start,
                if *members == 0 {
                    "\"include_usage\":true"
                } else {
                    "\"include_usage\":true,"
                },
            ),
            Options::Object { .. } | Options::Other => None,
        }
    }
}

impl Splice {
    /// The changed body; `None` if the place is not in it.
    #[must_use]
    pub fn apply(&self, body: &[u8]) -> Option<Vec<u8>> {
        let at = usize::try_from(self.at).ok()?;
        let after = at.checked_add(usize::try_from(self.remove).ok()?)?;
        Some([body.get(..at)?, self.insert.as_bytes(), body.get(after..)?].concat())
    }
}
