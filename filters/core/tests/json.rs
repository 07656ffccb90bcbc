//! The pieces of JSON against `serde_json`, which reads whole documents.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)] // a test may fail by panicking

// As WebAssembly, `#[test]` means wasm_bindgen_test: see tests/wasm-test.
#[cfg(all(test, target_arch = "wasm32", target_os = "unknown"))]
#[macro_use(test)]
extern crate tollgate_wasm_test;

use proptest::prelude::*;
use tollgate_core::json::{Escape, InText, Number, Utf16, plain_text};

/// The text of a string with its quotes; `None` if it is none.
fn text(json: &[u8]) -> Option<Vec<u8>> {
    let mut rest = json.strip_prefix(b"\"")?;
    let mut out = Vec::new();
    let mut escape = Escape::No;
    let mut utf16 = Utf16::default();
    loop {
        if escape == Escape::No {
            let plain = plain_text(rest);
            if !plain.is_empty() && utf16.is_broken_off() {
                out.extend("\u{fffd}".as_bytes());
            }
            out.extend(plain);
            rest = &rest[plain.len()..];
        }
        let (&byte, tail) = rest.split_first()?;
        rest = tail;
        let step = escape.next(byte);
        if matches!(step, InText::Char(_) | InText::End) && utf16.is_broken_off() {
            out.extend("\u{fffd}".as_bytes());
        }
        escape = Escape::No;
        match step {
            InText::Within(within) => escape = within,
            InText::Char(char) => out.push(char),
            InText::Unit(unit) => {
                out.extend(utf16.unit(unit).collect::<String>().into_bytes());
            }
            InText::End => return tail.is_empty().then_some(out),
            InText::Invalid => return None,
        }
    }
}

fn is_number(text: &str) -> bool {
    let Some((&first @ (b'-' | b'0'..=b'9'), rest)) = text.as_bytes().split_first() else {
        return false;
    };
    let end = rest
        .iter()
        .try_fold(Number::start(first), |n, b| n.next(*b));
    end.is_some_and(Number::may_end)
}

#[test]
fn strings_are_read() {
    let read = |json: &str| text(json.as_bytes()).map(|t| String::from_utf8(t).unwrap());
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(read(r#""""#), some(""));
    assert_eq!(
        read(r#""a\"\\\/\b\f\n\r\tz""#),
        some("a\"\\/\u{8}\u{c}\n\r\tz")
    );
    assert_eq!(read(r#""\u0041\u00e9\u20ac""#), some("Aé€"));
    assert_eq!(read(r#""\ud83d\ude00""#), some("😀"));
    for invalid in [
        r#""\x""#,
        r#""\u12g4""#,
        r#""\u12""#,
        "\"\n\"",
        "\"a",
        "\"\\",
        r#""\U0041""#,
    ] {
        assert_eq!(read(invalid), None, "{invalid}");
    }
}

#[test]
fn half_a_pair_is_a_replacement_character() {
    let read = |json: &str| text(json.as_bytes()).map(|t| String::from_utf8(t).unwrap());
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(read(r#""\ud83d""#), some("\u{fffd}"));
    assert_eq!(read(r#""\ude00""#), some("\u{fffd}"));
    assert_eq!(read(r#""\ud83dx""#), some("\u{fffd}x"));
    assert_eq!(read(r#""\ud83d\n""#), some("\u{fffd}\n"));
    assert_eq!(read(r#""\ud83d\u0041""#), some("\u{fffd}A"));
    assert_eq!(
        read(r#""\ud83d\ud83d\ude00""#),
        some("\u{fffd}\u{fffd}\u{fffd}")
    );
}

#[test]
fn numbers_are_as_rfc_8259_has_them() {
    for number in [
        "0", "-0", "7", "-12.5e+3", "1e9", "1E-9", "0.0", "10", "0e1",
    ] {
        assert!(is_number(number), "{number}");
    }
    for none in [
        "-", "01", "1.", ".5", "1e", "1e+", "1.e1", "+1", "1.2.3", "1e1.5", "--1", "",
    ] {
        assert!(!is_number(none), "{none}");
    }
}

proptest! {
    #[test]
    fn a_string_is_what_serde_json_reads(
        pieces in prop::collection::vec("[a-zé€😀 ]|\\\\[\"\\\\/bfnrtux]|\\\\u[0-9a-fA-F]{4}|\\\\ud83d\\\\ude00|[\"\t]", 0..8),
    ) {
        let json = format!("\"{}\"", pieces.concat());
        // Half a pair is an error to serde_json.
        if let Ok(expected) = serde_json::from_str::<String>(&json) {
            prop_assert_eq!(text(json.as_bytes()), Some(expected.into_bytes()));
        }
    }

    #[test]
    fn what_is_written_is_read(value in ".{0,20}") {
        let json = serde_json::to_string(&value).unwrap();
        prop_assert_eq!(text(json.as_bytes()), Some(value.into_bytes()));
    }

    #[test]
    fn a_number_is_what_serde_json_takes_for_one(number in "-?[0-9]{0,3}(\\.[0-9]{0,3})?([eE][+-]?[0-9]{0,2})?") {
        prop_assert_eq!(is_number(&number), serde_json::from_str::<f64>(&number).is_ok());
    }
}
