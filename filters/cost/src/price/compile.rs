//! Reading a rule of the price table.

use crate::call::Needs;
use crate::check::Checks;
use crate::price::model::Models;
use crate::price::tokens::TokenPrices;
use crate::price::{Assumed, Multiplier, ONE, OnMissing, Price, UnitPrice, parts};
use crate::usage::{Format, Usage};
use std::rc::Rc;
use tollgate_core::config::{Section, Value};
use tollgate_core::matcher::Matcher;
use tollgate_core::{Money, UnixNanos};

/// Tokens assumed before a call when the rule does not say.
const DEFAULT_TOKENS: u64 = 1_000;

/// What a rule asks for money for.
struct Amounts {
    base: Money,
    tokens: Option<TokenPrices>,
    kib: (Option<Money>, Option<Money>),
    second: Option<Money>,
    units: Vec<UnitPrice>,
}

impl Price {
    /// Reads one item of `prices`; `number` is its position, counted from one. `multipliers` are those of the section.
    #[must_use]
    pub fn compile(
        value: Value<'_>,
        number: usize,
        multipliers: &Rc<[Multiplier]>,
    ) -> Option<Self> {
        let rule = value.section()?;
        let name = match rule.optional("name") {
            Some(name) => name.identifier(),
            None => Some(Rc::from(format!("price-{number}"))),
        };
        let matcher = Matcher::of_rule(&rule);
        let consumers = parts::ids_of(&rule, "consumers");
        let groups = parts::ids_of(&rule, "groups");
        let validity = validity(&rule);
        let models = rule.optional("model").map(Models::compile);
        let amounts = amounts(&rule);
        let own = rule.optional("multipliers").map(parts::multipliers);
        let free_status = match rule.optional("free_status") {
            Some(list) => list
                .list()
                .map(|items| items.iter().filter_map(parts::status_range).collect()),
            // An error costs nothing unless the table says so.
            None => Some(vec![(400, 599)]),
        };
        let format = match rule.optional("usage") {
            Some(value) => Format::compile(value),
            None => Some(Format::default()),
        };
        let estimate = rule.optional("estimate");
        let uses_tokens = rule.optional("per_token").is_some();
        let assumed = match estimate.clone() {
            Some(value) => estimated(value),
            None => Some((default_assumed(), false)),
        };
        let on_missing = on_missing(&rule);
        let checks = Checks::compile(&rule, assumed.is_some_and(|(_, from_request)| from_request));
        if !uses_tokens {
            let mut only = vec!["usage"];
            if rule.optional("per_unit").is_none() {
                only.extend(["max_usage", "on_missing_usage"]);
            }
            if amounts.as_ref().is_some_and(is_flat) {
                only.push("estimate");
            }
            for field in only {
                if let Some(value) = rule.optional(field) {
                    value.error("is only for rules whose answers say what they used");
                }
            }
        }
        let (assumed, _) = assumed?;
        let amounts = amounts?;
        let (from, until) = validity?;
        let price = Self {
            name: name?,
            matcher: matcher?,
            consumers: consumers?,
            groups: groups?,
            from,
            until,
            models: super::tokens::all_or_none(models)?,
            base: amounts.base,
            tokens: amounts.tokens,
            request_kib: amounts.kib.0,
            response_kib: amounts.kib.1,
            second: amounts.second,
            units: amounts.units,
            multipliers: match own {
                Some(own) => own?,
                None => Rc::clone(multipliers),
            },
            free_status: free_status?,
            format: format?,
            assumed,
            on_missing: on_missing?,
            estimate: Money::ZERO,
            checks: checks?.map(Rc::new),
            needs: Needs::default(),
            at_once: false,
            base_text: Box::default(),
        };
        let estimate = fits(&price, &rule);
        rule.finish();
        Some(Self {
            estimate: estimate?,
            needs: price.own_needs(),
            at_once: price.is_known_at_once(),
            base_text: price.base.to_string().into_boxed_str(),
            ..price
        })
    }
}

