//! Keys of the remote set, with what the configuration says about their consumers.

use crate::consumers::{Described, Holder};
use crate::digest::Digest;
use crate::forward::Forwarding;
use crate::remote::{Found, Remote};
use crate::table::Key;
use hashbrown::HashMap;
use std::rc::Rc;
use tollgate_core::Consumer;

/// Keys from elsewhere, and what the configuration says about their consumers.
pub(crate) struct RemoteKeys {
    pub(crate) remote: Remote,
    pub(crate) places: HashMap<Rc<str>, usize>,
    pub(crate) holders: Vec<Holder>,
}

impl RemoteKeys {
    /// The key as if it had been written in the configuration. A line that says nothing about a consumer that the
    /// configuration knows leaves what that says.
    #[inline(never)]
    pub(crate) fn key(&self, found: &Found<'_>, digest: &Digest, forwarding: &Forwarding) -> Key {
        let place = self.places.get(found.consumer).copied();
        let own = place.and_then(|at| self.holders.get(at));
        let profile = found.profile;
        let (groups, scopes, metadata) = match own.filter(|_| profile.is_empty()) {
            Some(own) => (&own.groups, &own.scopes, &own.metadata),
            None => (&profile.groups, &profile.scopes, &profile.metadata),
        };
        let described = Described {
            id: found.consumer,
            groups,
            key_id: found.key_id,
            scopes,
            metadata,
        };
        Key {
            digest: *digest,
            consumer: place,
            headers: forwarding.headers(&described),
            metadata: forwarding.state(&described),
            identity: Rc::new(Consumer {
                id: own.map_or_else(|| Rc::from(found.consumer), |own| own.id.clone()),
                groups: groups.clone(),
                key_id: Some(Rc::from(found.key_id)),
            }),
            scopes: scopes.clone(),
            not_before: found.not_before,
            expires_at: found.expires_at,
            revoked: found.revoked,
        }
    }
}
