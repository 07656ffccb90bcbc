//! When a variant is bad: limits, and limits relative to the default variant.

use std::fmt::Write as _;
use tollgate_core::Money;
use tollgate_core::config::{Node, Section, Value};
use tollgate_state::rollback::significance::Evidence;
use tollgate_state::rollback::{Bound, Share, Tally};

/// How bad it is that a rule is broken. The order is the order in which broken rules are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    Critical,
    High,
    Medium,
    Low,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Measure {
    Errors,
    /// The quantile in basis points.
    Latency(u64),
    Conversions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    /// Basis points, or microseconds.
    Absolute(u64),
    /// So many ten-thousandths of what the default variant has.
    Relative(u64),
}

/// One rule.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    measure: Measure,
    limit: Limit,
    pub(crate) severity: Severity,
    /// Not broken as long as the default variant breaks it, too.
    unless_stable: bool,
    /// `error_rate_absolute`
    pub(crate) name: String,
}

/// What a rule needs to be broken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Proof {
    pub(crate) least: u64,
    pub(crate) bound: Bound,
}

/// A rule that is broken, with the figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Place of the rule in its list.
    pub(crate) rule: usize,
    /// For the log.
    pub(crate) figures: String,
}

/// With fewer requests than this the default variant is no excuse.
const LEAST_EXCUSE: u64 = 100;

const MEASURES: [(&str, Measure, Severity); 6] = [
    ("error_rate", Measure::Errors, Severity::Critical),
    ("latency_p50", Measure::Latency(5_000), Severity::High),
    ("latency_p90", Measure::Latency(9_000), Severity::High),
    ("latency_p95", Measure::Latency(9_500), Severity::High),
    ("latency_p99", Measure::Latency(9_900), Severity::High),
    ("conversion_rate", Measure::Conversions, Severity::Medium),
];

impl Severity {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::High => "high",
            Self::Medium => "medium",
            Self::Low => "low",
        }
    }
}

/// Reads all rules of a `rollback` section, the worst first.
pub(crate) fn compile(section: &Section<'_>, has_conversion: bool) -> Vec<Rule> {
    let mut rules = Vec::new();
    for (name, measure, severity) in MEASURES {
        let Some(value) = section.optional(name) else {
            continue;
        };
        if measure == Measure::Conversions && !has_conversion {
            value.error("needs outcome.conversion: what a conversion is");
        }
        if let Some(rule) = value.section() {
            read(&rule, name, measure, severity, &mut rules);
            rule.finish();
        }
    }
    rules.sort_by_key(|rule| rule.severity);
    rules
}

fn read(
    section: &Section<'_>,
    name: &str,
    measure: Measure,
    usual: Severity,
    rules: &mut Vec<Rule>,
) {
    let severity = section.optional("severity").and_then(|v| {
        v.one_of(&[
            ("critical", Severity::Critical),
            ("high", Severity::High),
            ("medium", Severity::Medium),
            ("low", Severity::Low),
        ])
    });
    let absolute = section.optional("absolute");
    let relative = section.optional("relative");
    let unless_stable = section.optional("unless_stable");
    if absolute.is_none() {
        if relative.is_none() {
            section.error("needs absolute, relative or both");
        }
        if let Some(v) = &unless_stable {
            v.error("needs absolute: a relative rule compares anyway");
        }
    }
    let is_latency = matches!(measure, Measure::Latency(_));
    let unless_stable = unless_stable.and_then(|v| v.boolean());
    let mut add = |limit: Option<Limit>, kind: &str, unless_stable| {
        rules.extend(limit.map(|limit| Rule {
            measure,
            limit,
            severity: severity.unwrap_or(usual),
            unless_stable,
            name: format!("{name}_{kind}"),
        }));
    };
    if let Some(value) = absolute {
        let limit = if is_latency {
            let micros = value.duration().map(|d| d.0 / 1_000);
            micros.and_then(|m| value.accept((m > 0).then_some(m), "must be a microsecond or more"))
        } else {
            percent(&value, 9_999)
        };
        let spared = unless_stable.unwrap_or(is_latency);
        add(limit.map(Limit::Absolute), "absolute", spared);
    }
    if let Some(value) = relative {
        let ratio = value.decimal(4, 10_000_000);
        let falls = measure == Measure::Conversions;
        let ratio = ratio.and_then(|r| {
            let sensible = if falls {
                (1..=10_000).contains(&r)
            } else {
                r >= 10_000
            };
            let problem = if falls {
                "must be from 0.0001 to 1: how many of the default variant's conversions are enough"
            } else {
                "must be 1 or more: how many times what the default variant has is too much"
            };
            value.accept(sensible.then_some(r), problem)
        });
        add(ratio.map(Limit::Relative), "relative", false);
    }
}

