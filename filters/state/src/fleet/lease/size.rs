//! How many hits to ask for.
//!
//! | bound | why |
//! |---|---|
//! | rate x 5 s, 256 or rate x 250 ms | what a proxy can strand when its demand ends; more than 256 a question buys nothing |
//! | up to rate x 1 s, if that is at most a 64th of the own share of what is left | far from its limit a busy key needs no more than a question a second; but until the service's clock is known within 20 ms, questions also tell the time, and who does not know it asks one by one around a border |
//! | own share of what is left / 6 | leases shrink as the limit nears, so the last hits go where the demand is |
//! | at least rate x 50 ms | a busy proxy does not ask one by one at the end |
//! | at most four times the last | slow start: a burst of strangers does not lease for 5 s |
//! | no prefetch for rare callers | with one spare hit each, 60 a minute over 100 proxies would lose 23 % |

use super::{Lease, Terms};
use crate::fleet::clock::Clock;

const MS: u64 = 1_000_000;
const SHARE: u64 = 65_536;
/// What a share counts as until it is known.
const UNKNOWN: u64 = SHARE / 8;

impl Lease {
    /// Without what must be skipped.
    pub(super) fn size(&self, terms: &Terms, held: u64, now: u64, clock: &Clock) -> u64 {
        if self.is_border(now, clock) {
            return held.max(1);
        }
        // What waits is asked for in any case; what comes after it is the question.
        let own = held.max(terms.cost);
        let rate = self.rates.per_second(now, own);
        let target = self.target(terms, rate, now, clock);
        let spare = if self.low(terms, rate, target, own, now, clock).is_some() {
            held
        } else {
            0
        };
        let wanted = target.saturating_sub(self.tokens).saturating_add(spare);
        let missing = held.saturating_sub(self.tokens);
        let more = wanted.saturating_sub(missing);
        // In whole requests: parts of one would be left over in each proxy when the limit is spent.
        let part = more.checked_rem(terms.cost).unwrap_or(0);
        let whole = missing.saturating_add(more.saturating_sub(part));
        if whole == 0 { terms.cost.max(1) } else { whole }
    }

    /// Whether a request that was just served leaves so little that more must come.
    pub(super) fn wants_prefetch(&self, terms: &Terms, now: u64, clock: &Clock) -> bool {
        if now < self.asking || now < self.exhausted || self.is_border(now, clock) {
            return false;
        }
        let rate = self.rates.per_second(now, terms.cost);
        let target = self.target(terms, rate, now, clock);
        self.low(terms, rate, target, terms.cost, now, clock)
            .is_some_and(|low| self.tokens <= low)
    }

    /// Whether nobody knows if the window is over: what is left of a lease then is lost.
    fn is_border(&self, now: u64, clock: &Clock) -> bool {
        (clock.earliest(self.end)..clock.latest(self.end)).contains(&now)
    }

    /// Hits to hold.
    fn target(&self, terms: &Terms, rate: u64, now: u64, clock: &Clock) -> u64 {
        if self.batch == 0 {
            return 1;
        }
        let rtt = clock.rtt();
        let own = self.own_part(terms, now, clock);
        let long = if clock.is_known_within(20 * MS) {
            hits(rate, 1_000 * MS).min(own / 64)
        } else {
            0
        };
        let usual = hits(rate, (250 * MS).max(rtt.saturating_mul(16))).max(256);
        let steady = hits(rate, 5_000 * MS).min(usual.max(long)).min(own / 6);
        let least = hits(rate, (50 * MS).max(rtt.saturating_mul(6)));
        let rest = hits(rate, self.rest(terms, now, clock)).saturating_add(1);
        steady
            .max(least)
            .min(self.batch.saturating_mul(4))
            .min(rest)
            .max(1)
    }

