//! Which requests need a key, and whose. The first rule that matches decides.

use crate::consumers::{Consumers, identifiers};
use crate::meters::RuleMeters;
use crate::reply::Answers;
use crate::source::{Shape, Sources};
use crate::table::Key;
use std::rc::Rc;
use tollgate_core::config::{Compile, Node, Section, Value};
use tollgate_core::matcher::Matcher;
use tollgate_core::{Exchange, World};

/// What a rule does about keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// No good key, no access.
    Required,
    /// No key is fine, a wrong one is not.
    Optional,
    /// Everything passes; what `required` would have done is counted.
    Observe,
    /// Nobody looks for a key.
    Off,
}

impl Mode {
    fn read(value: &Value<'_>) -> Option<Self> {
        // YAML 1.1, which Envoy and kubectl read, takes an unquoted `off` for `false`.
        if *value.node() == Node::Bool(false) {
            return Some(Self::Off);
        }
        value.one_of(&[
            ("required", Self::Required),
            ("optional", Self::Optional),
            ("observe", Self::Observe),
            ("off", Self::Off),
        ])
    }
}

/// One rule, compiled.
pub(crate) struct Rule {
    matcher: Matcher,
    pub(crate) mode: Mode,
    allow: Allow,
    /// It asks for more than any good key.
    asks: bool,
    pub(crate) sources: Rc<Sources>,
    pub(crate) shape: Shape,
    pub(crate) hide: bool,
    /// There is a query to be hidden.
    pub(crate) hide_query: bool,
    pub(crate) answers: Answers,
    pub(crate) meters: RuleMeters,
}

/// Who of those with a good key. Every kind that is written must hold; of each, one is enough.
#[derive(Default)]
pub(crate) struct Allow {
    consumers: Vec<Rc<str>>,
    groups: Vec<Rc<str>>,
    pub(crate) scopes: Vec<Rc<str>>,
}

/// A good key that may not do this.
pub(crate) struct Forbidden {
    /// Only a scope is missing (RFC 6750 has a word for that).
    pub(crate) scope: bool,
}

/// What a rule takes over from the top level.
pub(crate) struct Defaults {
    pub(crate) sources: Rc<Sources>,
    pub(crate) shape: Shape,
    pub(crate) hide: bool,
    pub(crate) realm: Rc<str>,
}

impl Allow {
    /// Whether the holder of the key may.
    #[inline(never)]
    pub(crate) fn check(&self, key: &Key) -> Result<(), Forbidden> {
        let named = self.consumers.is_empty() || self.consumers.contains(&key.identity.id);
        let grouped = has_one(&self.groups, &key.identity.groups);
        if !named || !grouped {
            return Err(Forbidden { scope: false });
        }
        if !has_one(&self.scopes, &key.scopes) {
            return Err(Forbidden { scope: true });
        }
        Ok(())
    }

    /// Whether it asks for anything.
    fn asks(&self) -> bool {
        !(self.consumers.is_empty() && self.groups.is_empty() && self.scopes.is_empty())
    }

    fn compile(section: Section<'_>, consumers: &Consumers) -> Self {
        let allow = Self {
            consumers: identifiers(&section, "consumers"),
            groups: identifiers(&section, "groups"),
            scopes: identifiers(&section, "scopes"),
        };
        if !allow.asks() {
            section.error("needs at least one of consumers, groups, scopes, and not an empty list");
        }
        for (what, asked, known) in [
            ("consumers", &allow.consumers, &consumers.ids),
            ("groups", &allow.groups, &consumers.groups),
            ("scopes", &allow.scopes, &consumers.scopes),
        ] {
            if !consumers.remote && !asked.is_empty() && !asked.iter().any(|a| known.contains(a)) {
                section.warn(format!(
                    "nobody passes: no consumer here is among its {what}"
                ));
            }
        }
        section.finish();
        allow
    }
}

fn has_one(wanted: &[Rc<str>], own: &[Rc<str>]) -> bool {
    wanted.is_empty() || wanted.iter().any(|w| own.contains(w))
}

impl Rule {
    /// Reads one item of `rules`.
    pub(crate) fn compile(
        value: Value<'_>,
        defaults: &Defaults,
        consumers: &Consumers,
        names: &mut Vec<Rc<str>>,
        cx: &mut Compile<'_>,
    ) -> Option<Self> {
        let section = value.section()?;
        let name_at = section.optional("name");
        let name = name_at.as_ref().and_then(Value::identifier);
        if let (Some(at), Some(name)) = (&name_at, &name) {
            if names.contains(name) {
                at.error("another rule has this name");
            }
            names.push(name.clone());
        }
        let matcher = Matcher::of_rule(&section);
        let mode = match section.optional("mode") {
            Some(value) => Mode::read(&value),
            None => Some(Mode::Required),
        };
        let allow = section.optional("allow").and_then(|value| {
            if matches!(mode, Some(Mode::Optional | Mode::Off)) {
                value.error(
                    "needs mode required or observe: here it would let anonymous requests pass",
                );
            }
            Some(Allow::compile(value.section()?, consumers))
        });
        let sources = match section.optional("key_sources") {
            Some(value) => {
                let place = value.clone();
                let sources = Sources::compile(value);
                if mode != Some(Mode::Off) && sources.as_ref().is_some_and(Sources::is_empty) {
                    place.error("must not be empty, except in a rule that is off");
                }
                sources.map(Rc::new)
            }
            None => Some(defaults.sources.clone()),
        };
        let prefix = match section.optional("key_prefix") {
            Some(value) => value.identifier(),
            None => defaults.shape.prefix.clone(),
        };
        let hide = match section.optional("hide_credentials") {
            Some(value) => value.boolean(),
            None => Some(defaults.hide),
        };
        section.finish();
        let own = Defaults {
            sources: sources?,
            shape: Shape {
                prefix,
                ..defaults.shape
            },
            hide: hide?,
            realm: defaults.realm.clone(),
        };
        Some(Self::new(
            matcher?,
            mode?,
            allow.unwrap_or_default(),
            &own,
            name.as_deref(),
            cx,
        ))
    }

    /// The rule for requests that no rule matches.
    pub(crate) fn fallback(defaults: &Defaults, cx: &mut Compile<'_>) -> Self {
        Self::new(
            Matcher::default(),
            Mode::Required,
            Allow::default(),
            defaults,
            None,
            cx,
        )
    }

    fn new(
        matcher: Matcher,
        mode: Mode,
        allow: Allow,
        with: &Defaults,
        name: Option<&str>,
        cx: &mut Compile<'_>,
    ) -> Self {
        Self {
            answers: Answers::new(
                &with.sources,
                &with.realm,
                with.shape.prefix.as_deref(),
                &allow,
            ),
            meters: RuleMeters::new(mode, name, cx.metrics),
            matcher,
            mode,
            asks: allow.asks(),
            allow,
            sources: with.sources.clone(),
            shape: with.shape.clone(),
            hide: with.hide,
            hide_query: with.hide && with.sources.use_query(),
        }
    }

    /// Whether the rule is about this request. Only a rule that asks for more than "any good key" may catch a path that
    /// an upstream could read as another one.
    pub(crate) fn matches(&self, exchange: &Exchange, world: &dyn World) -> bool {
        if self.mode == Mode::Required && self.asks {
            self.matcher.matches(exchange, world)
        } else {
            self.matcher.matches_safely(exchange, world)
        }
    }

    /// Whether the holder of the key may.
    pub(crate) fn allows(&self, key: &Key) -> Result<(), Forbidden> {
        if self.asks {
            self.allow.check(key)
        } else {
            Ok(())
        }
    }
}
