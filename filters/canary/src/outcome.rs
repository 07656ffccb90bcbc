//! What counts as an error, as a conversion, and which requests count at all.

use crate::decision::Reason;
use tollgate_core::config::{Node, Section, Value};
use tollgate_core::exchange::Exchange;
use tollgate_core::headers::HeaderName;
use tollgate_core::matcher::TextPattern;

/// `outcome`
#[derive(Debug)]
pub(crate) struct Outcome {
    statuses: Statuses,
    /// A bit for each gRPC status.
    grpc: u32,
    /// Whether an answer that breaks off is an error.
    pub(crate) resets: bool,
    /// Whether a client that goes away before it is answered is one.
    pub(crate) client_aborts: bool,
    pub(crate) conversion: Option<Conversion>,
    /// A bit for each reason.
    reasons: u16,
    /// Whether there is a histogram besides the quantiles.
    pub(crate) histogram: bool,
}

/// What was hoped for.
#[derive(Debug)]
pub(crate) enum Conversion {
    Header(HeaderName, TextPattern),
    Status(Statuses),
}

/// Ranges of statuses, both ends included.
#[derive(Debug)]
pub(crate) struct Statuses(Vec<(u16, u16)>);

/// Statuses that blame the server (<https://grpc.github.io/grpc/core/md_doc_statuscodes.html>).
const GRPC_ERRORS: [u32; 5] = [2, 4, 13, 14, 15];

const GRPC_NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// Everything but forced testers: a few people who try to break it are not the public, and a header of theirs must
/// not be able to roll a variant back.
const COUNTED: [Reason; 8] = [
    Reason::Marker,
    Reason::Override,
    Reason::Segment,
    Reason::Session,
    Reason::Percentage,
    Reason::Random,
    Reason::MissingKey,
    Reason::Default,
];

impl Outcome {
    /// Reads `outcome`; without it everything is as usual.
    pub(crate) fn compile(value: Option<Value<'_>>) -> Option<Self> {
        let mut this = Self {
            statuses: Statuses(vec![(500, 599)]),
            grpc: grpc_bits(GRPC_ERRORS),
            resets: true,
            client_aborts: false,
            conversion: None,
            reasons: reason_bits(COUNTED),
            histogram: false,
        };
        let Some(value) = value else {
            return Some(this);
        };
        let section = value.section()?;
        if let Some(errors) = section.optional("errors").and_then(Value::section) {
            this.errors(&errors);
            errors.finish();
        }
        if let Some(conversion) = section.optional("conversion") {
            this.conversion = Conversion::compile(conversion);
        }
        if let Some(reasons) = section.optional("reasons") {
            let words: Vec<(&str, Reason)> = Reason::ALL
                .iter()
                .filter(|r| r.can_count())
                .map(|r| (r.code(), *r))
                .collect();
            let named = reasons.list().unwrap_or_default();
            this.reasons = reason_bits(named.iter().filter_map(|v| v.one_of(&words)));
        }
        let histogram = section.optional("histogram").and_then(|v| v.boolean());
        this.histogram = histogram.unwrap_or(false);
        section.finish();
        Some(this)
    }

    fn errors(&mut self, errors: &Section<'_>) {
        if let Some(statuses) = errors.optional("statuses").and_then(Statuses::compile) {
            self.statuses = statuses;
        }
        if let Some(grpc) = errors.optional("grpc").and_then(Value::list) {
            self.grpc = grpc_bits(grpc.iter().filter_map(grpc_status));
        }
        if let Some(resets) = errors.optional("resets").and_then(|v| v.boolean()) {
            self.resets = resets;
        }
        if let Some(aborts) = errors.optional("client_aborts").and_then(|v| v.boolean()) {
            self.client_aborts = aborts;
        }
    }

    pub(crate) fn counts(&self, reason: Reason) -> bool {
        self.reasons & reason.bit() != 0
    }

    pub(crate) fn is_error(&self, status: u16) -> bool {
        self.statuses.contain(status)
    }