/// `5%`, `"0.5"` or `5`, in basis points; at least one and at most `most`.
pub(crate) fn percent(value: &Value<'_>, most: u64) -> Option<u64> {
    let text = match value.node() {
        Node::Text(text) => text.strip_suffix('%').unwrap_or(text).trim_end().to_owned(),
        Node::Integer(n) => n.to_string(),
        Node::Fraction(f) => f.to_string(),
        _ => String::new(),
    };
    // A hundredth of a percent in picounits.
    const STEP: u64 = 10_000_000_000;
    let exact = Money::parse(&text).filter(|m| m.pico().checked_rem(STEP) == Some(0));
    let found = exact.and_then(|m| m.pico().checked_div(STEP));
    value.accept(
        found.filter(|n| (1..=most).contains(n)),
        "must be a percentage such as 5% or 0.25%, above 0 and below 100, with up to two decimals",
    )
}

/// The worst rule that a variant breaks, looking at every beginning in the window. `slots` are those of the variant and
/// of the default one, the newest first.
pub(crate) fn judge<'a>(
    rules: &[Rule],
    proof: &Proof,
    slots: impl Iterator<Item = (&'a Tally, &'a Tally)>,
) -> Option<Finding> {
    let (mut variant, mut stable) = (Tally::default(), Tally::default());
    let mut worst: Option<Finding> = None;
    for (more_variant, more_stable) in slots {
        variant.merge(more_variant);
        stable.merge(more_stable);
        if variant.requests < proof.least {
            continue;
        }
        let upto = worst.as_ref().map_or(rules.len(), |f| f.rule);
        let broken = rules.iter().take(upto).enumerate().find_map(|(at, rule)| {
            let figures = rule.broken(proof, &variant, &stable)?;
            Some(Finding { rule: at, figures })
        });
        worst = broken.or(worst);
    }
    worst
}

impl Rule {
    /// The figures, if it is broken.
    fn broken(&self, proof: &Proof, variant: &Tally, stable: &Tally) -> Option<String> {
        match (self.measure, self.limit) {
            (Measure::Errors, limit) => {
                let of = |t: &Tally| Share::new(t.errors, t.requests);
                let (ours, theirs) = (of(variant), of(stable));
                let evidence = match limit {
                    Limit::Absolute(limit) => self.above(proof, ours, theirs, limit)?,
                    Limit::Relative(ratio) => {
                        above_other(proof, ours, theirs).filter(|_| ours.beyond(theirs, ratio))?
                    }
                };
                Some(self.say("failed", ours, theirs, evidence))
            }
            (Measure::Conversions, limit) => {
                let of = |t: &Tally| Share::new(t.conversions, t.requests);
                let (ours, theirs) = (of(variant), of(stable));
                let evidence = match limit {
                    Limit::Absolute(limit) => {
                        let most = 10_000_u64.saturating_sub(limit);
                        self.above(proof, ours.rest(), theirs.rest(), most)?
                    }
                    Limit::Relative(ratio) => {
                        let inverse = 100_000_000_u64.checked_div(ratio).unwrap_or(u64::MAX);
                        above_other(proof, ours.rest(), theirs.rest())
                            .filter(|_| theirs.beyond(ours, inverse))?
                    }
                };
                Some(self.say("converted", ours, theirs, evidence))
            }
            (Measure::Latency(quantile), limit) => {
                self.slower(proof, variant, stable, quantile, limit)
            }
        }
    }

