//! What calls cost, as events to a receiver: CloudEvents 1.0 in batches over HTTP, at least once.
//!
//! An event is written when a call is settled, and not changed any more: sent again, it has the same id. It waits in a bounded
//! queue of its worker until the receiver has answered 2xx to a batch with it. What does not fit, and what is still
//! waiting when the worker stops, goes to the proxy's log in the same form, so nothing is lost silently.
//! <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md#4-json-batch-format>

mod delivery;
mod event;

pub(crate) use event::Entry;

use crate::meters::Meters;
use delivery::Delivery;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use tollgate_core::config::{EnvLookup, Value};
use tollgate_core::world::{Call, CallId, Level, Outcome};
use tollgate_core::{Duration, Exchange, World};

const QUEUE_EVENTS: u64 = 10_000;
const BATCH_EVENTS: u64 = 100;
const TIMEOUT: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug)]
pub struct Ledger {
    receiver: Option<Receiver>,
    source: String,
    /// Every event is written to the log at once, not only what cannot be delivered.
    log_all: bool,
    queue_events: usize,
    queue: RefCell<VecDeque<String>>,
    delivery: RefCell<Delivery>,
    /// What no other worker and no other life of this one has.
    life: RefCell<String>,
    entered: Cell<u64>,
}

/// Who is told.
#[derive(Debug)]
struct Receiver {
    cluster: String,
    headers: Vec<(String, Vec<u8>)>,
    timeout_ms: u32,
}

/// What becomes of an event; the order of [`Meters::events`].
#[derive(Clone, Copy)]
enum Fate {
    Entered,
    Delivered,
    Logged,
}

impl Ledger {
    /// Reads `ledger`.
    #[must_use]
    pub fn compile(value: Value<'_>, env: EnvLookup<'_>) -> Option<Self> {
        let section = value.section()?;
        let cluster = section.optional("cluster").map(|v| v.nonempty());
        let authority = section.optional("authority").map(|v| v.nonempty());
        let path = section.optional("path").map(|v| {
            v.text()
                .and_then(|t| v.accept(t.starts_with('/').then_some(t), "must start with a slash"))
        });
        let source = section.optional("source").map(|v| v.nonempty());
        let timeout = section.optional("timeout").map(|v| v.duration());
        let authorization = section
            .optional("authorization_env")
            .map(|v| secret(&v, env));
        let log_all = match section.optional("log") {
            Some(v) => v.one_of(&[("undelivered", false), ("all", true)]),
            None => Some(false),
        };
        let queue_events = match section.optional("queue_events") {
            Some(v) => v.integer(1..=1_000_000),
            None => Some(QUEUE_EVENTS),
        };
        let batch_events = match section.optional("batch_events") {
            Some(v) => v.integer(1..=10_000),
            None => Some(BATCH_EVENTS),
        };
        if cluster.is_none() && log_all != Some(true) {
            section.error("needs cluster, or log: all");
        }
        section.finish();
        let text = |field: Option<Option<&str>>, default: &str| {
            Some(field.unwrap_or(Some(default))?.to_owned())
        };
        let receiver = match cluster {
            Some(cluster) => {
                let cluster = cluster?.to_owned();
                let authority = text(authority, &cluster)?;
                let timeout = timeout.unwrap_or(Some(TIMEOUT))?;
                let mut headers = vec![
                    (":method".to_owned(), b"POST".to_vec()),
                    (":path".to_owned(), text(path, "/")?.into_bytes()),
                    (":authority".to_owned(), authority.into_bytes()),
                    (
                        "content-type".to_owned(),
                        b"application/cloudevents-batch+json; charset=UTF-8".to_vec(),
                    ),
                ];
                if let Some(value) = authorization {
                    headers.push(("authorization".to_owned(), value?));
                }
                Some(Receiver {
                    cluster,
                    headers,
                    timeout_ms: u32::try_from(timeout.0.checked_div(1_000_000)?)
                        .ok()?
                        .max(1),
                })
            }
            None => None,
        };
        Some(Self {
            receiver,
            source: text(source, "tollgate")?,
            log_all: log_all?,
            queue_events: usize::try_from(queue_events?).ok()?,
            queue: RefCell::default(),
            delivery: RefCell::new(Delivery::new(usize::try_from(batch_events?).ok()?)),
            life: RefCell::default(),
            entered: Cell::new(0),
        })
    }

