//! Envoy files (bootstrap, LDS, ECDS, or any piece of one): every Wasm filter anywhere in them.

use super::Options;
use super::env::VmEnvironment;
use super::plugin::{self, Plugin, RootId};
use super::wasm::{self, Configuration};
use crate::finding::{Findings, Severity};
use crate::tree::Tree;

/// The Wasm HTTP filter's type.
const WASM: &str = "envoy.extensions.filters.http.wasm.v3.Wasm";
/// The connection manager's type.
const HCM: &str =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

/// Checks a document.
pub(crate) fn check(document: &Tree, options: Options, findings: &mut Findings) {
    let before = findings.configurations;
    check_tree(document, "", options, findings);
    if findings.configurations == before {
        findings.add(
            Severity::Note,
            0,
            "",
            "",
            "an Envoy file without a Tollgate filter: nothing to check",
        );
    }
    if document.get("static_resources").is_some() {
        check_labels(document, findings);
    }
}

/// Labels ride in the names of metrics; a bootstrap's `stats_tags` take them out again.
fn check_labels(bootstrap: &Tree, findings: &mut Findings) {
    let tags = bootstrap.at(&["stats_config", "stats_tags"]);
    let tags: Vec<&str> = tags
        .map(Tree::items)
        .unwrap_or_default()
        .iter()
        .map(|tag| tag.text_of("tag_name"))
        .collect();
    let missing: Vec<&str> = findings
        .labels
        .iter()
        .map(String::as_str)
        .filter(|label| !tags.contains(label))
        .collect();
    if !missing.is_empty() {
        findings.add(
            Severity::Warning,
            bootstrap.line_of("stats_config.stats_tags"),
            "",
            "stats_config.stats_tags",
            format!(
                "without a tag these labels stay part of the metrics' names: {}; a tag's regex is {}",
                missing.join(", "),
                r"'(LABEL=\.=(.*?);\.;)'"
            ),
        );
    }
}

/// Checks every Wasm filter below a tree. `prefix` goes before the names of what is found.
pub(crate) fn check_tree(tree: &Tree, prefix: &str, options: Options, findings: &mut Findings) {
    let mut search = Search {
        prefix,
        options,
        findings,
        vms: Vec::new(),
    };
    search.visit(tree, None);
}

struct Search<'f> {
    prefix: &'f str,
    options: Options,
    findings: &'f mut Findings,
    vms: Vec<Vm>,
}

/// What decides whether two plugins share a VM, and what its environment is.
struct Vm {
    vm_id: String,
    module: String,
    environment: VmEnvironment,
}

