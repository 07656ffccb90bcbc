//! The end of a SHA-256: a request hashes in more than one policy, and each would bring its own copy of this code.

use sha2::{Digest, Sha256};

/// The digest of what was hashed so far and the rest.
#[must_use]
#[inline(never)]
pub fn finish(so_far: &Sha256, rest: &[u8]) -> [u8; 32] {
    so_far.clone().chain_update(rest).finalize().into()
}
