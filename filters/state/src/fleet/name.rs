//! What the service sees of a key: 32 hex digits that say nothing.
//!
//! The first 16 bytes of HMAC-SHA256 over version, name of the limit, what it counts in, the window and the parts of
//! the key. Keyed, because addresses and ids can be guessed. Of a fixed length, because the service escapes nothing. The
//! limit's figure is not in it: a raised limit goes on counting.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

const VERSION: u8 = 2;
const LEAST_KEY: usize = 16;

/// The fleet's key, or the key and the beginning of some names.
#[derive(Clone)]
pub struct Namer(Hmac<Sha256>);

/// Shows nothing.
impl std::fmt::Debug for Namer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Namer")
    }
}

impl Namer {
    /// `None`: the secret is too short, less than 16 bytes.
    #[must_use]
    pub fn new(secret: &[u8]) -> Option<Self> {
        let long_enough = secret.len() >= LEAST_KEY;
        let mac = long_enough.then(|| Hmac::new_from_slice(secret).ok())??;
        Some(Self(mac))
    }

    /// The names of one limit, budget or guard: `what` tells the uses apart, `numbers` what it counts in.
    #[must_use]
    pub fn of(&self, what: &str, limit: &str, numbers: &[u64]) -> Self {
        let mut mac = self.0.clone();
        mac.update(&[VERSION]);
        for text in [what, limit] {
            part(&mut mac, text.as_bytes());
        }
        for number in numbers {
            mac.update(&number.to_le_bytes());
        }
        Self(mac)
    }

    /// The name of a key in a window.
    #[must_use]
    pub fn name(&self, label: Option<u64>, parts: &[u8]) -> String {
        let mut mac = self.0.clone();
        mac.update(&label.unwrap_or(u64::MAX).to_le_bytes());
        part(&mut mac, parts);
        hex32(mac)
    }

    /// The name of a key where each question is about one request: `classic`.
    #[must_use]
    pub fn classic(&self, limit: &str, parts: &[u8]) -> String {
        let mut mac = self.0.clone();
        mac.update(&[1]);
        part(&mut mac, limit.as_bytes());
        mac.update(parts);
        hex32(mac)
    }
}

fn part(mac: &mut Hmac<Sha256>, bytes: &[u8]) {
    mac.update(&u64::try_from(bytes.len()).unwrap_or(0).to_le_bytes());
    mac.update(bytes);
}

fn hex32(mac: Hmac<Sha256>) -> String {
    let digest = mac.finalize().into_bytes();
    let mut hex = String::with_capacity(32);
    for byte in digest.iter().take(16) {
        for nibble in [byte >> 4, byte & 0x0f] {
            hex.extend(char::from_digit(u32::from(nibble), 16));
        }
    }
    hex
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namer() -> Namer {
        Namer::new(b"0123456789abcdef-fleet").unwrap()
    }

    #[test]
    fn is_the_hmac_that_openssl_computes() {
        // printf '\2\5\0\0\0\0\0\0\0limit\3\0\0\0\0\0\0\0api\74\0\0\0\0\0\0\0\377\377\377\377\377\377\377\377\3\0\0\0\0\0\0\0abc' |
        //   openssl dgst -sha256 -mac hmac -macopt key:0123456789abcdef-fleet
        let name = namer().of("limit", "api", &[60]).name(None, b"abc");
        assert_eq!(name, "f075a1ff589f2f2e8f8fe3a78df2e4dc");
    }

    #[test]
    fn every_part_tells_names_apart() {
        let name = |what, limit, n, label, parts| namer().of(what, limit, &[n]).name(label, parts);
        let all = [
            name("limit", "api", 60, None, b"ab"),
            name("budget", "api", 60, None, b"ab"),
            name("limit", "apia", 60, None, b"b"),
            name("limit", "api", 61, None, b"ab"),
            name("limit", "api", 60, Some(0), b"ab"),
            name("limit", "api", 60, Some(1), b"ab"),
            name("limit", "api", 60, None, b"abc"),
            Namer::new(b"another-key-0123456789")
                .unwrap()
                .of("limit", "api", &[60])
                .name(None, b"ab"),
        ];
        for (i, a) in all.iter().enumerate() {
            assert_eq!(a.len(), 32);
            assert!(!all[i + 1..].contains(a), "{i}");
        }
        assert!(Namer::new(b"0123456789abcde").is_none());
        assert_eq!(format!("{:?}", namer()), "Namer");
    }
}
