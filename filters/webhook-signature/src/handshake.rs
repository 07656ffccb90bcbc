//! Requests that a sender makes without a signature and that a rule lets through all the same, marked unverified: a
//! challenge when an endpoint is registered, a ping, a handshake.

use crate::form;
use std::rc::Rc;
use tollgate_core::config::Value;
use tollgate_core::matcher::Matcher;
use tollgate_core::{Exchange, World};

/// Which requests.
#[derive(Debug)]
pub(crate) struct Handshake {
    matcher: Matcher,
    query: Vec<Vec<u8>>,
}

impl Handshake {
    /// Reads a list of `{match, query}`.
    pub(crate) fn list(value: Value<'_>) -> Rc<[Self]> {
        let items = value.list().unwrap_or_default();
        items.into_iter().filter_map(Self::compile).collect()
    }

    fn compile(value: Value<'_>) -> Option<Self> {
        let section = value.section()?;
        let matcher = Matcher::of_rule(&section);
        let query: Vec<Vec<u8>> = section
            .items("query")
            .iter()
            .filter_map(|v| v.nonempty().map(|t| t.as_bytes().to_vec()))
            .collect();
        if section.optional("match").is_none() && query.is_empty() {
            section
                .error("needs match or query: without them everything passes (on_missing: pass)");
        }
        section.finish();
        matcher.map(|matcher| Self { matcher, query })
    }

    /// Whether this is one. The caller has made sure that there is no signature and that the path is plain.
    pub(crate) fn is_meant(&self, exchange: &Exchange, world: &dyn World) -> bool {
        let query = exchange.query().unwrap_or_default();
        let has = |wanted: &Vec<u8>| {
            query.split(|b| *b == b'&').any(|pair| {
                let name = pair.split(|b| *b == b'=').next().unwrap_or_default();
                form::decode(name).as_ref() == wanted.as_slice()
            })
        };
        self.query.iter().all(has) && self.matcher.matches(exchange, world)
    }
}
