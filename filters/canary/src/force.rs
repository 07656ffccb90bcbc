//! Headers that force a variant: for testers, before everything but the kill switch.

use crate::variants::{VariantId, Variants};
use std::rc::Rc;
use tollgate_core::config::{Section, Value};
use tollgate_core::exchange::Exchange;
use tollgate_core::headers::HeaderName;
use tollgate_core::matcher::TextPattern;

/// One entry of `force`.
#[derive(Debug)]
pub(crate) struct ForceRule {
    header: HeaderName,
    to: Target,
}

#[derive(Debug)]
enum Target {
    /// This variant, if the value is right.
    Variant(TextPattern, VariantId),
    /// The variant that the value names.
    Named(Vec<Rc<str>>),
}

impl ForceRule {
    /// Reads the items of `force`.
    pub(crate) fn compile_all(section: &Section<'_>, variants: &Variants) -> Vec<Self> {
        let items = section.items("force").into_iter();
        items.filter_map(|v| Self::compile(v, variants)).collect()
    }

    fn compile(value: Value<'_>, variants: &Variants) -> Option<Self> {
        let rule = value.section()?;
        let header = rule.required("header").and_then(|v| v.header_name());
        let named = rule.optional("names_variant").map(|v| {
            let yes = v.boolean()?;
            v.accept(yes.then_some(()), "can only be true")
        });
        let to = if named.is_some() {
            Some(Target::Named(variants.names().to_vec()))
        } else {
            let pattern = TextPattern::compile(&rule);
            let variant = rule.required("variant").and_then(|v| variants.find(&v));
            pattern.zip(variant).map(|(p, v)| Target::Variant(p, v))
        };
        rule.finish();
        Some(Self {
            header: header?,
            to: to?,
        })
    }

    pub(crate) fn header(&self) -> &HeaderName {
        &self.header
    }

    /// The variants that it can force.
    pub(crate) fn variants(&self) -> Vec<VariantId> {
        match &self.to {
            Target::Variant(_, variant) => vec![*variant],
            Target::Named(names) => (0..names.len()).map(VariantId).collect(),
        }
    }

    /// The variant that the request is forced to. Of a header sent several times one right value is enough; values
    /// that name different variants name none.
    #[inline(never)]
    pub(crate) fn apply(&self, exchange: &Exchange) -> Option<VariantId> {
        let mut values = exchange.request.get_all(self.header.as_str());
        match &self.to {
            Target::Variant(pattern, variant) => {
                values.any(|v| pattern.matches(v)).then_some(*variant)
            }
            Target::Named(names) => {
                let mut named = values
                    .filter_map(|v| names.iter().position(|n| n.as_bytes() == v))
                    .map(VariantId);
                let first = named.next()?;
                named.all(|other| other == first).then_some(first)
            }
        }
    }
}