    /// A worker begins: its events will have names of their own.
    pub fn start(&self, world: &dyn World) {
        let life = format!("{:016x}{:016x}", world.random(), world.random());
        self.life.replace(life);
    }

    /// A call was settled.
    #[inline(never)]
    pub(crate) fn enter(
        &self,
        entry: &Entry<'_>,
        exchange: &Exchange,
        meters: &Meters,
        world: &dyn World,
    ) {
        let number = self.entered.get().saturating_add(1);
        self.entered.set(number);
        let id = format!("{}-{number}", self.life.borrow());
        let event = event::json(&id, &self.source, entry, exchange, world.now());
        count(Fate::Entered, 1, meters, world);
        if self.log_all {
            log(&event, world);
        }
        if self.receiver.is_none() {
            return;
        }
        let mut queue = self.queue.borrow_mut();
        if queue.len() < self.queue_events {
            queue.push_back(event);
        } else {
            drop(queue);
            self.give_up(&event, meters, world);
        }
    }

    /// Sends what waits, if it is time to.
    pub fn tick(&self, meters: &Meters, world: &dyn World) {
        let lost = self.receiver.as_ref().is_some_and(|r| {
            self.delivery
                .borrow_mut()
                .is_overdue(world.now(), r.timeout_ms)
        });
        if lost {
            count_batch(false, meters, world);
        }
        self.send(world);
    }

    /// A background call was answered, maybe this one's.
    pub fn answered(&self, id: CallId, outcome: Outcome, meters: &Meters, world: &dyn World) {
        let taken = matches!(outcome, Outcome::Http(200..=299));
        let too_large = outcome == Outcome::Http(413);
        let Some(events) =
            self.delivery
                .borrow_mut()
                .answered(id, taken, too_large, world.now(), world.random())
        else {
            return;
        };
        count_batch(taken, meters, world);
        if taken {
            let mut queue = self.queue.borrow_mut();
            let known = events.min(queue.len());
            queue.drain(..known);
            drop(queue);
            let events = u64::try_from(events).unwrap_or(u64::MAX);
            count(Fate::Delivered, events, meters, world);
            self.send(world);
        }
    }

    /// Nothing can be sent any more.
    pub fn stop(&self, meters: &Meters, world: &dyn World) {
        for event in self.queue.take() {
            self.give_up(&event, meters, world);
        }
    }

    fn send(&self, world: &dyn World) {
        let Some(receiver) = &self.receiver else {
            return;
        };
        let queue = self.queue.borrow();
        let mut delivery = self.delivery.borrow_mut();
        let Some(events) = delivery.due(queue.len(), world.now()) else {
            return;
        };
        let mut body = String::from("[");
        for event in queue.iter().take(events) {
            if body.len() > 1 {
                body.push(',');
            }
            body.push_str(event);
        }
        body.push(']');
        let id = world.call_in_background(Call::Http {
            cluster: receiver.cluster.clone(),
            headers: receiver.headers.clone(),
            body: body.into_bytes(),
            timeout_ms: receiver.timeout_ms,
        });
        delivery.sent(id, events, world.now());
    }

    fn give_up(&self, event: &str, meters: &Meters, world: &dyn World) {
        count(Fate::Logged, 1, meters, world);
        if !self.log_all {
            log(event, world);
        }
    }
}

fn secret(value: &Value<'_>, env: EnvLookup<'_>) -> Option<Vec<u8>> {
    let name = value.nonempty()?;
    let found = env(name).filter(|v| !v.is_empty());
    value
        .accept(found, "names an environment variable that is not set")
        .map(String::into_bytes)
}

/// A warning, so that it is there at every level of the proxy's log that is of use.
fn log(event: &str, world: &dyn World) {
    world.log(Level::Warn, format_args!("cost ledger event {event}"));
}

fn count(fate: Fate, by: u64, meters: &Meters, world: &dyn World) {
    let [entered, delivered, logged] = meters.events;
    world.count(
        match fate {
            Fate::Entered => entered,
            Fate::Delivered => delivered,
            Fate::Logged => logged,
        },
        by,
    );
}

fn count_batch(taken: bool, meters: &Meters, world: &dyn World) {
    let [delivered, failed] = meters.batches;
    world.count(if taken { delivered } else { failed }, 1);
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)] // in a test an overflow is a finding
mod tests;
