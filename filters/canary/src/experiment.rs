//! One experiment: the steps of a decision, in their order.

use crate::bucket::{Salt, scale};
use crate::decision::{Decision, Reason};
use crate::force::ForceRule;
use crate::lifecycle::Lifecycle;
use crate::marker::Before;
use crate::ramp::Ramp;
use crate::segment::Segment;
use crate::split::Split;
use crate::sticky::{Overrides, StickyKey};
use crate::variants::VariantId;
use crate::visitor::{Visitor, VisitorCookie};
use crate::watch::Watch;
use std::rc::Rc;
use tollgate_core::exchange::Exchange;
use tollgate_core::headers::HeaderName;
use tollgate_core::matcher::Matcher;
use tollgate_core::metrics::MetricId;
use tollgate_core::world::World;

/// One compiled entry of `experiments`.
#[derive(Debug)]
pub struct Experiment {
    pub(crate) flag: Rc<str>,
    /// By [`VariantId`].
    pub(crate) names: Vec<Rc<str>>,
    pub(crate) enabled: bool,
    /// No step but the last can decide, unless a marker does.
    pub(crate) by_key_alone: bool,
    pub(crate) matcher: Matcher,
    pub(crate) force: Vec<ForceRule>,
    pub(crate) sticky_key: StickyKey,
    pub(crate) overrides: Overrides,
    pub(crate) segments: Vec<Segment>,
    pub(crate) salt: Salt,
    /// `None`: neither weights nor a ramp.
    pub(crate) split: Option<Split>,
    pub(crate) ramp: Option<Ramp>,
    pub(crate) on_missing_key: MissingKey,
    pub(crate) default: VariantId,
    pub(crate) variants: Vec<Variant>,
    pub(crate) lifecycle: Lifecycle,
    /// The ramp's weight, in basis points.
    pub(crate) weight_gauge: Option<MetricId>,
    pub(crate) route_header: HeaderName,
    pub(crate) response_header: Option<HeaderName>,
    pub(crate) visitor_cookie: Option<VisitorCookie>,
    pub(crate) watch: Option<Watch>,
}

/// A variant as it is shown.
#[derive(Debug)]
pub(crate) struct Variant {
    /// The value of the headers.
    pub(crate) name: Rc<str>,
    /// `flag:variant`
    pub(crate) state: String,
    /// By [`Reason::index`]; those that can happen.
    pub(crate) metrics: [Option<MetricId>; Reason::COUNT],
}

/// What to do with a request that has no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MissingKey {
    /// This variant.
    Variant(VariantId),
    /// By chance, in the shares of the variants.
    Random,
}

impl Experiment {
    /// Decides about a request that the experiment's matcher is about. `before` is what a filter before this one
    /// decided. A visitor whose cookie has to be set is returned, too.
    pub(crate) fn decide(
        &self,
        exchange: &mut Exchange,
        world: &dyn World,
        before: Option<Before<'_>>,
    ) -> (Decision, Option<Visitor>) {
        let decided = |variant, reason| (Decision { variant, reason }, None);
        if !self.enabled {
            return decided(self.default, Reason::KillSwitch);
        }
        if self.lifecycle.is_off(world) {
            return decided(self.default, Reason::Expired);
        }
        let (decision, visitor) = self.freely(exchange, world, before);
        let watch = self.watch.as_ref();
        if decision.reason != Reason::Forced
            && watch.is_some_and(|w| w.has_tripped(decision.variant, world))
        {
            return decided(self.default, Reason::RolledBack);
        }
        (decision, visitor)
    }

