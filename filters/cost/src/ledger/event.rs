//! One event of the ledger, as JSON.

use crate::call::{Call, Outcome};
use tollgate_core::money::push_number;
use tollgate_core::problem::push_string;
use tollgate_core::{Consumer, Exchange, Money, UnixNanos};

/// The CloudEvents type of a settled call. What the data means changes only with the number at its end.
pub(super) const TYPE: &str = "tollgate.cost.settled.v1";

/// What is known of a settled call.
pub(crate) struct Entry<'a> {
    pub(crate) outcome: &'a Outcome,
    pub(crate) call: &'a Call,
    pub(crate) consumer: Option<&'a Consumer>,
    pub(crate) price: Option<&'a str>,
    pub(crate) currency: &'a str,
}

/// Writes an event. Amounts are text, as everywhere: numbers lose precision on their way.
pub(super) fn json(
    id: &str,
    source: &str,
    entry: &Entry<'_>,
    exchange: &Exchange,
    now: UnixNanos,
) -> String {
    let Entry {
        outcome,
        call,
        consumer,
        price,
        currency,
    } = entry;
    let mut json = String::with_capacity(512);
    let mut event = Object::begin(&mut json);
    event.text("specversion", "1.0");
    event.text("id", id);
    event.text("source", source);
    event.text("type", TYPE);
    event.text("time", &now.to_string());
    if let Some(consumer) = consumer {
        event.text("subject", &consumer.id);
    }
    event.text("datacontenttype", "application/json");
    let mut data = event.object("data");
    if let Some(consumer) = consumer {
        data.text("consumer", &consumer.id);
        if let Some(key) = &consumer.key_id {
            data.text("key_id", key);
        }
    }
    data.text("currency", currency);
    data.text("cost", &outcome.cost.to_string());
    data.text("cost_pico", &outcome.cost.pico().to_string());
    data.text("estimate", &amount(call.estimate));
    if let Some(price) = price {
        data.text("price", price);
    }
    if let Some(model) = outcome.model() {
        data.text("model", &String::from_utf8_lossy(model));
    }
    data.text("reason", outcome.reason.name());
    if let Some(usage) = outcome.usage() {
        let mut tokens = data.object("tokens");
        tokens.number("input", usage.input);
        tokens.number("output", usage.output);
        tokens.number("cached_read", usage.cached_read);
        tokens.number("cached_write", usage.cached_write);
        if usage.cached_write_1h > 0 {
            tokens.number("cached_write_1h", usage.cached_write_1h);
        }
        tokens.number("reasoning", usage.reasoning);
        tokens.end();
    }
    if let Some(status) = exchange.status {
        data.number("status", u64::from(status));
    }
    data.text("method", &String::from_utf8_lossy(exchange.method()));
    // Without the query, which may hold what no log should show.
    data.text("path", &String::from_utf8_lossy(exchange.path()));
    if let Some(id) = exchange.request.first("x-request-id") {
        data.text("request_id", &String::from_utf8_lossy(id));
    }
    data.end();
    event.end();
    json
}

fn amount(money: Money) -> String {
    money.to_string()
}

/// An object that is being written.
struct Object<'j> {
    json: &'j mut String,
    first: bool,
}

impl<'j> Object<'j> {
    fn begin(json: &'j mut String) -> Self {
        json.push('{');
        Self { json, first: true }
    }

    fn name(&mut self, name: &str) {
        if !std::mem::replace(&mut self.first, false) {
            self.json.push(',');
        }
        push_string(self.json, name);
        self.json.push(':');
    }

    fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        push_string(self.json, value);
    }

    fn number(&mut self, name: &str, value: u64) {
        self.name(name);
        push_number(self.json, value);
    }

    fn object(&mut self, name: &str) -> Object<'_> {
        self.name(name);
        Object::begin(self.json)
    }

    fn end(self) {
        self.json.push('}');
    }
}
