//! Which variants were rolled back, for all workers of a proxy, and which configuration counts where.
//!
//! ```text
//! magic "TGRT" | version u8 | count u8 | count times:
//!     configuration u64 | used u64 | trips u8 | trips times: variant u8, rule u8, at u64, until u64
//! ```
//! While connections drain, a replaced configuration and the new one are at work side by side, and neither may count
//! into the other's window nor undo its trips. So each has a place here, out of [`PLACES`]; the one that was not used for
//! the longest time makes room.

use super::bytes::Take;
use crate::cas::{self, Change, Contended, TRIES};
use tollgate_core::world::Store;
use tollgate_core::{Duration, UnixNanos};

/// How many configurations of an experiment can be at work at the same time.
pub const PLACES: usize = 4;

const HEAD: &[u8] = b"TGRT\x01";

/// How often a place says that it is in use.
const REFRESH: Duration = Duration::from_secs(60);

/// One variant that was rolled back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trip {
    /// Its place in the experiment.
    pub variant: u8,
    /// Which rule it broke; numbers are the user's.
    pub rule: u8,
    /// When.
    pub at: UnixNanos,
    /// When it comes back. What was counted before does not count then.
    pub until: UnixNanos,
}

/// What one configuration has here. Trips that are over stay until the variant's next one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Its number, below [`PLACES`].
    pub number: usize,
    trips: Vec<Trip>,
}

impl Place {
    /// That of a variant, over or not.
    #[must_use]
    pub fn trip_of(&self, variant: u8) -> Option<&Trip> {
        self.trips.iter().find(|t| t.variant == variant)
    }

    /// All of them, over or not.
    #[must_use]
    pub fn trips(&self) -> &[Trip] {
        &self.trips
    }
}

/// The trips of one experiment in one configuration.
#[derive(Debug)]
pub struct Trips {
    key: String,
    configuration: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    configuration: u64,
    used: u64,
    trips: Vec<Trip>,
}

impl Trips {
    /// For an experiment of that name; `configuration` is a hash of it.
    #[must_use]
    pub fn new(name: &str, configuration: u64) -> Self {
        Self {
            key: format!("rollback/{name}"),
            configuration,
        }
    }

    /// What is written for this configuration, which gets a place if it has none.
    ///
    /// # Errors
    /// [`Contended`]: nothing is known.
    pub fn visit<S: Store + ?Sized>(&self, store: &S, now: UnixNanos) -> Result<Place, Contended> {
        let done = cas::update(store, &self.key, TRIES, |bytes| {
            let mut all = read(bytes).unwrap_or_default();
            let known = all.iter().any(|e| {
                e.configuration == self.configuration && now.0.abs_diff(e.used) < REFRESH.0
            });
            let place = self.place(&mut all, now);
            if known {
                return Change::Keep(place);
            }
            write(bytes, &all);
            Change::Write(place)
        })?;
        Ok(done.value)
    }

    /// Writes one down. `None`: the variant was rolled back already, by another worker.
    ///
    /// # Errors
    /// [`Contended`]: nothing was written.
    pub fn add<S: Store + ?Sized>(
        &self,
        store: &S,
        trip: Trip,
    ) -> Result<Option<Place>, Contended> {
        let done = cas::update(store, &self.key, TRIES, |bytes| {
            let mut all = read(bytes).unwrap_or_default();
            let mut place = self.place(&mut all, trip.at);
            if place
                .trip_of(trip.variant)
                .is_some_and(|t| t.until > trip.at)
            {
                return Change::Keep(None);
            }
            place.trips.retain(|t| t.variant != trip.variant);
            place.trips.push(trip);
            if let Some(entry) = all.get_mut(place.number) {
                entry.trips.clone_from(&place.trips);
            }
            write(bytes, &all);
            Change::Write(Some(place))
        })?;
        Ok(done.value)
    }

    /// The place of this configuration among all of them, taken from another one if need be.
    fn place(&self, all: &mut Vec<Entry>, now: UnixNanos) -> Place {
        let own = all
            .iter()
            .position(|e| e.configuration == self.configuration);
        let number = own.unwrap_or_else(|| {
            let entry = Entry {
                configuration: self.configuration,
                used: now.0,
                trips: Vec::new(),
            };
            if all.len() < PLACES {
                all.push(entry);
                return all.len().saturating_sub(1);
            }
            let longest_ago = all.iter().enumerate().min_by_key(|(_, e)| e.used);
            let number = longest_ago.map_or(0, |(at, _)| at);
            if let Some(old) = all.get_mut(number) {
                *old = entry;
            }
            number
        });
        let Some(entry) = all.get_mut(number) else {
            return Place::default();
        };
        entry.used = now.0;
        Place {
            number,
            trips: entry.trips.clone(),
        }
    }
}

fn write(out: &mut Vec<u8>, all: &[Entry]) {
    let short = |n: usize| u8::try_from(n).unwrap_or(0);
    out.clear();
    out.extend_from_slice(HEAD);
    out.push(short(all.len()));
    for entry in all {
        out.extend_from_slice(&entry.configuration.to_le_bytes());
        out.extend_from_slice(&entry.used.to_le_bytes());
        out.push(short(entry.trips.len()));
        for trip in &entry.trips {
            out.extend_from_slice(&[trip.variant, trip.rule]);
            out.extend_from_slice(&trip.at.0.to_le_bytes());
            out.extend_from_slice(&trip.until.0.to_le_bytes());
        }
    }
}

fn read(bytes: &[u8]) -> Option<Vec<Entry>> {
    let mut from = Take(bytes);
    from.literal(HEAD)?;
    let count = usize::from(from.byte()?);
    if count > PLACES {
        return None;
    }
    let mut all = Vec::with_capacity(count);
    for _ in 0..count {
        let (configuration, used) = (from.fixed()?, from.fixed()?);
        let mut trips = Vec::new();
        for _ in 0..from.byte()? {
            trips.push(Trip {
                variant: from.byte()?,
                rule: from.byte()?,
                at: UnixNanos(from.fixed()?),
                until: UnixNanos(from.fixed()?),
            });
        }
        all.push(Entry {
            configuration,
            used,
            trips,
        });
    }
    from.0.is_empty().then_some(all)
}
