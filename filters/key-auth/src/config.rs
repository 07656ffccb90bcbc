//! The section `key_auth` as a whole.

use crate::consumers::{Consumers, KeyRules};
use crate::forward::Forwarding;
use crate::marks::Marks;
use crate::meters::HolderMeters;
use crate::policy::KeyAuth;
use crate::preflight::PREFLIGHT;
use crate::remote::Remote;
use crate::remote_keys::RemoteKeys;
use crate::rotation::Rotation;
use crate::rules::{Defaults, Rule};
use crate::source::{Shape, Source, Sources};
use std::rc::Rc;
use tollgate_core::config::{Compile, Section, Value};
use tollgate_core::time::Duration;

const MAX_KEY_BYTES: u64 = 4096;
const WARN_EXPIRY: Duration = Duration::from_secs(14 * 24 * 3600);

/// Reads a `key_auth` section. Everything wrong with it goes into the section's report, and the
/// configuration must then not be used; `None` when there is nothing that could be.
pub fn compile(section: Section<'_>, cx: &mut Compile<'_>) -> Option<KeyAuth> {
    let sources = match section.optional("key_sources") {
        Some(value) => {
            let place = value.clone();
            let sources = Sources::compile(value);
            if sources.as_ref().is_some_and(Sources::is_empty) {
                place.error("must not be empty");
            }
            sources.unwrap_or_else(Sources::default_ones)
        }
        None => Sources::default_ones(),
    };
    let max_key_bytes = section
        .optional("max_key_bytes")
        .and_then(|v| v.integer(16..=65_536))
        .unwrap_or(MAX_KEY_BYTES);
    let max_bytes = usize::try_from(max_key_bytes).unwrap_or(usize::MAX);
    let prefix = section.optional("key_prefix").and_then(|v| v.identifier());
    let defaults = Defaults {
        sources: Rc::new(sources),
        shape: Shape { max_bytes, prefix },
        hide: flag(&section, "hide_credentials", true),
        realm: section
            .optional("realm")
            .and_then(|v| v.identifier())
            .unwrap_or_else(|| Rc::from("api")),
    };
    let forwarding = Forwarding::compile(&section);
    let key_rules = KeyRules {
        forwarding: &forwarding,
        max_key_bytes: max_bytes,
        prefix: defaults.shape.prefix.as_deref(),
        remote: section.optional("remote_keys").is_some(),
    };
    let mut consumers = Consumers::compile(&section, &key_rules, cx);
    if !consumers.remote {
        Forwarding::check_metadata(&section, &consumers.metadata);
    }
    let remote = section
        .optional("remote_keys")
        .and_then(Value::section)
        .and_then(|remote| Remote::compile(remote, cx));
    let mut names = Vec::new();
    let mut rules = Vec::new();
    for value in section.items("rules") {
        let place = value.clone();
        if let Some(rule) = Rule::compile(value, &defaults, &consumers, &mut names, cx) {
            check_sources(&rule.sources, rule.hide, &forwarding, &place);
            rules.push(rule);
        }
    }
    let fallback = Rule::fallback(&defaults, cx);
    if let Some(place) = section.optional("key_sources") {
        check_sources(&defaults.sources, defaults.hide, &forwarding, &place);
    }
    let meters = HolderMeters::compile(&section, &consumers, consumers.remote, cx.metrics);
    let warn_expiry = section
        .optional("warn_expiry")
        .and_then(|v| v.duration())
        .unwrap_or(WARN_EXPIRY);
    let rotation = Rotation::new(
        &consumers.table,
        warn_expiry,
        meters.by_key,
        consumers.remote,
        cx.metrics,
    );
    let run_on_preflight = flag(&section, "run_on_preflight", false);
    let report = section.report();
    section.finish();
    let mut marks = Marks::default();
    forwarding.mark(&mut marks);
    if !run_on_preflight {
        marks.add(PREFLIGHT.as_bytes());
    }
    report.is_ok().then_some(KeyAuth {
        marks,
        rules,
        fallback,
        table: std::mem::take(&mut consumers.table),
        remote: remote.map(|remote| RemoteKeys {
            remote,
            places: consumers.places,
            holders: consumers.holders,
        }),
        forwarding,
        meters,
        rotation,
        run_on_preflight,
    })
}

fn flag(section: &Section<'_>, field: &'static str, otherwise: bool) -> bool {
    let value = section.optional(field);
    value.and_then(|v| v.boolean()).unwrap_or(otherwise)
}

fn check_sources(sources: &Sources, hide: bool, forwarding: &Forwarding, place: &Value<'_>) {
    let taken = |source: &Source| source.header().is_some_and(|name| forwarding.owns(name));
    if sources.iter().any(taken) {
        place.error(
            "a key cannot come in a header that names the consumer: it is removed from every request",
        );
    }
    if !hide && sources.use_query() {
        place.warn("with hide_credentials: false the key stays in the path of requests that pass, and in access logs");
    }
}
