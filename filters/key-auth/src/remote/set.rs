//! A key set in memory: about 75 bytes a key, of which 32 are its digest and as many as its names are long.
//!
//! It lies in four segments by digest. A newer set replaces them one after the other, so there is never more than a quarter too
//! much, and memory of a VM, which never shrinks, stays at that.

use super::blocks::{Blocks, Names};
use super::line::{self, Attributes, Head};
use crate::digest::{Digest, Listed};
use crate::index::Index;
use hashbrown::HashMap;
use std::rc::Rc;
use tollgate_core::UnixNanos;

/// Into how many parts a set is cut.
pub(crate) const SEGMENTS: usize = 4;

const REVOKED: u32 = 1 << 31;
/// Attribute lists that differ from each other, a segment.
const MAX_PROFILES: usize = 1 << 24;

/// All about a key but its digest. Times are Unix seconds, 0 is none.
#[derive(Clone, Copy)]
struct Meta {
    names: u32,
    /// The highest bit: revoked.
    profile: u32,
    not_before: u32,
    expires_at: u32,
}

/// What lines say about the holder; many keys share one.
#[derive(Default)]
pub(crate) struct Profile {
    pub(crate) groups: Rc<[Rc<str>]>,
    pub(crate) scopes: Rc<[Rc<str>]>,
    pub(crate) metadata: Vec<(String, Rc<[u8]>)>,
}

impl Profile {
    /// The line says nothing about the holder.
    pub(crate) fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.scopes.is_empty() && self.metadata.is_empty()
    }
}

/// A key that was found.
pub(crate) struct Found<'s> {
    pub(crate) consumer: &'s str,
    pub(crate) key_id: &'s str,
    pub(crate) profile: &'s Profile,
    pub(crate) not_before: Option<UnixNanos>,
    pub(crate) expires_at: Option<UnixNanos>,
    pub(crate) revoked: bool,
}

/// A part of a set.
#[derive(Default)]
pub(crate) struct Segment {
    digests: Blocks<Listed, 1024>,
    metas: Blocks<Meta, 2048>,
    names: Names,
    profiles: Vec<Profile>,
    known: HashMap<Box<str>, u32>,
    index: Index,
    scratch: String,
}

/// Why a key cannot be added.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotAdded {
    /// The digest is that of this key, `consumer/key`.
    SameKey(String),
    /// More than fits.
    TooMuch,
}

impl Segment {
    pub(crate) fn insert(
        &mut self,
        head: &Head<'_>,
        says: &Attributes<'_>,
    ) -> Result<(), NotAdded> {
        if let Some(found) = self.find(&head.digest) {
            return Err(NotAdded::SameKey(format!(
                "{}/{}",
                found.consumer, found.key_id
            )));
        }
        let profile = self.profile(says).ok_or(NotAdded::TooMuch)?;
        let names = self.names.push(head.consumer, head.key_id);
        let at = u32::try_from(self.digests.len()).map_err(|_| NotAdded::TooMuch)?;
        self.metas.push(Meta {
            names: names.ok_or(NotAdded::TooMuch)?,
            profile: profile | if says.revoked { REVOKED } else { 0 },
            not_before: says.not_before.unwrap_or(0),
            // The first second of 1970 is as long ago as its second one.
            expires_at: says.expires_at.map_or(0, |at| at.max(1)),
        });
        self.digests.push(Listed(head.digest));
        let Self { index, digests, .. } = self;
        index.insert(at, &head.digest, |at| {
            Some(&digests.get(usize::try_from(at).ok()?)?.0)
        });
        Ok(())
    }

    /// Which profile the line has; a new one if no line said the same before.
    fn profile(&mut self, says: &Attributes<'_>) -> Option<u32> {
        let key = &mut self.scratch;
        key.clear();
        key.push_str(says.groups);
        key.push(' ');
        key.push_str(says.scopes);
        for (name, value) in line::metadata(says.with_meta) {
            for part in [" ", name, "=", value] {
                key.push_str(part);
            }
        }
        if let Some(at) = self.known.get(key.as_str()) {
            return Some(*at);
        }
        if self.profiles.len() >= MAX_PROFILES {
            return None;
        }
        let at = u32::try_from(self.profiles.len()).ok()?;
        let list = |text: &str| {
            text.split(',')
                .filter(|t| !t.is_empty())
                .map(Rc::from)
                .collect()
        };
        self.profiles.push(Profile {
            groups: list(says.groups),
            scopes: list(says.scopes),
            metadata: line::metadata(says.with_meta)
                .map(|(name, value)| (name.to_owned(), Rc::from(value.as_bytes())))
                .collect(),
        });
        self.known.insert(key.as_str().into(), at);
        Some(at)
    }

