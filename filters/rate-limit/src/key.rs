//! What a limit counts by: the parts of its key, taken from the request.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use tollgate_core::config::Value;
use tollgate_core::cookie;
use tollgate_core::headers::{Duplicate, HeaderName};
use tollgate_core::matcher::{Matcher, without_port};
use tollgate_core::world::Attribute;
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
            Self::ClientAddress => {
                let hops = request.rule.trusted_hops;
                let address = request.address.get(exchange, request.world, hops);
                Ok(match masked(address, request.rule.ipv6_prefix) {
                    Some(IpAddr::V4(v4)) => push(key, Some(&v4.octets())),
                    Some(IpAddr::V6(v6)) => push(key, Some(&v6.octets())),
                    None => push(key, None),
                })
            }
            Self::Host => {
                let host = without_port(exchange.authority()).to_ascii_lowercase();
                Ok(push(key, Some(&host)))
            }
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

/// How a limit finds the client's address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AddressRule {
    /// How much of an IPv6 address is one client.
    pub(crate) ipv6_prefix: u8,
    /// So many proxies in front of this one have added to `x-forwarded-for`; `None`: what the proxy says.
    pub(crate) trusted_hops: Option<usize>,
}

/// The client's address, by what was already found out.
#[derive(Debug, Default)]
pub(crate) struct Address {
    peer: Option<Option<IpAddr>>,
    forwarded: Option<(usize, Option<IpAddr>)>,
}

impl Address {
    fn get(
        &mut self,
        exchange: &Exchange,
        world: &dyn World,
        hops: Option<usize>,
    ) -> Option<IpAddr> {
        let mut peer = || {
            *self.peer.get_or_insert_with(|| {
                let text = world.attribute(Attribute::SourceAddress)?;
                parse_address(&text)
            })
        };
        let Some(hops) = hops else {
            return peer();
        };
        match self.forwarded {
            Some((for_hops, address)) if for_hops == hops => address,
            _ => {
                // Fewer entries than proxies: the request came past some of them, so nobody vouches for more.
                let address = forwarded(exchange, hops).or_else(peer);
                self.forwarded = Some((hops, address));
                address
            }
        }
    }
}

/// The entry of `x-forwarded-for` that the last trusted proxy added. The proxy that this filter runs in adds its peer at the
/// end, so with no proxy in front it is the last one.
fn forwarded(exchange: &Exchange, hops: usize) -> Option<IpAddr> {
    let lines: Vec<&[u8]> = exchange.request.get_all("x-forwarded-for").collect();
    let entries = lines.iter().rev().flat_map(|l| l.rsplit(|b| *b == b','));
    parse_address(entries.take(hops.saturating_add(1)).nth(hops)?.trim_ascii())
}

fn push(key: &mut Vec<u8>, value: Option<&[u8]>) -> bool {
    match value.filter(|v| !v.is_empty()) {
        Some(value) => {
            key.push(1);
            let len = u64::try_from(value.len()).unwrap_or(u64::MAX);
            key.extend_from_slice(&len.to_le_bytes());
            key.extend_from_slice(value);
            true
        }
        None => {
            key.push(0);
            false
        }
    }
}

/// The proxy's `ip:port` or `[ip]:port`; nothing for pipes and internal listeners.
fn parse_address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let address = match text.parse::<SocketAddr>() {
        Ok(socket) => socket.ip(),
        Err(_) => {
            let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
            bare.unwrap_or(text).parse().ok()?
        }
    };
    Some(address.to_canonical())
}

fn masked(address: Option<IpAddr>, ipv6_prefix: u8) -> Option<IpAddr> {
    match address? {
        IpAddr::V6(v6) => {
            let host_bits = 128_u32.saturating_sub(u32::from(ipv6_prefix));
            let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
            Some(IpAddr::V6(Ipv6Addr::from(u128::from(v6) & mask)))
        }
        v4 @ IpAddr::V4(_) => Some(v4),
    }
}

/// The only value of a query parameter, percent-decoded, so that one value cannot be written in many ways.
fn query_value(query: &[u8], name: &[u8]) -> Result<Option<Vec<u8>>, Duplicate> {
    let mut found = None;
    for pair in query.split(|b| *b == b'&') {
        let mut halves = pair.splitn(2, |b| *b == b'=');
        if decoded(halves.next().unwrap_or_default()) != name {
            continue;
        }
        let value = decoded(halves.next().unwrap_or_default());
        if found.replace(value).is_some() {
            return Err(Duplicate);
        }
    }
    Ok(found)
}

fn decoded(text: &[u8]) -> Vec<u8> {
    let hex = |b: Option<&u8>| char::from(*b?).to_digit(16);
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        let mut ahead = rest.clone();
        let escaped = match byte {
            b'%' => hex(ahead.next()).zip(hex(ahead.next())),
            _ => None,
        };
        match escaped {
            Some((high, low)) => {
                out.push(u8::try_from((high << 4) | low).unwrap_or(b'%'));
                rest = ahead;
            }
            None => out.push(if *byte == b'+' { b' ' } else { *byte }),
        }
    }
    out
}

