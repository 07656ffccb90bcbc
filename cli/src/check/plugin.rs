//! One plugin configuration: compiled by the same code as in the filter.

use super::Options;
use super::env::{Asked, Lookup, VmEnvironment};
use crate::finding::{Findings, Severity};
use crate::tree::Tree;
use clap::ValueEnum;
use tollgate_core::Metrics;
use tollgate_core::config::{Report, Root};

/// The root ids of Tollgate's modules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RootId {
    /// All policies in one filter.
    Gateway,
    /// API keys.
    KeyAuth,
    /// Webhook signatures.
    WebhookSignature,
    /// Rate limits.
    RateLimit,
    /// Canary routing.
    Canary,
    /// Cost accounting.
    Cost,
}

/// All root ids with the field that holds the same configuration inside a `gateway`.
const ALL: [(RootId, &str, &str); 6] = [
    (RootId::Gateway, "gateway", ""),
    (RootId::KeyAuth, "key-auth", "key_auth"),
    (
        RootId::WebhookSignature,
        "webhook-signature",
        "webhook_signature",
    ),
    (RootId::RateLimit, "rate-limit", "rate_limit"),
    (RootId::Canary, "canary", "canary"),
    (RootId::Cost, "cost", "cost"),
];

impl RootId {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        ALL.iter()
            .find(|(_, id, _)| *id == text)
            .map(|(id, ..)| *id)
    }

    /// What a module does whose plugin names no root id: `.../key-auth.wasm` has one filter, the gateway's
    /// module (a file or an image) is the gateway.
    pub(crate) fn of_module(url: &str) -> Option<Self> {
        let name = url.rsplit('/').next().unwrap_or_default();
        let stem = name.split([':', '@']).next().unwrap_or_default();
        let stem = stem.strip_suffix(".wasm").unwrap_or(stem);
        match stem.strip_prefix("tollgate-").unwrap_or(stem) {
            "tollgate" => Some(Self::Gateway),
            stem => Self::parse(stem),
        }
    }

    pub(crate) fn text(self) -> &'static str {
        ALL.iter()
            .find(|(id, ..)| *id == self)
            .map_or("", |(_, text, _)| text)
    }

    /// For messages.
    pub(crate) fn known() -> String {
        ALL.map(|(_, text, _)| text).join(", ")
    }

    fn section(self) -> &'static str {
        ALL.iter()
            .find(|(id, ..)| *id == self)
            .map_or("", |(_, _, section)| section)
    }
}

/// A plugin configuration within a file.
pub(crate) struct Plugin<'t> {
    pub(crate) root_id: RootId,
    /// For messages; empty where the file is the configuration.
    pub(crate) subject: String,
    /// Where the configuration's text stands, for lines that its own tree does not know.
    pub(crate) line: usize,
    pub(crate) tree: &'t Tree,
    pub(crate) vm: VmEnvironment,
}

impl Plugin<'_> {
    /// The section of a policy, wherever it stands.
    pub(crate) fn section(&self, root_id: RootId) -> Option<&Tree> {
        if self.root_id == root_id {
            return Some(self.tree);
        }
        (self.root_id == RootId::Gateway)
            .then(|| self.tree.get(root_id.section()))
            .flatten()
    }
}

/// A file that is one plugin configuration.
pub(crate) fn check_file(tree: &Tree, options: Options, findings: &mut Findings) {
    let root_id = match (options.root, guess(tree)) {
        (Some(root_id), _) => root_id,
        (None, Some(root_id)) => {
            findings.add(
                Severity::Note,
                0,
                "",
                "",
                format!(
                    "read as the configuration of root id {} (--root says otherwise)",
                    root_id.text()
                ),
            );
            root_id
        }
        (None, None) => {
            findings.add(
                Severity::Error,
                0,
                "",
                "",
                format!(
                    "cannot tell what this is: neither an Envoy file nor an Istio manifest, and no field tells the \
                     filter; name it with --root ({})",
                    RootId::known()
                ),
            );
            return;
        }
    };
    let plugin = Plugin {
        root_id,
        subject: String::new(),
        line: tree.line,
        tree,
        vm: VmEnvironment::Unknown,
    };
    check(&plugin, options, findings);
}

/// The filter whose fields these are; `None` if there is no telling.
fn guess(tree: &Tree) -> Option<RootId> {
    let has = |field: &str| tree.pairs().iter().any(|(key, _)| key == field);
    let sections = ALL.iter().filter(|(id, ..)| *id != RootId::Gateway);
    if sections.into_iter().any(|(.., section)| has(section)) {
        return Some(RootId::Gateway);
    }
    let telling: [(RootId, &[&str]); 5] = [
        (RootId::KeyAuth, &["consumers", "key_sources"]),
        (RootId::RateLimit, &["limits"]),
        (RootId::Canary, &["experiments"]),
        (RootId::Cost, &["prices", "budgets"]),
        (RootId::WebhookSignature, &["rules"]),
    ];
    telling
        .iter()
        .find(|(_, fields)| fields.iter().any(|field| has(field)))
        .map(|(id, _)| *id)
}

