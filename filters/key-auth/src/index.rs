//! Where a key lies, by its digest: a search that takes the same steps for every wrong key.
//!
//! A bucket is one cache line of ten places. A digest has two buckets, chosen by a seeded hash over all its 32 bytes, and
//! lies in either. A search reads both to the end and then compares exactly one digest in full and in constant time: that of the
//! place whose tag fits, or one of nothing where none does, as with nearly every wrong key. So neither how full a bucket is nor how
//! much of a digest was guessed shows in the time.

use crate::digest::Digest;
use hashbrown::DefaultHashBuilder;
use std::hash::BuildHasher;

const WAYS: usize = 10;
/// Keys a bucket on average, above which there are soon more buckets. With two choices a bucket then hardly ever overflows.
const MEAN: usize = 7;

/// `tags` zero: a free place.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Bucket {
    tags: [u16; WAYS],
    at: [u32; WAYS],
}

const EMPTY: Bucket = Bucket {
    tags: [0; WAYS],
    at: [0; WAYS],
};

/// What is compared where nothing fits.
static NOTHING: Digest = Digest::from_bytes([0; 32]);

/// Positions of keys in a list that somebody else keeps.
#[derive(Default)]
pub(crate) struct Index {
    buckets: Vec<Bucket>,
    hasher: DefaultHashBuilder,
    len: usize,
}

/// What a digest asks for.
#[derive(Clone, Copy)]
struct Wanted {
    tag: u16,
    buckets: [usize; 2],
}

