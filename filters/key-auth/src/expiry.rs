//! Keys that have expired or soon will: one log line when a configuration is loaded, and a gauge.

use crate::meters::HolderMeters;
use crate::table::{Key, KeyTable};
use tollgate_core::time::Duration;
use tollgate_core::world::Level;
use tollgate_core::{UnixNanos, World};

/// A log line is for a person: no longer than this many keys.
const SHOWN: usize = 10;

/// Called once in every worker.
pub(crate) fn report(table: &KeyTable, within: Duration, meters: &HolderMeters, world: &dyn World) {
    let now = world.now();
    let mut due: Vec<(UnixNanos, &Key)> = Vec::new();
    for (at, key) in table.iter().enumerate() {
        meters.show_expiry(at, key, world);
        let soon = key.expires_at.filter(|e| *e <= now.plus(within));
        if let Some(expires) = soon.filter(|_| !key.revoked) {
            due.push((expires, key));
        }
    }
    if due.is_empty() {
        return;
    }
    due.sort_by_key(|(expires, _)| *expires);
    let shown: Vec<String> = due
        .iter()
        .take(SHOWN)
        .map(|(expires, key)| {
            let key_id = key.identity.key_id.as_deref().unwrap_or_default();
            format!("{}/{key_id} {expires}", key.identity.id)
        })
        .collect();
    let more = due.len().saturating_sub(SHOWN);
    let and = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    world.log(
        Level::Warn,
        format_args!(
            "key_auth: keys that have expired or expire within {within} ({}): {}{and}",
            due.len(),
            shown.join(", ")
        ),
    );
}