    /// A limit that holds for itself.
    fn above(
        &self,
        proof: &Proof,
        ours: Share,
        theirs: Share,
        limit: u64,
    ) -> Option<(Evidence, Evidence)> {
        let (evidence, needed) = (ours.above_limit(limit), proof.bound.at(ours.of()));
        let excused = self.unless_stable
            && theirs.of() >= LEAST_EXCUSE
            && theirs.above_limit(limit) > Evidence::default();
        (ours.of() >= proof.least && evidence >= needed && !excused).then_some((evidence, needed))
    }

    fn slower(
        &self,
        proof: &Proof,
        variant: &Tally,
        stable: &Tally,
        quantile: u64,
        limit: Limit,
    ) -> Option<String> {
        let (ours, theirs) = (&variant.latency, &stable.latency);
        // So many may be slower.
        let allowed = 10_000_u64.saturating_sub(quantile);
        let (evidence, needed) = match limit {
            Limit::Absolute(limit) => {
                let over = |l: &tollgate_state::rollback::Latency| {
                    Share::new(l.from(limit.saturating_add(1)), l.total())
                };
                self.above(proof, over(ours), over(theirs), allowed)?
            }
            Limit::Relative(ratio) => {
                let usual = theirs.quantile(quantile)?.about;
                let many = u128::from(usual).saturating_mul(u128::from(ratio)) / 10_000;
                let many = u64::try_from(many).unwrap_or(u64::MAX);
                let slow = u128::from(theirs.total()).saturating_mul(u128::from(allowed)) / 10_000;
                let slow = Share::new(u64::try_from(slow).unwrap_or(0), theirs.total());
                let over = |limit: u64| Share::new(ours.from(limit), ours.total());
                above_other(proof, over(usual), slow).filter(|_| over(many).beyond(slow, 10_000))?
            }
        };
        let ms = |l: &tollgate_state::rollback::Latency| {
            let micros = l.quantile(quantile).map_or(0, |q| q.about);
            format!(
                "{}.{:03} ms of {}",
                micros / 1_000,
                micros % 1_000,
                l.total()
            )
        };
        let (mut text, percentile) = (String::new(), quantile / 100);
        let _ = write!(
            text,
            "p{percentile} {}, stable {}, limit {}; evidence {}, needed {}",
            ms(ours),
            ms(theirs),
            self.shown_limit(),
            hundredths(evidence.hundredths()),
            hundredths(needed.hundredths()),
        );
        Some(text)
    }

    fn say(
        &self,
        what: &str,
        ours: Share,
        theirs: Share,
        (evidence, needed): (Evidence, Evidence),
    ) -> String {
        let share = |s: Share| {
            let percent = hundredths(s.basis_points());
            format!("{} of {} ({percent} %)", s.hits(), s.of())
        };
        format!(
            "{} {what}, stable {}, limit {}; evidence {}, needed {}",
            share(ours),
            share(theirs),
            self.shown_limit(),
            hundredths(evidence.hundredths()),
            hundredths(needed.hundredths()),
        )
    }

    fn shown_limit(&self) -> String {
        match (self.limit, self.measure) {
            (Limit::Relative(ratio), _) => {
                format!("{}.{:04} x stable", ratio / 10_000, ratio % 10_000)
            }
            (Limit::Absolute(micros), Measure::Latency(_)) => {
                format!("{}.{:03} ms", micros / 1_000, micros % 1_000)
            }
            (Limit::Absolute(share), _) => format!("{} %", hundredths(share)),
        }
    }
}

/// Whether there are more hits than among the default variant's, beyond chance.
fn above_other(proof: &Proof, ours: Share, theirs: Share) -> Option<(Evidence, Evidence)> {
    if ours.of() < proof.least || theirs.of() < proof.least {
        return None;
    }
    let evidence = ours.above(theirs);
    let needed = proof.bound.between(ours.of(), theirs.of());
    (evidence >= needed).then_some((evidence, needed))
}

fn hundredths(n: u64) -> String {
    format!("{}.{:02}", n / 100, n % 100)
}
