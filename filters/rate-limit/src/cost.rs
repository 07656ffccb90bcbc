//! What a request costs: a figure of its rule, or one that something trusted has put into a header.

use tollgate_core::Exchange;
use tollgate_core::config::Value;
use tollgate_core::headers::HeaderName;
use tollgate_state::gcra::{Bucket, MAX_TOKENS};

/// The cost of a rule.
#[derive(Clone, Debug)]
pub(crate) struct Cost {
    /// Without a header, or where it is absent.
    pub(crate) tokens: u64,
    /// At least this much, whatever a header says.
    pub(crate) least: u64,
    header: Option<Header>,
}

#[derive(Clone, Debug)]
struct Header {
    name: HeaderName,
    /// At most this much; `None`: what the smallest bucket can hold.
    most: Option<u64>,
}

/// A header that says no number, or that is there twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable;

impl Default for Cost {
    fn default() -> Self {
        Self {
            tokens: 1,
            least: 1,
            header: None,
        }
    }
}

impl Cost {
    /// `5`, or `{header: x-cost, default: 1, min: 1, max: 100}`.
    pub(crate) fn compile(value: &Value<'_>) -> Option<Self> {
        if !matches!(value.node(), tollgate_core::config::Node::Object(_)) {
            let tokens = value.integer(0..=MAX_TOKENS)?;
            return Some(Self {
                tokens,
                least: tokens,
                header: None,
            });
        }
        let section = value.clone().section()?;
        let name = section.required("header").and_then(|v| v.header_name());
        let figure = |field, default| match section.optional(field) {
            Some(v) => v.integer(0..=MAX_TOKENS),
            None => Some(default),
        };
        let (tokens, least) = (figure("default", 1), figure("min", 1));
        let most = match section.optional("max") {
            Some(v) => v.integer(1..=MAX_TOKENS).map(Some),
            None => Some(None),
        };
        let (tokens, least, most) = (tokens?, least?, most?);
        if least > most.unwrap_or(MAX_TOKENS) {
            section.error("min is more than max");
        }
        if tokens < least || tokens > most.unwrap_or(MAX_TOKENS) {
            section.error("default is not between min and max");
        }
        section.finish();
        Some(Self {
            tokens,
            least,
            header: Some(Header { name: name?, most }),
        })
    }

    /// The most that a request can cost where the buckets hold at least so much.
    pub(crate) fn most(&self) -> u64 {
        let named = self.header.as_ref().and_then(|h| h.most);
        named.unwrap_or(self.tokens).max(self.least)
    }

    /// Whether each request has a cost of its own.
    pub(crate) fn varies(&self) -> bool {
        self.header.is_some()
    }

    /// Whether a request can cost nothing.
    pub(crate) fn may_be_free(&self) -> bool {
        self.tokens == 0 || (self.least == 0 && self.varies())
    }

    /// What this request costs; with a header that cannot be read the most there is.
    pub(crate) fn of(
        &self,
        exchange: &Exchange,
        buckets: &[Bucket],
    ) -> (u64, Result<(), Unreadable>) {
        match &self.header {
            Some(header) => self.read(header, exchange, buckets),
            None => (self.tokens, Ok(())),
        }
    }

    #[inline(never)]
    fn read(
        &self,
        header: &Header,
        exchange: &Exchange,
        buckets: &[Bucket],
    ) -> (u64, Result<(), Unreadable>) {
        let holds = || buckets.iter().map(Bucket::max_tokens).min().unwrap_or(1);
        let most = header.most.unwrap_or_else(holds);
        match exchange.request.sole(header.name.as_str()) {
            Ok(None) => (self.tokens, Ok(())),
            Ok(Some(text)) => match number(text) {
                Some(n) => (n.clamp(self.least.min(most), most), Ok(())),
                None => (most, Err(Unreadable)),
            },
            Err(_) => (most, Err(Unreadable)),
        }
    }
}

/// Digits only; a number too large to be one is the largest.
fn number(text: &[u8]) -> Option<u64> {
    let text = text.trim_ascii();
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(text.iter().fold(0_u64, |n, digit| {
        n.saturating_mul(10)
            .saturating_add(u64::from(digit.saturating_sub(b'0')))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate_core::Headers;

    #[test]
    fn digits_are_a_number_and_nothing_else_is() {
        for (text, expected) in [
            (&b"0"[..], Some(0)),
            (b" 7 ", Some(7)),
            (b"007", Some(7)),
            (b"18446744073709551616", Some(u64::MAX)),
            (b"", None),
            (b"-1", None),
            (b"+1", None),
            (b"1.0", None),
            (b"1,2", None),
            (b"0x1", None),
            (b"\xff", None),
        ] {
            assert_eq!(number(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_header_is_kept_within_bounds() {
        let cost = Cost {
            tokens: 2,
            least: 1,
            header: Some(Header {
                name: HeaderName::from_static("x-cost"),
                most: None,
            }),
        };
        let buckets = [
            Bucket::new(50, 1, 1).unwrap(),
            Bucket::new(20, 1, 1).unwrap(),
        ];
        for (headers, expected) in [
            (&[][..], (2, Ok(()))),
            (&[("x-cost", "5")], (5, Ok(()))),
            (&[("x-cost", "0")], (1, Ok(()))),
            (&[("x-cost", "21")], (20, Ok(()))),
            (&[("x-cost", "abc")], (20, Err(Unreadable))),
            (&[("x-cost", "")], (20, Err(Unreadable))),
            (&[("x-cost", "5"), ("x-cost", "5")], (20, Err(Unreadable))),
        ] {
            let request = Headers::from_pairs(headers.iter().copied());
            let exchange = Exchange::new(request, true);
            assert_eq!(cost.of(&exchange, &buckets), expected, "{headers:?}");
        }
    }
}
