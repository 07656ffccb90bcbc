//! Istio's EnvoyFilter: the Wasm filters in it, and the patches that Istio ignores without a word.

use super::Options;
use super::envoy;
use super::istio::has_port;
use crate::finding::{Findings, Severity};
use crate::tree::Tree;

/// Checks one; whether it has to do with Tollgate.
pub(super) fn check(spec: &Tree, subject: &str, options: Options, findings: &mut Findings) -> bool {
    let before = findings.configurations;
    envoy::check_tree(spec, subject, options, findings);
    if findings.configurations == before {
        return false;
    }
    let patches = spec
        .get("configPatches")
        .map(Tree::items)
        .unwrap_or_default();
    let mut offered = Vec::new();
    for patch in patches {
        let value = patch.at(&["patch", "value"]).unwrap_or(patch);
        if patch.text_of("applyTo") != "EXTENSION_CONFIG" {
            continue;
        }
        offered.push(value.text_of("name"));
        let operation = patch.at(&["patch", "operation"]);
        if operation.and_then(Tree::text) != Some("ADD") {
            findings.add(
                Severity::Error,
                operation.unwrap_or(patch).line,
                subject,
                "patch.operation",
                "must be ADD: Istio silently ignores every other operation on EXTENSION_CONFIG, and requests pass unfiltered",
            );
        }
        source(value, subject, findings);
    }
    let mut inserted = Vec::new();
    for patch in patches {
        let value = patch.at(&["patch", "value"]).unwrap_or(patch);
        let Some(discovery) = value.get("config_discovery") else {
            continue;
        };
        let name = value.text_of("name");
        inserted.push(name);
        if !offered.contains(&name) {
            findings.add(
                Severity::Error,
                value.line,
                subject,
                "patch.value.name",
                "no EXTENSION_CONFIG of this file has this name: the filter never gets its configuration, and every request is answered 500",
            );
        }
        let types = discovery
            .get("type_urls")
            .map(Tree::items)
            .unwrap_or_default();
        if !types
            .iter()
            .any(|t| t.text().is_some_and(|t| t.ends_with(".rbac.v3.RBAC")))
        {
            findings.add(
                Severity::Warning,
                discovery.line,
                subject,
                "patch.value.config_discovery.type_urls",
                "lacks the type of RBAC, which Istio's agent puts in the filter's place when it cannot fetch the code: the update is refused instead of closing the gate",
            );
        }
    }
    for name in offered {
        if !inserted.contains(&name) {
            findings.add(
                Severity::Error,
                spec.line,
                subject,
                "configPatches",
                format!(
                    "{name} is in no filter chain: an HTTP_FILTER patch with config_discovery and this name is missing, and requests pass unfiltered"
                ),
            );
        }
    }
    true
}

/// The agent fetches code for such a resource; a uri that it does not take for one leaves Envoy to fetch it, from a cluster that is none.
fn source(value: &Tree, subject: &str, findings: &mut Findings) {
    let uri = value.at(&[
        "typed_config",
        "config",
        "vm_config",
        "code",
        "remote",
        "http_uri",
        "uri",
    ]);
    let Some((uri, text)) = uri.and_then(|uri| Some((uri, uri.text()?))) else {
        return;
    };
    let known = ["oci://", "http://", "https://"];
    if known.iter().any(|scheme| text.starts_with(scheme)) {
        return;
    }
    findings.add(
        Severity::Error,
        uri.line,
        subject,
        "config.vm_config.code.remote.http_uri.uri",
        if has_port(text) {
            "a host with a port needs a scheme (oci://host:port/...)"
        } else {
            "must begin with oci://, https:// or http://"
        },
    );
}
