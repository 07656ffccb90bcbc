//! Reading the `canary` section.

use crate::bucket::Salt;
use crate::decision::Reason;
use crate::experiment::{Experiment, MissingKey, Variant};
use crate::force::ForceRule;
use crate::lifecycle::Lifecycle;
use crate::policy::Canary;
use crate::ramp::Ramp;
use crate::segment::Segment;
use crate::split::Split;
use crate::sticky::{Overrides, StickyKey};
use crate::variants::{VariantId, Variants, plain_name};
use std::rc::Rc;
use tollgate_core::config::{Compile, Node, Section, Value};
use tollgate_core::headers::HeaderName;
use tollgate_core::matcher::Matcher;

/// Headers whose removal from a request would break it, or open or close a door elsewhere.
const NOT_FOR_ROUTING: [&str; 16] = [
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Reads the section. Errors are in its report; `None` when something essential is missing.
pub fn compile(section: Section<'_>, cx: &mut Compile<'_>) -> Option<Canary> {
    let enabled = enabled(&section);
    let list = section.required("experiments");
    let mut flags: Vec<Rc<str>> = Vec::new();
    let mut read: Vec<(Experiment, String)> = Vec::new();
    let mut all_read = list.is_some();
    for item in list.and_then(Value::list).unwrap_or_default() {
        let path = item.path().to_owned();
        match experiment(item, &mut flags, enabled, cx) {
            Some(experiment) => read.push((experiment, path)),
            None => all_read = false,
        }
    }
    check_headers(&section, &read);
    section.finish();
    if !all_read {
        return None;
    }
    let experiments: Vec<Experiment> = read.into_iter().map(|(e, _)| e).collect();
    let mut route_headers: Vec<HeaderName> =
        experiments.iter().map(|e| e.route_header.clone()).collect();
    route_headers.sort_unstable();
    route_headers.dedup();
    Some(Canary {
        experiments,
        route_headers,
    })
}

fn experiment(
    value: Value<'_>,
    flags: &mut Vec<Rc<str>>,
    all_enabled: bool,
    cx: &mut Compile<'_>,
) -> Option<Experiment> {
    let section = value.section()?;
    let flag = section.required("flag").and_then(|v| {
        let flag = plain_name(&v)?;
        let known = flags.contains(&flag);
        v.accept(
            (!known).then_some(flag),
            "is the flag of another experiment, too",
        )
    });
    flags.extend(flag.clone());
    let enabled = enabled(&section) && all_enabled;
    let matcher = Matcher::of_rule(&section);
    let variants = Variants::compile(&section);
    // Without them the rest is still read, for its own errors.
    let none = Variants::default();
    let known = variants.as_ref().unwrap_or(&none);
    let force = ForceRule::compile_all(&section, known);
    let overrides = Overrides::compile(&section, known);
    let segments = Segment::compile_all(&section, known);
    let ramp = section.optional("ramp").map(|v| Ramp::compile(v, known));
    let splits = ramp.is_some() || !known.weights().is_empty();
    let on_missing_key = missing_key(&section, known, splits);
    let sticky_key = sticky_key(&section, &overrides, splits, on_missing_key);
    let route_header = section.required("route_header").and_then(header_to_set);
    let response_header = section.optional("response_header").map(header_to_set);
    let lifecycle = Lifecycle::compile(&section, flag.as_ref().unwrap_or(&Rc::from("")), cx);
    section.finish();

    let (flag, variants) = (flag?, variants?);
    let default = variants.default_id()?;
    let ramp = match ramp {
        Some(ramp) => Some(ramp?),
        None => None,
    };
    let split = splits.then(|| match &ramp {
        Some(ramp) => Split::ramped(variants.weights(), default, ramp.variant),
        None => Split::fixed(variants.weights(), default),
    });
    let mut this = Experiment {
        enabled,
        matcher: matcher?,
        force,
        sticky_key,
        overrides,
        segments,
        salt: Salt::new(&flag),
        split,
        on_missing_key: on_missing_key?,
        default,
        variants: shown(&flag, &variants),
        lifecycle,
        weight_gauge: None,
        route_header: route_header?,
        response_header: match response_header {
            Some(header) => Some(header?),
            None => None,
        },
        ramp,
    };
    register_metrics(&mut this, &flag, cx);
    Some(this)
}

fn enabled(section: &Section<'_>) -> bool {
    let enabled = section.optional("enabled").and_then(|v| v.boolean());
    enabled.unwrap_or(true)
}

/// `stable`, `random` or `{variant: NAME}`.
fn missing_key(section: &Section<'_>, variants: &Variants, splits: bool) -> Option<MissingKey> {
    let stable = variants.default_id().map(MissingKey::Variant);
    let Some(value) = section.optional("on_missing_key") else {
        return stable;
    };
    if let Node::Object(_) = value.node() {
        let object = value.section()?;
        let variant = object.required("variant").and_then(|v| variants.find(&v));
        object.finish();
        return variant.map(MissingKey::Variant);
    }
    let random = value.accept(
        match value.node() {
            Node::Text(text) if text == "stable" => Some(false),
            Node::Text(text) if text == "random" => Some(true),
            _ => None,
        },
        "must be stable, random or {variant: NAME}",
    )?;
    if random && !splits {
        value.error("random needs weights or a ramp");
    }
    if random {
        Some(MissingKey::Random)
    } else {
        stable
    }
}

fn sticky_key(
    section: &Section<'_>,
    overrides: &Overrides,
    splits: bool,
    on_missing_key: Option<MissingKey>,
) -> StickyKey {
    let by_chance = on_missing_key == Some(MissingKey::Random);
    if section.optional("sticky_key").is_none() && (splits && !by_chance || !overrides.is_empty()) {
        section.error(
            "sticky_key is missing: it says which key is hashed (or set on_missing_key: random and no overrides)",
        );
    }
    StickyKey::compile(section).unwrap_or_default()
}

fn header_to_set(value: Value<'_>) -> Option<HeaderName> {
    let name = value.header_name()?;
    let free = !NOT_FOR_ROUTING.contains(&name.as_str());
    value.accept(
        free.then_some(name),
        "must be a header of its own: this one has a meaning already",
    )
}

/// What one experiment reads must not be what one sets: clients' copies of those are removed first. And no
/// answer can tell two variants in one header.
fn check_headers(section: &Section<'_>, read: &[(Experiment, String)]) {
    for (at, (experiment, path)) in read.iter().enumerate() {
        let forced = experiment.force.iter().map(ForceRule::header);
        let keys = experiment.sticky_key.headers();
        let listed = experiment.segments.iter().flat_map(Segment::headers);
        let parts = [
            ("force", forced.collect::<Vec<_>>()),
            ("sticky_key", keys.collect()),
            ("segments", listed.collect()),
        ];
        for (part, headers) in parts {
            if headers
                .iter()
                .any(|name| read.iter().any(|(e, _)| e.route_header == **name))
            {
                section.report().error(
                    &format!("{path}.{part}"),
                    "reads a route_header: clients cannot send those, they are removed first",
                );
            }
        }
        let clash = read.iter().take(at).any(|(other, _)| {
            experiment.response_header.is_some()
                && other.response_header == experiment.response_header
                && other.route_header != experiment.route_header
        });
        if clash {
            section.report().error(
                &format!("{path}.response_header"),
                "is used by an experiment with another route_header: both may apply to one request",
            );
        }
    }
}

fn shown(flag: &str, variants: &Variants) -> Vec<Variant> {
    let names = variants.names().iter();
    names
        .map(|name| Variant {
            name: Rc::clone(name),
            state: format!("{flag}:{name}"),
            metrics: [None; Reason::COUNT],
        })
        .collect()
}

/// One counter for each decision that can happen, and no more: a proxy shows them all, also at zero.
fn register_metrics(experiment: &mut Experiment, flag: &str, cx: &mut Compile<'_>) {
    let all: Vec<VariantId> = (0..experiment.variants.len()).map(VariantId).collect();
    let mut possible: Vec<(Reason, VariantId)> = Vec::new();
    let mut add = |reason, variants: &[VariantId]| {
        possible.extend(variants.iter().map(|v| (reason, *v)));
    };
    let default = [experiment.default];
    if !experiment.enabled {
        add(Reason::KillSwitch, &default);
    } else {
        if experiment.lifecycle.can_be_off() {
            add(Reason::Expired, &default);
        }
        for rule in &experiment.force {
            add(Reason::Forced, &rule.variants());
        }
        add(
            Reason::Override,
            &experiment.overrides.variants().collect::<Vec<_>>(),
        );
        for segment in &experiment.segments {
            add(Reason::Segment, &[segment.variant]);
        }
        match (&experiment.split, experiment.on_missing_key) {
            (None, _) => add(Reason::Default, &default),
            (Some(_), MissingKey::Random) => {
                add(Reason::Percentage, &all);
                add(Reason::Random, &all);
            }
            (Some(_), MissingKey::Variant(variant)) => {
                add(Reason::Percentage, &all);
                add(Reason::MissingKey, &[variant]);
            }
        }
    }
    for (reason, id) in possible {
        if let Some(variant) = experiment.variants.get_mut(id.0)
            && let Some(slot) = variant.metrics.get_mut(reason.index())
        {
            let labels = [
                ("policy", "canary"),
                ("flag", flag),
                ("variant", &*variant.name),
                ("reason", reason.code()),
            ];
            *slot = Some(cx.metrics.counter("tollgate_decisions_total", &labels));
        }
    }
    experiment.weight_gauge = experiment.ramp.as_ref().and_then(|ramp| {
        let name = &experiment.variants.get(ramp.variant.0)?.name;
        let labels = [("flag", flag), ("variant", &**name)];
        Some(
            cx.metrics
                .gauge("tollgate_ramp_weight_basis_points", &labels),
        )
    });
}
