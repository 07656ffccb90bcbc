//! Requests take hits, and give them back.

use super::{Lease, Take, Terms};
use crate::fleet::clock::Clock;
use crate::gcra::Verdict;

impl Lease {
    /// Decides about a request.
    pub fn take(&mut self, terms: &Terms, now: u64, clock: &Clock) -> Take {
        let terms = &self.roll(terms, now);
        self.rates.add(now, terms.cost);
        let tat = match terms.bucket {
            Some((bucket, span)) => match bucket.take(self.tat, now, span) {
                Verdict::Taken { tat } => tat,
                Verdict::Refused { wait, healed } => {
                    self.tat = healed.unwrap_or(self.tat);
                    return Take::Bucket { wait };
                }
            },
            None => self.tat,
        };
        if self.tokens >= terms.cost {
            let wait = self.usable_in(terms, self.first_position(), now, clock);
            if wait > 0 {
                return Take::Refused { wait };
            }
            self.tokens = self.tokens.saturating_sub(terms.cost);
            self.tat = tat;
            return Take::Admitted {
                end: self.end,
                prefetch: self.wants_prefetch(terms, now, clock),
            };
        }
        if now < self.exhausted {
            return Take::Refused {
                wait: self.exhausted.saturating_sub(now),
            };
        }
        self.tat = tat;
        Take::Unknown
    }

    /// Takes 20 milliseconds' worth of hits for those that come next, if lease and own bucket hold them; none for a
    /// rare caller. To be called for a request that was just admitted.
    pub fn take_ahead(&mut self, terms: &Terms, now: u64) -> u64 {
        let hits = self.ahead(now).min(self.tokens / 8);
        if hits < 2 {
            return 0;
        }
        if let Some((bucket, _)) = terms.bucket {
            let Verdict::Taken { tat } = bucket.take(self.tat, now, bucket.span(hits)) else {
                return 0;
            };
            self.tat = tat;
        }
        self.tokens = self.tokens.saturating_sub(hits);
        self.rates.add(now, hits);
        hits
    }

    /// Until when hits of this lease may be spent.
    #[must_use]
    pub fn good_until(&self) -> u64 {
        self.tokens_end
    }

    /// Gives hits back that were taken `elapsed` nanoseconds ago, because something else refused the request: to the
    /// lease, if it is still of that window, and to the own bucket.
    pub fn give_back(&mut self, terms: &Terms, end: u64, elapsed: u64, now: u64) {
        if end == self.end && now < self.tokens_end && terms.limit == self.limit {
            self.tokens = self.tokens.saturating_add(terms.cost);
        }
        self.give_back_local(terms, elapsed);
    }

    /// Gives back what only the own bucket was charged.
    pub fn give_back_local(&mut self, terms: &Terms, elapsed: u64) {
        if let Some((bucket, span)) = terms.bucket {
            self.tat = bucket.give_back(self.tat, span, elapsed);
        }
    }
}
