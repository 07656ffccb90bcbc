//! The rate limit service: where it is, what it is asked, what its answers mean.

use super::breaker::Breaker;
use super::clock::Clock;
use super::counters::{Counters, Failure};
use super::lease::POSITIONS;
use super::name::Namer;
use super::proto;
use super::unit::Unit;
use std::cell::{Cell, RefCell};
use tollgate_core::config::{Compile, Section, Value};
use tollgate_core::world::{Call, CallAnswer, CallReply, Level, Outcome};
use tollgate_core::{MetricId, World};

/// The largest answer that is read; a real one has 26 bytes.
const MOST_BYTES: usize = 4_096;

/// What a request gets when the service does not decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureMode {
    /// It is refused.
    Deny,
    /// It passes.
    Allow,
    /// This proxy's share decides.
    Local,
}

impl FailureMode {
    /// Reads the field.
    #[must_use]
    pub fn compile(value: &Value<'_>) -> Option<Self> {
        value.one_of(&[
            ("deny", Self::Deny),
            ("allow", Self::Allow),
            ("local", Self::Local),
        ])
    }
}

/// Who decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The service counts, the proxies decide: see [`super::lease`].
    Ticket,
    /// The service decides, and holds the limits in its own configuration: a question for each request.
    Classic,
}

/// A counter's value, as a valid answer tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// After the ask; `None` if it is beyond [`POSITIONS`].
    pub after: Option<u64>,
    /// Whole seconds left of the window, rounded up.
    pub left: u64,
}

/// See the module. Held by one policy in one worker.
#[derive(Debug)]
pub struct Service {
    /// The cluster of the proxy.
    pub cluster: String,
    /// The domain of the service's configuration.
    pub domain: String,
    /// The fleet's key.
    pub namer: Namer,
    /// Who decides.
    pub mode: Mode,
    /// How long an answer may take.
    pub timeout_ms: u32,
    /// A proxy's share while the service is away is one in this many, until it has learnt its share.
    pub expected_proxies: u64,
    /// Requests of one key that wait at most, in a worker.
    pub max_held: usize,
    /// What the leases may take of the proxy's memory.
    pub max_bytes: u64,
    /// What is counted.
    pub counters: Counters,
    /// The service's clock.
    pub clock: RefCell<Clock>,
    breaker: RefCell<Breaker>,
    section: String,
    warned: Cell<[bool; 2]>,
}

impl Service {
    /// Reads a section `fleet`. `policy` is the label of the metrics.
    pub fn compile(value: Value<'_>, cx: &mut Compile<'_>, policy: &str) -> Option<Self> {
        let section = value.section()?;
        let path = section.path().to_owned();
        let cluster = section.required("cluster").and_then(|v| v.nonempty());
        let domain = match section.optional("domain") {
            Some(v) => v.identifier(),
            None => Some("tollgate".into()),
        };
        let key = key(&section, cx);
        let mode = match section.optional("mode") {
            Some(v) => v.one_of(&[("ticket", Mode::Ticket), ("classic", Mode::Classic)]),
            None => Some(Mode::Ticket),
        };
        let timeout_ms = match section.optional("timeout") {
            Some(v) => v.duration().and_then(|d| {
                let ms = u32::try_from(d.millis_ceil()).ok();
                let ms = ms.filter(|ms| (1..=60_000).contains(ms));
                v.accept(ms, "must be between 1ms and 60s")
            }),
            None => Some(100),
        };
        let number = |name, bounds, default| match section.optional(name) {
            Some(v) => Value::integer(&v, bounds),
            None => Some(default),
        };
        let expected_proxies = number("expected_proxies", 1..=100_000, 1);
        let max_held = number("max_held", 1..=100_000, 1_000);
        let max_bytes = number("max_bytes", 64 * 1024..=1 << 30, 4 << 20);
        section.finish();
        Some(Self {
            cluster: cluster?.to_owned(),
            domain: domain?.to_string(),
            namer: key?,
            mode: mode?,
            timeout_ms: timeout_ms?,
            expected_proxies: expected_proxies?,
            max_held: usize::try_from(max_held?).unwrap_or(usize::MAX),
            max_bytes: max_bytes?,
            counters: Counters::register(cx.metrics, policy),
            clock: RefCell::default(),
            breaker: RefCell::default(),
            section: path,
            warned: Cell::default(),
        })
    }

