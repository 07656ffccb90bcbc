//! The hash that places keys. It is published (`docs/canary.md`), so that other services can compute
//! the same answer, and must therefore never change.

use sha2::block_api::compress256;
use sha2::{Digest, Sha256};

/// How many buckets there are: one for each hundredth of a percent (a basis point).
pub const BUCKETS: u16 = 10_000;

/// The first part of the hash of one flag, computed once.
#[derive(Clone, Debug)]
pub(crate) struct Salt {
    /// `flag:`, then zeros.
    block: [u8; BLOCK],
    len: usize,
    /// The same for keys that do not fit into that block.
    long: Sha256,
}

/// Bytes that SHA-256 takes at a time.
const BLOCK: usize = 64;

/// A text of more bytes needs a second block for its end.
const MOST: usize = 55;

/// What SHA-256 begins with (FIPS 180-4, 5.3.3).
const START: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

impl Salt {
    pub(crate) fn new(flag: &str) -> Self {
        let mut block = [0; BLOCK];
        let text = flag.bytes().chain([b':']);
        for (to, from) in block.iter_mut().zip(text) {
            *to = from;
        }
        Self {
            block,
            len: flag.len().saturating_add(1),
            long: Sha256::new().chain_update(flag).chain_update(":"),
        }
    }

    /// Hashes what fits into one block, as nearly all do, without the buffer that is there for what comes in pieces.
    pub(crate) fn bucket(&self, key: &[u8]) -> u16 {
        let mut blocks = [self.block];
        let [block] = &mut blocks;
        if self.fill(block, key).is_none() {
            return self.long(key);
        }
        let mut state = START;
        compress256(&mut state, &blocks);
        let [first, second, ..] = state;
        scale(u64::from(first) << 32 | u64::from(second))
    }

    /// Behind the flag: the key, a bit, zeros, and the length of the text in bits. `None`: there is no room.
    fn fill(&self, block: &mut [u8; BLOCK], key: &[u8]) -> Option<()> {
        let len = self.len.saturating_add(key.len());
        if len > MOST {
            return None;
        }
        let (_, rest) = block.split_at_mut_checked(self.len)?;
        let (text, rest) = rest.split_at_mut_checked(key.len())?;
        for (to, from) in text.iter_mut().zip(key) {
            *to = *from;
        }
        *rest.first_mut()? = 0x80;
        let bits = u16::try_from(len).ok()?.checked_mul(8)?;
        let [.., high, low] = block;
        [*high, *low] = bits.to_be_bytes();
        Some(())
    }

    #[inline(never)]
    fn long(&self, key: &[u8]) -> u16 {
        let digest = self.long.clone().chain_update(key).finalize();
        let first = digest.first_chunk().copied().unwrap_or_default();
        scale(u64::from_be_bytes(first))
    }
}

/// The bucket of a key: the first 8 bytes, big endian, of SHA-256(`flag:key`), times 10,000,
/// shifted right by 64. Always below [`BUCKETS`].
///
/// ```
/// assert_eq!(tollgate_canary::bucket("checkout-v2", b"user-42"), 141);
/// ```
#[must_use]
pub fn bucket(flag: &str, key: &[u8]) -> u16 {
    Salt::new(flag).bucket(key)
}

/// A number evenly spread over 64 bits, as a bucket.
pub(crate) fn scale(number: u64) -> u16 {
    // The upper half of a product, without a number of 128 bits.
    let times = |half: u64| half.wrapping_mul(u64::from(BUCKETS));
    let (high, low) = (number >> 32, number & u64::from(u32::MAX));
    let scaled = times(high).wrapping_add(times(low) >> 32) >> 32;
    u16::try_from(scaled).unwrap_or(0)
}
