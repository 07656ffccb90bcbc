//! Reads `exports.txt`: which exports each module keeps.

use std::collections::{BTreeMap, BTreeSet};

/// The list that `make wasm` uses.
pub const EXPORTS: &str = include_str!("../exports.txt");

/// The exports of every module, by module name.
pub type Modules = BTreeMap<String, BTreeSet<String>>;

/// Parses the format described at the top of `exports.txt`.
///
/// # Errors
/// A line that is neither a group nor a module, or a module that is listed twice.
pub fn parse(text: &str) -> Result<Modules, String> {
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut modules = Modules::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let malformed =
            || format!("line {number}: expected `group NAME: ...` or `module NAME: ...`");
        let (head, names) = line.split_once(':').ok_or_else(malformed)?;
        let names = names.split_whitespace();
        match head.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["group", name] => groups.entry(name).or_default().extend(names),
            ["module", name] => {
                let mut kept = BTreeSet::new();
                for name in names {
                    match groups.get(name) {
                        Some(group) => kept.extend(group.iter().map(ToString::to_string)),
                        None => drop(kept.insert(name.to_owned())),
                    }
                }
                if modules.insert((*name).to_owned(), kept).is_some() {
                    return Err(format!("line {number}: module {name} is listed twice"));
                }
            }
            _ => return Err(malformed()),
        }
    }
    Ok(modules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_expanded_and_other_names_are_exports() {
        let modules = parse("group a: x y # why\ngroup a: z\n\nmodule m: a w\n").unwrap();
        let kept: Vec<_> = modules["m"].iter().map(String::as_str).collect();
        assert_eq!(kept, ["w", "x", "y", "z"]);
    }

    #[test]
    fn other_lines_are_refused_with_their_number() {
        for text in [
            "\nmodule m",
            "\ngrup a: x",
            "\nmodule: x",
            "\nmodule a b: x",
        ] {
            assert_eq!(
                parse(text).unwrap_err(),
                "line 2: expected `group NAME: ...` or `module NAME: ...`",
                "{text:?}"
            );
        }
        assert_eq!(
            parse("module m: a\nmodule m: b").unwrap_err(),
            "line 2: module m is listed twice"
        );
    }

    #[test]
    fn every_shipped_module_keeps_what_the_proxy_cannot_do_without() {
        let modules = parse(EXPORTS).unwrap();
        let names: Vec<_> = modules.keys().map(String::as_str).collect();
        let shipped = [
            "canary",
            "cost",
            "gateway",
            "key-auth",
            "rate-limit",
            "webhook-signature",
        ];
        assert_eq!(names, shipped);
        for (name, kept) in &modules {
            for export in [
                "memory",
                "_initialize",
                "proxy_abi_version_0_2_1",
                "proxy_on_memory_allocate",
                "proxy_on_context_create",
                "proxy_on_vm_start",
                "proxy_on_configure",
                "proxy_on_delete",
                "proxy_on_request_headers",
            ] {
                assert!(kept.contains(export), "{name} lacks {export}");
            }
        }
    }

    /// A body that ends with trailers never ends in the body callback: without this callback a
    /// check of the body would be bypassed by adding a trailer.
    #[test]
    fn who_reads_bodies_sees_trailers() {
        for (name, kept) in parse(EXPORTS).unwrap() {
            for side in ["request", "response"] {
                assert_eq!(
                    kept.contains(&format!("proxy_on_{side}_body")),
                    kept.contains(&format!("proxy_on_{side}_trailers")),
                    "{name}, {side}"
                );
            }
        }
    }

    /// A body that arrives while a request is held for a call would release it.
    #[test]
    fn who_holds_for_a_call_sees_the_body() {
        for (name, kept) in parse(EXPORTS).unwrap() {
            let calls = ["http_call_response", "grpc_receive", "grpc_close"]
                .map(|callback| kept.contains(&format!("proxy_on_{callback}")));
            assert!(
                calls == [true; 3] || calls == [false; 3],
                "{name} can send calls whose answer it never sees"
            );
            assert!(
                !calls[0] || kept.contains("proxy_on_request_body"),
                "{name}"
            );
        }
    }
}
