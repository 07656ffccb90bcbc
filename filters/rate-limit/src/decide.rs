//! Deciding about a request: limit after limit, all or nothing.

use crate::RateLimit;
use crate::answer;
use crate::key::{self, Part, Request};
use crate::ledger::{Applied, Held, Ledger};
use crate::limit::{BucketSet, Limit, Rule};
use crate::refuse::violated;
use tollgate_core::flow::LocalReply;
use tollgate_core::headers::Duplicate;
use tollgate_core::world::Level;
use tollgate_core::{Exchange, Flow, World};
use tollgate_state::fleet::service::FailureMode;
use tollgate_state::lease::Charge;
use tollgate_state::seed::Seed;
use tollgate_state::table::{Answer, Place, Readings};

/// One visit of a stage to an exchange.
pub(crate) struct Turn<'a> {
    pub(crate) ledger: &'a mut Ledger,
    pub(crate) exchange: &'a mut Exchange,
    pub(crate) world: &'a dyn World,
    /// Where the stage ends: index of the first limit that is not decided in it.
    pub(crate) end: usize,
}

/// Which buckets a limit has for a request.
pub(crate) struct Choice<'a> {
    pub(crate) limit: &'a Limit,
    pub(crate) index: usize,
    pub(crate) set: usize,
    pub(crate) buckets: &'a BucketSet,
    /// What the request costs.
    pub(crate) tokens: u64,
}

/// What a limit wants.
pub(crate) enum Next {
    /// The next limit decides.
    Limit,
    /// The service has been asked.
    Hold,
    /// A lease is waited for.
    Wait,
    /// The request is refused.
    Refuse(Box<LocalReply>),
}

impl RateLimit {
    /// Decides the limits of a stage; goes on where it stopped.
    pub(crate) fn run(&self, turn: &mut Turn<'_>) -> Flow {
        while let Some(index) = next_index(turn) {
            match self.decide(index, turn) {
                Next::Limit => {}
                Next::Hold => return Flow::HoldForCall,
                Next::Wait => return Flow::HoldForWake,
                Next::Refuse(reply) => return self.reply(turn, reply),
            }
        }
        Flow::Continue
    }

    fn decide(&self, index: usize, turn: &mut Turn<'_>) -> Next {
        match self.choose(index, turn) {
            Ok(Some(choice)) => self.take(&choice, turn),
            Ok(None) => Next::Limit,
            Err(reply) => Next::Refuse(reply),
        }
    }

