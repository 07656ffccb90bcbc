//! The watchdog: what is held on a proxy that cannot hold it.
//!
//! Without `allow_on_headers_stop_iteration: true` in the plugin's configuration, Envoy takes "pause" in a headers
//! callback as "call me no more": no body callback ever comes, and a held request stalls for ever. A filter
//! cannot see the setting. But Envoy counts the bytes it receives: a request whose bytes arrive while no
//! body callback does proves that the setting is missing. Such a request is answered with 500 and a
//! message that names the setting (fail closed). A client that is merely slow has sent no byte, and is left alone.
//!
//! Answers held for the exact cost header cannot be judged that way (nothing counts what an upstream
//! sent). They are let go after [`PATIENCE`]; if their body then arrives within the same instant, it had
//! been waiting, so the setting is missing and answers are held no more.

use crate::abi;
use crate::proxy::{Proxy, read_number};
use crate::running::Running;
use crate::stream::Stream;
use hashbrown::HashMap;
use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use tollgate_core::flow::GrpcStatus;
use tollgate_core::problem::Problem;
use tollgate_core::time::{Duration, UnixNanos};
use tollgate_core::world::{Expect, Level, Meter, Store, World};
use tollgate_core::{MetricId, Metrics};

/// How long something is held before the watchdog looks at it.
const PATIENCE: Duration = Duration::from_millis(500);
/// A body that arrives this soon after its answer was let go had been waiting.
const AT_ONCE: Duration = Duration::from_millis(20);
/// The key in shared data that tells the other workers.
const KEY: &str = "hold";

/// Whether this proxy can hold headers until the body is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Setting {
    Unknown,
    Present,
    Missing,
}

/// A held request or answer.
struct Held {
    stream: Weak<RefCell<Stream>>,
    since: UnixNanos,
    /// Of a request: what Envoy had received of it when it was held.
    received: Option<u64>,
}

/// What became of something held.
enum Fate {
    /// It is still held: look again at the next tick.
    Kept,
    /// It was answered or let go.
    Settled,
}

/// See the module.
pub(crate) struct Watch {
    setting: Cell<Setting>,
    requests: RefCell<Vec<Held>>,
    responses: RefCell<Vec<Held>>,
    released: RefCell<HashMap<u32, UnixNanos>>,
    stalled: MetricId,
    released_total: MetricId,
}

impl Watch {
    pub(crate) fn new(metrics: &mut Metrics) -> Self {
        let counter = |metrics: &mut Metrics, outcome| {
            metrics.counter("tollgate_hold_watchdog_total", &[("outcome", outcome)])
        };
        Self {
            setting: Cell::new(Setting::Unknown),
            requests: RefCell::default(),
            responses: RefCell::default(),
            released: RefCell::default(),
            stalled: counter(metrics, "request_refused"),
            released_total: counter(metrics, "response_released"),
        }
    }

    /// A new configuration may have brought the setting, so what was learned is forgotten.
    pub(crate) fn start(&self, proxy: &Proxy) {
        let _ = proxy.store(KEY, b"?", Expect::Anything);
    }

    pub(crate) fn can_hold_response(&self) -> bool {
        self.setting.get() != Setting::Missing
    }

    /// Watches a request that is held for its body.
    pub(crate) fn request(&self, stream: &Rc<RefCell<Stream>>, now: UnixNanos) {
        if self.setting.get() == Setting::Present {
            return;
        }
        self.requests.borrow_mut().push(Held {
            stream: Rc::downgrade(stream),
            since: now,
            received: received(),
        });
    }

    /// Watches a held answer.
    pub(crate) fn response(&self, stream: &Rc<RefCell<Stream>>, now: UnixNanos) {
        if self.setting.get() == Setting::Unknown {
            self.responses.borrow_mut().push(Held {
                stream: Rc::downgrade(stream),
                since: now,
                received: None,
            });
        }
    }

    /// A body callback came while headers were held: the setting is there.
    pub(crate) fn body_seen(&self, proxy: &Proxy) {
        if self.setting.get() != Setting::Present {
            self.learn(Setting::Present, proxy);
            self.requests.borrow_mut().clear();
            self.responses.borrow_mut().clear();
        }
    }

