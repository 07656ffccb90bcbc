use super::*;
use proptest::prelude::*;

fn table() -> Rc<Table> {
    let members = [(ROOT, "a", 1), (1, "b\u{e9}", 2), (ROOT, "n", 3)];
    Rc::new(Table::new(&members))
}

/// Everything found, and whether the pieces were one document.
fn scan(pieces: &[&[u8]]) -> (Vec<String>, bool) {
    scan_for(table(), pieces, false)
}

fn scan_for(table: Rc<Table>, pieces: &[&[u8]], shape: bool) -> (Vec<String>, bool) {
    let mut scanner = Scanner::new(table);
    let mut all = Vec::new();
    let mut note = |event: Event<'_>, at: u64| {
        all.push(match event {
            Event::Scalar(node, Scalar::Text(t)) if t.whole => {
                format!("{node} text {}", String::from_utf8_lossy(t.bytes))
            }
            Event::Scalar(node, Scalar::Text(t)) => format!("{node} long text {}", t.chars),
            Event::Scalar(node, Scalar::Number(n)) => {
                format!("{node} number {}", String::from_utf8_lossy(n))
            }
            Event::Scalar(node, other) => format!("{node} {other:?}"),
            _ if !shape => return,
            other => format!("{other:?} at {at}"),
        });
    };
    for piece in pieces {
        scanner.feed(piece, &mut note);
    }
    let whole = scanner.finish(&mut note);
    (all, whole)
}

fn one(text: &str) -> (Vec<String>, bool) {
    scan(&[text.as_bytes()])
}

fn found(text: &str) -> Vec<String> {
    let (found, whole) = one(text);
    assert!(whole, "{text}");
    found
}

#[test]
fn finds_what_was_asked_for_and_nothing_else() {
    let text =
        r#" {"x": {"a": {"bé": 1}}, "a": {"bé": "v", "c": 2}, "n": -1.50e+2, "l": [{"n": 7}]} "#;
    assert_eq!(found(text), ["2 text v", "3 number -1.50e+2"]);
}

