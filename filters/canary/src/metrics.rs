//! The counters of decisions.

use crate::decision::Reason;
use crate::experiment::{Experiment, MissingKey};
use crate::force::ForceRule;
use crate::variants::VariantId;
use tollgate_core::config::Compile;

/// One counter for each decision that can happen, and no more: a proxy shows them all, also at zero.
pub(crate) fn register(
    experiment: &mut Experiment,
    flag: &str,
    accepts_marker: bool,
    cx: &mut Compile<'_>,
) {
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
        if accepts_marker {
            // A tester forced by a filter before this one is one here, too.
            add(Reason::Marker, &all);
            add(Reason::Forced, &all);
        }
        for variants in experiment.force.iter().map(ForceRule::variants) {
            add(Reason::Forced, &variants);
        }
        add(
            Reason::Override,
            &experiment.overrides.variants().collect::<Vec<_>>(),
        );
        for segment in &experiment.segments {
            add(Reason::Segment, &[segment.variant]);
        }
        if experiment.visitor_cookie.is_some() {
            add(Reason::Session, &all);
        }
        if experiment.can_roll_back() {
            add(Reason::RolledBack, &default);
        }
        match (&experiment.split, experiment.on_missing_key) {
            (None, _) => add(Reason::Default, &default),
            (Some(_), _) if experiment.visitor_cookie.is_some() => add(Reason::Percentage, &all),
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
