//! Configuration: all errors at once, each with its path, no value in any.
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
use tollgate_core::config::{self, Report};

fn read<T>(json: &str, f: impl FnOnce(config::Section<'_>) -> T) -> (T, Vec<String>) {
    let report = Report::default();
    let root = config::parse(json, &report).unwrap();
    let out = f(root.value(&report).section().unwrap());
    let errors = report.errors().iter().map(ToString::to_string).collect();
    (out, errors)
}

#[test]
fn numbers_may_arrive_as_doubles() {
    let ((), errors) = read(
        r#"{"a": 60, "b": 60.0, "c": 60.5, "d": -1, "e": 9007199254740993.0, "f": "60"}"#,
        |s| {
            let int = |f| s.optional(f).and_then(|v| v.integer(0..=1000));
            assert_eq!(int("a"), Some(60));
            assert_eq!(int("b"), Some(60));
            for bad in ["c", "d", "e", "f"] {
                assert_eq!(int(bad), None);
            }
        },
    );
    assert_eq!(
        errors,
        [
            "c: must be a whole number from 0 to 1000",
            "d: must be a whole number from 0 to 1000",
            "e: must be a whole number from 0 to 1000",
            "f: must be a whole number, not a string",
        ]
    );
}

#[test]
fn decimals_are_exact_and_bounded() {
    let ((), errors) = read(
        r#"{"a": 2.5, "b": "0.01", "c": 100, "d": 0.001, "e": 101}"#,
        |s| {
            let get = |f| s.optional(f).and_then(|v| v.decimal(2, 10_000));
            assert_eq!(get("a"), Some(250));
            assert_eq!(get("b"), Some(1));
            assert_eq!(get("c"), Some(10_000));
            assert_eq!(get("d"), None);
            assert_eq!(get("e"), None);
        },
    );
    assert_eq!(errors.len(), 2);
}

#[test]
fn no_error_repeats_a_value() {
    let secret = "hunter2hunter2";
    let json = format!(
        r#"{{"a": "{secret}", "b": "{secret}", "c": "{secret}", "d": ["{secret}"], "e": "{secret}",
            "f": "{secret}", "g": "{secret} {secret}", "h": "{secret} x", "i": "{secret}"}}"#
    );
    let ((), errors) = read(&json, |s| {
        let v = |f| s.optional(f).unwrap();
        let _ = v("a").integer(0..=1);
        let _ = v("b").duration();
        let _ = v("c").money();
        let _ = v("d").text();
        let _ = v("e").instant();
        let _ = v("f").one_of(&[("x", 1)]);
        let _ = v("g").identifier();
        let _ = v("h").header_name();
        let _ = v("i").decimal(2, 1);
    });
    assert_eq!(errors.len(), 9);
    assert!(errors.iter().all(|e| !e.contains(secret)), "{errors:?}");
}

#[test]
fn json_that_is_none_says_where_and_not_what() {
    let report = Report::default();
    assert!(config::parse("{\"key\": \"hunter2\",\n oops}", &report).is_none());
    assert_eq!(
        report.errors()[0].to_string(),
        "not JSON: error at line 2 column 2"
    );
}

#[test]
fn nothing_at_all_is_an_empty_object() {
    let ((), errors) = read(" \n", |s| s.finish());
    assert_eq!(errors, [] as [String; 0]);
}

#[test]
fn a_field_written_twice_is_an_error() {
    let ((), errors) = read(r#"{"mode": "off", "mode": "required"}"#, |s| {
        let _ = s.optional("mode");
        s.finish();
    });
    assert_eq!(errors, ["mode: written twice"]);
}

#[test]
fn null_is_absent_and_missing_is_named() {
    let ((), errors) = read(r#"{"a": null}"#, |s| {
        assert!(s.optional("a").is_none());
        assert!(s.required("a").is_none());
        s.finish();
    });
    assert_eq!(errors, ["a: is missing"]);
}

#[test]
fn odd_keys_stay_on_one_line() {
    let ((), errors) = read(r#"{"a\nb": 1, "": 2}"#, |s| s.finish());
    assert_eq!(
        errors,
        [
            "[\"a\\nb\"]: unknown field; known here: ",
            "[\"\"]: unknown field; known here: "
        ]
    );
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(text in "\\PC{0,120}") {
        let report = Report::default();
        let parsed = config::parse(&text, &report).is_some();
        prop_assert_eq!(parsed, report.is_ok());
    }
}
