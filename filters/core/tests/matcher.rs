//! Which requests a rule is about.
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
use tollgate_core::matcher::{Matcher, is_plain_path};
use tollgate_core::testing::TestWorld;
use tollgate_core::world::Attribute;
use tollgate_core::{Exchange, Headers};

fn matcher(json: &str) -> Matcher {
    let report = Report::default();
    let root = config::parse(json, &report).unwrap();
    let matcher = Matcher::compile(root.value(&report));
    assert_eq!(report.errors(), []);
    matcher.unwrap()
}

fn errors(json: &str) -> Vec<String> {
    let report = Report::default();
    let root = config::parse(json, &report).unwrap();
    let _ = Matcher::compile(root.value(&report));
    report.errors().iter().map(ToString::to_string).collect()
}

fn request(method: &str, host: &str, path: &[u8], extra: &[(&str, &str)]) -> Exchange {
    let mut pairs: Vec<(&str, &[u8])> = vec![
        (":method", method.as_bytes()),
        (":authority", host.as_bytes()),
        (":path", path),
    ];
    pairs.extend(extra.iter().map(|(n, v)| (*n, v.as_bytes())));
    Exchange::new(Headers::from_pairs(pairs), true)
}

fn matches(json: &str, path: &str) -> bool {
    matcher(json).matches(
        &request("GET", "api.example.com", path.as_bytes(), &[]),
        &TestWorld::default(),
    )
}

#[test]
fn paths() {
    assert!(matches("{}", "/anything"));
    assert!(matches(r#"{"path": {"exact": "/health"}}"#, "/health?x=1"));
    assert!(!matches(r#"{"path": {"exact": "/health"}}"#, "/health/"));
    assert!(matches(r#"{"path": {"prefix": "/api/"}}"#, "/api/x"));
    assert!(!matches(r#"{"path": {"prefix": "/api/"}}"#, "/api"));
    assert!(matches(r#"{"path": {"regex": "/v[0-9]+/.*"}}"#, "/v12/x"));
    assert!(!matches(r#"{"path": {"regex": "/v[0-9]+"}}"#, "/v12/x"));
    let template = r#"{"path": {"template": "/api/sessions/{id}"}}"#;
    assert!(matches(template, "/api/sessions/42?x"));
    assert!(!matches(template, "/api/sessions/"));
    assert!(!matches(template, "/api/sessions/42/x"));
    let rest = r#"{"path": {"template": "/files/{name=**}"}}"#;
    assert!(matches(rest, "/files/a/b"));
    assert!(matches(rest, "/files/"));
    assert!(!matches(rest, "/file"));
}

#[test]
fn template_values_are_the_bytes_of_the_path() {
    let m = matcher(r#"{"path": {"template": "/api/{a}/x/{b}"}}"#);
    assert_eq!(m.template_value("a", b"/api/%31/x/\xff"), Some(&b"%31"[..]));
    assert_eq!(
        m.template_value("b", b"/api/%31/x/\xff"),
        Some(&b"\xff"[..])
    );
    assert_eq!(m.template_value("c", b"/api/1/x/2"), None);
    assert!(m.has_template_variable("a") && !m.has_template_variable("c"));
}

#[test]
fn hosts_methods_headers_route() {
    let world = TestWorld::default();
    let m = matcher(
        r#"{"hosts": ["api.example.com", "*.internal"], "methods": ["POST"],
            "headers": [{"name": "X-Team", "prefix": "pay"}], "route": "orders"}"#,
    );
    let good = request(
        "POST",
        "API.example.com:8443",
        b"/",
        &[("x-team", "payments")],
    );
    assert!(!m.matches(&good, &world));
    world.set_attribute(Attribute::RouteName, "orders");
    assert!(m.matches(&good, &world));
    for (method, host, team) in [
        ("GET", "api.example.com", "payments"),
        ("POST", "example.com", "payments"),
        ("POST", ".internal", "payments"),
        ("POST", "api.example.com", "web"),
    ] {
        assert!(!m.matches(&request(method, host, b"/", &[("x-team", team)]), &world));
    }
    let other = request(
        "POST",
        "a.b.internal",
        b"/",
        &[("x-team", "x"), ("x-team", "pay")],
    );
    assert!(m.matches(&other, &world));
    assert!(!m.matches(
        &request("POST", "[::1]:80", b"/", &[("x-team", "pay")]),
        &world
    ));
}

#[test]
fn a_relaxing_rule_does_not_take_a_path_that_means_another_one() {
    let m = matcher(r#"{"path": {"prefix": "/health/"}}"#);
    let world = TestWorld::default();
    let safely = |path: &[u8]| m.matches_safely(&request("GET", "h", path, &[]), &world);
    assert!(safely(b"/health/live"));
    assert!(safely(b"/health/"));
    for path in [
        &b"/health/../admin"[..],
        b"/health/..",
        b"/health/./x",
        b"/health//x",
        b"/health/%2e%2e/admin",
        b"/health/%2E./admin",
        b"/health/..%2fadmin",
        b"/health/..\\admin",
        b"/health/x;/../admin",
        b"/health/%252e%252e/admin",
        b"/health/%00",
    ] {
        assert!(!safely(path), "{}", String::from_utf8_lossy(path));
        assert!(m.matches(&request("GET", "h", path, &[]), &world));
    }
}

#[test]
fn every_error_is_named() {
    assert_eq!(
        errors(
            r#"{"path": {"exact": "/a", "prefix": "/b"}, "hosts": ["a*"], "methods": ["get"],
                "headers": [{"name": "a b", "exact": "x"}, {"name": "x"}], "port": 1}"#
        ),
        [
            "hosts[0]: must be a host name such as api.example.com, or *.example.com for its subdomains",
            "path: needs exactly one of exact, prefix, template, regex",
            "methods[0]: must be a method in capitals, such as GET",
            "headers[0].name: must be a header name",
            "headers[1]: needs exactly one of exact, prefix, regex, present",
            "port: unknown field; known here: headers, hosts, methods, path, route",
        ]
    );
    assert_eq!(
        errors(r#"{"path": {"prefix": "api"}}"#),
        ["path.prefix: must start with a slash"]
    );
    assert_eq!(errors(r#"{"path": {"regex": "("}}"#).len(), 1);
    assert_eq!(errors(r#"{"path": {"template": "/a/{=**}/b"}}"#).len(), 1);
}

proptest! {
    #[test]
    fn any_path_is_matched_or_not(path in prop::collection::vec(any::<u8>(), 0..60)) {
        let world = TestWorld::default();
        let exchange = request("GET", "h", &path, &[]);
        for json in [
            r#"{"path": {"template": "/{a}/{b=**}"}}"#,
            r#"{"path": {"regex": "/[a-z]*"}}"#,
            r#"{"path": {"prefix": "/a"}}"#,
        ] {
            let _ = matcher(json).matches_safely(&exchange, &world);
        }
        let _ = is_plain_path(&path);
    }
}
