//! `tollgate check`: reads a file, finds every Tollgate configuration in it and judges it as the
//! filter would, together with what the proxy around it must have switched on.

mod env;
mod envoy;
mod envoy_filter;
mod envoy_gateway;
mod istio;
mod plugin;
mod wasm;

use crate::finding::{Findings, Severity};
use crate::tree::Tree;
use crate::yaml::{self, Dialect, NotYaml};
pub(crate) use plugin::RootId;
use tollgate_core::config::{self, Report};

/// What the command line asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    /// The root id of files that are a plugin configuration alone.
    pub(crate) root: Option<RootId>,
    /// An environment variable that is not set is an error.
    pub(crate) require_env: bool,
}

/// Checks the text of one file.
pub(crate) fn check(text: &str, options: Options) -> Findings {
    let mut findings = Findings::default();
    let documents = match read(text) {
        Ok(documents) => documents,
        Err(e) => {
            findings.add(Severity::Error, e.line, "", "", e.problem);
            return findings;
        }
    };
    let documents: Vec<&Tree> = documents
        .iter()
        .filter(|d| !matches!(d.kind, crate::tree::Kind::Null))
        .collect();
    if documents.is_empty() {
        findings.add(
            Severity::Error,
            0,
            "",
            "",
            "the file is empty: give a plugin configuration, an Envoy file or an Istio manifest",
        );
    }
    for document in documents {
        match shape(document) {
            Shape::Kubernetes => istio::check(document, options, &mut findings),
            Shape::Envoy => envoy::check(document, options, &mut findings),
            Shape::Plugin => plugin::check_file(document, options, &mut findings),
        }
    }
    // In the order of the file; what has no line speaks of all of it.
    findings.all.sort_by_key(|finding| finding.line);
    findings
}

enum Shape {
    Kubernetes,
    Envoy,
    Plugin,
}

/// Tells the three kinds of documents apart by fields that only one of them has.
fn shape(document: &Tree) -> Shape {
    if document.get("apiVersion").is_some() && document.get("kind").is_some() {
        return Shape::Kubernetes;
    }
    const ENVOY: [&str; 12] = [
        "static_resources",
        "dynamic_resources",
        "resources",
        "admin",
        "node",
        "@type",
        "typed_config",
        "filter_chains",
        "http_filters",
        "layered_runtime",
        "stats_config",
        "overload_manager",
    ];
    if ENVOY.iter().any(|field| document.get(field).is_some()) {
        return Shape::Envoy;
    }
    Shape::Plugin
}

fn read(text: &str) -> Result<Vec<Tree>, NotYaml> {
    // JSON first: what is JSON is the same in every dialect, and escapes are not YAML's.
    if text.trim_start().starts_with('{')
        && let Some(tree) = json(text)
    {
        return Ok(vec![tree]);
    }
    let documents = yaml::documents(text, Dialect::Kubernetes)?;
    if documents.iter().any(|d| matches!(shape(d), Shape::Envoy)) {
        return yaml::documents(text, Dialect::Envoy);
    }
    Ok(documents)
}

fn json(text: &str) -> Option<Tree> {
    let report = Report::default();
    let root = config::parse(text, &report)?;
    Some(Tree::from_node(root.value(&report).node()))
}
