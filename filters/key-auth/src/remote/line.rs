//! The text form of a key set: a first line that says what it is, then a line for each key.
//!
//! ```text
//! tollgate-keys 1 count=2
//! # consumer key-id digest, then in any order: groups= scopes= meta.NAME= not_before= expires_at= revoked
//! web-app 2026-q4 pj0UrDFZCm1qcT8WWgT1kvmjx1mT02LtiS5Tv+sMVgY groups=gold,beta expires_at=2026-12-30T00:00:00Z
//! mobile-app only 9rhIf0SWTM3h/098AN2EotFCyAlMak6Qb05w8FPHD5k revoked
//! ```

use crate::digest::Digest;
use tollgate_core::UnixNanos;

/// The first word of the first line.
const MAGIC: &str = "tollgate-keys";
/// A longer line is none: 128 + 128 + 71 bytes of names and digest, and room for groups and the like.
pub(crate) const MAX_LINE: usize = 4096;

/// What the first line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// How many keys there must be.
    pub(crate) count: Option<u64>,
}

/// Who has a key, and which; the rest of the line is still to be read.
pub(crate) struct Head<'l> {
    pub(crate) consumer: &'l str,
    pub(crate) key_id: &'l str,
    pub(crate) digest: Digest,
    rest: &'l str,
}

/// What a line says about its key besides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes<'l> {
    /// `groups`, `scopes` and `meta` as they stand there: keys that share them share what follows from them.
    pub(crate) groups: &'l str,
    pub(crate) scopes: &'l str,
    /// The whole rest of the line if there is a `meta.`, else empty.
    pub(crate) with_meta: &'l str,
    /// Unix seconds.
    pub(crate) not_before: Option<u32>,
    /// Unix seconds.
    pub(crate) expires_at: Option<u32>,
    pub(crate) revoked: bool,
}

/// What is wrong with a line. Never anything of the line itself: it could be a key in the wrong place.
pub(crate) type Problem = &'static str;

impl Header {
    pub(crate) fn parse(line: &[u8]) -> Result<Self, Problem> {
        let not_ours = "the first line must be `tollgate-keys 1`";
        let text = std::str::from_utf8(line).map_err(|_| not_ours)?;
        let mut words = words(text);
        if words.next() != Some(MAGIC) || words.next() != Some("1") {
            return Err(not_ours);
        }
        let mut count = None;
        for word in words {
            let number = word.strip_prefix("count=").and_then(|n| n.parse().ok());
            count = Some(number.ok_or("the first line has something else than count=NUMBER")?);
        }
        Ok(Self { count })
    }
}

/// Whether the line has no key.
pub(crate) fn is_blank(line: &[u8]) -> bool {
    let line = line.trim_ascii_start();
    line.is_empty() || line.starts_with(b"#")
}

impl<'l> Head<'l> {
    pub(crate) fn parse(line: &'l [u8]) -> Result<Self, Problem> {
        let text = std::str::from_utf8(line).map_err(|_| "is not text")?;
        let (consumer, rest) = word(text);
        let (key_id, rest) = word(rest);
        let (digest, rest) = word(rest);
        if !is_identifier(consumer) {
            return Err("does not begin with the id of a consumer");
        }
        if !is_identifier(key_id) {
            return Err("has no key id as its second word");
        }
        let digest = Digest::parse(digest)
            .ok_or("has no SHA-256 as its third word, as base64 or 64 hex digits")?;
        if digest.is_of_nothing() {
            return Err("has the digest of an empty key");
        }
        Ok(Self {
            consumer,
            key_id,
            digest,
            rest,
        })
    }

    /// Reads the rest.
    pub(crate) fn attributes(&self) -> Result<Attributes<'l>, Problem> {
        let mut all = Attributes::default();
        let mut seen = 0_u8;
        for word in words(self.rest) {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            let bit = match name {
                "groups" => {
                    all.groups = list(value)?;
                    1
                }
                "scopes" => {
                    all.scopes = list(value)?;
                    2
                }
                "not_before" => {
                    all.not_before = Some(seconds(value)?);
                    4
                }
                "expires_at" => {
                    all.expires_at = Some(seconds(value)?);
                    8
                }
                "revoked" if word == "revoked" => {
                    all.revoked = true;
                    16
                }
                _ => {
                    let name = name.strip_prefix("meta.").unwrap_or_default();
                    if !is_identifier(name) || value.is_empty() || value.len() > 1024 {
                        return Err(
                            "has something else than groups= scopes= meta.NAME= not_before= expires_at= revoked",
                        );
                    }
                    all.with_meta = self.rest;
                    0
                }
            };
            if seen & bit != 0 {
                return Err("says something twice");
            }
            seen |= bit;
        }
        if all
            .not_before
            .zip(all.expires_at)
            .is_some_and(|(from, to)| from >= to)
        {
            return Err("has an expires_at that is not later than its not_before");
        }
        Ok(all)
    }
}

/// The pairs of `meta.NAME=VALUE` in the rest of a line.
pub(crate) fn metadata(rest: &str) -> impl Iterator<Item = (&str, &str)> {
    words(rest).filter_map(|word| word.strip_prefix("meta.")?.split_once('='))
}

