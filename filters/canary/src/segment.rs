//! Segments: kinds of requests or users that get a variant as a whole.

use crate::variants::{VariantId, Variants};
use std::rc::Rc;
use tollgate_core::config::{Section, Value};
use tollgate_core::exchange::Exchange;
use tollgate_core::headers::HeaderName;
use tollgate_core::matcher::Matcher;
use tollgate_core::world::World;

/// One entry of `segments`: everything it has must hold.
#[derive(Debug)]
pub(crate) struct Segment {
    matcher: Matcher,
    headers: Vec<HeaderList>,
    groups: Vec<Rc<str>>,
    pub(crate) variant: VariantId,
}

/// A header with one of many values.
#[derive(Debug)]
struct HeaderList {
    name: HeaderName,
    /// Sorted.
    values: Vec<Box<[u8]>>,
}

impl Segment {
    /// Reads the items of `segments`.
    pub(crate) fn compile_all(section: &Section<'_>, variants: &Variants) -> Vec<Self> {
        let items = section.items("segments").into_iter();
        items.filter_map(|v| Self::compile(v, variants)).collect()
    }

    fn compile(value: Value<'_>, variants: &Variants) -> Option<Self> {
        let segment = value.section()?;
        let conditions = ["match", "headers", "groups"];
        if conditions.iter().all(|c| segment.optional(c).is_none()) {
            segment.error("needs at least one of match, headers, groups");
        }
        let matcher = Matcher::of_rule(&segment);
        let headers = segment.items("headers").into_iter();
        let headers = headers.filter_map(HeaderList::compile).collect();
        let groups = not_empty(segment.optional("groups"));
        let groups = groups.iter().filter_map(Value::identifier).collect();
        let variant = segment.required("variant").and_then(|v| variants.find(&v));
        segment.finish();
        Some(Self {
            matcher: matcher?,
            headers,
            groups,
            variant: variant?,
        })
    }

    /// The headers of its lists.
    pub(crate) fn headers(&self) -> impl Iterator<Item = &HeaderName> {
        self.headers.iter().map(|list| &list.name)
    }

    /// Whether the request belongs to it.
    #[inline(never)]
    pub(crate) fn has(&self, exchange: &mut Exchange, world: &dyn World) -> bool {
        self.matcher.matches(exchange, world)
            && self.headers.iter().all(|list| list.matches(exchange))
            && (self.groups.is_empty()
                || exchange
                    .consumer(world)
                    .is_some_and(|c| self.groups.iter().any(|g| c.in_group(g))))
    }
}

impl HeaderList {
    fn compile(value: Value<'_>) -> Option<Self> {
        let list = value.section()?;
        let name = list.required("name").and_then(|v| v.header_name());
        let values = not_empty(list.required("in"));
        let mut values: Vec<Box<[u8]>> = values
            .iter()
            .filter_map(|v| v.text().map(|t| Box::from(t.as_bytes())))
            .collect();
        values.sort_unstable();
        list.finish();
        Some(Self {
            name: name?,
            values,
        })
    }

    /// A header sent several times belongs when one of its values does.
    fn matches(&self, exchange: &Exchange) -> bool {
        exchange
            .request
            .get_all(self.name.as_str())
            .any(|value| self.values.binary_search_by(|v| (**v).cmp(value)).is_ok())
    }
}

/// The items of a list. One that says nothing would be taken for "any" by some and for "none" by others.
fn not_empty(value: Option<Value<'_>>) -> Vec<Value<'_>> {
    let Some(value) = value else {
        return Vec::new();
    };
    let items = value.clone().list();
    if items.as_ref().is_some_and(Vec::is_empty) {
        value.error("must not be empty");
    }
    items.unwrap_or_default()
}