/// Compiles the configuration as the filter does and reports everything that is wrong with it.
pub(crate) fn check(plugin: &Plugin<'_>, options: Options, findings: &mut Findings) {
    findings.configurations = findings.configurations.saturating_add(1);
    let process = |name: &str| std::env::var(name).ok();
    let lookup = Lookup::new(&plugin.vm, &process);
    let report = Report::default();
    let mut metrics = Metrics::default();
    let root = Root::new(plugin.tree.to_node());
    let compiled = tollgate_gateway::compile(
        plugin.root_id.text(),
        &root,
        &report,
        &|name| lookup.get(name),
        &mut metrics,
    );
    let asked = lookup.asked();
    let labels = metrics.iter().flat_map(|metric| &metric.labels);
    findings
        .labels
        .extend(labels.map(|(label, _)| label.clone()));
    let line = |path: &str| match plugin.tree.line_of(path) {
        0 => plugin.line,
        line => line,
    };
    let errors = report.errors();
    for error in &errors {
        if is_about_placeholder(&error.path, plugin.tree, &asked) {
            continue;
        }
        let mut problem = error.problem.clone();
        if problem.ends_with("not a boolean") {
            problem.push_str(
                " (without quotes on, off, yes, no, y, n are booleans in YAML: write \"off\")",
            );
        }
        findings.add(
            Severity::Error,
            line(&error.path),
            &plugin.subject,
            &error.path,
            problem,
        );
    }
    if compiled.is_none() && errors.is_empty() {
        // The filter would refuse it as well; it must not look accepted here.
        findings.add(
            Severity::Error,
            plugin.line,
            &plugin.subject,
            "",
            "refused by the filter without a reason: please report this as a bug",
        );
    }
    for warning in report.warnings() {
        if is_about_placeholder(&warning.path, plugin.tree, &asked) {
            continue;
        }
        findings.add(
            Severity::Warning,
            line(&warning.path),
            &plugin.subject,
            &warning.path,
            warning.problem,
        );
    }
    environment(plugin, &asked, options, findings);
}

/// Whether a finding is about the content of a variable that has none here.
fn is_about_placeholder(path: &str, tree: &Tree, asked: &Asked) -> bool {
    path.ends_with(".env")
        && tree
            .value_at(path)
            .and_then(Tree::text)
            .is_some_and(|name| asked.is_placeholder(name))
}

fn environment(plugin: &Plugin<'_>, asked: &Asked, options: Options, findings: &mut Findings) {
    let mut add = |severity, name: &str, problem: String| {
        let path = path_of_env(plugin.tree, name);
        let line = match plugin.tree.line_of(&path) {
            0 => plugin.line,
            line => line,
        };
        findings.add(severity, line, &plugin.subject, &path, problem);
    };
    for name in &asked.invisible {
        add(
            Severity::Error,
            name,
            format!(
                "the filter cannot see the environment variable {name}: add it to \
                 vm_config.environment_variables.host_env_keys (Istio: vmConfig.env with valueFrom: HOST)"
            ),
        );
    }
    for name in &asked.in_file {
        add(
            Severity::Error,
            name,
            format!(
                "the secret {name} is written in this file and would show in the config dump: take it from the \
                 proxy's environment by host_env_keys (Istio: valueFrom: HOST)"
            ),
        );
    }
    for name in &asked.unset {
        let (severity, hint) = if options.require_env {
            (Severity::Error, "set it where the proxy and this check run")
        } else {
            (Severity::Note, "its content was not checked")
        };
        add(
            severity,
            name,
            format!("the environment variable {name} is not set here: {hint}"),
        );
    }
}

/// The path of the first `env: NAME`.
fn path_of_env(tree: &Tree, name: &str) -> String {
    fn search(tree: &Tree, name: &str, path: &str) -> Option<String> {
        for (key, value) in tree.pairs() {
            let here = crate::tree::join(path, key);
            if key == "env" && value.text() == Some(name) {
                return Some(here);
            }
            if let Some(found) = search(value, name, &here) {
                return Some(found);
            }
        }
        tree.items()
            .iter()
            .enumerate()
            .find_map(|(i, item)| search(item, name, &format!("{path}[{i}]")))
    }
    search(tree, name, "").unwrap_or_default()
}
