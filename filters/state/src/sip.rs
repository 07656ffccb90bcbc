//! [SipHash-2-4](https://www.aumasson.jp/siphash/siphash.pdf) with 128 bits: the seeded hash that places keys.
//!
//! Every request with a limit is hashed, and keys are short, so what counts is how little code that is: bytes are put
//! together one by one, rounds are a loop. Crate `siphasher` says the same (see the tests) in four times as much.

/// A hash that is being made. A clone goes on from where its original stood.
#[derive(Clone, Debug)]
pub(crate) struct Sip {
    state: [u64; 4],
    /// Bytes that do not fill a word yet.
    rest: u64,
    written: u64,
}

impl Sip {
    /// The hash's key.
    pub(crate) fn new(key: &[u8; 16]) -> Self {
        let key = u128::from_le_bytes(*key);
        let half = |n: u128| u64::try_from(n & u128::from(u64::MAX)).unwrap_or(0);
        let (low, high) = (half(key), half(key >> 64));
        Self {
            state: [
                low ^ 0x736f_6d65_7073_6575,
                high ^ 0x646f_7261_6e64_6f6d ^ 0xee,
                low ^ 0x6c79_6765_6e65_7261,
                high ^ 0x7465_6462_7974_6573,
            ],
            rest: 0,
            written: 0,
        }
    }

    #[inline(never)]
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let shift = (self.written % 8).wrapping_mul(8);
            self.rest |= u64::from(*byte) << shift;
            self.written = self.written.wrapping_add(1);
            if shift == 56 {
                take(&mut self.state, self.rest);
                self.rest = 0;
            }
        }
    }

    /// Both halves of the hash.
    #[inline(never)]
    pub(crate) fn finish(&self) -> [u64; 2] {
        let mut state = self.state;
        take(&mut state, self.rest | self.written << 56);
        [[0, 0xee], [0xdd, 0]].map(|marks| {
            let [_, b, c, _] = &mut state;
            let [second, third] = marks;
            *b ^= second;
            *c ^= third;
            rounds(&mut state, 4);
            state.iter().fold(0, |all, word| all ^ word)
        })
    }

    /// The place of half a hash among so many, each as often as the others.
    pub(crate) fn among(half: u64, many: u32) -> u32 {
        let many = u64::from(many);
        let (high, low) = (half >> 32, half & u64::from(u32::MAX));
        // The upper half of a product of 64 bits by 32, without a number of 128.
        let high = high.wrapping_mul(many);
        let product = high.wrapping_add(low.wrapping_mul(many) >> 32) >> 32;
        u32::try_from(product).unwrap_or(0)
    }
}

fn take(state: &mut [u64; 4], word: u64) {
    let [.., last] = state;
    *last ^= word;
    rounds(state, 2);
    let [first, ..] = state;
    *first ^= word;
}

#[inline(never)]
fn rounds(state: &mut [u64; 4], n: u8) {
    let [mut a, mut b, mut c, mut d] = *state;
    for _ in 0..n {
        a = a.wrapping_add(b);
        b = b.rotate_left(13) ^ a;
        a = a.rotate_left(32);
        c = c.wrapping_add(d);
        d = d.rotate_left(16) ^ c;
        a = a.wrapping_add(d);
        d = d.rotate_left(21) ^ a;
        c = c.wrapping_add(b);
        b = b.rotate_left(17) ^ c;
        c = c.rotate_left(32);
    }
    *state = [a, b, c, d];
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use siphasher::sip128::{Hasher128, SipHasher24};
    use std::hash::Hasher;

    fn both(key: [u8; 16], pieces: &[Vec<u8>]) -> ([u64; 2], [u64; 2]) {
        let (mut ours, mut theirs) = (Sip::new(&key), SipHasher24::new_with_key(&key));
        for piece in pieces {
            ours.write(piece);
            theirs.write(piece);
        }
        let theirs = theirs.finish128();
        (ours.finish(), [theirs.h1, theirs.h2])
    }

    /// The first and the last of the 64 vectors that the authors published (`vectors_sip128`).
    #[test]
    fn the_published_vectors() {
        let key: [u8; 16] = std::array::from_fn(|i| u8::try_from(i).unwrap());
        let hash = |len| {
            let mut sip = Sip::new(&key);
            sip.write(&(0..len).collect::<Vec<u8>>());
            sip.finish().map(u64::to_le_bytes).concat()
        };
        let hex = |bytes: Vec<u8>| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        assert_eq!(hex(hash(0)), "a3817f04ba25a8e66df67214c7550293");
        assert_eq!(hex(hash(63)), "5150d1772f50834a503e069a973fbd7c");
    }

    proptest! {
        #[test]
        fn is_what_siphasher_says(
            key: [u8; 16],
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6),
        ) {
            let (ours, theirs) = both(key, &pieces);
            prop_assert_eq!(ours, theirs);
        }

        #[test]
        fn places_are_the_upper_half_of_a_product(half: u64, many: u32) {
            let product = u128::from(half).checked_mul(u128::from(many)).unwrap();
            prop_assert_eq!(u128::from(Sip::among(half, many)), product >> 64);
        }
    }
}
