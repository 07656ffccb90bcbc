//! Requests that are held until their body has been read, for what they ask for.

use crate::call::Candidates;
use crate::check::Invalid;
use crate::policy::Cost;
use crate::request::{Asked, Reader};
use tollgate_core::{Exchange, Flow, World};

/// A request that is held for what it asks for.
#[derive(Debug)]
pub(crate) struct Asking {
    candidates: Candidates,
    reader: Reader,
    /// The body, if it may have to be changed.
    body: Option<Vec<u8>>,
}

impl Asking {
    pub(crate) fn feed(&mut self, piece: &[u8]) {
        self.reader.feed(piece);
        if let Some(body) = &mut self.body {
            body.extend_from_slice(piece);
        }
    }
}

impl Cost {
    /// Whether the body has to be read before the call, and whether it may have to be changed.
    pub(crate) fn reads_request(&self, candidates: &[usize], exchange: &Exchange) -> Option<bool> {
        self.request_table.as_ref()?;
        if exchange.bodyless && is_bodyless_method(exchange.method()) {
            return None;
        }
        let mut checks = self
            .rules(candidates)
            .filter_map(|(_, p)| p.checks.as_deref())
            .peekable();
        checks.peek()?;
        Some(checks.any(|c| c.force_usage))
    }

    /// Begins to read it.
    ///
    /// # Errors
    /// The refusal of one that cannot be read.
    #[inline(never)]
    pub(crate) fn ask(
        &self,
        candidates: Candidates,
        may_change: bool,
        exchange: &Exchange,
        world: &dyn World,
    ) -> Result<Asking, Flow> {
        if exchange.request.contains("content-encoding") {
            let invalid = Invalid::new("body", "must not be compressed");
            return Err(self.invalid(&invalid, world));
        }
        let table = self.request_table.clone().unwrap_or_default();
        Ok(Asking {
            candidates,
            reader: Reader::new(table),
            body: may_change.then(Vec::new),
        })
    }

    /// The body has been read: the request is changed as it must be.
    ///
    /// # Errors
    /// The refusal of one that cannot be priced.
    pub(crate) fn asked(
        &self,
        asking: Asking,
        exchange: &mut Exchange,
        world: &dyn World,
    ) -> Result<(Candidates, Asked), Flow> {
        let asked = asking
            .reader
            .finish()
            .map_err(|invalid| self.invalid(&invalid, world))?;
        if let Some(body) = asking.body
            && let Some(splice) = asked.usage_splice()
            && let Some(changed) = splice.apply(&body)
        {
            if exchange.request.contains("content-length") {
                let length = changed.len().to_string();
                exchange.request.set(&self.content_length, length);
            }
            exchange.new_body = Some(changed);
        }
        Ok((asking.candidates, asked))
    }
}

/// Methods whose requests usually have no body, so that there is nothing to check.
fn is_bodyless_method(method: &[u8]) -> bool {
    matches!(method, b"GET" | b"HEAD" | b"OPTIONS" | b"DELETE" | b"TRACE")
}