impl Search<'_> {
    /// `hcm`: the connection manager that the tree is part of.
    fn visit<'t>(&mut self, tree: &'t Tree, hcm: Option<&'t Tree>) {
        let (name, message) = match wasm::type_name(tree) {
            // The same message by another envelope.
            "xds.type.v3.TypedStruct" | "udpa.type.v1.TypedStruct" => (
                tree.text_of("type_url")
                    .rsplit('/')
                    .next()
                    .unwrap_or_default(),
                tree.get("value").unwrap_or(tree),
            ),
            name => (name, tree),
        };
        let hcm = if name == HCM { Some(message) } else { hcm };
        if name == WASM {
            match message.get("config") {
                Some(config) => self.filter(config, hcm),
                None => self.findings.add(
                    Severity::Error,
                    tree.line,
                    self.prefix,
                    "config",
                    "is missing in the Wasm filter",
                ),
            }
            return;
        }
        for (_, value) in tree.pairs() {
            self.visit(value, hcm);
        }
        for item in tree.items() {
            self.visit(item, hcm);
        }
    }

    fn filter(&mut self, config: &Tree, hcm: Option<&Tree>) {
        let root_text = config.text_of("root_id");
        let name = match config.text_of("name") {
            "" => root_text,
            name => name,
        };
        let subject = [self.prefix, name]
            .iter()
            .filter(|part| !part.is_empty())
            .copied()
            .collect::<Vec<_>>()
            .join("/");
        let code = config.at(&["vm_config", "code"]);
        let file = code.and_then(|c| c.at(&["local", "filename"]));
        let uri = code.and_then(|c| c.at(&["remote", "http_uri", "uri"]));
        let module = file.or(uri).and_then(Tree::text).unwrap_or_default();
        let root_id = match root_text {
            "" => RootId::of_module(module),
            text => RootId::parse(text),
        };
        let Some(root_id) = root_id else {
            self.foreign(config, module, &subject);
            return;
        };
        self.share(config, module, &subject);
        let any = config.get("configuration");
        let line = any.unwrap_or(config).line;
        let empty = wasm::empty_object(line);
        let (tree, line) = match Configuration::of_any(any) {
            Configuration::Empty => (&empty, line),
            Configuration::Struct(tree) => (tree, tree.line),
            Configuration::Json(ref tree, line) => {
                let plugin = plugin_of(root_id, &subject, line, tree, config);
                self.judge(&plugin, config, hcm);
                return;
            }
            Configuration::Unreadable(line, why) => {
                self.findings.configurations = self.findings.configurations.saturating_add(1);
                self.findings
                    .add(Severity::Error, line, &subject, "config.configuration", why);
                return;
            }
        };
        let plugin = plugin_of(root_id, &subject, line, tree, config);
        self.judge(&plugin, config, hcm);
    }

    /// Envoy 1.36 lets plugins with one vm_id and module share a VM even where their environments differ: the
    /// second one then misses its variables (1.40 does not).
    fn share(&mut self, config: &Tree, module: &str, subject: &str) {
        let vm_config = config.get("vm_config");
        let vm = Vm {
            vm_id: vm_config.map_or("", |vm| vm.text_of("vm_id")).to_owned(),
            module: module.to_owned(),
            environment: wasm::environment(vm_config),
        };
        let clash = self.vms.iter().any(|other| {
            other.vm_id == vm.vm_id
                && other.module == vm.module
                && other.environment != vm.environment
        });
        if clash {
            self.findings.add(
                Severity::Warning,
                vm_config.unwrap_or(config).line,
                subject,
                "config.vm_config.vm_id",
                "another plugin has the same vm_id and module but other environment_variables: older Envoys share the VM \
                 all the same, and this plugin misses its variables; give each its own vm_id",
            );
        }
        self.vms.push(vm);
    }

    fn judge(&mut self, plugin: &Plugin<'_>, config: &Tree, hcm: Option<&Tree>) {
        plugin::check(plugin, self.options, self.findings);
        wasm::check_plugin_config(plugin, config, self.findings);
        let Some(hcm) = hcm.filter(|_| wasm::keys_on_address(plugin)) else {
            return;
        };
        if !hcm.get("use_remote_address").is_some_and(Tree::is_true) {
            self.findings.add(
                Severity::Error,
                hcm.line,
                &plugin.subject,
                "use_remote_address",
                "must be true in the connection manager: a limit keys on client_address, and without it every client \
                 chooses its own address by X-Forwarded-For (name trusted proxies with xff_num_trusted_hops)",
            );
        }
    }

    /// A Wasm filter whose root id is not one of ours: somebody else's, or a typing error.
    fn foreign(&mut self, config: &Tree, module: &str, subject: &str) {
        let ours = RootId::of_module(module).is_some() || subject.contains("tollgate");
        let (severity, problem) = if ours {
            (
                Severity::Error,
                format!("must be one of {}", RootId::known()),
            )
        } else {
            (
                Severity::Note,
                "not one of Tollgate's root ids: skipped".to_owned(),
            )
        };
        let line = config.get("root_id").unwrap_or(config).line;
        self.findings
            .add(severity, line, subject, "config.root_id", problem);
    }
}

fn plugin_of<'t>(
    root_id: RootId,
    subject: &str,
    line: usize,
    tree: &'t Tree,
    config: &Tree,
) -> Plugin<'t> {
    Plugin {
        root_id,
        subject: subject.to_owned(),
        line,
        tree,
        vm: wasm::environment(config.get("vm_config")),
    }
}
