//! Options of all limits, and of one.

use crate::key::{AddressRule, Part};
use tollgate_core::config::{Section, Value};
use tollgate_state::gcra::{Bucket, MAX_TOKENS};
use tollgate_state::lease::Terms;

/// Which limits workers take tokens of ahead, and how many.
#[derive(Clone, Copy, Debug)]
pub(super) struct LeaseRule {
    enabled: bool,
    /// Of limits with a smaller bucket none.
    min_tokens: u64,
    pub(super) terms: Terms,
}

impl Default for LeaseRule {
    fn default() -> Self {
        Self {
            enabled: true,
            min_tokens: 1000,
            terms: Terms { basis_points: 100 },
        }
    }
}

impl LeaseRule {
    /// `{enabled: true, min_tokens: 1000, max_percent: 1}`
    pub(super) fn compile(value: Value<'_>) -> Option<Self> {
        let section = value.section()?;
        let default = Self::default();
        let enabled = match section.optional("enabled") {
            Some(v) => v.boolean(),
            None => Some(default.enabled),
        };
        let min_tokens = match section.optional("min_tokens") {
            Some(v) => v.integer(1..=MAX_TOKENS),
            None => Some(default.min_tokens),
        };
        let basis_points = match section.optional("max_percent") {
            Some(v) => v.decimal(2, 2500),
            None => Some(default.terms.basis_points),
        };
        section.finish();
        Some(Self {
            enabled: enabled?,
            min_tokens: min_tokens?,
            terms: Terms {
                basis_points: basis_points?,
            },
        })
    }

    pub(super) fn covers(&self, buckets: &[Bucket]) -> bool {
        self.enabled && buckets.iter().all(|b| b.max_tokens() >= self.min_tokens)
    }
}

/// `rate_limited_status`, if it is there.
pub(super) fn status(section: &Section<'_>) -> Option<Option<u16>> {
    let value = section.optional("rate_limited_status")?;
    let status = value.integer(400..=503).and_then(|n| u16::try_from(n).ok());
    let good = status.filter(|n| *n < 500 || *n == 503);
    Some(if status.is_some() {
        value.accept(good, "must be a status from 400 to 499, or 503")
    } else {
        None
    })
}

/// `ipv6_prefix` and `trusted_hops`.
pub(super) fn address(section: &Section<'_>, key: &[Part]) -> Option<AddressRule> {
    let ipv6_prefix = ipv6_prefix(section, key);
    let trusted_hops = trusted_hops(section, key);
    Some(AddressRule {
        ipv6_prefix: ipv6_prefix?,
        trusted_hops: trusted_hops?,
    })
}

fn ipv6_prefix(section: &Section<'_>, key: &[Part]) -> Option<u8> {
    let Some(value) = section.optional("ipv6_prefix") else {
        return Some(64);
    };
    if !key.contains(&Part::ClientAddress) {
        value.error("has a meaning only with client_address in key");
    }
    u8::try_from(value.integer(1..=128)?).ok()
}

/// The inner `None`: the proxy's own word is taken.
fn trusted_hops(section: &Section<'_>, key: &[Part]) -> Option<Option<usize>> {
    let Some(value) = section.optional("trusted_hops") else {
        return Some(None);
    };
    if !key.contains(&Part::ClientAddress) {
        value.error("has a meaning only with client_address in key");
    }
    usize::try_from(value.integer(0..=32)?).ok().map(Some)
}
