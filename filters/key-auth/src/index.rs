//! Where a key lies, by its digest: a search that takes the same steps for every wrong key.
//!
//! A bucket is one cache line of ten places. A digest has two buckets, chosen by a seeded hash over all its 32 bytes, and
//! lies in either. A search reads both to the end and then compares exactly one digest in full and in constant time: that of the
//! place whose tag fits, or one of nothing where none does, as with nearly every wrong key. So neither how full a bucket is nor how
//! much of a digest was guessed shows in the time.

use crate::digest::{Digest, Listed};
use hashbrown::DefaultHashBuilder;
use std::hash::BuildHasher;

const WAYS: usize = 10;
/// Words of tags.
const WORDS: u32 = 3;
/// Keys a bucket on average, above which there are soon more buckets. With two choices a bucket then hardly ever overflows.
const MEAN: usize = 7;

/// Tags lie four in a word, so that four are compared at once; a tag of zero is a free place.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Bucket {
    tags: [u64; 3],
    at: [u32; WAYS],
}

const EMPTY: Bucket = Bucket {
    tags: [0; 3],
    at: [0; WAYS],
};

/// The lowest bit of each of the four tags of a word.
const LOWEST: u64 = 0x0001_0001_0001_0001;
/// The highest.
const HIGHEST: u64 = LOWEST << 15;
/// A bit for each place; the words have room for two more tags.
const PLACES: u64 = 0x0003_0003_0007_0007;

/// What is compared where nothing fits.
static NOTHING: Listed = Listed(Digest::from_bytes([0; 32]));

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
        let Wanted { tag, buckets } = self.wanted(digest);
        let [one, two] = buckets.map(|at| self.buckets.get(at).unwrap_or(&EMPTY));
        let mut fits = one.fits(tag) | (two.fits(tag) << WORDS);
        // A second time for one search in some hundred thousand, whose tag fits twice.
        loop {
            let candidate = match fits.trailing_zeros() {
                64 => None,
                bit if bit & 15 < WORDS => one.at(bit),
                bit => two.at(bit.saturating_sub(WORDS)),
            };
            // Always the same bytes where nothing fits: those of some other key would lie elsewhere for every wrong one, and
            // take other times to be read.
            let lies_there = candidate.and_then(&digest_at);
            let is_it = lies_there.unwrap_or(&NOTHING.0).is(digest);
            if is_it && lies_there.is_some() {
                return candidate;
            }
            fits &= fits.wrapping_sub(1);
            if fits == 0 {
                return None;
            }
        }
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
        let free = |bucket: usize| {
            let bucket = self.buckets.get(bucket).unwrap_or(&EMPTY);
            bucket.free().count_ones()
        };
        let [one, two] = wanted.buckets;
        let chosen = if free(two) > free(one) { two } else { one };
        let Some(bucket) = self.buckets.get_mut(chosen) else {
            return false;
        };
        bucket.put(wanted.tag, at)
    }

    fn wanted(&self, digest: &Digest) -> Wanted {
        let hash = self.hasher.hash_one(digest.words());
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

impl Bucket {
    /// The places that have the tag. The bit of a place is 16 times its place in the word, and the word's number.
    fn fits(&self, tag: u16) -> u64 {
        let wanted = u64::from(tag).wrapping_mul(LOWEST);
        let [a, b, c] = self.tags.map(|word| is_zero(word ^ wanted));
        (a >> 15) | (b >> 14) | (c >> 13)
    }

    fn free(&self) -> u64 {
        self.fits(0) & PLACES
    }

    /// What lies at the place of a bit.
    fn at(&self, bit: u32) -> Option<u32> {
        self.at.get(place(bit)?).copied()
    }

    /// Into a free place; `false` if there is none.
    fn put(&mut self, tag: u16, at: u32) -> bool {
        let free = self.free();
        let bit = free.trailing_zeros();
        let word = usize::try_from(bit & 15).ok();
        let word = word.and_then(|word| self.tags.get_mut(word));
        let place = place(bit).and_then(|place| self.at.get_mut(place));
        let (Some(word), Some(place), 1..) = (word, place, free) else {
            return false;
        };
        *word |= u64::from(tag) << (bit & !15);
        *place = at;
        true
    }
}

/// Which of the four tags of a word are zero, by the highest bit of each.
fn is_zero(word: u64) -> u64 {
    // No carry leaves a tag: both are below its highest bit.
    let any = (word & !HIGHEST).wrapping_add(!HIGHEST) | word;
    !any & HIGHEST
}

fn place(bit: u32) -> Option<usize> {
    usize::try_from(((bit & 15) << 2) | (bit >> 4)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn a_tag_fits_where_it_lies_and_nowhere_else(
            tags in prop::collection::vec(prop_oneof![1..4_u16, any::<u16>().prop_map(|t| t.max(1))], 0..=WAYS),
            tag in prop_oneof![1..4_u16, 1..=u16::MAX],
        ) {
            let mut bucket = EMPTY;
            for (at, tag) in (0..).zip(&tags) {
                prop_assert!(bucket.put(*tag, at));
            }
            prop_assert_eq!(bucket.put(7, 7), tags.len() < WAYS);
            let mut expected: Vec<u32> = (0..).zip(&tags).filter(|(_, t)| **t == tag).map(|(at, _)| at).collect();
            if tag == 7 && tags.len() < WAYS {
                expected.push(7);
            }
            let mut found = Vec::new();
            let mut fits = bucket.fits(tag);
            while fits != 0 {
                found.extend(bucket.at(fits.trailing_zeros()));
                fits &= fits.wrapping_sub(1);
            }
            found.sort_unstable();
            expected.sort_unstable();
            prop_assert_eq!(found, expected);
        }
    }

    /// What a wrong key of the same tag does must not hide the true one behind it.
    #[test]
    fn finds_a_key_behind_others_of_its_tag() {
        let all: Vec<Digest> = (0..20).map(digest).collect();
        let at = |at: u32| all.get(usize::try_from(at).ok()?);
        let mut index = Index {
            buckets: vec![EMPTY],
            ..Index::default()
        };
        let wanted = |index: &Index, i: u32| index.wanted(&digest(i)).tag;
        for other in 0..9 {
            let tag = wanted(&index, 9);
            assert!(index.buckets[0].put(tag, other));
        }
        assert_eq!(index.find(&digest(9), at), None);
        let tag = wanted(&index, 9);
        assert!(index.buckets[0].put(tag, 9));
        assert_eq!(index.find(&digest(9), at), Some(9));
        assert_eq!(index.find(&digest(10), at), None);
    }

    #[test]
    fn an_empty_index_finds_nothing() {
        assert_eq!(Index::default().find(&digest(1), |_| None), None);
    }
}
