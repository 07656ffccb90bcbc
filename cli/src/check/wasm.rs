//! What an Envoy Wasm filter must have around a Tollgate configuration, however it got there.

use super::env::VmEnvironment;
use super::plugin::{Plugin, RootId};
use crate::finding::{Findings, Severity};
use crate::tree::{Kind, Tree};
use tollgate_core::config::{self, Report};

/// The configuration handed to a plugin, as a tree of its own.
pub(crate) enum Configuration<'t> {
    /// None, or an empty one.
    Empty,
    /// A structure in the file.
    Struct(&'t Tree),
    /// JSON in a string.
    Json(Tree, usize),
    /// Not to be understood; why.
    Unreadable(usize, String),
}

impl<'t> Configuration<'t> {
    /// `configuration` of Envoy's PluginConfig: an Any.
    pub(crate) fn of_any(any: Option<&'t Tree>) -> Self {
        let Some(any) = any else { return Self::Empty };
        let value = any.get("value");
        match type_name(any) {
            "google.protobuf.Struct" => value.map_or(Self::Empty, Self::Struct),
            "google.protobuf.StringValue" => match value {
                None => Self::Empty,
                Some(value) => Self::of_text(value),
            },
            _ => Self::Unreadable(
                any.line,
                "\"@type\" must be type.googleapis.com/google.protobuf.Struct or .StringValue"
                    .to_owned(),
            ),
        }
    }

    fn of_text(value: &'t Tree) -> Self {
        let Some(text) = value.text() else {
            return Self::Unreadable(
                value.line,
                "value must be a string that holds JSON".to_owned(),
            );
        };
        let report = Report::default();
        match config::parse(text, &report) {
            Some(root) => Self::Json(Tree::from_node(root.value(&report).node()), value.line),
            None => {
                let why: Vec<String> = report.errors().iter().map(ToString::to_string).collect();
                Self::Unreadable(value.line, why.join("; "))
            }
        }
    }
}

/// `foo.Bar` of `type.googleapis.com/foo.Bar`.
pub(crate) fn type_name(tree: &Tree) -> &str {
    tree.text_of("@type").rsplit('/').next().unwrap_or_default()
}

/// An object without any field.
pub(crate) fn empty_object(line: usize) -> Tree {
    Tree {
        line,
        kind: Kind::Object(Vec::new()),
    }
}

/// Environment of a PluginConfig's `vm_config`.
pub(crate) fn environment(vm_config: Option<&Tree>) -> VmEnvironment {
    let variables = vm_config.and_then(|vm| vm.get("environment_variables"));
    let list = |field| variables.and_then(|v| v.get(field));
    VmEnvironment::Known {
        from_host: list("host_env_keys")
            .map(Tree::items)
            .unwrap_or_default()
            .iter()
            .filter_map(|item| item.text().map(str::to_owned))
            .collect(),
        in_file: list("key_values")
            .map(Tree::pairs)
            .unwrap_or_default()
            .iter()
            .map(|(key, value)| (key.clone(), value.text().unwrap_or_default().to_owned()))
            .collect(),
    }
}

/// How much a configuration depends on `allow_on_headers_stop_iteration`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderStop {
    /// Works without.
    NotNeeded,
    /// Works without, but answers carry an estimate where the exact cost is meant.
    ForExactCost,
    /// Requests that it is about are answered with 500 without it.
    Needed(&'static str),
}

/// Judges by what the configuration says, so also for one that does not compile.
pub(crate) fn header_stop(plugin: &Plugin<'_>) -> HeaderStop {
    let webhooks = plugin.section(RootId::WebhookSignature);
    let has_rules = webhooks
        .and_then(|section| section.get("rules"))
        .is_some_and(|rules| !rules.items().is_empty());
    // `hold: body` is made for proxies without it.
    let streams = webhooks.is_some_and(|section| section.text_of("hold") == "body");
    if has_rules && !streams {
        return HeaderStop::Needed("webhook rules");
    }
    let Some(cost) = plugin.section(RootId::Cost) else {
        return HeaderStop::NotNeeded;
    };
    if cost.get("checks").is_some() {
        return HeaderStop::Needed("cost checks");
    }
    let prices = cost.get("prices").map(Tree::items).unwrap_or_default();
    let by_answer = prices
        .iter()
        .any(|price| price.get("per_token").is_some() || price.get("model").is_some());
    let no = |tree: Option<&Tree>| {
        tree.is_some_and(|t| matches!(t.kind, Kind::Bool(false) | Kind::Integer(0)))
    };
    if by_answer && !no(cost.at(&["headers", "cost"])) && !no(cost.get("hold_response_bytes")) {
        return HeaderStop::ForExactCost;
    }
    HeaderStop::NotNeeded
}

/// Whether a limit's key holds the client's address.
pub(crate) fn keys_on_address(plugin: &Plugin<'_>) -> bool {
    let limits = plugin
        .section(RootId::RateLimit)
        .and_then(|section| section.get("limits"));
    limits
        .map(Tree::items)
        .unwrap_or_default()
        .iter()
        .filter_map(|limit| limit.get("key"))
        .flat_map(Tree::items)
        .any(|part| part.text() == Some("client_address") || part.get("client_address").is_some())
}

/// Checks the PluginConfig around a configuration.
pub(crate) fn check_plugin_config(plugin: &Plugin<'_>, config: &Tree, findings: &mut Findings) {
    let mut add = |severity, tree: &Tree, path: &str, problem: String| {
        findings.add(severity, tree.line, &plugin.subject, path, problem);
    };
    let flag = config
        .get("allow_on_headers_stop_iteration")
        .is_some_and(Tree::is_true);
    match header_stop(plugin) {
        HeaderStop::Needed(why) if !flag => add(
            Severity::Error,
            config,
            "config.allow_on_headers_stop_iteration",
            format!(
                "must be true: {why} hold the request, headers included, and Envoy stalls it without the setting"
            ),
        ),
        HeaderStop::ForExactCost if !flag => add(
            Severity::Warning,
            config,
            "config.allow_on_headers_stop_iteration",
            "is not true: answers cannot be held, so the cost header carries an estimate"
                .to_owned(),
        ),
        _ => {}
    }
    match config.get("failure_policy").map(|p| (p, p.text())) {
        Some((_, Some("FAIL_RELOAD" | "FAIL_CLOSED"))) => {}
        None if config.get("fail_open").is_none_or(|open| !open.is_true()) => add(
            Severity::Warning,
            config,
            "config.failure_policy",
            "is not set: after a crash of the VM its worker answers 503 until Envoy restarts; write FAIL_RELOAD"
                .to_owned(),
        ),
        other => add(
            Severity::Error,
            other.map_or(config, |(policy, _)| policy),
            "config.failure_policy",
            "must be FAIL_RELOAD (or FAIL_CLOSED): anything else lets requests pass without the filter after a crash"
                .to_owned(),
        ),
    }
    let code = config.at(&["vm_config", "code"]);
    let nack = config
        .at(&["vm_config", "nack_on_code_cache_miss"])
        .is_some_and(Tree::is_true);
    if let Some(remote) = code.and_then(|code| code.get("remote"))
        && !nack
        && !plugin.subject.starts_with("EnvoyFilter")
    {
        add(
            Severity::Warning,
            remote,
            "config.vm_config.nack_on_code_cache_miss",
            "is not true: remote code that cannot be fetched replaces a working filter by a dead one, and code that \
             arrives by an ECDS update passes requests unfiltered meanwhile; use a local file, or set it to true"
                .to_owned(),
        );
    }
}
