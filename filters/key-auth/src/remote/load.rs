//! From bytes in shared data to keys in memory, a few pieces at a time, so that no request waits long.

use super::line::{self, Head, Header, Problem};
use super::lines::Lines;
use super::set::{NotAdded, Segment, Set};
use super::state::{PIECE, Stored, pieces};
use crate::digest::Digest;
use crate::table::KeyTable;
use sha2::{Digest as _, Sha256};
use std::fmt;
use tollgate_core::world::World;

/// What a pass over the bytes is for.
pub(crate) enum Goal {
    /// A whole set where there is none yet; nothing but the bytes vouches for it.
    Whole(Box<Set>),
    /// Whether the bytes are a set at all. Remembers the digests, by their first 8 bytes, with the number of their line.
    Check(Vec<(u64, u32)>),
    /// One segment of a set that was checked.
    Part(usize, Box<Segment>),
}

/// What is wrong with a set. Shows line numbers and ids, never what stands in a line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Line(u64, Problem),
    SameKey(u64, String),
    SameDigest(u32, u32),
    Count {
        said: u64,
        found: u64,
    },
    Pin,
    TooMuch,
    /// The bytes are not there any more.
    Gone,
}

/// How far a pass is.
pub(crate) enum Step {
    More,
    Done,
    Wrong(Fault),
}

/// One pass.
pub(crate) struct Pass {
    pub(crate) stored: Stored,
    pub(crate) goal: Goal,
    /// Keys so far; of all segments.
    pub(crate) keys: u64,
    /// The first key that a consumer of the configuration has, too, and another one here.
    pub(crate) shadowed: Option<String>,
    next: u64,
    lines: Lines,
    header: Option<Header>,
    hash: Option<Sha256>,
}

impl Pass {
    pub(crate) fn new(stored: Stored, goal: Goal, pinned: bool) -> Self {
        let checks = !matches!(goal, Goal::Part(..));
        Self {
            stored,
            goal,
            keys: 0,
            shadowed: None,
            next: 0,
            lines: Lines::default(),
            header: None,
            hash: (pinned && checks).then(Sha256::new),
        }
    }

    /// Reads the next `most` pieces.
    pub(crate) fn step(
        &mut self,
        most: u32,
        pin: Option<&Digest>,
        inline: &KeyTable,
        world: &dyn World,
    ) -> Step {
        let count = pieces(self.stored.len);
        let mut buffer = Vec::new();
        for _ in 0..most {
            let end = self.next.saturating_add(1) >= count;
            let due = self
                .stored
                .len
                .saturating_sub(self.next.saturating_mul(PIECE as u64));
            let stored = self.stored.clone();
            let found = stored.load(self.next, &mut buffer, world);
            let Some(piece) = found.filter(|p| p.len() as u64 == due.min(PIECE as u64)) else {
                return Step::Wrong(Fault::Gone);
            };
            if let Err(fault) = self.read(piece, end, inline) {
                return Step::Wrong(fault);
            }
            self.next = self.next.saturating_add(1);
            if end {
                return match self.finish(pin) {
                    Ok(()) => Step::Done,
                    Err(fault) => Step::Wrong(fault),
                };
            }
        }
        Step::More
    }

    fn read(&mut self, piece: &[u8], end: bool, inline: &KeyTable) -> Result<(), Fault> {
        if let Some(hash) = &mut self.hash {
            hash.update(piece);
        }
        let Self {
            goal,
            keys,
            shadowed,
            lines,
            header,
            ..
        } = self;
        let show = |number: u64, text: &[u8]| {
            if number == 1 {
                *header = Some(Header::parse(text).map_err(|p| Fault::Line(1, p))?);
                return Ok(());
            }
            if line::is_blank(text) {
                return Ok(());
            }
            *keys = keys.saturating_add(1);
            let wrong = |problem| Fault::Line(number, problem);
            let head = Head::parse(text).map_err(wrong)?;
            if let Goal::Part(segment, _) = goal
                && *segment != Set::segment_of(&head.digest)
            {
                return Ok(());
            }
            let says = head.attributes().map_err(wrong)?;
            let added = match goal {
                Goal::Whole(set) => set.insert(&head, &says),
                Goal::Part(_, segment) => segment.insert(&head, &says),
                Goal::Check(seen) => {
                    let [a, b, c, d, e, f, g, h, ..] = *head.digest.bytes();
                    let short = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
                    seen.push((short, u32::try_from(number).unwrap_or(u32::MAX)));
                    Ok(())
                }
            };
            added.map_err(|not| match not {
                NotAdded::SameKey(other) => Fault::SameKey(
                    number,
                    format!("{}/{} as {other}", head.consumer, head.key_id),
                ),
                NotAdded::TooMuch => Fault::TooMuch,
            })?;
            if shadowed.is_none() && !matches!(goal, Goal::Part(..)) {
                *shadowed = conflict(&head, inline);
            }
            Ok(())
        };
        lines.feed(piece, end, show, Fault::Line)
    }

    fn finish(&mut self, pin: Option<&Digest>) -> Result<(), Fault> {
        if let (Some(pin), Some(hash)) = (pin, self.hash.take())
            && !Digest::from_bytes(hash.finalize().into()).is(pin)
        {
            return Err(Fault::Pin);
        }
        let header = self.header.ok_or(Fault::Line(1, "it is empty"))?;
        if let Some(said) = header.count.filter(|said| *said != self.keys) {
            return Err(Fault::Count {
                said,
                found: self.keys,
            });
        }
        if let Goal::Check(seen) = &mut self.goal {
            seen.sort_unstable();
            // 8 of 32 bytes: two of a hundred thousand keys share them once in four billion sets.
            let twice = seen.windows(2).find_map(|pair| match pair {
                [(a, one), (b, two)] if a == b => Some((*one, *two)),
                _ => None,
            });
            if let Some((one, two)) = twice {
                return Err(Fault::SameDigest(one, two));
            }
        }
        Ok(())
    }
}

/// A set from all of its bytes.
pub(crate) fn whole(text: &[u8]) -> Result<(Set, u64), Fault> {
    let mut pass = Pass::new(Stored::default(), Goal::Whole(Box::default()), false);
    pass.read(text, true, &KeyTable::default())?;
    pass.finish(None)?;
    match pass.goal {
        Goal::Whole(set) => Ok((*set, pass.keys)),
        Goal::Check(_) | Goal::Part(..) => Err(Fault::Gone),
    }
}

/// A key of the configuration counts before one of the set, so both must mean the same consumer.
fn conflict(head: &Head<'_>, inline: &KeyTable) -> Option<String> {
    let key = inline.get(inline.find(&head.digest)?)?;
    let own = &key.identity;
    (*own.id != *head.consumer).then(|| {
        let key_id = own.key_id.as_deref().unwrap_or_default();
        format!("{}/{} is {}/{key_id}", head.consumer, head.key_id, own.id)
    })
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(number, problem) if *number == 1 => f.write_str(problem),
            Self::Line(number, problem) => write!(f, "line {number} {problem}"),
            Self::SameKey(number, ids) => write!(f, "line {number} has the same key twice: {ids}"),
            Self::SameDigest(one, two) => write!(f, "lines {one} and {two} have the same key"),
            Self::Count { said, found } => write!(f, "it says count={said} and has {found} keys"),
            Self::Pin => f.write_str("its SHA-256 is not the one in remote_keys.sha256"),
            Self::TooMuch => f.write_str("it does not fit into memory"),
            Self::Gone => f.write_str("its bytes are not there any more"),
        }
    }
}
