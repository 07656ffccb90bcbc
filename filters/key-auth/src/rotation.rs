//! Keys that expire soon, and old ones that are still in use: a log line and metrics for each, by key id.
//!
//! A key is *old* once it expires within `warn_expiry`, or once a key of the same consumer that starts and ends later works.

use crate::digest::Digest;
use crate::remote::Remote;
use crate::table::{Key, KeyTable};
use hashbrown::HashMap;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use tollgate_core::time::Duration;
use tollgate_core::world::{Expect, Level};
use tollgate_core::{MetricId, Metrics, UnixNanos, World};

/// A log line is for a person: no longer than this many keys.
const SHOWN: usize = 10;
/// Metrics by key without being asked for, up to this many keys that expire.
const MANY: usize = 1000;
/// How often is looked for keys that expire.
const LOOK: Duration = Duration::from_secs(60);
/// After which time a line that has not changed is logged again.
const EXPIRING_AGAIN: Duration = Duration::from_secs(24 * 3600);
const OLD_AGAIN: Duration = Duration::from_secs(3600);

/// See the module.
pub(crate) struct Rotation {
    within: Duration,
    expiring: MetricId,
    /// By the key's place in the table; keys that never expire have none.
    keys: HashMap<usize, Expiring>,
    remote_uses: Option<MetricId>,
    /// Old keys that were used since the last line, `consumer/key`, and when they expire.
    used: RefCell<BTreeMap<String, UnixNanos>>,
    looked: Cell<Option<(UnixNanos, u32)>>,
    told_old: Cell<Option<UnixNanos>>,
}

/// A key that expires.
struct Expiring {
    /// When, and uses after it became old.
    meters: Option<(MetricId, MetricId)>,
    /// Keys of the same consumer that start and end later.
    newer: Vec<usize>,
}

impl Rotation {
    /// `by_key`: metrics for each key, however many there are.
    pub(crate) fn new(
        table: &KeyTable,
        within: Duration,
        by_key: bool,
        remote: bool,
        metrics: &mut Metrics,
    ) -> Self {
        let expire = |(_, key): &(usize, &Key)| key.expires_at.is_some();
        let few = table.iter().enumerate().filter(expire).count() <= MANY;
        let mut siblings: HashMap<usize, Vec<usize>> = HashMap::new();
        for (at, key) in table.iter().enumerate() {
            if let Some(consumer) = key.consumer {
                siblings.entry(consumer).or_default().push(at);
            }
        }
        let keys = table.iter().enumerate().filter(expire).map(|(at, key)| {
            let meters = (few || by_key).then(|| {
                let key_id = key.identity.key_id.as_deref().unwrap_or_default();
                let labels = [("consumer", &*key.identity.id), ("key", key_id)];
                (
                    metrics.gauge("tollgate_key_expires_at_seconds", &labels),
                    metrics.counter("tollgate_old_key_uses_total", &labels),
                )
            });
            let siblings = key.consumer.and_then(|c| siblings.get(&c));
            let newer = siblings.into_iter().flatten().copied();
            let newer = newer.filter(|at| table.get(*at).is_some_and(|other| is_newer(other, key)));
            let newer = newer.collect();
            (at, Expiring { meters, newer })
        });
        let keys = keys.collect();
        Self {
            within,
            expiring: metrics.gauge("tollgate_keys_expiring", &[]),
            keys,
            remote_uses: remote.then(|| {
                let labels = [("consumer", "remote"), ("key", "remote")];
                metrics.counter("tollgate_old_key_uses_total", &labels)
            }),
            used: RefCell::default(),
            looked: Cell::default(),
            told_old: Cell::default(),
        }
    }

    /// A key was used; `at` is its place in the table, if it is there.
    #[inline(never)]
    pub(crate) fn used(&self, at: Option<usize>, key: &Key, table: &KeyTable, world: &dyn World) {
        let Some(expires) = key.expires_at else {
            return;
        };
        let now = world.now();
        let own = at.and_then(|at| self.keys.get(&at));
        let works = |at: &usize| table.get(*at).is_some_and(|other| is_good(other, now));
        let replaced = || own.is_some_and(|own| own.newer.iter().any(works));
        if expires > now.plus(self.within) && !replaced() {
            return;
        }
        let meter = match at {
            Some(_) => own.and_then(|own| Some(own.meters?.1)),
            None => self.remote_uses,
        };
        if let Some(meter) = meter {
            world.count(meter, 1);
        }
        let mut used = self.used.borrow_mut();
        // Whoever reads the line replaces these first; the metric counts all.
        if used.len() < SHOWN.saturating_mul(10) {
            used.insert(name(key), expires);
        }
    }