/// The only value of a cookie, with its quotes; a cookie without `=` has an empty one.
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
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tollgate_core::Headers;
    use tollgate_core::testing::TestWorld;

    fn key_of(part: Part, headers: &[(&str, &str)], address: &str) -> Result<Vec<u8>, Duplicate> {
        let world = TestWorld::default();
        world.set_attribute(Attribute::SourceAddress, address);
        let mut exchange = Exchange::new(Headers::from_pairs(headers.iter().copied()), true);
        let mut key = Vec::new();
        part.write(
            &mut key,
            &mut Request {
                exchange: &mut exchange,
                world: &world,
                matcher: &Matcher::default(),
                rule: AddressRule {
                    ipv6_prefix: 64,
                    trusted_hops: None,
                },
                address: &mut Address::default(),
            },
        )?;
        Ok(key)
    }

    fn address_key(address: &str) -> Vec<u8> {
        key_of(Part::ClientAddress, &[], address).unwrap()
    }

    #[test]
    fn an_ipv6_client_is_its_network() {
        assert_eq!(
            address_key("[2001:db8:1:2:3::4]:80"),
            address_key("[2001:db8:1:2:ffff::1]:81")
        );
        assert_ne!(
            address_key("[2001:db8:1:2::]:80"),
            address_key("[2001:db8:1:3::]:80")
        );
        assert_eq!(address_key("10.0.0.1:80"), address_key("10.0.0.1:81"));
        assert_ne!(address_key("10.0.0.1:80"), address_key("10.0.0.2:80"));
        assert_eq!(
            address_key("[::ffff:10.0.0.1]:80"),
            address_key("10.0.0.1:80")
        );
        // A pipe has no address: absent.
        assert_eq!(address_key("/run/envoy.sock"), [0]);
    }

    #[test]
    fn trusted_hops_count_from_the_right() {
        let address = |hops, lines: &[(&str, &str)]| {
            let world = TestWorld::default();
            world.set_attribute(Attribute::SourceAddress, "10.9.9.9:1");
            let exchange = Exchange::new(Headers::from_pairs(lines.iter().copied()), true);
            let mut known = Address::default();
            let found = known.get(&exchange, &world, hops);
            assert_eq!(known.get(&exchange, &world, hops), found);
            found.map(|a| a.to_string()).unwrap()
        };
        let xff = |text| [("x-forwarded-for", text)];
        let three = xff("6.6.6.6, 203.0.113.7 ,10.0.0.1");
        assert_eq!(address(None, &three), "10.9.9.9");
        assert_eq!(address(Some(0), &three), "10.0.0.1");
        assert_eq!(address(Some(1), &three), "203.0.113.7");
        assert_eq!(address(Some(2), &three), "6.6.6.6");
        // Not even so many entries: the peer.
        assert_eq!(address(Some(3), &three), "10.9.9.9");
        assert_eq!(address(Some(1), &xff("who knows,10.0.0.1")), "10.9.9.9");
        assert_eq!(address(Some(0), &[]), "10.9.9.9");
        let lines = [
            ("x-forwarded-for", "1.1.1.1,2.2.2.2"),
            ("x-forwarded-for", "[2001:db8::1]:443, 10.0.0.1"),
        ];
        assert_eq!(address(Some(1), &lines), "2001:db8::1");
        assert_eq!(address(Some(2), &lines), "2.2.2.2");
        assert_eq!(address(Some(0), &xff("[2001:db8::2]")), "2001:db8::2");
    }

    #[test]
    fn one_query_value_is_one_key_however_it_is_written() {
        let key = |path| key_of(Part::Query(b"user".to_vec()), &[(":path", path)], "");
        assert_eq!(key("/x?user=abc"), key("/y?a=1&%75ser=%61bc"));
        assert_ne!(key("/x?user=abc"), key("/x?user=abd"));
        assert_eq!(key("/x"), Ok(vec![0]));
        assert_eq!(key("/x?user="), Ok(vec![0]));
        assert_eq!(key("/x?user=a&user=b"), Err(Duplicate));
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let key = |cookies: &[(&str, &str)]| key_of(Part::Cookie(b"id".to_vec()), cookies, "");
        assert_eq!(
            key(&[("cookie", "a=1; id=x")]),
            key(&[("cookie", "id=x"), ("cookie", "b=2")])
        );
        assert_eq!(key(&[("cookie", "id=x; id=y")]), Err(Duplicate));
        assert_eq!(key(&[("cookie", "xid=x")]), Ok(vec![0]));
    }

    #[test]
    fn a_cookie_counts_with_its_quotes_and_also_without_a_value() {
        let key = |line| key_of(Part::Cookie(b"id".to_vec()), &[("cookie", line)], "");
        assert_ne!(key("id=\"x\""), key("id=x"));
        assert_eq!(key("a=1; id"), Ok(vec![0]));
        assert_eq!(key("id; id=x"), Err(Duplicate));
    }

    #[test]
    fn a_header_sent_twice_is_no_key() {
        let part = Part::Header(HeaderName::from_static("x-tenant"));
        let twice = [("x-tenant", "a"), ("x-tenant", "b")];
        assert_eq!(key_of(part.clone(), &twice, ""), Err(Duplicate));
        let once = [("x-tenant", "a")];
        let expected = [&[1, 1, 0, 0, 0, 0, 0, 0, 0][..], b"a"].concat();
        assert_eq!(key_of(part, &once, ""), Ok(expected));
    }

    #[test]
    fn a_host_is_the_same_in_any_case_and_with_any_port() {
        let key = |host| key_of(Part::Host, &[(":authority", host)], "");
        assert_eq!(key("API.example.com:8080"), key("api.example.com"));
        assert_ne!(key("[::1]:8080"), key("[::2]:8080"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded(text in prop::collection::vec(any::<u8>(), 0..40), name in "[a-z]{1,3}") {
            prop_assert!(decoded(&text).len() <= text.len());
            let _ = query_value(&text, name.as_bytes());
            let _ = parse_address(&text);
        }

        #[test]
        fn what_is_escaped_is_decoded(value in prop::collection::vec(any::<u8>(), 0..20)) {
            let escaped: String = value.iter().map(|b| format!("%{b:02x}")).collect();
            prop_assert_eq!(decoded(escaped.as_bytes()), value);
        }
    }
}