    pub(crate) fn has_grpc(&self) -> bool {
        self.grpc != 0
    }

    /// Of a status as it stands in a header or an attribute; unknown ones are `UNKNOWN`.
    pub(crate) fn is_grpc_error(&self, status: &[u8]) -> bool {
        let number = std::str::from_utf8(status)
            .ok()
            .and_then(|s| s.parse().ok());
        let known = number.filter(|n| *n <= 16).unwrap_or(2_u32);
        self.grpc.checked_shr(known).unwrap_or(0) & 1 == 1
    }

    /// Whether all headers of the answer are needed.
    pub(crate) fn reads_headers(&self) -> bool {
        matches!(self.conversion, Some(Conversion::Header(..)))
    }

    pub(crate) fn is_conversion(&self, exchange: &Exchange) -> bool {
        match &self.conversion {
            None => false,
            Some(Conversion::Status(statuses)) => {
                exchange.status.is_some_and(|s| statuses.contain(s))
            }
            Some(Conversion::Header(name, pattern)) => {
                let mut values = exchange.response.get_all(name.as_str());
                values.any(|value| pattern.matches(value))
            }
        }
    }
}

impl Conversion {
    fn compile(value: Value<'_>) -> Option<Self> {
        let section = value.section()?;
        let conversion = match (section.optional("header"), section.optional("statuses")) {
            (Some(header), None) => {
                let name = header.header_name();
                let pattern = TextPattern::compile(&section);
                name.zip(pattern).map(|(n, p)| Self::Header(n, p))
            }
            (None, Some(statuses)) => Statuses::compile(statuses).map(Self::Status),
            _ => {
                section.error(
                    "needs exactly one of header (with exact, prefix, regex or present), statuses",
                );
                None
            }
        };
        section.finish();
        conversion
    }
}

impl Statuses {
    fn compile(value: Value<'_>) -> Option<Self> {
        let items = value.list()?;
        Some(Self(items.iter().filter_map(status_range).collect()))
    }

    fn contain(&self, status: u16) -> bool {
        self.0
            .iter()
            .any(|(from, to)| (*from..=*to).contains(&status))
    }
}

/// `503`, `"500-503"` or `5xx`.
fn status_range(value: &Value<'_>) -> Option<(u16, u16)> {
    let number = |n: u64| u16::try_from(n).ok().filter(|n| (100..=599).contains(n));
    let read = |text: &str| number(text.parse().ok()?);
    let range = match value.node() {
        Node::Integer(n) => number(*n).map(|n| (n, n)),
        Node::Text(text) => match (text.strip_suffix("xx"), text.split_once('-')) {
            (Some(hundreds), _) => {
                read(&format!("{hundreds}00")).map(|n| (n, n.saturating_add(99)))
            }
            (None, Some((from, to))) => read(from).zip(read(to)),
            (None, None) => read(text).map(|n| (n, n)),
        },
        _ => None,
    };
    value.accept(
        range.filter(|(from, to)| from <= to),
        "must be a status such as 503, a range such as \"500-503\", or 5xx",
    )
}

/// A number or a name.
fn grpc_status(value: &Value<'_>) -> Option<u32> {
    let found = match value.node() {
        Node::Integer(n) => u32::try_from(*n).ok().filter(|n| *n <= 16),
        Node::Text(text) => GRPC_NAMES
            .iter()
            .position(|name| name.eq_ignore_ascii_case(text))
            .and_then(|at| u32::try_from(at).ok()),
        _ => None,
    };
    value.accept(found, "must be a gRPC status such as UNAVAILABLE or 14")
}

fn grpc_bits(statuses: impl IntoIterator<Item = u32>) -> u32 {
    let bits = statuses.into_iter();
    bits.fold(0, |all, s| all | 1_u32.checked_shl(s).unwrap_or(0))
}

fn reason_bits(reasons: impl IntoIterator<Item = Reason>) -> u16 {
    reasons.into_iter().fold(0, |all, r| all | r.bit())
}
