//! Reading the smaller parts of a rule.

use crate::price::{Assumed, Multiplier, UnitPrice};
use crate::usage::{MAX_TOKENS, Usage};
use std::rc::Rc;
use tollgate_core::Money;
use tollgate_core::config::{Node, Section, Value};

/// No call sends or receives more than a tebibyte.
const MAX_KIB: u64 = 1 << 30;
/// Of a factor: a thousand times.
const MAX_FACTOR: u64 = 1_000_000_000;
/// Of units in a header: a billion.
pub(crate) const MAX_UNITS: u64 = 1_000_000_000_000_000;

/// `per_kib: {request, response}`.
pub(super) fn per_kib(value: Value<'_>) -> Option<(Option<Money>, Option<Money>)> {
    let section = value.section()?;
    let request = section.optional("request").map(|v| v.money());
    let response = section.optional("response").map(|v| v.money());
    if request.is_none() && response.is_none() {
        section.error("needs request, response or both");
    }
    section.finish();
    Some((
        super::tokens::all_or_none(request)?,
        super::tokens::all_or_none(response)?,
    ))
}

/// `per_unit: [{header, price}]`.
pub(super) fn per_unit(value: Value<'_>) -> Option<Vec<UnitPrice>> {
    let items = value.list()?;
    let read: Vec<Option<UnitPrice>> = items
        .into_iter()
        .map(|item| {
            let section = item.section()?;
            let header = section.required("header").and_then(|v| v.header_name());
            let price = section.required("price").and_then(|v| v.money());
            section.finish();
            Some(UnitPrice {
                header: header?,
                price: price?,
            })
        })
        .collect();
    read.into_iter().collect()
}

/// `multipliers: [{groups, factor}]`.
pub(crate) fn multipliers(value: Value<'_>) -> Option<Rc<[Multiplier]>> {
    let items = value.list()?;
    let read: Vec<Option<Multiplier>> = items
        .into_iter()
        .map(|item| {
            let section = item.section()?;
            let groups = section.required("groups").and_then(|v| ids(&v));
            let factor = section
                .required("factor")
                .and_then(|v| v.decimal(6, MAX_FACTOR));
            section.finish();
            Some(Multiplier {
                groups: groups?,
                factor: factor?,
            })
        })
        .collect();
    read.into_iter().collect()
}

/// A list of identifiers that must not be empty: that would mean everybody, which is hardly what somebody meant who
/// wrote it.
pub(crate) fn ids(value: &Value<'_>) -> Option<Vec<Rc<str>>> {
    let items = value.clone().list()?;
    value.accept(
        (!items.is_empty()).then_some(()),
        "must not be empty; leave it out for all",
    )?;
    let read: Vec<Option<Rc<str>>> = items.iter().map(|v| v.identifier()).collect();
    read.into_iter().collect()
}

/// [`ids`] of a field that may be missing.
pub(crate) fn ids_of(section: &Section<'_>, field: &'static str) -> Option<Vec<Rc<str>>> {
    match section.optional(field) {
        Some(value) => ids(&value),
        None => Some(Vec::new()),
    }
}

/// `{input, output, cached_read, cached_write, reasoning, response_kib, duration, units}` of `estimate` and
/// `max_usage`.
pub(super) fn assumed(section: &Section<'_>) -> Option<Assumed> {
    let number = |field, most| match section.optional(field) {
        Some(value) => value.integer(0..=most),
        None => Some(0),
    };
    let tokens = |field| number(field, MAX_TOKENS);
    let (input, output) = (tokens("input"), tokens("output"));
    let response_kib = number("response_kib", MAX_KIB);
    let duration = section.optional("duration").map(|v| v.duration());
    let units = section.optional("units").map(|v| v.decimal(6, MAX_UNITS));
    Some(Assumed {
        usage: Usage {
            input: input?,
            output: output?,
            ..Usage::default()
        },
        response_bytes: response_kib?.saturating_mul(1_024),
        nanos: match duration {
            Some(duration) => duration?.0,
            None => 0,
        },
        units: units.unwrap_or(Some(0))?,
    })
}

/// `5xx`, `404` or 404.
pub(super) fn status_range(value: &Value<'_>) -> Option<(u16, u16)> {
    let single = |n: u64| u16::try_from(n).ok().filter(|n| (100..600).contains(n));
    let range = match value.node() {
        Node::Integer(n) => single(*n).map(|n| (n, n)),
        Node::Text(text) => match text.strip_suffix("xx") {
            Some(class) => class
                .parse::<u16>()
                .ok()
                .filter(|n| class.len() == 1 && (1..=5).contains(n))
                .and_then(|n| Some((n.checked_mul(100)?, n.checked_mul(100)?.checked_add(99)?))),
            None => text
                .parse::<u64>()
                .ok()
                .filter(|_| text.len() == 3)
                .and_then(single)
                .map(|n| (n, n)),
        },
        _ => None,
    };
    value.accept(
        range,
        "must be a status such as 404, or a class such as 5xx",
    )
}
