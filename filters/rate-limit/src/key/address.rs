//! Who a client is by its address.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use tollgate_core::world::Attribute;
use tollgate_core::{Exchange, World};

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
    pub(super) fn get(
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

/// The proxy's `ip:port` or `[ip]:port`; nothing for pipes and internal listeners.
pub(super) fn parse_address(text: &[u8]) -> Option<IpAddr> {
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

pub(super) fn masked(address: Option<IpAddr>, ipv6_prefix: u8) -> Option<IpAddr> {
    match address? {
        IpAddr::V6(v6) => {
            let host_bits = 128_u32.saturating_sub(u32::from(ipv6_prefix));
            let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
            Some(IpAddr::V6(Ipv6Addr::from(u128::from(v6) & mask)))
        }
        v4 @ IpAddr::V4(_) => Some(v4),
    }
}
