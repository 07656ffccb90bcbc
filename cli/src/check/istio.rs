//! Kubernetes manifests: Istio's WasmPlugin, TrafficExtension and EnvoyFilter, Envoy Gateway's EnvoyExtensionPolicy.

use super::Options;
use super::env::VmEnvironment;
use super::envoy_filter;
use super::envoy_gateway;
use super::plugin::{self, Plugin, RootId};
use super::wasm::{self, HeaderStop};
use crate::finding::{Findings, Severity};
use crate::tree::{Kind, Tree};

/// Checks a document; other kinds of objects are passed over with a note.
pub(crate) fn check(document: &Tree, options: Options, findings: &mut Findings) {
    let kind = document.text_of("kind");
    let subject = subject(document, kind);
    let spec = document.get("spec");
    match (kind, spec) {
        ("List", _) => {
            for item in document.get("items").map(Tree::items).unwrap_or_default() {
                check(item, options, findings);
            }
        }
        ("WasmPlugin", Some(spec)) => {
            let manifest = Manifest {
                subject,
                path: "spec",
                spec,
            };
            manifest.check(spec, options, findings);
        }
        ("TrafficExtension", Some(spec)) => match spec.get("wasm") {
            Some(wasm) => {
                let manifest = Manifest {
                    subject,
                    path: "spec.wasm",
                    spec: wasm,
                };
                manifest.check(wasm, options, findings);
            }
            None => skipped(&subject, findings),
        },
        ("EnvoyFilter", Some(spec)) => {
            if !envoy_filter::check(spec, &subject, options, findings) {
                skipped(&subject, findings);
            }
        }
        ("EnvoyExtensionPolicy", Some(spec)) => {
            if !envoy_gateway::check(spec, &subject, options, findings) {
                skipped(&subject, findings);
            }
        }
        ("WasmPlugin" | "TrafficExtension" | "EnvoyFilter" | "EnvoyExtensionPolicy", None) => {
            findings.add(
                Severity::Error,
                document.line,
                &subject,
                "spec",
                "is missing",
            )
        }
        _ => skipped(&subject, findings),
    }
}

fn skipped(subject: &str, findings: &mut Findings) {
    findings.add(
        Severity::Note,
        0,
        subject,
        "",
        "holds no Tollgate filter: skipped",
    );
}

/// `Kind/namespace.name`.
fn subject(document: &Tree, kind: &str) -> String {
    let part = |field| {
        document
            .at(&["metadata", field])
            .and_then(Tree::text)
            .unwrap_or_default()
    };
    match (part("namespace"), part("name")) {
        ("", name) => format!("{kind}/{name}"),
        (namespace, name) => format!("{kind}/{namespace}.{name}"),
    }
}

/// The part of a WasmPlugin or TrafficExtension that loads a module; both have the same fields.
struct Manifest<'t> {
    subject: String,
    /// Where `spec` stands: `spec` or `spec.wasm`.
    path: &'static str,
    spec: &'t Tree,
}

