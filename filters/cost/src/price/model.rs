//! Which models a rule is about.

use std::rc::Rc;
use tollgate_core::config::{Node, Section, Value};
use tollgate_core::matcher::TextPattern;

/// The models of a rule, in order.
#[derive(Debug)]
pub struct Models(Vec<Pattern>);

#[derive(Debug)]
struct Pattern {
    text: TextPattern,
    /// As it is shown in metrics.
    label: Rc<str>,
}

impl Models {
    /// Reads `gpt-4`, `{prefix: gpt-4}` and the like, or a list of them.
    #[must_use]
    pub fn compile(value: Value<'_>) -> Option<Self> {
        if !matches!(value.node(), Node::List(_)) {
            return pattern(&value).map(|p| Self(vec![p]));
        }
        let place = value.clone();
        let items = value.list()?;
        place.accept((!items.is_empty()).then_some(()), "must not be empty")?;
        let read: Vec<Option<Pattern>> = items.iter().map(pattern).collect();
        read.into_iter().collect::<Option<_>>().map(Self)
    }

    /// Whether one of them is this model.
    #[must_use]
    pub fn contain(&self, model: &[u8]) -> bool {
        self.0.iter().any(|p| p.text.matches(model))
    }

    /// What metrics call the model.
    #[must_use]
    pub fn label(&self, model: &[u8]) -> Option<&Rc<str>> {
        let found = self.0.iter().find(|p| p.text.matches(model));
        found.map(|p| &p.label)
    }

    /// All labels.
    pub fn labels(&self) -> impl Iterator<Item = &Rc<str>> {
        self.0.iter().map(|p| &p.label)
    }
}

fn pattern(value: &Value<'_>) -> Option<Pattern> {
    if !matches!(value.node(), Node::Object(_)) {
        let name = value.nonempty()?;
        return Some(Pattern {
            text: TextPattern::Exact(name.as_bytes().to_vec()),
            label: Rc::from(name),
        });
    }
    let section = value.clone().section()?;
    let written = |field, mark| {
        let text = section.optional(field)?.text()?;
        Some(Rc::from(format!("{text}{mark}")))
    };
    let label = written("exact", "")
        .or_else(|| written("prefix", "*"))
        .or_else(|| written("regex", ""))
        .unwrap_or_else(|| Rc::from("*"));
    let text = TextPattern::compile(&section);
    section.finish();
    Some(Pattern { text: text?, label })
}

/// Other names of models, exact: what providers and deployments call them, and what prices do.
#[derive(Debug, Default)]
pub struct Aliases(Vec<(Vec<u8>, Vec<u8>)>);

impl Aliases {
    /// Reads `model_aliases`: a map from another name to that of the price table.
    #[must_use]
    pub fn compile(section: &Section<'_>) -> Option<Self> {
        let Some(value) = section.optional("model_aliases") else {
            return Some(Self::default());
        };
        let map = value.section()?;
        let mut all = Vec::new();
        let mut good = true;
        for (alias, value) in map.entries() {
            match value.nonempty() {
                Some(name) => all.push((alias.as_bytes().to_vec(), name.as_bytes().to_vec())),
                None => good = false,
            }
        }
        all.sort_unstable();
        good.then_some(Self(all))
    }

    /// What prices call the model.
    #[must_use]
    pub fn resolve<'m>(&'m self, model: &'m [u8]) -> &'m [u8] {
        match self.0.binary_search_by(|(alias, _)| (**alias).cmp(model)) {
            Ok(at) => self.0.get(at).map_or(model, |(_, name)| name),
            Err(_) => model,
        }
    }
}
