//! The variants of one experiment, and finding them by name.

use std::rc::Rc;
use tollgate_core::config::{Section, Value};

/// A variant's place in its experiment's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VariantId(pub(crate) usize);

/// The list as it was read.
#[derive(Debug, Default)]
pub(crate) struct Variants {
    names: Vec<Rc<str>>,
    /// Basis points; of those variants that have one.
    weights: Vec<(VariantId, u16)>,
    default: Option<VariantId>,
    /// Whether every entry could be read. If not, a name that is not found may be one of those that could not,
    /// and is no error of its own.
    complete: bool,
}

/// The name that makes a variant the default.
const STABLE: &str = "stable";

/// More would make more metrics than anybody reads.
const MOST: usize = 16;

impl Variants {
    /// Reads `variants` and `default_variant`.
    pub(crate) fn compile(experiment: &Section<'_>) -> Option<Self> {
        let list = experiment.required("variants");
        let default = experiment.optional("default_variant");
        let list = list?;
        let path = list.path().to_owned();
        let error = |problem: String| experiment.report().error(&path, problem);
        let items = list.list()?;
        let count = items.len();
        if !(2..=MOST).contains(&count) {
            error(format!("needs 2 to {MOST} variants"));
        }
        let mut this = Self {
            complete: true,
            ..Self::default()
        };
        for item in items {
            if this.read(item).is_none() {
                this.complete = false;
            }
        }
        let weighted = this.weights.len();
        let sum: u32 = this.weights.iter().map(|(_, w)| u32::from(*w)).sum();
        if this.complete && weighted != 0 && weighted != count {
            error("either every variant has a weight, or none has".to_owned());
        } else if this.complete && weighted != 0 && sum != 10_000 {
            error("the weights must add up to 100".to_owned());
        }
        this.default = match default {
            Some(value) => this.find(&value),
            None => {
                let stable = this.by_name(STABLE.as_bytes());
                if stable.is_none() && this.complete {
                    experiment.error("default_variant is missing, and no variant is called stable");
                }
                stable
            }
        };
        Some(this)
    }

    /// `None` after an error.
    fn read(&mut self, item: Value<'_>) -> Option<()> {
        let variant = item.section()?;
        let name = variant.required("name").and_then(|v| {
            let name = plain_name(&v)?;
            v.accept(
                (!self.names.contains(&name)).then_some(name),
                "is the name of another variant, too",
            )
        });
        let weight = variant.optional("weight").map(|v| weight(&v));
        variant.finish();
        let id = VariantId(self.names.len());
        self.names.push(name?);
        if let Some(weight) = weight {
            self.weights.push((id, weight?));
        }
        Some(())
    }

    /// The variant that the value names.
    pub(crate) fn find(&self, value: &Value<'_>) -> Option<VariantId> {
        let found = self.by_name(value.nonempty()?.as_bytes());
        if found.is_none() && self.complete {
            value.error("is not the name of a variant");
        }
        found
    }

    pub(crate) fn by_name(&self, name: &[u8]) -> Option<VariantId> {
        self.names
            .iter()
            .position(|n| n.as_bytes() == name)
            .map(VariantId)
    }

    pub(crate) fn default_id(&self) -> Option<VariantId> {
        self.default
    }

    pub(crate) fn weights(&self) -> &[(VariantId, u16)] {
        &self.weights
    }

    pub(crate) fn names(&self) -> &[Rc<str>] {
        &self.names
    }
}

/// Percent with up to two decimals, as basis points.
pub(crate) fn weight(value: &Value<'_>) -> Option<u16> {
    value.decimal(2, 10_000).and_then(|w| u16::try_from(w).ok())
}

/// A flag's or variant's name: like any identifier, but `:` and `,` separate them in filter state, and
/// `:` separates flag and key in the hash.
pub(crate) fn plain_name(value: &Value<'_>) -> Option<Rc<str>> {
    let name = value.identifier()?;
    value.accept(
        (!name.contains(':')).then_some(name),
        "must not have a colon",
    )
}