    /// As if no variant could be rolled back.
    fn freely(
        &self,
        exchange: &mut Exchange,
        world: &dyn World,
        before: Option<Before<'_>>,
    ) -> (Decision, Option<Visitor>) {
        let decided = |variant, reason| (Decision { variant, reason }, None);
        if let Some((variant, forced)) =
            before.and_then(|b| Some((self.named(b.variant)?, b.forced)))
        {
            let reason = if forced {
                Reason::Forced
            } else {
                Reason::Marker
            };
            return decided(variant, reason);
        }
        if let Some(variant) = self.force.iter().find_map(|rule| rule.apply(exchange)) {
            return decided(variant, Reason::Forced);
        }
        if let Some(variant) = self.overridden(exchange, world) {
            return decided(variant, Reason::Override);
        }
        if let Some(segment) = self.segments.iter().find(|s| s.has(exchange, world)) {
            return decided(segment.variant, Reason::Segment);
        }
        let cookie = self
            .visitor_cookie
            .as_ref()
            .filter(|_| self.split.is_some());
        let visitor = cookie.map(|c| c.visitor(&self.flag, &self.names, exchange, world));
        if let Some(variant) = visitor.as_ref().and_then(|v| v.session) {
            return decided(variant, Reason::Session);
        }
        let id = visitor.as_ref().map(|v| v.id.as_slice());
        (self.by_share(exchange, world, id), visitor)
    }

    /// The last step: the key's bucket, else that of the visitor's id.
    pub(crate) fn by_share(
        &self,
        exchange: &mut Exchange,
        world: &dyn World,
        visitor: Option<&[u8]>,
    ) -> Decision {
        let decided = |variant, reason| Decision { variant, reason };
        let Some(split) = &self.split else {
            return decided(self.default, Reason::Default);
        };
        let key = self
            .sticky_key
            .with(exchange, world, |key| self.salt.bucket(key));
        let key = key.or_else(|| visitor.map(|id| self.salt.bucket(id)));
        let (bucket, reason) = match (key, self.on_missing_key) {
            (Some(bucket), _) => (bucket, Reason::Percentage),
            (None, MissingKey::Random) => (scale(world.random()), Reason::Random),
            (None, MissingKey::Variant(variant)) => return decided(variant, Reason::MissingKey),
        };
        let variant = split.pick(bucket, self.ramp_weight(world));
        decided(variant.unwrap_or(self.default), reason)
    }

    /// Whether `by_key_alone` is so.
    pub(crate) fn has_no_other_step(&self) -> bool {
        self.enabled
            && !self.lifecycle.can_be_off()
            && self.force.is_empty()
            && self.overrides.is_empty()
            && self.segments.is_empty()
            && self.visitor_cookie.is_none()
            && !self.can_roll_back()
    }

    fn named(&self, name: &str) -> Option<VariantId> {
        let at = self.names.iter().position(|n| &**n == name);
        at.map(VariantId)
    }

    /// Whether answers are watched, or told something.
    pub(crate) fn has_answers(&self) -> bool {
        self.watch.is_some() || self.response_header.is_some() || self.visitor_cookie.is_some()
    }

    /// Whether a variant can be rolled back at all.
    pub(crate) fn can_roll_back(&self) -> bool {
        self.watch.as_ref().is_some_and(|w| w.rollback.is_some())
    }

    /// The weight of the ramp's variant now, in basis points; 0 without a ramp.
    pub(crate) fn ramp_weight(&self, world: &dyn World) -> u16 {
        self.ramp.as_ref().map_or(0, |r| r.weight(world.now()))
    }

    /// Like [`Experiment::ramp_weight`], but 0 while the experiment is off or the ramp's variant rolled back.
    pub(crate) fn shown_weight(&self, world: &dyn World) -> u16 {
        let ramped = self
            .ramp
            .as_ref()
            .map(|r| r.variant)
            .zip(self.watch.as_ref());
        let tripped = ramped.is_some_and(|(variant, watch)| watch.has_tripped(variant, world));
        if self.enabled && !self.lifecycle.is_off(world) && !tripped {
            self.ramp_weight(world)
        } else {
            0
        }
    }

    fn overridden(&self, exchange: &mut Exchange, world: &dyn World) -> Option<VariantId> {
        if self.overrides.is_empty() {
            return None;
        }
        self.looked_up(exchange, world)
    }

    #[inline(never)]
    fn looked_up(&self, exchange: &mut Exchange, world: &dyn World) -> Option<VariantId> {
        let get = |key: &[u8]| self.overrides.get(key);
        self.sticky_key.with(exchange, world, get).flatten()
    }

    pub(crate) fn variant(&self, id: VariantId) -> Option<&Variant> {
        self.variants.get(id.0)
    }
}