impl Manifest<'_> {
    fn check(&self, spec: &Tree, options: Options, findings: &mut Findings) {
        let name = spec.get("pluginName");
        let root_id = match name.and_then(Tree::text) {
            None => RootId::of_module(spec.text_of("url")),
            Some(name) => RootId::parse(name),
        };
        let Some(root_id) = root_id else {
            self.foreign(name, findings);
            return;
        };
        self.source(findings);
        let empty = wasm::empty_object(spec.line);
        let tree = spec.get("pluginConfig").unwrap_or(&empty);
        let plugin = Plugin {
            root_id,
            subject: self.subject.clone(),
            line: tree.line,
            tree,
            vm: self.environment(),
        };
        plugin::check(&plugin, options, findings);
        match wasm::header_stop(&plugin) {
            HeaderStop::Needed(why) => findings.add(
                Severity::Error,
                spec.line,
                &self.subject,
                self.path,
                format!(
                    "{why} need allow_on_headers_stop_iteration, which this kind of manifest cannot set, so Envoy \
                     would stall the requests: load the filter by an EnvoyFilter (envoy/istio has one to copy)"
                ),
            ),
            HeaderStop::ForExactCost => findings.add(
                Severity::Warning,
                spec.line,
                &self.subject,
                self.path,
                "answers cannot be held by a filter loaded this way (no allow_on_headers_stop_iteration), so the cost \
                 header carries an estimate; for the exact cost use an EnvoyFilter",
            ),
            HeaderStop::NotNeeded => {}
        }
    }

    fn environment(&self) -> VmEnvironment {
        let mut from_host = Vec::new();
        let mut in_file = Vec::new();
        let env = self.spec.at(&["vmConfig", "env"]);
        for item in env.map(Tree::items).unwrap_or_default() {
            let name = item.text_of("name").to_owned();
            if item.text_of("valueFrom") == "HOST" {
                from_host.push(name);
            } else {
                in_file.push((name, item.text_of("value").to_owned()));
            }
        }
        VmEnvironment::Known { from_host, in_file }
    }

    /// What Istio lets through, and then drops the filter or passes requests without it.
    fn source(&self, findings: &mut Findings) {
        let mut add = |severity, tree: &Tree, path: &str, problem: &str| {
            let path = crate::tree::join(self.path, path);
            findings.add(severity, tree.line, &self.subject, &path, problem);
        };
        match self.spec.get("url") {
            None => add(Severity::Error, self.spec, "url", "is missing"),
            Some(url) => match url.text() {
                None => add(Severity::Error, url, "url", "must be a string"),
                Some(text) if text.contains("://") => {
                    if moves(text) && self.spec.get("sha256").is_none() {
                        add(
                            Severity::Warning,
                            url,
                            "url",
                            "names no version: another image can take its place unnoticed; write a version, better with sha256",
                        );
                    }
                    let known = ["oci://", "http://", "https://", "file://"];
                    if !known.iter().any(|scheme| text.starts_with(scheme)) {
                        add(
                            Severity::Error,
                            url,
                            "url",
                            "must begin with oci://, https://, http:// or file://",
                        );
                    }
                }
                Some(text) if has_port(text) => add(
                    Severity::Error,
                    url,
                    "url",
                    "a host with a port needs a scheme (oci://host:port/...): without one Istio drops the plugin and \
                     requests pass unfiltered",
                ),
                Some(_) => add(
                    Severity::Warning,
                    url,
                    "url",
                    "has no scheme and is taken for oci://: write it",
                ),
            },
        }
        if let Some(sha256) = self.spec.get("sha256") {
            let digest = sha256.text().is_some_and(|text| {
                text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())
            });
            if !matches!(sha256.kind, Kind::Text(_)) {
                add(
                    Severity::Error,
                    sha256,
                    "sha256",
                    "must be quoted: without quotes these digits are a number, and the whole object does not decode",
                );
            } else if !digest {
                add(
                    Severity::Error,
                    sha256,
                    "sha256",
                    "must be 64 hexadecimal digits",
                );
            } else if pinned(self.spec.text_of("url")).is_some_and(|digest| {
                sha256
                    .text()
                    .is_none_or(|text| !text.eq_ignore_ascii_case(digest))
            }) {
                add(
                    Severity::Error,
                    sha256,
                    "sha256",
                    "is not the digest that url names (@sha256:...): the image is never loaded, and Istio answers 403",
                );
            } else if self.spec.text_of("url").starts_with("file://") {
                add(
                    Severity::Warning,
                    sha256,
                    "sha256",
                    "is ignored for file://",
                );
            }
        }
        if let Some(strategy) = self.spec.get("failStrategy")
            && !matches!(strategy.text(), Some("FAIL_CLOSE" | "FAIL_RELOAD"))
        {
            add(
                Severity::Error,
                strategy,
                "failStrategy",
                "must be FAIL_RELOAD (or FAIL_CLOSE): anything else lets requests pass without the filter after a crash",
            );
        }
    }

    fn foreign(&self, name: Option<&Tree>, findings: &mut Findings) {
        let url = self.spec.text_of("url");
        let ours = self.subject.contains("tollgate") || url.contains("tollgate");
        if ours || RootId::of_module(url).is_some() {
            findings.add(
                Severity::Error,
                name.unwrap_or(self.spec).line,
                &self.subject,
                &crate::tree::join(self.path, "pluginName"),
                format!("must be the root id, one of {}", RootId::known()),
            );
        } else {
            skipped(&self.subject, findings);
        }
    }
}

/// The digest that a url names itself.
fn pinned(url: &str) -> Option<&str> {
    url.split_once("@sha256:").map(|(_, digest)| digest)
}

/// Whether an image's url has neither a digest nor a tag that stays.
fn moves(url: &str) -> bool {
    let Some(image) = url.strip_prefix("oci://") else {
        return false;
    };
    let name = image.rsplit('/').next().unwrap_or_default();
    !name.contains('@') && name.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

/// Whether the part before the first slash is `host:port`.
pub(super) fn has_port(url: &str) -> bool {
    let host = url.split('/').next().unwrap_or_default();
    url.contains('/')
        && host
            .rsplit_once(':')
            .is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}
