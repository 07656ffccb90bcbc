//! Questions, and what their answers mean.

use super::{Ask, Granted, Lease, POSITIONS, Seen, Terms};
use crate::fleet::clock::Clock;

impl Lease {
    /// Makes a question, for requests that wait for `held` hits (0: a prefetch). It counts as under way for `patience`
    /// nanoseconds.
    pub fn ask(&mut self, terms: &Terms, held: u64, now: u64, clock: &Clock, patience: u64) -> Ask {
        let terms = &self.roll(terms, now);
        let wanted = self.size(terms, held, now, clock);
        self.events.skipped = self.events.skipped.saturating_add(self.skip);
        // Beyond its last position the counter tells nothing, and what was asked for is lost.
        let most = POSITIONS.saturating_sub(terms.limit).max(1);
        let owed = std::mem::take(&mut self.owed);
        let hits = wanted
            .saturating_add(self.skip)
            .saturating_add(owed)
            .min(most);
        self.skip = 0;
        self.asking = now.saturating_add(patience);
        Ask {
            hits,
            sent: now,
            frame: terms.frame,
            owed,
            wanted,
            end: self.end,
            top: self.top,
        }
    }

    /// The answer to a question; `waiting` are the hits of those who wait for it, in their order.
    pub fn answer(
        &mut self,
        terms: &Terms,
        ask: &Ask,
        seen: Seen,
        now: u64,
        clock: &Clock,
        waiting: &[u64],
    ) -> Granted {
        self.asking = 0;
        self.alone = 0;
        let terms = &Terms {
            frame: ask.frame,
            ..*terms
        };
        // A part of a unit that is over by the service's clock: what is asked for then would pass in the next one. (A
        // period of the calendar is the request's own.)
        let over = terms.frame.named.is_some() && !terms.frame.calendar && seen.at >= ask.end;
        if over || !terms.frame.counted_until(ask.end, seen.end) {
            // Our clock was wrong, or its border is not known better: the hits were counted where nobody looks for
            // them. The clock has learnt by now, and who waits asks again.
            self.events.late = self.events.late.saturating_add(ask.hits);
            return Granted::default();
        }
        // A named window is the one that was asked about, whatever has begun since.
        let end = match terms.frame.named {
            Some(_) => ask.end,
            None => seen.end,
        };
        if end > self.end {
            self.begin(end.saturating_sub(terms.frame.length()), end, now);
        }
        let current = end == self.end;
        let known_top = if ask.end == end { ask.top } else { 0 };
        let after = seen.after.unwrap_or(POSITIONS);
        let before = after.saturating_sub(ask.hits);
        let from = before.max(known_top);
        let to = after.min(self.limit);
        let room = match seen.after {
            Some(_) => to.saturating_sub(from),
            None => 0,
        };
        // What passed unasked is paid first; what a lost counter leaves of it, with the next question.
        let grant = room.saturating_sub(ask.owed);
        if current {
            let unpaid = ask.owed.saturating_sub(room);
            self.owed = self.owed.saturating_add(unpaid);
        }
        self.events.granted = self.events.granted.saturating_add(grant);
        if before < known_top {
            self.events.regressed = true;
            if current {
                // Others have gone on since this proxy looked last, as fast as they did before.
                let lost = self.guess_lost(now).min(self.limit).max(known_top);
                self.skip = lost.saturating_sub(after);
                self.top = self.top.max(lost);
            }
        }
        if !current {
            let (served, used) = serve(waiting, grant);
            let late = grant.saturating_sub(used);
            self.events.late = self.events.late.saturating_add(late);
            return Granted {
                served,
                end,
                refused: None,
            };
        }
        self.top = self.top.max(after);
        self.measure(before, after, ask.wanted, now);
        if now >= self.tokens_end {
            self.expire();
        }
        if grant > 0 {
            self.last_position = self.last_position.max(to);
        }
        let border = clock.earliest(end);
        let available = self.tokens.saturating_add(grant);
        let first = self
            .last_position
            .saturating_sub(available)
            .saturating_add(1);
        let usable = self.usable(terms, first, now, clock).min(available);
        let (served, used) = serve(waiting, usable);
        self.tokens = available.saturating_sub(used);
        self.tokens_end = border;
        if now >= border {
            self.events.late = self.events.late.saturating_add(self.tokens);
            self.tokens = 0;
        }
        if after >= self.limit || self.top >= self.limit {
            self.exhausted = clock.latest(end);
        }
        let spent = now < self.exhausted && served < waiting.len();
        let ahead = usable < available && served < waiting.len();
        Granted {
            served,
            end,
            refused: if ahead {
                let first = first.saturating_add(used);
                Some(self.usable_in(terms, first, now, clock).max(1))
            } else {
                spent.then(|| self.exhausted.saturating_sub(now))
            },
        }
    }

    /// A question failed: nothing is under way any more.
    pub fn failed(&mut self, ask: &Ask) {
        self.asking = 0;
        if ask.end == self.end {
            self.owed = self.owed.saturating_add(ask.owed);
        }
    }
}

/// How many from the front fit into `available`, and what they take.
fn serve(waiting: &[u64], available: u64) -> (usize, u64) {
    let mut used = 0_u64;
    let fits = |cost: &&u64| {
        let sum = used.saturating_add(**cost);
        let fits = sum <= available;
        if fits {
            used = sum;
        }
        fits
    };
    let served = waiting.iter().take_while(fits).count();
    (served, used)
}