/// The estimate; also whether what stands in for missing usage is an amount at all.
fn fits(price: &Price, rule: &Section<'_>) -> Option<Money> {
    let factors = price.multipliers.iter().map(|m| m.factor).chain([ONE]);
    let highest = factors.max().unwrap_or(ONE);
    let most = match price.on_missing {
        OnMissing::Max(most) => price.estimate(&most.usage, 0, highest),
        _ => Some(Money::ZERO),
    };
    let estimate = price.estimate(&price.assumed.usage, 0, ONE);
    if most.is_none() || price.estimate(&price.assumed.usage, 0, highest).is_none() {
        rule.error("a call would cost more than 18 million, which fits no number here");
        return None;
    }
    estimate
}

fn is_flat(amounts: &Amounts) -> bool {
    amounts.kib.1.is_none() && amounts.second.is_none() && amounts.units.is_empty()
}

fn default_assumed() -> Assumed {
    Assumed {
        usage: Usage {
            input: DEFAULT_TOKENS,
            output: DEFAULT_TOKENS,
            ..Usage::default()
        },
        ..Assumed::default()
    }
}

/// `estimate`: what is assumed, and whether the request is read for better knowledge.
fn estimated(value: Value<'_>) -> Option<(Assumed, bool)> {
    let section = value.section()?;
    let from_request = match section.optional("from_request") {
        Some(v) => v.boolean(),
        None => Some(false),
    };
    let says_output = section.optional("output").is_some();
    let assumed = parts::assumed(&section);
    section.finish();
    let (mut assumed, from_request) = (assumed?, from_request?);
    if from_request && !says_output {
        assumed.usage.output = DEFAULT_TOKENS;
    }
    Some((assumed, from_request))
}

fn amounts(rule: &Section<'_>) -> Option<Amounts> {
    let base = rule.optional("base").map(|v| v.money());
    let tokens = rule.optional("per_token").map(TokenPrices::compile);
    let kib = rule.optional("per_kib").map(parts::per_kib);
    let second = rule.optional("per_second").map(|v| v.money());
    let units = rule.optional("per_unit").map(parts::per_unit);
    if base.is_none() && tokens.is_none() && kib.is_none() && second.is_none() && units.is_none() {
        rule.error("needs base, per_token, per_kib, per_second or per_unit");
        return None;
    }
    Some(Amounts {
        base: base.unwrap_or(Some(Money::ZERO))?,
        tokens: super::tokens::all_or_none(tokens)?,
        kib: kib.unwrap_or(Some((None, None)))?,
        second: super::tokens::all_or_none(second)?,
        units: units.unwrap_or(Some(Vec::new()))?,
    })
}

/// `effective_from` (inclusive) and `effective_until` (exclusive).
fn validity(rule: &Section<'_>) -> Option<(UnixNanos, UnixNanos)> {
    let from = rule.optional("effective_from").map(|v| v.instant());
    let until = rule.optional("effective_until").map(|v| v.instant());
    let from = from.unwrap_or(Some(UnixNanos(0)))?;
    let until = until.unwrap_or(Some(UnixNanos(u64::MAX)))?;
    if from >= until {
        rule.error("effective_from must be before effective_until");
        return None;
    }
    Some((from, until))
}

/// `on_missing_usage` and `max_usage`.
fn on_missing(rule: &Section<'_>) -> Option<OnMissing> {
    #[derive(Clone, Copy, PartialEq)]
    enum Word {
        Estimate,
        Base,
        Max,
    }
    let words = [
        ("estimate", Word::Estimate),
        ("base", Word::Base),
        ("max", Word::Max),
    ];
    let word = match rule.optional("on_missing_usage") {
        Some(value) => value.one_of(&words)?,
        None => Word::Estimate,
    };
    let most = match rule.optional("max_usage") {
        Some(value) => {
            let section = value.section()?;
            let most = parts::assumed(&section);
            section.finish();
            Some(most?)
        }
        None => None,
    };
    match (word, most) {
        (Word::Estimate, None) => Some(OnMissing::Estimate),
        (Word::Base, None) => Some(OnMissing::Base),
        (Word::Max, Some(most)) => Some(OnMissing::Max(most)),
        (Word::Max, None) => {
            rule.error("on_missing_usage: max needs max_usage");
            None
        }
        (_, Some(_)) => {
            rule.error("max_usage is only for on_missing_usage: max");
            None
        }
    }
}
