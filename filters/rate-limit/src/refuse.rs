//! A limit has refused: what is answered, and what is given back.

use crate::RateLimit;
use crate::answer;
use crate::decide::{Choice, Next, Turn, next_index};
use crate::ledger::{Applied, Held};
use crate::limit::{BucketSet, Limit};
use tollgate_core::exchange::state_name;
use tollgate_core::flow::LocalReply;
use tollgate_core::{Flow, Headers, World};
use tollgate_state::gcra::Reading;
use tollgate_state::lease::Charge;
use tollgate_state::table::Readings;

impl RateLimit {
    /// A limit has refused. What later limits of this stage would have said is looked up, so that
    /// `Retry-After` is not too early for them either.
    #[inline(never)]
    pub(crate) fn refuse(
        &self,
        choice: &Choice<'_>,
        mut violated: Vec<String>,
        mut wait: u64,
        turn: &mut Turn<'_>,
    ) -> Next {
        let limit = choice.limit;
        let world = turn.world;
        if limit.shadow {
            world.count(limit.counters.shadow_limited, 1);
            self.mark_shadow(limit, turn);
            // The fleet may have refused what this proxy had granted.
            if let Some(applied) = turn.ledger.applied.last_mut() {
                self.give_back(applied, world);
            }
            return Next::Limit;
        }
        let facts = &mut turn.exchange.facts;
        facts.publish(state_name::LIMIT, limit.name.as_bytes());
        world.count(limit.counters.limited, 1);
        while let Some(index) = next_index(turn) {
            if self.limits.get(index).is_none_or(|l| l.shadow) {
                continue;
            }
            let Ok(Some(other)) = self.choose(index, turn) else {
                continue;
            };
            let set = other.buckets;
            if set.ticket.is_some() {
                continue;
            }
            let place = self.place(set, &turn.ledger.parts, world);
            let now = world.now().0;
            let spans = set.charge(other.tokens);
            let spans = spans.as_slice();
            let looked = if set.leased {
                let tokens = other.tokens;
                let charge = Charge { tokens, spans };
                self.leases
                    .look(&self.table, world, place, &set.buckets, charge, now)
            } else {
                Some(self.table.look(world, place, &set.buckets, spans, now))
            };
            let Some(answer) = looked else {
                continue;
            };
            if !answer.allowed {
                wait = wait.max(answer.wait);
                violated.extend(self::violated(set, other.tokens, &answer.readings));
            }
        }
        Next::Refuse(Box::new(answer::limited(limit.status, &violated, wait)))
    }

    /// Tells the upstream and the access log which limit would have refused.
    fn mark_shadow(&self, limit: &Limit, turn: &mut Turn<'_>) {
        let marks = &mut turn.ledger.shadowed;
        if !marks.is_empty() {
            marks.push(b',');
        }
        marks.extend_from_slice(limit.name.as_bytes());
        turn.exchange.request.set(&self.shadow_header, &*marks);
        let facts = &mut turn.exchange.facts;
        facts.publish(state_name::SHADOW_LIMIT, &*marks);
    }

    /// Ends the exchange: what earlier limits took is given back.
    #[inline(never)]
    pub(crate) fn reply(&self, turn: &mut Turn<'_>, mut reply: Box<LocalReply>) -> Flow {
        for applied in &mut turn.ledger.applied {
            self.give_back(applied, turn.world);
        }
        turn.ledger.refused = true;
        if reply.details == answer::LIMITED {
            let mut shown = Headers::default();
            self.shown.write(turn.ledger, &self.sets, &mut shown);
            for (name, value) in shown.iter() {
                let name = String::from_utf8_lossy(name).into_owned();
                reply.headers.push((name.into(), value.to_vec()));
            }
        }
        Flow::Reply(reply)
    }

    #[inline(never)]
    pub(crate) fn give_back(&self, applied: &mut Applied, world: &dyn World) {
        if !std::mem::take(&mut applied.taken) {
            return;
        }
        let Some(set) = self.sets.get(applied.set) else {
            return;
        };
        let own = if applied.of_fleet {
            0
        } else {
            set.buckets.len()
        };
        for (reading, bucket) in applied.readings.iter_mut().zip(&set.buckets).take(own) {
            reading.remaining = reading.remaining.saturating_add(applied.tokens);
            if reading.remaining >= bucket.max_tokens() {
                *reading = Reading {
                    remaining: bucket.max_tokens(),
                    next: 0,
                };
            }
        }
        let place = match applied.held {
            Held::Table(place) => place,
            Held::Lease(place, end) => {
                return self.give_back_lease(set, applied, place, end, world);
            }
        };
        let now = world.now().0;
        let spans = set.charge(applied.tokens);
        let spans = spans.as_slice();
        let elapsed = now.saturating_sub(applied.taken_at);
        let table = &self.table;
        if set.leased {
            let leases = &self.leases;
            if !leases.give_back(table, world, place, &set.buckets, spans, elapsed, now) {
                self.events.not_given_back(world);
            }
            return;
        }
        match table.give_back(world, place, &set.buckets, spans, elapsed, now) {
            Ok(events) => self.events.count(world, events),
            Err(_) => self.events.not_given_back(world),
        }
    }
}

/// The policies whose buckets did not hold enough.
pub(crate) fn violated(set: &BucketSet, tokens: u64, readings: &Readings) -> Vec<String> {
    set.names
        .iter()
        .zip(readings)
        .filter(|(_, r)| r.remaining < tokens)
        .map(|(name, _)| name.clone())
        .collect()
}