    /// Called when a configuration starts and on every tick.
    pub(crate) fn look(&self, table: &KeyTable, remote: Option<&Remote>, world: &dyn World) {
        let now = world.now();
        self.tell_old(now, world);
        let generation = remote.map_or(0, Remote::generation);
        if let Some((at, seen)) = self.looked.get()
            && seen == generation
            && now < at.plus(LOOK)
            && at <= now
        {
            return;
        }
        let first = self.looked.replace(Some((now, generation))).is_none();
        let mut due = Due::default();
        for (at, key) in table.iter().enumerate() {
            let Some(expires) = key.expires_at else {
                continue;
            };
            if let Some((gauge, _)) = self.keys.get(&at).and_then(|k| k.meters).filter(|_| first) {
                world.gauge(gauge, expires.secs());
            }
            if expires <= now.plus(self.within) && !key.revoked {
                due.add(expires, || name(key));
            }
        }
        if let Some(set) = remote.and_then(Remote::set) {
            for (expires, found) in set.expiring(now.plus(self.within)) {
                due.add(expires, || format!("{}/{}", found.consumer, found.key_id));
            }
        }
        world.gauge(self.expiring, due.count);
        if due.count > 0 {
            let text = format!(
                "key_auth: keys that have expired or expire within {} ({}): {}",
                self.within,
                due.count,
                due.shown()
            );
            tell("key-auth/told/expiring", &text, EXPIRING_AGAIN, world);
        }
    }

    /// At most once an hour in every worker.
    fn tell_old(&self, now: UnixNanos, world: &dyn World) {
        let mut used = self.used.borrow_mut();
        let told = self.told_old.get();
        let lately = told.is_some_and(|told| told <= now && now < told.plus(OLD_AGAIN));
        if used.is_empty() || lately {
            return;
        }
        self.told_old.set(Some(now));
        let mut due = Due::default();
        for (name, expires) in std::mem::take(&mut *used) {
            due.add(expires, || name);
        }
        let text = format!(
            "key_auth: old keys are still in use ({}): {}",
            due.count,
            due.shown()
        );
        tell("key-auth/told/old", &text, OLD_AGAIN, world);
    }
}

/// The first few by time, and how many there are.
#[derive(Default)]
struct Due {
    first: Vec<(UnixNanos, String)>,
    count: u64,
}

impl Due {
    fn add(&mut self, expires: UnixNanos, name: impl FnOnce() -> String) {
        self.count = self.count.saturating_add(1);
        let at = self.first.partition_point(|(other, _)| *other <= expires);
        if at < SHOWN {
            self.first.insert(at, (expires, name()));
            self.first.truncate(SHOWN);
        }
    }

    fn shown(&self) -> String {
        let each = self.first.iter().map(|(at, name)| format!("{name} {at}"));
        let mut text = each.collect::<Vec<_>>().join(", ");
        let more = self.count.saturating_sub(self.first.len() as u64);
        if more > 0 {
            text.push_str(&format!(" and {more} more"));
        }
        text
    }
}

fn name(key: &Key) -> String {
    let key_id = key.identity.key_id.as_deref().unwrap_or_default();
    format!("{}/{key_id}", key.identity.id)
}

fn is_newer(other: &Key, key: &Key) -> bool {
    let ends_later = match (other.expires_at, key.expires_at) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(a), Some(b)) => a > b,
    };
    // A key without a start was there from the beginning.
    other.not_before > key.not_before && ends_later
}

/// Whether the key works at that moment.
pub(crate) fn is_good(key: &Key, now: UnixNanos) -> bool {
    !key.revoked
        && key.not_before.is_none_or(|from| from <= now)
        && key.expires_at.is_none_or(|until| now < until)
}

/// Logs a line, unless some worker of this proxy has logged the same one lately.
fn tell(place: &str, text: &str, again: Duration, world: &dyn World) {
    let now = world.now();
    let [a, b, c, d, e, f, g, h, ..] = *Digest::of(text.as_bytes()).bytes();
    let hash = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
    let mut bytes = Vec::new();
    let expect = match world.load(place, &mut bytes) {
        Some(version) => Expect::Unchanged(version),
        None => Expect::Absent,
    };
    let mut numbers = bytes
        .as_chunks::<8>()
        .0
        .iter()
        .map(|b| u64::from_le_bytes(*b));
    if let (Some(told), Some(at)) = (numbers.next(), numbers.next().map(UnixNanos))
        && told == hash
        && at <= now
        && now < at.plus(again)
    {
        return;
    }
    bytes.clear();
    bytes.extend_from_slice(&hash.to_le_bytes());
    bytes.extend_from_slice(&now.0.to_le_bytes());
    // Who is faster tells it.
    if world.store(place, &bytes, expect).is_ok() {
        world.log(Level::Warn, format_args!("{text}"));
    }
}