    /// A question for `hits` of one descriptor; `awaited`: a request waits for it.
    #[must_use]
    pub fn call(&self, key: &str, name: &str, hits: u64, awaited: bool) -> Call {
        let hits = u32::try_from(hits).unwrap_or(u32::MAX);
        Call::Grpc {
            cluster: self.cluster.clone(),
            service: proto::SERVICE.to_owned(),
            method: proto::METHOD.to_owned(),
            message: proto::request(&self.domain, key, name, hits),
            timeout_ms: self.millis(awaited),
        }
    }

    /// An answer that nobody waits for may take longer: what was asked for is charged, and lost if it is not read.
    fn millis(&self, awaited: bool) -> u32 {
        self.timeout_ms.saturating_mul(if awaited { 1 } else { 5 })
    }

    /// How long an answer may take, in nanoseconds.
    #[must_use]
    pub fn patience(&self, awaited: bool) -> u64 {
        u64::from(self.millis(awaited)).saturating_mul(1_000_000)
    }

    /// Whether the service may be asked now; who gets `true` must ask, and show the answer to [`Service::read`].
    pub fn admits(&self, now: u64) -> bool {
        self.breaker.borrow_mut().admits(now)
    }

    /// Whether it failed so often that it is not asked now.
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.breaker.borrow().is_open()
    }

    /// What the answer to a question for a counter says.
    ///
    /// # Errors
    /// A [`Failure`], which is counted, and logged where it comes from a configuration.
    pub fn read(
        &self,
        world: &dyn World,
        unit: Unit,
        reply: &dyn CallReply,
    ) -> Result<Count, Failure> {
        let message = match reply.outcome() {
            Outcome::Grpc(0) if reply.size() <= MOST_BYTES => reply.read(0, reply.size()),
            other => return Err(self.failed(world, failure(other), unit)),
        };
        self.read_message(world, unit, &message)
    }

    /// The same for an answer to a call that an exchange is held for.
    ///
    /// # Errors
    /// As [`Service::read`].
    pub fn read_answer(
        &self,
        world: &dyn World,
        unit: Unit,
        answer: &CallAnswer,
    ) -> Result<Count, Failure> {
        match answer {
            CallAnswer::Grpc { status: 0, message } => self.read_message(world, unit, message),
            CallAnswer::Grpc { status, .. } => {
                let outcome = Outcome::Grpc(*status);
                Err(self.failed(world, failure(outcome), unit))
            }
            CallAnswer::Http { .. } => Err(self.failed(world, Failure::Error, unit)),
        }
    }

    /// The same for a message that was answered with status OK.
    ///
    /// # Errors
    /// As [`Service::read`].
    pub fn read_message(
        &self,
        world: &dyn World,
        unit: Unit,
        message: &[u8],
    ) -> Result<Count, Failure> {
        let count = count(unit, message);
        match count {
            Ok(_) => self.succeeded(world),
            Err(failure) => {
                self.failed(world, failure, unit);
            }
        }
        count
    }

    /// Notes a failed question.
    pub fn failed(&self, world: &dyn World, failure: Failure, unit: Unit) -> Failure {
        self.counters.ask_failed(world, failure);
        let (section, cluster) = (&self.section, &self.cluster);
        let [mut cluster_warned, mut limit_warned] = self.warned.get();
        match failure {
            Failure::UnknownCluster if !std::mem::replace(&mut cluster_warned, true) => world.log(
                Level::Error,
                format_args!("{section}: the proxy has no cluster {cluster}"),
            ),
            Failure::UnknownLimit if !std::mem::replace(&mut limit_warned, true) => world.log(
                Level::Error,
                format_args!(
                    "{section}: the rate limit service has no limit for domain {} and descriptor {}, or another one; \
                     its configuration must have `key: {}, rate_limit: {{unit: {}, requests_per_unit: {POSITIONS}}}`",
                    self.domain,
                    unit.word(),
                    unit.word(),
                    unit.word()
                ),
            ),
            _ => {}
        }
        self.warned.set([cluster_warned, limit_warned]);
        self.note_failure(world, failure);
        failure
    }

    /// Takes back what the gauge says of an outage about which nobody has asked for long.
    pub fn tick(&self, world: &dyn World) {
        if self.breaker.borrow_mut().forget(world.now().0) {
            world.gauge(self.counters.breaker_open, 0);
        }
    }

    /// Tells the breaker of an answer that could be used.
    pub fn succeeded(&self, world: &dyn World) {
        if self.breaker.borrow_mut().succeeded() {
            world.gauge(self.counters.breaker_open, 0);
            world.log(
                Level::Warn,
                format_args!(
                    "{}: the rate limit service {} answers again",
                    self.section, self.cluster
                ),
            );
        }
    }

    /// Tells the breaker of a failure.
    pub fn note_failure(&self, world: &dyn World, failure: Failure) {
        let now = world.now().0;
        let (section, cluster) = (&self.section, &self.cluster);
        if self.breaker.borrow_mut().failed(now, world.random()) {
            world.gauge(self.counters.breaker_open, 1);
            world.log(
                Level::Warn,
                format_args!(
                    "{section}: the rate limit service {cluster} does not answer ({}) and is asked again in {} ms",
                    failure.reason(),
                    super::breaker::FIRST / 1_000_000
                ),
            );
        }
    }

    /// Counts an answer.
    pub fn answered(&self, world: &dyn World, granted: bool) {
        let counters = &self.counters;
        let metric: MetricId = if granted {
            counters.granted
        } else {
            counters.exhausted
        };
        world.count(metric, 1);
    }
}