    /// The rule and buckets for the request; its key is in the ledger then. `None`: the limit does not apply.
    pub(crate) fn choose(
        &self,
        index: usize,
        turn: &mut Turn<'_>,
    ) -> Result<Option<Choice<'_>>, Box<LocalReply>> {
        let Some(limit) = self.limits.get(index) else {
            return Ok(None);
        };
        let world = turn.world;
        let Some(rule) = limit.rule(turn.exchange, world) else {
            return Ok(None);
        };
        let set = if rule.has_overrides() {
            rule.set_for(turn.exchange.consumer(world))
        } else {
            rule.set
        };
        turn.ledger.parts.clear();
        let mut complete = true;
        for part in &limit.key {
            complete &= if let Part::Consumer = part {
                let consumer = turn.exchange.consumer(world);
                key::push(&mut turn.ledger.parts, consumer.map(|c| c.id.as_bytes()))
            } else {
                match write(part, limit, rule, turn) {
                    Ok(present) => present,
                    Err(Duplicate) => return ambiguous(limit, world),
                }
            };
        }
        if !complete {
            world.count(limit.counters.no_key, 1);
            if limit.skip_without_key {
                return Ok(None);
            }
        }
        let Some(buckets) = self.sets.get(set) else {
            return Ok(None);
        };
        let (tokens, read) = rule.cost.of(turn.exchange, &buckets.buckets);
        if read.is_err() {
            world.count(limit.counters.cost_unreadable, 1);
        }
        Ok(Some(Choice {
            limit,
            index,
            set,
            buckets,
            tokens,
        }))
    }

    /// The choice that was made for a limit that was applied.
    pub(crate) fn choice_of(&self, applied: &Applied) -> Option<Choice<'_>> {
        Some(Choice {
            limit: self.limits.get(applied.limit)?,
            index: applied.limit,
            set: applied.set,
            buckets: self.sets.get(applied.set)?,
            tokens: applied.tokens,
        })
    }

    /// This proxy's own buckets, then the fleet's.
    fn take(&self, choice: &Choice<'_>, turn: &mut Turn<'_>) -> Next {
        if let Some(mode) = choice.limit.global {
            return self.take_and_ask(choice, mode, turn);
        }
        let (parts, world) = (&turn.ledger.parts, turn.world);
        let hash = || self.place(choice.buckets, parts, world);
        let place = if choice.limit.has_few_keys {
            self.places.get(choice.set, parts, hash)
        } else {
            hash()
        };
        self.take_at(choice, place, turn)
    }

    #[inline(never)]
    fn take_and_ask(&self, choice: &Choice<'_>, mode: FailureMode, turn: &mut Turn<'_>) -> Next {
        let parts = turn.ledger.parts.clone();
        if choice.buckets.ticket.is_some() {
            return self.take_ticket(choice, &parts, turn);
        }
        let place = self.place(choice.buckets, &parts, turn.world);
        let next = self.take_at(choice, place, turn);
        let last = turn.ledger.applied.last();
        let taken = last.is_some_and(|a| a.limit == choice.index && a.taken);
        match next {
            Next::Limit if taken => self.ask(choice, mode, &parts, turn),
            _ => next,
        }
    }

    /// Takes tokens out of this proxy's buckets and notes it.
    pub(crate) fn take_at(&self, choice: &Choice<'_>, place: Place, turn: &mut Turn<'_>) -> Next {
        let (set, tokens) = (choice.buckets, choice.tokens);
        let now = turn.world.now().0;
        turn.ledger.applied.push(Applied {
            limit: choice.index,
            set: choice.set,
            held: Held::Table(place),
            tokens,
            taken_at: now,
            taken: tokens > 0,
            shown: !choice.limit.shadow,
            readings: Readings::default(),
            of_fleet: false,
        });
        if set.leased
            && tokens == set.cost
            && let Some(Applied { readings, .. }) = turn.ledger.applied.last_mut()
            && (self.leases).hit(place, &set.buckets, &set.spans, now, readings)
        {
            self.events.lease_hit(turn.world);
            return allowed(choice, turn.world);
        }
        self.take_from_table(choice, place, now, turn)
    }

    /// The same where the worker's lease is not enough, or there is none.
    #[inline(never)]
    fn take_from_table(
        &self,
        choice: &Choice<'_>,
        place: Place,
        now: u64,
        turn: &mut Turn<'_>,
    ) -> Next {
        let Choice { limit, tokens, .. } = *choice;
        let (set, world) = (choice.buckets, turn.world);
        let spans = set.charge(tokens);
        let spans = spans.as_slice();
        let taken = if set.leased {
            let charge = Charge { tokens, spans };
            self.leases
                .take(&self.table, world, place, &set.buckets, charge, now)
        } else {
            self.table.take(world, place, &set.buckets, spans, now)
        };
        let Ok(mut answer) = taken else {
            turn.ledger.applied.pop();
            world.count(limit.counters.contended, 1);
            return if self.admit_contended || limit.shadow {
                Next::Limit
            } else {
                Next::Refuse(Box::new(answer::contended()))
            };
        };
        self.note(&answer, world);
        if let Some(reading) = answer.readings.get_mut(answer.refused_by) {
            // Of a request that costs several tokens: not the next one is waited for, but all of them.
            reading.next = reading.next.max(answer.wait);
        }
        if let Some(applied) = turn.ledger.applied.last_mut() {
            applied.taken &= answer.allowed;
            applied.readings = answer.readings;
        }
        if answer.allowed {
            return allowed(choice, world);
        }
        let violated = violated(set, tokens, &answer.readings);
        self.refuse(choice, violated, answer.wait, turn)
    }

    /// Where the buckets of a key are.
    pub(crate) fn place(&self, set: &BucketSet, parts: &[u8], world: &dyn World) -> Place {
        set.place(&self.table, || self.seed(world), parts)
    }

    pub(crate) fn seed(&self, world: &dyn World) -> Seed {
        self.seed.get().unwrap_or_else(|| {
            let seed = Seed::load(world);
            self.seed.set(Some(seed));
            seed
        })
    }

    fn note(&self, answer: &Answer, world: &dyn World) {
        self.events.count(world, answer.events);
        if answer.events.discarded && self.table.warn_once() {
            world.log(
                Level::Warn,
                format_args!(
                    "rate_limit: the bucket table in shared data is of another version or size and starts anew"
                ),
            );
        }
    }
}

/// The next limit of the stage.
pub(crate) fn next_index(turn: &mut Turn<'_>) -> Option<usize> {
    let index = turn.ledger.next;
    (index < turn.end).then(|| {
        turn.ledger.next = index.saturating_add(1);
        index
    })
}

/// A part of the key that is not the consumer.
#[inline(never)]
fn write(part: &Part, limit: &Limit, rule: &Rule, turn: &mut Turn<'_>) -> Result<bool, Duplicate> {
    let Ledger { parts, address, .. } = turn.ledger;
    let mut request = Request {
        exchange: turn.exchange,
        world: turn.world,
        matcher: &rule.matcher,
        rule: limit.address,
        address,
    };
    part.write(parts, &mut request)
}

/// What the limit counts by is there more than once.
#[cold]
fn ambiguous<'a>(limit: &Limit, world: &dyn World) -> Result<Option<Choice<'a>>, Box<LocalReply>> {
    world.count(limit.counters.ambiguous_key, 1);
    if limit.shadow {
        Ok(None)
    } else {
        Err(Box::new(answer::ambiguous_key()))
    }
}

/// The tokens were there.
fn allowed(choice: &Choice<'_>, world: &dyn World) -> Next {
    let limit = choice.limit;
    if limit.global.is_none() || choice.tokens == 0 {
        world.count(limit.counters.allowed, 1);
    }
    Next::Limit
}
