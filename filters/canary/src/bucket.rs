//! The hash that places keys. It is published (`docs/canary.md`), so that other services can compute
//! the same answer, and must therefore never change.

use sha2::{Digest, Sha256};
use tollgate_state::sha256;

/// How many buckets there are: one for each hundredth of a percent (a basis point).
pub const BUCKETS: u16 = 10_000;

/// The first part of the hash of one flag, computed once.
#[derive(Clone, Debug)]
pub(crate) struct Salt(Sha256);

impl Salt {
    pub(crate) fn new(flag: &str) -> Self {
        Self(Sha256::new().chain_update(flag).chain_update(":"))
    }

    pub(crate) fn bucket(&self, key: &[u8]) -> u16 {
        let digest = sha256::finish(&self.0, key);
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
    let scaled = u128::from(number).saturating_mul(u128::from(BUCKETS)) >> 64;
    u16::try_from(scaled).unwrap_or(0)
}