#[test]
fn what_stands_in_a_string_is_no_member() {
    assert_eq!(
        found(r#"{"x": "{\"n\": 5}", "y": "\\\"n\": 6"}"#),
        Vec::<String>::new()
    );
}

#[test]
fn lists_are_not_searched() {
    assert_eq!(found(r#"[{"n": 5}]"#), Vec::<String>::new());
    assert_eq!(
        found(r#"{"n": [1, 2], "a": [{"bé": 1}]}"#),
        Vec::<String>::new()
    );
}

#[test]
fn escapes_are_decoded_in_names_and_values() {
    assert_eq!(
        found(r#"{"\u006e": "\u00e9\n\ud83d\ude00\/"}"#),
        ["3 text \u{e9}\n\u{1f600}/"]
    );
    assert_eq!(
        found(r#"{"n": "\ud83dx\ude00\ud83d"}"#),
        ["3 text \u{fffd}x\u{fffd}\u{fffd}"]
    );
}

#[test]
fn scalars_of_every_kind_are_told() {
    assert_eq!(
        found(r#"{"n":null,"n":true,"n":"","n":0}"#),
        ["3 Null", "3 Bool(true)", "3 text ", "3 number 0"]
    );
    let long = "9".repeat(200);
    assert_eq!(
        found(&format!(r#"{{"n":{long},"n":"{long}","{long}":1}}"#)),
        ["3 Other", "3 long text 200"]
    );
}

#[test]
fn characters_are_counted_not_bytes_nor_escapes() {
    let text = |json: &str| {
        let mut scanner = Scanner::new(table());
        let mut seen = None;
        for byte in json.as_bytes() {
            scanner.feed(&[*byte], &mut |event, _| {
                if let Event::Scalar(3, Scalar::Text(t)) = event {
                    seen = Some((t.chars, t.blank));
                }
            });
        }
        seen.unwrap()
    };
    assert_eq!(text(r#"{"n": "caf\u00e9 é😀\ud83d\ude00"}"#), (8, false));
    assert_eq!(text(r#"{"n": " \n\t\r "}"#), (5, true));
    assert_eq!(text(r#"{"n": ""}"#), (0, true));
    assert_eq!(
        text(&format!(r#"{{"n": "{}"}}"#, "é".repeat(1000))),
        (1000, false)
    );
}

#[test]
fn objects_lists_and_unknown_members_are_told_with_their_places() {
    let table = Table::new(&[(ROOT, "a", 1), (2, "b", 3)]).with_items(1, 2);
    let text = br#"{"a": [ {"b": 1, "x": 2, "y": null}, 5], "z": {}}"#;
    assert_eq!(
        scan_for(Rc::new(table), &[text], true).0,
        [
            "Open(0, true) at 1",
            "Open(1, false) at 7",
            "Open(2, true) at 9",
            "3 number 1",
            "Unknown(2) at 23",
            "Close(2, 3) at 35",
            "2 number 5",
            "Close(1, 2) at 39",
            "Unknown(0) at 47",
            "Close(0, 2) at 49",
        ]
    );
}

#[test]
fn a_pointer_leads_to_members_and_items() {
    let mut table = Table::default();
    for (pointer, node) in [("/a/0/b~1c", 5), ("/a/1", 6), ("/a/0/d~0", 7), ("/x", 8)] {
        table.pointer(pointer, node).unwrap();
    }
    let text = br#"{"a": [{"b/c": 1, "d~": 2}, 3, {"b/c": 4}], "x": "y", "b/c": 9}"#;
    assert_eq!(
        scan_for(Rc::new(table), &[text], false).0,
        ["5 number 1", "7 number 2", "6 number 3", "8 text y"]
    );
    for bad in ["", "a", "a/b", "/a~2", "/a~"] {
        assert_eq!(Table::default().pointer(bad, 5), None, "{bad:?}");
    }
    let mut table = Table::default();
    let deep = "/a".repeat(200);
    assert_eq!(table.pointer(&deep, 5), None);
}

#[test]
fn documents_that_are_not_json_are_refused() {
    for bad in [
        "",
        " ",
        "{",
        "}",
        "[",
        "]",
        "{]",
        "[}",
        "{\"n\"}",
        "{\"n\":}",
        "{\"n\":1,}",
        "[1,]",
        "[,1]",
        "{,}",
        "[1 2]",
        "01",
        "-",
        "1.",
        ".5",
        "1e",
        "+1",
        "1e+",
        "--1",
        "tru",
        "truex",
        "nul",
        "True",
        "\"",
        "\"\\x\"",
        "\"\\u12g4\"",
        "\"\n\"",
        "{} {}",
        "1 1",
        "[1]]",
        "'a'",
        "{a:1}",
        "{1:1}",
        "[1}",
        "// x\n1",
        "\u{feff}{}",
    ] {
        assert!(!one(bad).1, "{bad:?}");
        assert!(
            serde_json::from_str::<serde_json::Value>(bad).is_err(),
            "{bad:?}"
        );
    }
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat();
    assert!(one(&nested(MAX_DEPTH)).1);
    assert!(!one(&nested(MAX_DEPTH + 1)).1);
    let mut scanner = Scanner::new(table());
    for _ in 0..100 {
        scanner.feed(&[b'['; 10_000], &mut |_, _| ());
    }
    assert!(scanner.has_failed());
    assert!(scanner.open.len() <= MAX_DEPTH);
}

#[test]
fn a_long_string_is_not_kept() {
    let mut scanner = Scanner::new(table());
    scanner.feed(b"{\"n\": \"", &mut |_, _| ());
    for _ in 0..1000 {
        scanner.feed(&[b'x'; 1000], &mut |_, _| ());
    }
    assert!(scanner.kept.capacity() <= 2 * MAX_TEXT);
    assert!(!scanner.has_failed());
}

fn document() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        "\\PC{0,12}".prop_map(Into::into),
        "[\"\\\\\n\t\u{1}\u{e9}\u{1f600}a]{0,6}".prop_map(Into::into),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::vec(("(a|n|b\u{e9}|x|\\PC{0,3})", inner), 0..6)
                .prop_map(|pairs| pairs.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

proptest! {
    #[test]
    fn every_document_reads_the_same_however_it_is_cut(value in document(), pretty: bool) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        let bytes = text.as_bytes();
        let whole = scan(&[bytes]);
        prop_assert!(whole.1, "{}", text);
        for at in 0..=bytes.len() {
            let (head, tail) = bytes.split_at(at);
            prop_assert_eq!(&scan(&[head, tail]), &whole);
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        prop_assert_eq!(&scan(&single), &whole);
        let expected = |v: &serde_json::Value, node| match v {
            serde_json::Value::String(s) if s.len() <= MAX_TEXT => Some(format!("{node} text {s}")),
            serde_json::Value::Number(n) => Some(format!("{node} number {n}")),
            serde_json::Value::Null => Some(format!("{node} Null")),
            serde_json::Value::Array(_) | serde_json::Value::Object(_) => None,
            serde_json::Value::Bool(b) => Some(format!("{node} Bool({b})")),
            serde_json::Value::String(s) => Some(format!("{node} long text {}", s.chars().count())),
        };
        if value.is_object() {
            let text = expected(&value["n"], 3);
            let has = value.get("n").is_some();
            prop_assert_eq!(whole.0.iter().find(|f| f.starts_with("3 ")).cloned(), text.filter(|_| has));
            let inner = value["a"].get("b\u{e9}").and_then(|v| expected(v, 2));
            prop_assert_eq!(whole.0.iter().find(|f| f.starts_with("2 ")).cloned(), inner);
        }
    }

    #[test]
    fn json_or_not_is_decided_as_serde_does(value in document(), at: prop::sample::Index, byte in "[\\[\\]{},:\"\\\\0-9a-z. -]") {
        let mut text = serde_json::to_string(&value).unwrap();
        let mut places: Vec<usize> = text.char_indices().map(|(i, _)| i).collect();
        places.push(text.len());
        text.insert_str(*at.get(&places), &byte);
        let serde = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
        prop_assert_eq!(one(&text).1, serde, "{}", text);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>, cut: prop::sample::Index) {
        let (head, tail) = bytes.split_at(cut.index(bytes.len() + 1));
        prop_assert_eq!(scan(&[head, tail]), scan(&[&bytes]));
    }
}