/// Letters, digits and `. _ - / @ : +`, as in the configuration.
fn is_identifier(text: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"._-/@:+".contains(&b);
    !text.is_empty() && text.len() <= 128 && text.bytes().all(good)
}

fn list(text: &str) -> Result<&str, Problem> {
    if text.split(',').all(is_identifier) {
        Ok(text)
    } else {
        Err("has a list that is not made of ids and commas")
    }
}

/// Whole seconds, so that they fit in half of the room.
fn seconds(text: &str) -> Result<u32, Problem> {
    let at = UnixNanos::parse(text).ok_or("has a time that is none (2026-12-31T00:00:00Z)")?;
    if at != UnixNanos::from_secs(at.secs()) {
        return Err("has a time with parts of a second");
    }
    u32::try_from(at.secs()).map_err(|_| "has a time after February 2106")
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split([' ', '\t']).filter(|word| !word.is_empty())
}

/// The first word and what follows it.
fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start_matches([' ', '\t']);
    text.split_once([' ', '\t']).unwrap_or((text, ""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DIGEST: &str = "pj0UrDFZCm1qcT8WWgT1kvmjx1mT02LtiS5Tv+sMVgY";

    fn attributes(rest: &str) -> Result<Attributes<'static>, Problem> {
        let line = format!("web-app q4 {DIGEST} {rest}");
        let line = Box::leak(line.into_boxed_str());
        Head::parse(line.as_bytes())?.attributes()
    }

    #[test]
    fn reads_a_line() {
        let line = format!(
            "  web-app\tteam:a/q4  {DIGEST}= groups=gold,beta expires_at=2026-12-30 revoked"
        );
        let head = Head::parse(line.as_bytes()).unwrap();
        assert_eq!((head.consumer, head.key_id), ("web-app", "team:a/q4"));
        assert!(head.digest.is(&Digest::parse(DIGEST).unwrap()));
        let expected = Attributes {
            groups: "gold,beta",
            expires_at: Some(1_798_588_800),
            revoked: true,
            ..Attributes::default()
        };
        assert_eq!(head.attributes(), Ok(expected));
        assert_eq!(attributes(""), Ok(Attributes::default()));
    }

    #[test]
    fn reads_metadata() {
        let rest = "meta.tier=one groups=g meta.plan=a=b";
        let found = attributes(rest).unwrap();
        assert_eq!(found.groups, "g");
        let all: Vec<_> = metadata(found.with_meta).collect();
        assert_eq!(all, [("tier", "one"), ("plan", "a=b")]);
    }

    #[test]
    fn reads_the_first_line() {
        assert_eq!(
            Header::parse(b"tollgate-keys 1"),
            Ok(Header { count: None })
        );
        let counted = Header { count: Some(5) };
        assert_eq!(Header::parse(b"tollgate-keys 1  count=5"), Ok(counted));
        for bad in [
            "",
            "<!doctype html>",
            "tollgate-keys",
            "tollgate-keys 2",
            "tollgate-keys 1 count=x",
            "tollgate-keys 1 y",
        ] {
            assert!(Header::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn refuses_what_is_no_line() {
        for bad in [
            "web-app",
            "web-app q4",
            "web-app q4 abc",
            "web,app q4 X",
            "\u{e4} q4 X",
        ] {
            assert!(Head::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        // SHA-256 of nothing at all.
        let nothing = "a b e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(
            Head::parse(nothing.as_bytes()).err(),
            Some("has the digest of an empty key")
        );
        for bad in [
            "groups=",
            "groups=a,,b",
            "groups=a groups=b",
            "revoked=true",
            "revoked revoked",
            "expires_at=tomorrow",
            "expires_at=2026-12-30T00:00:00.5Z",
            "expires_at=2200-01-01",
            "not_before=2026-01-02 expires_at=2026-01-02",
            "gold",
            "meta.=x",
            "meta.a=",
            "group=a",
        ] {
            assert!(attributes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn comments_and_empty_lines_have_no_key() {
        for blank in ["", "  ", "# x", "  # x"] {
            assert!(is_blank(blank.as_bytes()));
        }
        assert!(!is_blank(b"a # b"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Header::parse(&line);
            if let Ok(head) = Head::parse(&line) {
                let _ = head.attributes();
            }
        }

        #[test]
        fn what_is_written_is_read(
            consumer in "[A-Za-z0-9._/@:+-]{1,20}", key in "[A-Za-z0-9._-]{1,20}", bytes: [u8; 32],
            from in proptest::option::of(0_u32..2_000_000_000), revoked: bool,
        ) {
            let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
            let mut line = format!("{consumer} {key} {hex}");
            if let Some(from) = from {
                line.push_str(&format!(" not_before={}", UnixNanos::from_secs(from.into())));
            }
            if revoked {
                line.push_str(" revoked");
            }
            let head = Head::parse(line.as_bytes()).unwrap();
            prop_assert_eq!((head.consumer, head.key_id), (&*consumer, &*key));
            prop_assert!(head.digest.is(&Digest::from_bytes(bytes)));
            let found = head.attributes().unwrap();
            prop_assert_eq!((found.not_before, found.revoked), (from, revoked));
        }
    }
}
