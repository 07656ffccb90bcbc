//! Envoy Gateway's EnvoyExtensionPolicy.

use super::Options;
use super::env::VmEnvironment;
use super::plugin::{self, Plugin, RootId};
use super::wasm::{self, HeaderStop};
use crate::finding::{Findings, Severity};
use crate::tree::{Kind, Tree};

/// Checks one; whether it has to do with Tollgate.
pub(super) fn check(spec: &Tree, subject: &str, options: Options, findings: &mut Findings) -> bool {
    let mut ours = false;
    for extension in spec.get("wasm").map(Tree::items).unwrap_or_default() {
        ours |= one(extension, subject, options, findings);
    }
    ours
}

fn one(extension: &Tree, subject: &str, options: Options, findings: &mut Findings) -> bool {
    let name = extension.text_of("name");
    let url = ["image", "http"]
        .iter()
        .find_map(|kind| extension.at(&["code", kind, "url"]).and_then(Tree::text));
    let url = url.unwrap_or_default();
    let ours = name.contains("tollgate") || url.contains("tollgate");
    let subject = format!("{subject}/{name}");
    let mut add = |tree: &Tree, path: &str, problem: String| {
        findings.add(Severity::Error, tree.line, &subject, path, problem);
    };
    let root_id = match extension.get("rootID").and_then(Tree::text) {
        Some(text) => RootId::parse(text),
        None => RootId::of_module(url),
    };
    let Some(root_id) = root_id else {
        if ours {
            let problem = format!("must be the root id, one of {}", RootId::known());
            add(extension, "rootID", problem);
        }
        return ours;
    };
    if let Some(open) = extension.get("failOpen").filter(|open| open.is_true()) {
        let problem = "must be false: requests would pass without the filter after a crash, and with a bad configuration";
        add(open, "failOpen", problem.to_owned());
    }
    if let Some(sha256) = ["image", "http"]
        .iter()
        .find_map(|kind| extension.at(&["code", kind, "sha256"]))
    {
        let digest = sha256
            .text()
            .is_some_and(|text| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()));
        if !matches!(sha256.kind, Kind::Text(_)) || !digest {
            add(
                sha256,
                "code.sha256",
                "must be 64 hexadecimal digits, quoted".to_owned(),
            );
        }
    }
    if url.contains("://") && extension.at(&["code", "image"]).is_some() {
        let problem =
            "an image's url has no scheme here (ghcr.io/...); Istio's oci:// is not understood";
        add(extension, "code.image.url", problem.to_owned());
    }
    let host = extension.at(&["env", "hostKeys"]);
    let from_host = host.map(Tree::items).unwrap_or_default();
    let empty = wasm::empty_object(extension.line);
    let tree = extension.get("config").unwrap_or(&empty);
    let plugin = Plugin {
        root_id,
        subject: subject.clone(),
        line: tree.line,
        tree,
        vm: VmEnvironment::Known {
            from_host: from_host
                .iter()
                .filter_map(Tree::text)
                .map(str::to_owned)
                .collect(),
            in_file: Vec::new(),
        },
    };
    plugin::check(&plugin, options, findings);
    match wasm::header_stop(&plugin) {
        HeaderStop::Needed(why) => findings.add(
            Severity::Error,
            extension.line,
            &subject,
            "config",
            format!(
                "{why} need allow_on_headers_stop_iteration, which an EnvoyExtensionPolicy cannot set, so Envoy would stall the requests"
            ),
        ),
        HeaderStop::ForExactCost => findings.add(
            Severity::Warning,
            extension.line,
            &subject,
            "config",
            "answers cannot be held by a filter loaded this way, so the cost header carries an estimate (cost: headers: {cost: false} says so)",
        ),
        HeaderStop::NotNeeded => {}
    }
    true
}
