//! From the `cost` section to a [`Cost`].

use crate::budgets::Budgets;
use crate::ledger::Ledger;
use crate::meters::Meters;
use crate::policy::{Cost, Shown};
use crate::price::Price;
use std::rc::Rc;
use tollgate_core::HeaderName;
use tollgate_core::config::{Compile, Node, Section};

/// The most that an answer may be held for its exact cost, by default.
const HOLD_BYTES: u64 = 256 * 1024;
/// What may be configured; each byte is one of Envoy's buffer, for each request under way.
const MAX_HOLD_BYTES: u64 = 16 * 1024 * 1024;

/// Reads the section. `None` if something essential is missing; the report has all errors.
pub fn compile(section: Section<'_>, cx: &mut Compile<'_>) -> Option<Cost> {
    let currency = match section.optional("currency") {
        Some(v) => v.text().and_then(|t| {
            let good = t.len() == 3 && t.bytes().all(|b| b.is_ascii_uppercase());
            v.accept(
                good.then(|| Rc::from(t)),
                "must be three capitals, such as USD",
            )
        }),
        None => Some(Rc::from("USD")),
    };
    let prices = prices(&section);
    let budgets = Budgets::compile(&section);
    let refuse_anonymous = match section.optional("on_missing_consumer") {
        Some(v) => v.one_of(&[("refuse", true), ("pass", false)]),
        None => Some(true),
    };
    let hold_bytes = match section.optional("hold_response_bytes") {
        Some(v) => v.integer(0..=MAX_HOLD_BYTES),
        None => Some(HOLD_BYTES),
    };
    let shown = shown(&section);
    section.finish();
    let (prices, budgets) = (prices?, budgets?);
    let meters = Meters::register(cx.metrics, &prices, &budgets);
    Some(Cost {
        currency: currency?,
        meters,
        prices,
        budgets,
        refuse_anonymous: refuse_anonymous?,
        hold_bytes: usize::try_from(hold_bytes?).ok()?,
        shown: shown?,
        accept_encoding: HeaderName::from_static("accept-encoding"),
        ledger: Ledger::default(),
    })
}

fn prices(section: &Section<'_>) -> Option<Vec<Price>> {
    let value = section.required("prices")?;
    let place = value.clone();
    let items = value.list()?;
    place.accept((!items.is_empty()).then_some(()), "must not be empty")?;
    let mut all: Vec<Price> = Vec::with_capacity(items.len());
    let mut good = true;
    for (at, item) in items.into_iter().enumerate() {
        let place = item.clone();
        match Price::compile(item, at.saturating_add(1)) {
            Some(price) => {
                if all.iter().any(|p| p.name == price.name) {
                    place.error("name is used twice");
                    good = false;
                }
                all.push(price);
            }
            None => good = false,
        }
    }
    good.then_some(all)
}

fn shown(section: &Section<'_>) -> Option<Shown> {
    let Some(value) = section.optional("headers") else {
        return Some(Shown::default());
    };
    let headers = value.section()?;
    let name = |field: &'static str, default: Option<HeaderName>| match headers.optional(field) {
        Some(v) if *v.node() == Node::Bool(false) => Some(None),
        Some(v) => v.header_name().map(Some),
        None => Some(default),
    };
    let default = Shown::default();
    let cost = name("cost", default.cost);
    let estimate = name("estimate", default.estimate);
    let remaining = name("remaining", default.remaining);
    headers.finish();
    Some(Shown {
        cost: cost?,
        estimate: estimate?,
        remaining: remaining?,
    })
}