    /// From how many hits on more must come; `None`: a rare caller, who holds none in reserve.
    fn low(
        &self,
        terms: &Terms,
        rate: u64,
        target: u64,
        own: u64,
        now: u64,
        clock: &Clock,
    ) -> Option<u64> {
        let [_, _, ten_seconds] = self.rates.counts(now);
        let rare = ten_seconds.saturating_sub(own) < terms.cost.saturating_mul(3);
        if rare || self.own_part(terms, now, clock) < terms.cost {
            return None;
        }
        let ahead = (20 * MS).max(clock.rtt().saturating_mul(4));
        let low = hits(rate, ahead).saturating_add(1);
        Some(low.min(target.saturating_sub(1)))
    }

    /// This proxy's part of the fleet's hits, in 1/65536; 0 if unknown.
    pub(super) fn share(&self) -> u64 {
        let part = self.own_hits.saturating_mul(SHARE);
        part.checked_div(self.all_hits).unwrap_or(0).min(SHARE)
    }

    /// What arrives here in 20 milliseconds, at most 256.
    pub(super) fn ahead(&self, now: u64) -> u64 {
        hits(self.rates.per_second(now, 1), 20 * MS).min(256)
    }

    /// What is left of the limit, times this proxy's share.
    fn own_part(&self, terms: &Terms, now: u64, clock: &Clock) -> u64 {
        let share = match self.share() {
            0 => UNKNOWN,
            known => known,
        };
        self.left(terms, now, clock).saturating_mul(share) >> 16
    }

    /// What the fleet has left of the limit, as far as can be guessed.
    pub(super) fn left(&self, terms: &Terms, now: u64, clock: &Clock) -> u64 {
        if self.end == 0 || now >= clock.latest(self.end) {
            return terms.limit;
        }
        terms.limit.saturating_sub(self.guess(now))
    }

    /// Where the counter is by now, as far as can be guessed.
    fn guess(&self, now: u64) -> u64 {
        let since = hits(self.fleet_rate, now.saturating_sub(self.last_at));
        self.top.max(self.last_after).saturating_add(since)
    }

    /// Where the counter was when it was lost: others have gone on since this proxy looked, for as long as a lease is
    /// good for, at their part of the rate.
    pub(super) fn guess_lost(&self, now: u64) -> u64 {
        let others = SHARE.saturating_sub(self.share().max(1));
        let rate = self.fleet_rate.saturating_mul(others) >> 16;
        let since = now.saturating_sub(self.last_at).min(5_000 * MS);
        self.top.saturating_add(hits(rate, since))
    }

    /// Nanoseconds left of the window.
    fn rest(&self, terms: &Terms, now: u64, clock: &Clock) -> u64 {
        let rest = clock.earliest(self.end).saturating_sub(now);
        if rest > 0 {
            return rest;
        }
        let length = terms.frame.length();
        let into = clock.service(now).checked_rem(length).unwrap_or(0);
        length.saturating_sub(into)
    }

    /// Learns from an answer how much others take.
    pub(super) fn measure(&mut self, before: u64, after: u64, asked: u64, now: u64) {
        let elapsed = now.saturating_sub(self.last_at);
        // A counter that was lost says nothing about others.
        if self.last_hits > 0 && before >= self.last_after {
            let others = before.saturating_sub(self.last_after);
            let faded = |sum: u64| sum.saturating_mul(7) / 10;
            // Sums, not a mean of parts: others ask by fits and starts, and the mean of own / (own + others) is more
            // than the share.
            self.own_hits = faded(self.own_hits).saturating_add(self.last_hits);
            let all = self.last_hits.saturating_add(others);
            self.all_hits = faded(self.all_hits).saturating_add(all);
            if elapsed > MS {
                let taken = after.saturating_sub(self.last_after);
                let rate = taken.saturating_mul(1_000_000).checked_div(elapsed / MS);
                self.fleet_rate = rate.unwrap_or(0);
            }
        }
        self.last_after = after;
        self.last_at = now;
        self.last_hits = asked;
        self.batch = asked;
    }
}

/// Hits in so many nanoseconds at so many thousandths of a hit per second; in whole milliseconds, because a module has no
/// cheap division of 128 bits.
fn hits(rate: u64, nanos: u64) -> u64 {
    rate.saturating_mul(nanos / MS) / 1_000_000
}
