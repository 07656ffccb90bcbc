//! The weight of a ramp, from the clock alone: every worker and proxy with a right clock agrees, and a restart
//! changes nothing.

use crate::variants::{VariantId, Variants, weight};
use tollgate_core::config::{Section, Value};
use tollgate_core::{Duration, UnixNanos};

/// A compiled `ramp`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ramp {
    pub(crate) variant: VariantId,
    start: UnixNanos,
    steps: Vec<Step>,
    pauses: Vec<Pause>,
}

/// A weight that is reached after some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Step {
    /// Time since the start, pauses left out.
    after: Duration,
    /// Basis points.
    weight: u16,
}

/// A time in which the ramp stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pause {
    from: UnixNanos,
    /// Without an end it lasts.
    to: Option<UnixNanos>,
    /// Basis points; `None` keeps the weight that was reached.
    weight: Option<u16>,
}

impl Ramp {
    /// The weight of the ramp's variant in basis points. Zero before the start.
    #[must_use]
    #[inline(never)]
    pub fn weight(&self, now: UnixNanos) -> u16 {
        if now < self.start {
            return 0;
        }
        let mut elapsed = now.since(self.start);
        for pause in self.pauses.iter().filter(|p| p.from <= now) {
            let running = pause.to.is_none_or(|to| now < to);
            if let (true, Some(weight)) = (running, pause.weight) {
                return weight;
            }
            let end = pause.to.map_or(now, |to| to.min(now));
            let stood_still = end.since(pause.from.max(self.start));
            elapsed = Duration(elapsed.0.saturating_sub(stood_still.0));
        }
        let reached = self.steps.iter().take_while(|s| s.after <= elapsed).last();
        reached.map_or(0, |step| step.weight)
    }

    /// Reads `{variant, start, steps: [{weight, for}], pauses: [{from, to, weight}]}`.
    pub(crate) fn compile(value: Value<'_>, variants: &Variants) -> Option<Self> {
        let section = value.section()?;
        let variant = section.required("variant").and_then(|v| {
            let variant = variants.find(&v)?;
            let other = variants.default_id() != Some(variant);
            v.accept(
                other.then_some(variant),
                "must not be the default variant: that one gets what the ramp leaves",
            )
        });
        let start = section.required("start").and_then(|v| v.instant());
        let steps = steps(&section);
        let pauses = pauses(&section);
        section.finish();
        Some(Self {
            variant: variant?,
            start: start?,
            steps: steps?,
            pauses,
        })
    }
}

fn steps(section: &Section<'_>) -> Option<Vec<Step>> {
    let list = section.required("steps")?;
    let path = list.path().to_owned();
    let items = list.list()?;
    if items.is_empty() {
        section.report().error(&path, "needs at least one step");
        return None;
    }
    let last = items.len().saturating_sub(1);
    let mut after = Some(Duration::default());
    let mut highest = 0;
    let mut steps = Vec::with_capacity(items.len());
    for (at, item) in items.into_iter().enumerate() {
        let Some(step) = item.section() else { continue };
        let to = step.required("weight").and_then(|v| weight(&v));
        let lasts = if at < last {
            step.required("for").and_then(|v| {
                let lasts = v.duration()?;
                v.accept((lasts.0 > 0).then_some(lasts), "must be longer than zero")
            })
        } else {
            if let Some(v) = step.optional("for") {
                v.error("the last step lasts: leave it out");
            }
            Some(Duration::default())
        };
        if let Some(to) = to {
            if to < highest {
                step.warn("is less than a step before: those who came last leave again");
            }
            highest = to.max(highest);
            steps.extend(after.map(|after| Step { after, weight: to }));
        }
        if let (Some(begun), Some(lasts)) = (after, lasts) {
            after = begun.0.checked_add(lasts.0).map(Duration);
            if after.is_none() {
                step.error("all steps together take too long");
            }
        }
        step.finish();
    }
    Some(steps)
}

fn pauses(section: &Section<'_>) -> Vec<Pause> {
    let mut pauses: Vec<Pause> = Vec::new();
    for item in section.items("pauses") {
        let Some(pause) = item.section() else {
            continue;
        };
        let from = pause.required("from").and_then(|v| v.instant());
        let to = pause.optional("to").map(|v| {
            let to = v.instant()?;
            let later = from.is_none_or(|from| from < to);
            v.accept(later.then_some(to), "must be later than from")
        });
        let at = pause.optional("weight").map(|v| weight(&v));
        if let Some(from) = from {
            let begins_later = match pauses.last() {
                None => true,
                Some(before) => before.to.is_some_and(|to| to <= from),
            };
            if !begins_later {
                pause.error("must begin when the pause before it has ended: in order of time, not overlapping");
            }
            // An end that is wrong is an error by now; it must not look like an open one to the next pause.
            pauses.push(Pause {
                from,
                to: to.map(|to| to.unwrap_or(from)),
                weight: at.flatten(),
            });
        }
        pause.finish();
    }
    pauses
}
