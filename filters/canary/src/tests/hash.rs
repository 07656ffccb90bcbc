//! The published values of the hash. They come from Python's hashlib, not from this crate:
//! `int.from_bytes(sha256(b"%b:%b" % (flag, key)).digest()[:8], "big") * 10000 >> 64`

use crate::bucket::scale;
use crate::{bucket, tests::Rig, tests::one};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

/// The table of `docs/canary.md`.
const PUBLISHED: [(&str, &[u8], u16); 11] = [
    ("checkout-v2", b"user-1", 8181),
    ("checkout-v2", b"user-2", 8009),
    ("checkout-v2", b"user-42", 141),
    ("checkout-v2", b"alice", 539),
    ("search-v3", b"alice", 9857),
    ("search-v3", b"user-42", 4887),
    ("checkout-v2", b"192.0.2.1", 5080),
    ("checkout-v2", b"2001:db8::1", 9499),
    ("checkout-v2", "j\u{f6}rg".as_bytes(), 972),
    ("checkout-v2", b"\xff\xfe", 1122),
    ("checkout-v2", b"a:b", 1834),
];

#[test]
fn the_published_values_hold() {
    for (flag, key, expected) in PUBLISHED {
        assert_eq!(bucket(flag, key), expected, "{flag}:{}", key.escape_ascii());
    }
}

#[test]
fn the_docs_show_the_same_values() {
    let docs = include_str!("../../../../docs/canary.md");
    for (flag, key, expected) in PUBLISHED {
        let key = match std::str::from_utf8(key) {
            Ok(text) => text.to_owned(),
            Err(_) => key.escape_ascii().to_string(),
        };
        let row = format!("| `{flag}` | `{key}` | {expected} |");
        assert!(docs.contains(&row), "not in docs/canary.md: {row}");
    }
}

#[test]
fn a_bucket_never_reaches_ten_thousand() {
    assert_eq!(scale(0), 0);
    assert_eq!(scale(u64::MAX), 9_999);
    // 2^64 / 10,000 = 1,844,674,407,370,955.16: the first numbers of buckets 1 and 9,999.
    assert_eq!(scale(1_844_674_407_370_955), 0);
    assert_eq!(scale(1_844_674_407_370_956), 1);
    assert_eq!(scale(18_444_899_399_302_180_660), 9_998);
    assert_eq!(scale(18_444_899_399_302_180_661), 9_999);
}

#[test]
fn a_weight_is_the_number_of_its_buckets() {
    // user-42 is in bucket 141: out at 1.41 %, in at 1.42 %.
    let variant = |percent: &str, rest: &str| {
        let fields = format!(
            r#""variants": [{{"name": "stable", "weight": {rest}}}, {{"name": "canary", "weight": {percent}}}]"#
        );
        Rig::new(&one(&fields)).user("user-42").0
    };
    assert_eq!(variant("1.41", "98.59"), "checkout-v2:stable");
    assert_eq!(variant("1.42", "98.58"), "checkout-v2:canary");
    assert_eq!(variant("100", "0"), "checkout-v2:canary");
    assert_eq!(variant("0.0", "100.0"), "checkout-v2:stable");
}

proptest! {
    #[test]
    fn one_block_or_more_is_one_hash(flag in "[a-z0-9-]{1,70}", key in prop::collection::vec(any::<u8>(), 0..80)) {
        let text = [flag.as_bytes(), b":", key.as_slice()].concat();
        let digest: [u8; 32] = Sha256::digest(text).into();
        let first = u64::from_be_bytes(*digest.first_chunk().unwrap());
        prop_assert_eq!(bucket(&flag, &key), scale(first));
    }

    #[test]
    fn a_bucket_is_the_upper_half_of_a_product(number: u64) {
        prop_assert_eq!(u128::from(scale(number)), (u128::from(number) * 10_000) >> 64);
    }

    #[test]
    fn any_key_has_a_bucket(flag in "[a-z0-9-]{1,20}", key: Vec<u8>) {
        prop_assert!(bucket(&flag, &key) < 10_000);
    }
}