/// The failure of a call that did not end well.
#[must_use]
pub fn failure(outcome: Outcome) -> Failure {
    match outcome {
        Outcome::Refused => Failure::UnknownCluster,
        // A timeout inside the proxy is UNAVAILABLE, too, not DEADLINE_EXCEEDED.
        Outcome::Grpc(4 | 14) => Failure::Unavailable,
        _ => Failure::Error,
    }
}

fn count(unit: Unit, message: &[u8]) -> Result<Count, Failure> {
    let response = proto::response(message).ok_or(Failure::Error)?;
    let ours = response.has_limit
        && response.per_unit == POSITIONS
        && response.unit_seconds == unit.seconds();
    match response.code {
        // What a service says about limits that it does not know: OK, without a limit. Nobody is counting.
        1 | 2 if !ours => Err(Failure::UnknownLimit),
        1 => Ok(Count {
            after: POSITIONS.checked_sub(response.remaining),
            left: response.reset_seconds.unwrap_or(unit.seconds()),
        }),
        2 => Ok(Count {
            after: None,
            left: response.reset_seconds.unwrap_or(unit.seconds()),
        }),
        _ => Err(Failure::Error),
    }
}

fn key(section: &Section<'_>, cx: &Compile<'_>) -> Option<Namer> {
    let source = section.required("key")?.section()?;
    let name = source
        .required("env")
        .and_then(|v| v.nonempty().map(|n| (v.path().to_owned(), n)));
    let report = source.report();
    source.finish();
    let (path, name) = name?;
    let Some(secret) = (cx.env)(name) else {
        report.error(&path, "the environment variable is not set in the VM");
        return None;
    };
    let namer = Namer::new(secret.as_bytes());
    if namer.is_none() {
        report.error(
            &path,
            "the environment variable must hold at least 16 characters",
        );
    }
    namer
}