    fn find(&self, digest: &Digest) -> Option<Found<'_>> {
        let at = |at: u32| Some(&self.digests.get(usize::try_from(at).ok()?)?.0);
        let found = self.index.find(digest, at)?;
        self.key(self.metas.get(usize::try_from(found).ok()?)?)
    }

    fn key(&self, meta: &Meta) -> Option<Found<'_>> {
        let (consumer, key_id) = self.names.get(meta.names)?;
        let profile = usize::try_from(meta.profile & !REVOKED).ok()?;
        Some(Found {
            consumer,
            key_id,
            profile: self.profiles.get(profile)?,
            not_before: instant(meta.not_before),
            expires_at: instant(meta.expires_at),
            revoked: meta.profile & REVOKED != 0,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.digests.len()
    }
}

/// A whole set.
#[derive(Default)]
pub(crate) struct Set {
    segments: [Segment; SEGMENTS],
}

impl Set {
    /// The segment where a digest lies.
    pub(crate) fn segment_of(digest: &Digest) -> usize {
        let [first, ..] = digest.bytes();
        usize::from(first >> 6)
    }

    pub(crate) fn insert(
        &mut self,
        head: &Head<'_>,
        says: &Attributes<'_>,
    ) -> Result<(), NotAdded> {
        let segment = self.segments.get_mut(Self::segment_of(&head.digest));
        segment.ok_or(NotAdded::TooMuch)?.insert(head, says)
    }

    pub(crate) fn replace(&mut self, number: usize, by: Segment) {
        if let Some(segment) = self.segments.get_mut(number) {
            *segment = by;
        }
    }

    pub(crate) fn find(&self, digest: &Digest) -> Option<Found<'_>> {
        self.segments.get(Self::segment_of(digest))?.find(digest)
    }

    pub(crate) fn len(&self) -> usize {
        self.segments
            .iter()
            .map(Segment::len)
            .fold(0, usize::saturating_add)
    }

    /// The keys that expire at the latest then and are not revoked.
    pub(crate) fn expiring(
        &self,
        until: UnixNanos,
    ) -> impl Iterator<Item = (UnixNanos, Found<'_>)> {
        let until = u32::try_from(until.secs()).unwrap_or(u32::MAX);
        self.segments.iter().flat_map(move |segment| {
            segment
                .metas
                .iter()
                .filter(move |m| (1..=until).contains(&m.expires_at) && m.profile & REVOKED == 0)
                .filter_map(|meta| Some((instant(meta.expires_at)?, segment.key(meta)?)))
        })
    }
}

fn instant(seconds: u32) -> Option<UnixNanos> {
    (seconds != 0).then(|| UnixNanos::from_secs(seconds.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(consumer: u32, key: &str, rest: &str) -> String {
        let digest = Digest::of(key.as_bytes());
        let hex: String = digest.bytes().iter().map(|b| format!("{b:02x}")).collect();
        format!("consumer-{consumer} k1 {hex} {rest}")
    }

    fn add(set: &mut Set, line: &str) -> Result<(), NotAdded> {
        let head = Head::parse(line.as_bytes()).unwrap();
        let says = head.attributes().unwrap();
        set.insert(&head, &says)
    }

    #[test]
    fn a_set_gives_back_what_was_put_in() {
        let mut set = Set::default();
        for i in 0..5000 {
            let rest = format!(
                "groups=g{} meta.tier=t{} expires_at=2026-12-30",
                i % 3,
                i % 2
            );
            add(&mut set, &line(i, &i.to_string(), &rest)).unwrap();
        }
        assert_eq!(set.len(), 5000);
        for i in 0..5000_u32 {
            let found = set.find(&Digest::of(i.to_string().as_bytes())).unwrap();
            assert_eq!(found.consumer, format!("consumer-{i}"));
            assert_eq!(&*found.profile.groups[0], format!("g{}", i % 3));
            assert_eq!(
                found.profile.metadata[0].1,
                Rc::from(format!("t{}", i % 2).as_bytes())
            );
            assert_eq!(found.expires_at, UnixNanos::parse("2026-12-30"));
            assert_eq!((found.not_before, found.revoked), (None, false));
        }
        assert!(set.find(&Digest::of(b"5000")).is_none());
        let profiles: usize = set.segments.iter().map(|s| s.profiles.len()).sum();
        assert_eq!(profiles, 6 * SEGMENTS);
        assert_eq!(
            set.expiring(UnixNanos::parse("2026-12-29").unwrap())
                .count(),
            0
        );
        assert_eq!(
            set.expiring(UnixNanos::parse("2026-12-30").unwrap())
                .count(),
            5000
        );
    }

    #[test]
    fn the_same_key_twice_is_refused_by_its_names() {
        let mut set = Set::default();
        add(&mut set, &line(1, "k", "revoked")).unwrap();
        let other = Err(NotAdded::SameKey("consumer-1/k1".to_owned()));
        assert_eq!(add(&mut set, &line(2, "k", "")), other);
        assert!(set.find(&Digest::of(b"k")).unwrap().revoked);
    }
}
