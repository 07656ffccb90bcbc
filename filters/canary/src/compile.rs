//! Reading the `canary` section.

use crate::bucket::Salt;
use crate::decision::Reason;
use crate::decision_log::DecisionLog;
use crate::experiment::{Experiment, MissingKey, Variant};
use crate::fingerprint::fingerprint;
use crate::force::ForceRule;
use crate::lifecycle::Lifecycle;
use crate::marker::Marker;
use crate::metrics;
use crate::outcome::Outcome;
use crate::policy::Canary;
use crate::ramp::Ramp;
use crate::rollback::Rollback;
use crate::segment::Segment;
use crate::split::Split;
use crate::sticky::{Overrides, StickyKey};
use crate::variants::{Variants, plain_name};
use crate::visitor::VisitorCookie;
use crate::watch::Watch;
use crate::watch_metrics::WatchMetrics;
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
    let marker = section.optional("marker");
    let marker = marker.map(|v| Marker::compile(v, header_to_set, cx));
    let decision_log = section.optional("decision_log").map(DecisionLog::compile);
    let accepts_marker = matches!(&marker, Some(Some(m)) if m.accept);
    let list = section.required("experiments");
    let mut flags: Vec<Rc<str>> = Vec::new();
    let mut read: Vec<(Experiment, String)> = Vec::new();
    let mut all_read = list.is_some();
    for item in list.and_then(Value::list).unwrap_or_default() {
        let path = item.path().to_owned();
        let whole = Whole {
            enabled,
            accepts_marker,
        };
        match experiment(item, &mut flags, whole, cx) {
            Some(experiment) => read.push((experiment, path)),
            None => all_read = false,
        }
    }
    let marker_header = marker.as_ref().and_then(|m| Some(&m.as_ref()?.header));
    check_headers(&section, &read, marker_header);
    section.finish();
    if !all_read {
        return None;
    }
    let (marker, decision_log) = (inside(marker)?, inside(decision_log)?);
    let experiments: Vec<Experiment> = read.into_iter().map(|(e, _)| e).collect();
    let mut route_headers: Vec<HeaderName> =
        experiments.iter().map(|e| e.route_header.clone()).collect();
    route_headers.sort_unstable();
    route_headers.dedup();
    Some(Canary {
        watches: experiments.iter().any(|e| e.watch.is_some()),
        answers: experiments.iter().any(Experiment::has_answers),
        experiments,
        route_headers,
        marker,
        decision_log,
    })
}

/// What the section as a whole says about every experiment.
#[derive(Clone, Copy)]
struct Whole {
    enabled: bool,
    accepts_marker: bool,
}

/// Of something that may be missing, but must be right if it is there.
fn inside<T>(value: Option<Option<T>>) -> Option<Option<T>> {
    match value {
        Some(Some(value)) => Some(Some(value)),
        Some(None) => None,
        None => Some(None),
    }
}

fn experiment(
    value: Value<'_>,
    flags: &mut Vec<Rc<str>>,
    whole: Whole,
    cx: &mut Compile<'_>,
) -> Option<Experiment> {
    let configuration = fingerprint(value.node());
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
    let enabled = enabled(&section) && whole.enabled;
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
    let has_cookie = section.optional("visitor_cookie").is_some();
    let sticky_key = sticky_key(&section, &overrides, splits && !has_cookie, on_missing_key);
    let route_header = section.required("route_header").and_then(header_to_set);
    let response_header = section.optional("response_header").map(header_to_set);
    let visitor_cookie = section.optional("visitor_cookie").map(|v| {
        if !splits {
            v.error("needs weights or a ramp");
        }
        VisitorCookie::compile(v, cx)
    });
    let outcome = section.optional("outcome");
    let watched = outcome.is_some() || section.optional("rollback").is_some();
    let outcome = watched.then(|| Outcome::compile(outcome));
    let has_conversion = matches!(&outcome, Some(Some(o)) if o.conversion.is_some());
    let rollback = section
        .optional("rollback")
        .map(|v| Rollback::compile(v, has_conversion, header_to_set));
    let lifecycle = Lifecycle::compile(&section, flag.as_ref().unwrap_or(&Rc::from("")), cx);
    section.finish();

    let (flag, variants) = (flag?, variants?);
    let default = variants.default_id()?;
    let (ramp, visitor_cookie) = (inside(ramp)?, inside(visitor_cookie)?);
    let (outcome, rollback) = (inside(outcome)?, inside(rollback)?);
    let split = splits.then(|| match &ramp {
        Some(ramp) => Split::ramped(variants.weights(), default, ramp.variant),
        None => Split::fixed(variants.weights(), default),
    });
    let mut this = Experiment {
        enabled,
        by_key_alone: false,
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
        response_header: inside(response_header)?,
        ramp,
        visitor_cookie,
        watch: None,
        flag: Rc::clone(&flag),
        names: variants.names().to_vec(),
    };
    this.watch = outcome.map(|outcome| {
        let (names, rules) = (this.names.clone(), rollback.as_ref());
        let metrics = WatchMetrics::register(&flag, &names, default, &outcome, rules, cx);
        let name = Rc::clone(&flag);
        Watch::new(
            name,
            names,
            default,
            outcome,
            rollback,
            metrics,
            configuration,
        )
    });
    this.by_key_alone = this.has_no_other_step();
    metrics::register(&mut this, &flag, whole.accepts_marker, cx);
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
fn check_headers(
    section: &Section<'_>,
    read: &[(Experiment, String)],
    marker: Option<&HeaderName>,
) {
    for (at, (experiment, path)) in read.iter().enumerate() {
        check_shared(section, read, marker, at);
        let forced = experiment.force.iter().map(ForceRule::header);
        let keys = experiment.sticky_key.headers();
        let listed = experiment.segments.iter().flat_map(Segment::headers);
        let parts = [
            ("force", forced.collect::<Vec<_>>()),
            ("sticky_key", keys.collect()),
            ("segments", listed.collect()),
        ];
        for (part, headers) in parts {
            if headers.iter().any(|name| {
                marker == Some(*name) || read.iter().any(|(e, _)| e.route_header == **name)
            }) {
                section.report().error(
                    &format!("{path}.{part}"),
                    "reads a route_header, or the marker: clients cannot send those, they are removed first",
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

/// Names that two parts of the configuration must not both write.
fn check_shared(
    section: &Section<'_>,
    read: &[(Experiment, String)],
    marker: Option<&HeaderName>,
    at: usize,
) {
    let Some((experiment, path)) = read.get(at) else {
        return;
    };
    let error = |field: &str, problem: &str| {
        section.report().error(&format!("{path}.{field}"), problem);
    };
    if marker == Some(&experiment.route_header) {
        error("route_header", "is the marker's header");
    }
    let cookie = |e: &Experiment| e.visitor_cookie.as_ref().map(|c| c.name().to_owned());
    let before = || read.iter().take(at).map(|(e, _)| e);
    if cookie(experiment).is_some() && before().any(|e| cookie(e) == cookie(experiment)) {
        error(
            "visitor_cookie.name",
            "is the cookie of another experiment, too",
        );
    }
    let told = |e: &Experiment| {
        let rollback = e.watch.as_ref()?.rollback.as_ref()?;
        rollback.response_header.clone()
    };
    let ours = told(experiment);
    let taken =
        read.iter().any(|(e, _)| e.response_header == ours) || before().any(|e| told(e) == ours);
    if ours.is_some() && taken {
        error(
            "rollback.response_header",
            "is written by another part of the configuration, too",
        );
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
