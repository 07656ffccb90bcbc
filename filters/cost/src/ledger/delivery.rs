//! When a batch is sent, and when again: one at a time, with growing pauses after failures.

use tollgate_core::world::CallId;
use tollgate_core::{Duration, UnixNanos};

/// After the first failure; doubled after each further one.
const PAUSE: Duration = Duration::from_millis(250);
/// The longest pause.
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// A reply that is so much later than its deadline will not come.
const GRACE: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug)]
pub(super) struct Delivery {
    /// Events of a batch, at most.
    most: usize,
    under_way: Option<Batch>,
    failures: u32,
    not_before: UnixNanos,
}

#[derive(Debug)]
struct Batch {
    id: CallId,
    events: usize,
    sent_at: UnixNanos,
}

impl Delivery {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            under_way: None,
            failures: 0,
            not_before: UnixNanos(0),
        }
    }

    /// How many events of those that wait should be sent now, if any.
    pub(super) fn due(&mut self, waiting: usize, now: UnixNanos) -> Option<usize> {
        // The clock was set back: a pause is never longer than the longest one.
        if self.not_before.since(now) > MAX_PAUSE {
            self.not_before = now;
        }
        let ready = self.under_way.is_none() && waiting > 0 && self.not_before <= now;
        ready.then(|| waiting.min(self.most))
    }

    pub(super) fn sent(&mut self, id: CallId, events: usize, now: UnixNanos) {
        self.under_way = Some(Batch {
            id,
            events,
            sent_at: now,
        });
    }

    /// Whether the batch under way must be taken for lost. It will be sent again: it may have arrived.
    pub(super) fn is_overdue(&mut self, now: UnixNanos, timeout_ms: u32) -> bool {
        let patience = Duration::from_millis(u64::from(timeout_ms))
            .0
            .saturating_add(GRACE.0);
        let late = |b: &Batch| now.since(b.sent_at).0 > patience;
        let overdue = self.under_way.as_ref().is_some_and(late);
        if overdue {
            self.under_way = None;
            self.failed(now, 0);
        }
        overdue
    }

    /// The events of the batch that was answered; `None`: it is not one of these.
    pub(super) fn answered(
        &mut self,
        id: CallId,
        taken: bool,
        too_large: bool,
        now: UnixNanos,
        random: u64,
    ) -> Option<usize> {
        let batch = self.under_way.take_if(|b| b.id == id)?;
        if taken {
            self.failures = 0;
            self.not_before = now;
        } else {
            if too_large {
                self.most = batch.events.div_ceil(2).max(1);
            }
            self.failed(now, random);
        }
        Some(batch.events)
    }

    /// Up to a quarter longer by chance, so that workers do not come all at once.
    fn failed(&mut self, now: UnixNanos, random: u64) {
        let doubled = 1_u64.checked_shl(self.failures.min(16)).unwrap_or(1);
        let pause = PAUSE.0.saturating_mul(doubled).min(MAX_PAUSE.0);
        let quarter = pause.checked_div(4).unwrap_or(0).max(1);
        let chance = random.checked_rem(quarter).unwrap_or(0);
        let pause = pause.saturating_add(chance).min(MAX_PAUSE.0);
        self.failures = self.failures.saturating_add(1);
        self.not_before = now.plus(Duration(pause));
    }
}
