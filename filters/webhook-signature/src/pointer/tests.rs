use super::*;
use proptest::prelude::*;

fn scan(pointers: &[&str], pieces: &[&[u8]]) -> Option<Vec<Found>> {
    let pointers: Rc<[Pointer]> = pointers
        .iter()
        .map(|p| Pointer::parse(p).unwrap())
        .collect();
    let mut scanner = Scanner::new(pointers);
    for piece in pieces {
        scanner.feed(piece);
    }
    scanner.finish()
}

fn find(pointer: &str, json: &str) -> Option<Found> {
    let whole = scan(&[pointer], &[json.as_bytes()]);
    let bytes: Vec<&[u8]> = json.as_bytes().chunks(1).collect();
    assert_eq!(scan(&[pointer], &bytes), whole, "{pointer} in {json}");
    whole.map(|mut found| found.remove(0))
}

fn text(value: &str) -> Option<Found> {
    Some(Found::Value(value.as_bytes().to_vec()))
}

#[test]
fn values_are_found_as_they_were_written() {
    let json = r#" {"x": [1, {"a": "no"}], "a": {"b": "t\u00e9\n\"\ud83d\ude00", "n": -1.50e+3, "": "empty"},
        "m~/n": "odd", "list": [[], ["p", 17]], "big": 123456789012345678901234567890} "#;
    assert_eq!(find("/a/b", json), text("té\n\"😀"));
    assert_eq!(find("/a/n", json), text("-1.50e+3"));
    assert_eq!(find("/a/", json), text("empty"));
    assert_eq!(find("/m~0~1n", json), text("odd"));
    assert_eq!(find("/list/1/1", json), text("17"));
    assert_eq!(find("/x/1/a", json), text("no"));
    assert_eq!(find("/big", json), text("123456789012345678901234567890"));
    for nothing in [
        "/b", "/a/b/c", "/list/2", "/list/01", "/list/-", "/x/0/a", "/A/b",
    ] {
        assert_eq!(find(nothing, json), Some(Found::Nothing), "{nothing}");
    }
    for other in ["/a", "/list", "/list/0"] {
        assert_eq!(find(other, json), Some(Found::Other), "{other}");
    }
    assert_eq!(find("/a", "[true]"), Some(Found::Nothing));
    assert_eq!(find("/0", "[true]"), Some(Found::Other));
    assert_eq!(find("/0", "[null, 1]"), Some(Found::Other));
    assert_eq!(find("/1", "[null, 1]"), text("1"));
}

#[test]
fn what_can_be_read_in_two_ways_is_not_read() {
    for json in [
        r#"{"a": 1, "a": 2}"#,
        r#"{"a": {"b": 1}, "a": {}}"#,
        r#"{"a": {"b": 1}, "\u0061": {"b": 2}}"#,
        r#"{"a": {"b": 1, "b": 1}}"#,
    ] {
        let pointer = if json.contains("\"b\"") { "/a/b" } else { "/a" };
        assert_eq!(find(pointer, json), None, "{json}");
    }
    // Elsewhere it is nobody's business.
    assert_eq!(
        find("/a", r#"{"x": {"a": 1, "a": 2}, "x": 1, "a": 3}"#),
        text("3")
    );
}

#[test]
fn what_is_no_json_is_refused() {
    for bad in [
        "",
        " ",
        "{",
        "}",
        "[1,]",
        "{\"a\":1,}",
        "{\"a\" 1}",
        "{a:1}",
        "[1 2]",
        "01",
        "-",
        "1.",
        ".5",
        "1e",
        "+1",
        "nul",
        "nullx",
        "\"a",
        "\"\\x\"",
        "\"\\u12g4\"",
        "\"\t\"",
        "{} {}",
        "[1}",
        "{\"a\":1]",
        "'a'",
        "\u{feff}{}",
        "[]]",
        "{\"a\":}",
    ] {
        assert_eq!(find("/a", bad), None, "{bad:?}");
    }
    for good in ["0", "-0.1E-2", "\"a\"", "null", "true ", "\n[]", "{}", "1"] {
        assert_eq!(find("/a", good), Some(Found::Nothing), "{good:?}");
    }
}

#[test]
fn memory_is_bounded() {
    let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    assert!(find("/a", &deep(128)).is_some());
    assert!(find("/a", &deep(129)).is_none());
    let long = |n: usize| format!("{{\"a\": \"{}\", \"b\": 1}}", "x".repeat(n));
    assert_eq!(find("/a", &long(4096)), text(&"x".repeat(4096)));
    assert_eq!(find("/a", &long(4097)), Some(Found::Other));
    assert_eq!(find("/b", &long(100_000)), text("1"));
    let key = |n: usize| format!("{{\"{}\": 1, \"b\": 2}}", "b".repeat(n));
    assert_eq!(find("/b", &key(5000)), text("2"));
    assert!(Pointer::parse(&"/a".repeat(16)).is_some());
    assert!(Pointer::parse(&"/a".repeat(17)).is_none());
}

#[test]
fn pointers_are_read_strictly() {
    for bad in ["", "a", "a/b", "/a~", "/a~2b", "~0"] {
        assert_eq!(Pointer::parse(bad), None, "{bad:?}");
    }
}

fn documents() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        "\\PC{0,8}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 30, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            proptest::collection::vec(("[ab~/\"é]{0,2}", inner), 0..4)
                .prop_map(|pairs| pairs.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

proptest! {
    /// Every pointer into every document leads to what serde_json says, wherever the bytes are cut.
    #[test]
    fn agrees_with_serde_json(json in documents(), tokens in proptest::collection::vec("[ab~/\"é01]{0,2}", 1..4), cut in 0_usize..200) {
        let pointer: String = tokens.iter().map(|t| format!("/{}", t.replace('~', "~0").replace('/', "~1"))).collect();
        let bytes = json.to_string().into_bytes();
        let cut = cut.min(bytes.len());
        let found = scan(&[&pointer], &[&bytes[..cut], &bytes[cut..]]).unwrap().remove(0);
        let expected = match json.pointer(&pointer) {
            None => Found::Nothing,
            Some(serde_json::Value::String(text)) => Found::Value(text.clone().into_bytes()),
            Some(number @ serde_json::Value::Number(_)) => Found::Value(number.to_string().into_bytes()),
            Some(_) => Found::Other,
        };
        prop_assert_eq!(found, expected);
    }

    /// What is accepted is JSON, and what is JSON is accepted (short of depth and duplicates).
    #[test]
    fn accepts_what_serde_json_accepts(text in "[\\[\\]{}\",:0-9.eE+\\-ntrufalse \\\\]{0,12}") {
        let ours = scan(&["/zzz"], &[text.as_bytes()]).is_some();
        let theirs = serde_json::from_str::<serde_json::Value>(&text);
        // serde_json refuses numbers beyond f64 and lone surrogates.
        if theirs.is_ok() {
            prop_assert!(ours);
        }
        if ours && !text.contains(['e', 'E', '\\']) {
            prop_assert!(theirs.is_ok());
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let _ = scan(&["/a", "/0/b"], &[&bytes]);
    }
}
