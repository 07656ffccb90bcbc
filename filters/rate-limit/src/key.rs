//! What a limit counts by: the parts of its key, taken from the request.

mod address;
mod query;

pub(crate) use address::{Address, AddressRule};

use address::masked;
use query::query_value;
use std::net::IpAddr;
use tollgate_core::config::Value;
use tollgate_core::cookie;
use tollgate_core::headers::{Duplicate, HeaderName};
use tollgate_core::matcher::{Matcher, without_port};
use tollgate_core::{Exchange, World};

/// One part of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Consumer,
    Group,
    ClientAddress,
    Host,
    Method,
    Path,
    Header(HeaderName),
    Query(Vec<u8>),
    Cookie(Vec<u8>),
    Constant(Vec<u8>),
    Template(String),
}

impl Part {
    pub(crate) fn compile(value: &Value<'_>) -> Option<Self> {
        if !matches!(value.node(), tollgate_core::config::Node::Object(_)) {
            return value.one_of(&[
                ("consumer", Self::Consumer),
                ("group", Self::Group),
                ("client_address", Self::ClientAddress),
                ("host", Self::Host),
                ("method", Self::Method),
                ("path", Self::Path),
            ]);
        }
        let section = value.clone().section()?;
        let bytes = |v: Value<'_>| v.nonempty().map(|t| t.as_bytes().to_vec());
        let header = section.optional("header");
        let query = section.optional("query");
        let cookie = section.optional("cookie");
        let constant = section.optional("constant");
        let template = section.optional("template");
        let given = [&header, &query, &cookie, &constant, &template]
            .iter()
            .filter(|v| v.is_some())
            .count();
        if given != 1 {
            section.error("needs exactly one of header, query, cookie, constant, template");
        }
        let part = header
            .and_then(|v| v.header_name())
            .map(Self::Header)
            .or_else(|| query.and_then(bytes).map(Self::Query))
            .or_else(|| cookie.and_then(bytes).map(Self::Cookie))
            .or_else(|| constant.and_then(bytes).map(Self::Constant))
            .or_else(|| {
                let name = template.and_then(|v| v.nonempty())?;
                Some(Self::Template(name.to_owned()))
            });
        section.finish();
        part
    }

    /// Whether it is known only after key auth.
    pub(crate) fn needs_consumer(&self) -> bool {
        matches!(self, Self::Consumer | Self::Group)
    }

    /// Whether all its values are in the configuration, of this proxy or of key auth.
    pub(crate) fn is_configured(&self) -> bool {
        matches!(self, Self::Consumer | Self::Group | Self::Constant(_))
    }

    /// Appends the part to a key that is being built, `false` if the request does not have it.
    /// An empty value counts as absent.
    pub(crate) fn write(
        &self,
        key: &mut Vec<u8>,
        request: &mut Request<'_>,
    ) -> Result<bool, Duplicate> {
        let exchange = &mut *request.exchange;
        match self {
            Self::Consumer => {
                let consumer = exchange.consumer(request.world);
                Ok(push(key, consumer.map(|c| c.id.as_bytes())))
            }
            Self::Group => {
                let consumer = exchange.consumer(request.world);
                let group = consumer.and_then(|c| c.groups.first());
                Ok(push(key, group.map(|g| g.as_bytes())))
            }
            Self::ClientAddress => Ok(push_address(key, request)),
            Self::Host => Ok(push_host(key, exchange)),
            Self::Method => Ok(push(key, Some(exchange.method()))),
            Self::Path => Ok(push(key, Some(exchange.path()))),
            Self::Header(name) => Ok(push(key, exchange.request.sole(name.as_str())?)),
            Self::Query(name) => {
                let value = query_value(exchange.query().unwrap_or_default(), name)?;
                Ok(push(key, value.as_deref()))
            }
            Self::Cookie(name) => Ok(push(key, cookie_value(exchange, name)?)),
            Self::Constant(value) => Ok(push(key, Some(value))),
            Self::Template(name) => {
                let value = request.matcher.template_value(name, exchange.path());
                Ok(push(key, value))
            }
        }
    }
}

/// What parts are taken from.
pub(crate) struct Request<'a> {
    pub(crate) exchange: &'a mut Exchange,
    pub(crate) world: &'a dyn World,
    pub(crate) matcher: &'a Matcher,
    pub(crate) rule: AddressRule,
    /// Asked once for all limits of an exchange.
    pub(crate) address: &'a mut Address,
}

/// Appends a part, `false` if it is absent or empty.
pub(crate) fn push(key: &mut Vec<u8>, value: Option<&[u8]>) -> bool {
    match value.filter(|v| !v.is_empty()) {
        Some(value) => {
            let [a, b, c, d, e, f, g, h] =
                u64::try_from(value.len()).unwrap_or(u64::MAX).to_le_bytes();
            key.extend_from_slice(&[1, a, b, c, d, e, f, g, h]);
            key.extend_from_slice(value);
            true
        }
        None => {
            key.push(0);
            false
        }
    }
}

#[inline(never)]
fn push_address(key: &mut Vec<u8>, request: &mut Request<'_>) -> bool {
    let hops = request.rule.trusted_hops;
    let address = request.address.get(request.exchange, request.world, hops);
    match masked(address, request.rule.ipv6_prefix) {
        Some(IpAddr::V4(v4)) => push(key, Some(&v4.octets())),
        Some(IpAddr::V6(v6)) => push(key, Some(&v6.octets())),
        None => push(key, None),
    }
}

#[inline(never)]
fn push_host(key: &mut Vec<u8>, exchange: &Exchange) -> bool {
    let host = without_port(exchange.authority()).to_ascii_lowercase();
    push(key, Some(&host))
}

/// The only value of a cookie, with its quotes; a cookie without `=` has an empty one.
#[inline(never)]
fn cookie_value<'e>(exchange: &'e Exchange, name: &[u8]) -> Result<Option<&'e [u8]>, Duplicate> {
    let mut found = None;
    let lines = exchange.request.get_all("cookie");
    for (_, value) in lines.flat_map(cookie::pairs).filter(|(n, _)| *n == name) {
        if found.replace(value.unwrap_or_default()).is_some() {
            return Err(Duplicate);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