    /// The body of an answer that was let go.
    pub(crate) fn body_after_release(&self, context_id: u32, proxy: &Proxy) {
        if self.setting.get() != Setting::Unknown || self.released.borrow().is_empty() {
            return;
        }
        let released = self.released.borrow_mut().remove(&context_id);
        if released.is_some_and(|at| proxy.now().since(at) <= AT_ONCE) {
            self.learn(Setting::Missing, proxy);
            proxy.log(
                Level::Warn,
                format_args!(
                    "answers cannot be held: set allow_on_headers_stop_iteration: true in the plugin's \
                     configuration for exact cost headers; estimates are sent instead"
                ),
            );
        }
    }

    /// Looks after everything that has been held for long. Called from the root context `root_id`.
    pub(crate) fn tick(&self, running: &Running, root_id: u32) {
        let proxy = &running.proxy;
        if self.setting.get() == Setting::Unknown {
            self.ask_others(proxy);
        }
        let now = proxy.now();
        let requests = each_overdue(
            &self.requests,
            now,
            Stream::waits_for_body,
            |stream, held| self.refuse_if_stalled(stream, held, proxy),
        );
        self.released
            .borrow_mut()
            .retain(|_, at| now.since(*at) < Duration::from_secs(1));
        let responses = each_overdue(&self.responses, now, Stream::holds_response, |stream, _| {
            self.release(stream, now, running)
        });
        if requests || responses {
            abi::set_effective_context(root_id);
        }
    }

    /// Bytes have come, and no body callback: they never will. The stream is the effective context.
    fn refuse_if_stalled(&self, stream: &mut Stream, held: &Held, proxy: &Proxy) -> Fate {
        if received() <= held.received {
            return Fate::Kept;
        }
        self.learn(Setting::Missing, proxy);
        proxy.count(self.stalled, 1);
        proxy.log(Level::Error, format_args!("{MISSING_SETTING}"));
        stream.reply_from_tick(&missing_setting());
        Fate::Settled
    }

    /// Nobody can tell a slow upstream from a missing setting: the answer goes. The stream is the effective context.
    fn release(&self, stream: &mut Stream, now: UnixNanos, running: &Running) -> Fate {
        running.proxy.count(self.released_total, 1);
        self.released.borrow_mut().insert(stream.context_id(), now);
        stream.release_from_tick(running);
        Fate::Settled
    }

    fn learn(&self, setting: Setting, proxy: &Proxy) {
        self.setting.set(setting);
        let word: &[u8] = if setting == Setting::Present {
            b"y"
        } else {
            b"n"
        };
        let _ = proxy.store(KEY, word, Expect::Anything);
    }

    fn ask_others(&self, proxy: &Proxy) {
        let mut word = Vec::new();
        if proxy.load(KEY, &mut word).is_some() {
            match word.as_slice() {
                b"y" => self.setting.set(Setting::Present),
                b"n" => self.setting.set(Setting::Missing),
                _ => {}
            }
        }
    }
}

/// Shows to `settle` everything that is still held and has been for [`PATIENCE`], each as the effective context.
/// Whether the effective context was changed is returned.
fn each_overdue(
    list: &RefCell<Vec<Held>>,
    now: UnixNanos,
    is_held: impl Fn(&Stream) -> bool,
    settle: impl Fn(&mut Stream, &Held) -> Fate,
) -> bool {
    if list.borrow().is_empty() {
        return false;
    }
    let mut touched = false;
    // The list is taken out: what settles a stream must not find it borrowed.
    let mut kept = list.take();
    kept.retain(|held| {
        let Some(stream) = held.stream.upgrade() else {
            return false;
        };
        let Ok(mut stream) = stream.try_borrow_mut() else {
            return true;
        };
        if !is_held(&stream) {
            return false;
        }
        if now.since(held.since) < PATIENCE {
            return true;
        }
        touched = true;
        abi::set_effective_context(stream.context_id())
            && matches!(settle(&mut stream, held), Fate::Kept)
    });
    list.borrow_mut().append(&mut kept);
    touched
}

/// Bytes of the request that Envoy has received, headers included.
fn received() -> Option<u64> {
    read_number("request\0total_size")
}

const MISSING_SETTING: &str = "this filter must hold requests until their body is verified, and this proxy does \
    not let it: set allow_on_headers_stop_iteration: true in the Wasm plugin's configuration";

fn missing_setting() -> tollgate_core::LocalReply {
    Problem::new(
        500,
        "missing-setting",
        "The gateway is not configured correctly",
        GrpcStatus::INTERNAL,
    )
    .detail(MISSING_SETTING)
    .string("setting", "allow_on_headers_stop_iteration")
    .reply("tollgate_missing_allow_on_headers_stop_iteration")
}
