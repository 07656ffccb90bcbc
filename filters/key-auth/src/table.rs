//! All keys of a configuration, found by digest.

use crate::digest::{Digest, Listed};
use crate::index::Index;
use std::rc::Rc;
use tollgate_core::{Consumer, HeaderName, UnixNanos};

/// One key, with all that follows from presenting it.
pub struct Key {
    /// SHA-256 of the key.
    pub digest: Digest,
    /// Whose key it is, in the order of the configuration; `None`: a consumer of the remote key set only.
    pub consumer: Option<usize>,
    /// The same, as other policies see it.
    pub identity: Rc<Consumer>,
    /// What the key may do.
    pub scopes: Rc<[Rc<str>]>,
    /// Works from this moment on.
    pub not_before: Option<UnixNanos>,
    /// Works until just before this moment.
    pub expires_at: Option<UnixNanos>,
    /// Never works again.
    pub revoked: bool,
    /// What the upstream is told.
    pub headers: Vec<(HeaderName, Rc<[u8]>)>,
    /// The forwarded metadata, for filter state.
    pub metadata: Option<Rc<[u8]>>,
}

impl Key {
    /// Whether the key works only at some times, or never.
    pub(crate) fn is_limited(&self) -> bool {
        self.revoked | self.not_before.is_some() | self.expires_at.is_some()
    }
}

/// See the module.
#[derive(Default)]
pub struct KeyTable {
    keys: Vec<Key>,
    /// The digests once more, one after the other, for the search.
    digests: Vec<Listed>,
    index: Index,
}

impl KeyTable {
    /// The position of the key with this digest. How long it takes says nothing about how close a wrong digest comes.
    #[must_use]
    pub fn find(&self, digest: &Digest) -> Option<usize> {
        let at = |at: u32| Some(&self.digests.get(usize::try_from(at).ok()?)?.0);
        usize::try_from(self.index.find(digest, at)?).ok()
    }

    /// The key at a position.
    #[must_use]
    pub fn get(&self, at: usize) -> Option<&Key> {
        self.keys.get(at)
    }

    /// Adds a key.
    ///
    /// # Errors
    /// Hands the key back when its digest is there already.
    pub fn insert(&mut self, key: Key) -> Result<(), Box<Key>> {
        let Ok(at) = u32::try_from(self.keys.len()) else {
            return Err(Box::new(key));
        };
        if self.find(&key.digest).is_some() {
            return Err(Box::new(key));
        }
        self.digests.push(Listed(key.digest));
        let Self { index, digests, .. } = self;
        index.insert(at, &key.digest, |at| {
            Some(&digests.get(usize::try_from(at).ok()?)?.0)
        });
        self.keys.push(key);
        Ok(())
    }

    /// All keys, in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(digest: Digest) -> Key {
        Key {
            digest,
            consumer: None,
            identity: Rc::default(),
            scopes: Rc::from([]),
            not_before: None,
            expires_at: None,
            revoked: false,
            headers: Vec::new(),
            metadata: None,
        }
    }

    #[test]
    fn finds_each_of_many_keys_and_no_other() {
        let mut table = KeyTable::default();
        let digest = |i: u32| Digest::of(&i.to_le_bytes());
        for i in 0..5000 {
            assert!(table.insert(key(digest(i))).is_ok());
        }
        assert_eq!(table.len(), 5000);
        for i in 0..5000 {
            assert_eq!(table.find(&digest(i)), usize::try_from(i).ok());
        }
        for i in 5000..6000 {
            assert_eq!(table.find(&digest(i)), None);
        }
    }

    #[test]
    fn a_digest_that_differs_in_one_bit_is_not_found() {
        let mut table = KeyTable::default();
        let true_one = Digest::of(b"true");
        assert!(table.insert(key(true_one)).is_ok());
        for bit in 0..256_usize {
            let mut bytes = *true_one.bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(table.find(&Digest::from_bytes(bytes)), None, "bit {bit}");
        }
        assert_eq!(table.find(&true_one), Some(0));
    }

    #[test]
    fn the_same_digest_twice_is_handed_back() {
        let mut table = KeyTable::default();
        assert!(table.insert(key(Digest::of(b"k"))).is_ok());
        assert!(table.insert(key(Digest::of(b"k"))).is_err());
        assert_eq!(table.len(), 1);
    }
}