impl Index {
    /// The position of the digest. `digest_at` says what lies at a position.
    pub(crate) fn find<'d>(
        &self,
        digest: &Digest,
        digest_at: impl Fn(u32) -> Option<&'d Digest>,
    ) -> Option<u32> {
        let wanted = self.wanted(digest);
        let mut candidate = 0_u32;
        let mut fits = 0_u32;
        for bucket in wanted.buckets {
            let bucket = self.buckets.get(bucket).unwrap_or(&EMPTY);
            for (tag, at) in bucket.tags.iter().zip(bucket.at) {
                let mask = 0_u32.wrapping_sub(u32::from(*tag == wanted.tag));
                candidate = (candidate & !mask) | (at & mask);
                fits = fits.wrapping_sub(mask);
            }
        }
        // Always the same bytes: those of some other key would lie elsewhere for every wrong one, and take other times to be read.
        let lies_there = if fits == 0 {
            None
        } else {
            digest_at(candidate)
        };
        let is_it = lies_there.unwrap_or(&NOTHING).is(digest);
        if is_it && lies_there.is_some() {
            return Some(candidate);
        }
        if fits < 2 {
            return None;
        }
        self.find_among(wanted, digest, digest_at)
    }

    /// The tag fits twice: one search in some hundred thousand.
    #[cold]
    fn find_among<'d>(
        &self,
        wanted: Wanted,
        digest: &Digest,
        digest_at: impl Fn(u32) -> Option<&'d Digest>,
    ) -> Option<u32> {
        wanted
            .buckets
            .iter()
            .filter_map(|at| self.buckets.get(*at))
            .flat_map(|bucket| bucket.tags.iter().zip(bucket.at))
            .filter(|(tag, _)| **tag == wanted.tag)
            .map(|(_, at)| at)
            .find(|at| digest_at(*at).is_some_and(|d| d.is(digest)))
    }

    /// Adds a digest that is not there yet and that `digest_at` knows already.
    pub(crate) fn insert<'d>(
        &mut self,
        at: u32,
        digest: &Digest,
        digest_at: impl Fn(u32) -> Option<&'d Digest>,
    ) {
        self.len = self.len.saturating_add(1);
        if self.len > self.buckets.len().saturating_mul(MEAN) || !self.place(at, digest) {
            self.grow(at, digest_at);
        }
    }

    /// More buckets, everything placed anew: positions from 0 to `last`.
    fn grow<'d>(&mut self, last: u32, digest_at: impl Fn(u32) -> Option<&'d Digest>) {
        // Doubling ends at the latest when every key has buckets of its own; that many tags cannot collide for long,
        // so the bound is never reached.
        for _ in 0..32 {
            let more = self.buckets.len().saturating_mul(2).max(1);
            self.buckets = vec![EMPTY; more];
            let all_placed = (0..=last)
                .filter_map(|at| Some((at, digest_at(at)?)))
                .all(|(at, digest)| self.place(at, digest));
            if all_placed {
                return;
            }
        }
    }

    /// Into the emptier of its two buckets; `false` if both are full.
    fn place(&mut self, at: u32, digest: &Digest) -> bool {
        let wanted = self.wanted(digest);
        let used = |bucket: usize| {
            let bucket = self.buckets.get(bucket).unwrap_or(&EMPTY);
            bucket.tags.iter().filter(|tag| **tag != 0).count()
        };
        let [one, two] = wanted.buckets;
        let chosen = if used(two) < used(one) { two } else { one };
        let Some(bucket) = self.buckets.get_mut(chosen) else {
            return false;
        };
        let mut places = bucket.tags.iter_mut().zip(&mut bucket.at);
        let Some((tag, place)) = places.find(|(tag, _)| **tag == 0) else {
            return false;
        };
        *tag = wanted.tag;
        *place = at;
        true
    }

    fn wanted(&self, digest: &Digest) -> Wanted {
        let hash = self.hasher.hash_one(digest.bytes());
        let [a, b, c, d, e, f, g, h] = hash.to_le_bytes();
        // 24 bits choose each bucket, 16 are the tag.
        let bucket = |bytes: [u8; 4]| {
            let many = u64::try_from(self.buckets.len()).unwrap_or(u64::MAX);
            let at = u64::from(u32::from_le_bytes(bytes)).saturating_mul(many) >> 24;
            usize::try_from(at).unwrap_or(usize::MAX)
        };
        Wanted {
            tag: u16::from_le_bytes([a, b]).max(1),
            buckets: [bucket([c, d, e, 0]), bucket([f, g, h, 0])],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(i: u32) -> Digest {
        Digest::of(&i.to_le_bytes())
    }

    #[test]
    fn a_bucket_is_one_cache_line() {
        assert_eq!(size_of::<Bucket>(), 64);
    }

    #[test]
    fn finds_each_of_many_keys_and_no_other() {
        let all: Vec<Digest> = (0..30_000).map(digest).collect();
        let at = |at: u32| all.get(usize::try_from(at).ok()?);
        let mut index = Index::default();
        for (i, digest) in (0_u32..).zip(&all) {
            let so_far = |place: u32| at(place).filter(|_| place < i);
            assert_eq!(index.find(digest, so_far), None, "{i}");
            index.insert(i, digest, at);
        }
        for (i, digest) in (0_u32..).zip(&all) {
            assert_eq!(index.find(digest, at), Some(i));
        }
        for i in 30_000..60_000 {
            assert_eq!(index.find(&digest(i), at), None);
        }
        // 7 of 10 places filled would be 9.1 bytes a key, and doubling leaves at most twice as many.
        let bytes = index.buckets.len() * size_of::<Bucket>();
        assert!(bytes <= all.len() * 19, "{bytes}");
    }

    /// A tag that depended on the bucket would fit wrong keys often, and what then follows takes another time.
    #[test]
    fn a_tag_fits_by_chance_as_rarely_as_16_bits_promise() {
        let all: Vec<Digest> = (0..20_000).map(digest).collect();
        let at = |at: u32| all.get(usize::try_from(at).ok()?);
        let mut index = Index::default();
        for (i, digest) in (0_u32..).zip(&all) {
            index.insert(i, digest, at);
        }
        let asked = std::cell::Cell::new(0_u32);
        for i in 20_000..120_000 {
            index.find(&digest(i), |place| {
                asked.set(asked.get() + 1);
                at(place)
            });
        }
        // Two buckets of 4.9 keys on average, of 65,535 tags: 15 of 100,000 keys.
        assert!((2..=40).contains(&asked.get()), "{}", asked.get());
    }

    #[test]
    fn an_empty_index_finds_nothing() {
        assert_eq!(Index::default().find(&digest(1), |_| None), None);
    }
}
