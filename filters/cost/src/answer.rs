//! Answers that a price depends on: whether they are read, and held until the cost is known.

use crate::call::{Call, Ending, content_length, is_stream, readable_type};
use crate::policy::Cost;
use crate::usage::{Format, Reader};
use tollgate_core::{Exchange, ResponseFlow, World};

impl Cost {
    /// How tokens are reported: by the first candidate that has any.
    fn format(&self, call: &Call) -> Option<&Format> {
        self.rules(call.candidates())
            .find(|(_, p)| p.tokens.is_some() || p.models.is_some())
            .map(|(_, p)| &p.format)
    }

    /// Whether an answer is short enough to be held for its exact cost, as far as it says, and no stream.
    fn may_hold(&self, call: &Call, media_type: Option<&[u8]>, exchange: &Exchange) -> bool {
        let streams = call.asked().is_some_and(|a| a.stream)
            || media_type.is_some_and(is_stream)
            || exchange.path().ends_with(b":streamGenerateContent");
        let length = content_length(&exchange.response);
        let one_document = call.reader().is_some_and(Reader::is_one_document);
        let most = u64::try_from(self.hold_bytes).unwrap_or(u64::MAX);
        // What is neither JSON nor says how long it is may be a stream of somebody's own.
        let short = length.map_or(one_document, |n| n <= most);
        exchange.can_hold_response
            && self.shown.cost.is_some()
            && self.hold_bytes > 0
            && short
            && !streams
    }

    /// The price depends on the answer: concludes by its headers, or looks at its body.
    #[inline(never)]
    pub(crate) fn read_answer(
        &self,
        call: &mut Call,
        exchange: &mut Exchange,
        world: &dyn World,
        end: bool,
    ) -> ResponseFlow {
        let format = self.format(call);
        let in_headers = format.and_then(|f| f.in_headers(&exchange.response));
        let media_type = readable_type(&exchange.response);
        let reader = if call.needs.usage && in_headers.is_none() && !end {
            let table = format.and_then(|f| f.table.clone());
            media_type
                .as_deref()
                .zip(table)
                .and_then(|(media_type, table)| Reader::of_type(media_type, table))
        } else {
            None
        };
        let reads = reader.is_some();
        let details = call.details_mut();
        details.in_headers = in_headers.map(Box::new);
        details.reader = reader.map(Box::new);
        let measures_end = self
            .rules(call.candidates())
            .any(|(_, p)| p.response_kib.is_some() || p.second.is_some());
        if end || !(reads || measures_end) {
            self.conclude_and_show(call, Ending::Answered, exchange, world);
            return ResponseFlow::Continue;
        }
        if self.may_hold(call, media_type.as_deref(), exchange) {
            call.details_mut().held = true;
            return ResponseFlow::Hold;
        }
        self.show_estimate(call, exchange);
        ResponseFlow::Observe
    }

    /// A piece of an answer whose price depends on it.
    #[inline(never)]
    pub(crate) fn read_body(
        &self,
        call: &mut Call,
        exchange: &mut Exchange,
        world: &dyn World,
        piece: &[u8],
        end: bool,
    ) -> ResponseFlow {
        let details = call.details_mut();
        if let Some(reader) = &mut details.reader {
            reader.feed(piece, end);
        }
        details.read = details.read.saturating_add(piece.len());
        let (held, too_long) = (details.held, details.read > self.hold_bytes);
        if end {
            if held {
                self.conclude_and_show(call, Ending::Answered, exchange, world);
            } else {
                self.conclude(call, Ending::Answered, false, exchange, world);
                self.show_in_trailer(call, exchange);
            }
            return ResponseFlow::Continue;
        }
        if held && too_long {
            self.let_go(call, exchange);
        }
        // Nothing that may still come can bring any usage, so the answer need not wait.
        let hopeless = call.reader().is_some_and(Reader::is_hopeless)
            && !self
                .rules(call.candidates())
                .any(|(_, p)| p.response_kib.is_some() || p.second.is_some());
        if hopeless && call.is_held() {
            call.details_mut().held = false;
            self.conclude_and_show(call, Ending::Answered, exchange, world);
            return ResponseFlow::Continue;
        }
        if call.is_held() {
            ResponseFlow::Hold
        } else {
            ResponseFlow::Observe
        }
    }

    /// The answer is not held any longer: its cost will not be known in time.
    pub(crate) fn let_go(&self, call: &mut Call, exchange: &mut Exchange) {
        call.details_mut().held = false;
        self.show_estimate(call, exchange);
    }
}
