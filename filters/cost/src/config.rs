//! From the `cost` section to a [`Cost`].

use crate::accounts::Accounts;
use crate::budgets::Budgets;
use crate::gauges::Gauges;
use crate::ledger::Ledger;
use crate::meters::Meters;
use crate::policy::Cost;
use crate::price::model::Aliases;
use crate::price::{self, Multiplier, Price};
use crate::request;
use crate::shared::Shared;
use crate::show::Shown;
use std::rc::Rc;
use tollgate_core::config::{Compile, Section};
use tollgate_core::{HeaderName, UnixNanos};

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
    let multipliers = match section.optional("multipliers") {
        Some(value) => price::multipliers(value),
        None => Some(Rc::from([])),
    };
    let aliases = Aliases::compile(&section);
    let prices = prices(
        &section,
        &multipliers.clone().unwrap_or_else(|| Rc::from([])),
    );
    let budgets = Budgets::compile(&section);
    let fleet_value = section.optional("fleet");
    let shared = match (fleet_value, &budgets) {
        (Some(v), Some(budgets)) => Some(Shared::compile(v, budgets, cx)),
        (None, Some(budgets)) if !crate::shared::names(budgets).is_empty() => {
            section.error(
                "a budget with scope: global needs the section fleet, which names the rate limit service's cluster",
            );
            None
        }
        _ => None,
    };
    let refuse_anonymous = match section.optional("on_missing_consumer") {
        Some(v) => v.one_of(&[("refuse", true), ("pass", false)]),
        None => Some(true),
    };
    let hold_bytes = match section.optional("hold_response_bytes") {
        Some(v) => v.integer(0..=MAX_HOLD_BYTES),
        None => Some(HOLD_BYTES),
    };
    let shown = Shown::compile(&section);
    let ledger = match section.optional("ledger") {
        Some(value) => Ledger::compile(value, cx.env).map(Some),
        None => Some(None),
    };
    let usage_path = match section.optional("usage_path") {
        Some(v) => v.text().and_then(|t| {
            let good = t.starts_with('/') && !t.contains(['?', '#']);
            let path = good.then(|| Some(t.as_bytes().to_vec()));
            v.accept(path, "must be a path such as /.tollgate/usage")
        }),
        None => Some(None),
    };
    let counted = counted(&section);
    section.finish();
    multipliers?;
    let (prices, budgets, counted) = (prices?, budgets?, counted?);
    let (ledger, hold_bytes) = (ledger?, usize::try_from(hold_bytes?).ok()?);
    let meters = Meters::register(cx.metrics, &prices, &budgets, &counted);
    let dated = |p: &Price| p.from > UnixNanos(0) || p.until < UnixNanos(u64::MAX);
    let prices_ask_for_consumer = prices.iter().any(Price::asks_for_consumer);
    let bounds_calls = budgets.iter().any(|b| b.per_request.is_some());
    let reads_requests = prices.iter().any(|p| p.checks.is_some());
    Some(Cost {
        currency: currency?,
        gauges: Gauges::register(cx.metrics, &budgets),
        meters,
        aliases: aliases?,
        refuse_anonymous: refuse_anonymous?,
        hold_bytes,
        shown: shown?,
        accept_encoding: HeaderName::from_static("accept-encoding"),
        content_length: HeaderName::from_static("content-length"),
        shared: match shared {
            Some(shared) => Some(shared?),
            None => None,
        },
        accounts: Accounts::default(),
        bounds_calls,
        usage_path: usage_path?,
        request_table: reads_requests.then(|| Rc::new(request::table())),
        prices_change: prices.iter().any(dated),
        prices_vary: prices.iter().any(|p| dated(p) || !p.is_for_all()),
        prices_ask_for_consumer,
        wants_consumer: prices_ask_for_consumer || ledger.is_some() || !counted.is_empty(),
        ledger,
        prices,
        budgets,
    })
}

/// `metrics: {consumers: [...]}`.
fn counted(section: &Section<'_>) -> Option<Vec<Rc<str>>> {
    let Some(value) = section.optional("metrics") else {
        return Some(Vec::new());
    };
    let metrics = value.section()?;
    let consumers = price::ids_of(&metrics, "consumers");
    metrics.finish();
    consumers
}

fn prices(section: &Section<'_>, multipliers: &Rc<[Multiplier]>) -> Option<Vec<Price>> {
    let value = section.required("prices")?;
    let place = value.clone();
    let items = value.list()?;
    place.accept((!items.is_empty()).then_some(()), "must not be empty")?;
    let mut all: Vec<Price> = Vec::with_capacity(items.len());
    let mut good = true;
    for (at, item) in items.into_iter().enumerate() {
        let place = item.clone();
        match Price::compile(item, at.saturating_add(1), multipliers) {
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
