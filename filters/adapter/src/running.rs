//! An accepted configuration at work, and what it does outside of exchanges: ticks, background calls, waking those
//! who wait.

use crate::abi;
use crate::background::{Kind, Refused, Reply};
use crate::proxy::Proxy;
use crate::stream::{At, Stream};
use crate::watch::Watch;
use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use tollgate_core::Policy;
use tollgate_gateway::Gateway;

/// Often enough for the promises "within a second"; rare enough to cost nothing.
const TICK_MS: u32 = 250;
/// While a request waits to be woken (its deadline may be near), and while a policy has work left.
const WAITING_TICK_MS: u32 = 10;
/// A background call was queued by an exchange: the root shall send it, as soon as there can be a tick.
const SEND_TICK_MS: u32 = 1;
/// So many streams of exchanges that are over are kept for new ones.
const MOST_SPARES: usize = 64;

/// Streams keep the configuration they began with.
pub(crate) struct Running {
    pub(crate) gateway: Gateway,
    pub(crate) proxy: Proxy,
    pub(crate) watch: Watch,
    sleepers: RefCell<Vec<Weak<RefCell<Stream>>>>,
    /// Milliseconds of ticks that the chain was not told of: sending needs more of them than it wants. Not read
    /// off the clock, which may stand still or be set back.
    untold: Cell<u32>,
    spares: RefCell<Vec<Rc<RefCell<Stream>>>>,
    period: Rc<Cell<u32>>,
}

impl Running {
    /// `period` is the root's tick period in force: there is one timer for all configurations of a root.
    pub(crate) fn new(gateway: Gateway, proxy: Proxy, watch: Watch, period: Rc<Cell<u32>>) -> Self {
        Self {
            gateway,
            proxy,
            watch,
            sleepers: RefCell::default(),
            untold: Cell::new(0),
            spares: RefCell::default(),
            period,
        }
    }

    /// A stream for a new exchange: one that is over, as good as new, if there is any.
    pub(crate) fn lend(&self, context_id: u32) -> Rc<RefCell<Stream>> {
        let spare = self.spares.borrow_mut().pop();
        let stream = spare.unwrap_or_else(new_stream);
        stream.borrow_mut().begin(context_id);
        stream
    }

    /// Keeps the stream of an exchange that is over, unless somebody may still look at it.
    pub(crate) fn keep(&self, stream: &Rc<RefCell<Stream>>) {
        let mut spares = self.spares.borrow_mut();
        if spares.len() < MOST_SPARES
            && Rc::strong_count(stream) == 1
            && Rc::weak_count(stream) == 0
            && let Ok(mut over) = stream.try_borrow_mut()
        {
            over.clear();
            spares.push(Rc::clone(stream));
        }
    }

    /// The request is held until a wake-up lets it go.
    pub(crate) fn sleep(&self, stream: &Rc<RefCell<Stream>>) {
        self.sleepers.borrow_mut().push(Rc::downgrade(stream));
        self.tick_within(WAITING_TICK_MS);
    }

    /// To be called at the end of an exchange's callback.
    pub(crate) fn hurry(&self) {
        if self.proxy.background.has_queued() {
            self.tick_within(SEND_TICK_MS);
        }
    }

    fn tick_within(&self, millis: u32) {
        if self.period.get() > millis {
            self.period.set(millis);
            abi::set_tick_period(millis);
        }
    }

    /// How often it wants ticks from now on.
    pub(crate) fn wanted_period(&self) -> u32 {
        if self.sleepers.borrow().is_empty() && !self.gateway.chain.is_busy() {
            TICK_MS
        } else {
            WAITING_TICK_MS
        }
    }

    /// A tick of the root context `root_id`, which is the active and the effective one.
    pub(crate) fn tick(&self, root_id: u32) {
        self.proxy.begin();
        self.proxy.outside.set(true);
        let untold = self.untold.get().saturating_add(self.period.get());
        self.untold.set(untold);
        if untold >= self.wanted_period() {
            self.untold.set(0);
            self.gateway.chain.on_tick(&self.proxy);
            self.watch.tick(self, root_id);
            self.proxy.flush();
        }
        self.settle(root_id);
    }

    /// An answer came to the root context `root_id`. Whether it belongs to this configuration is returned.
    pub(crate) fn answered(&self, kind: Kind, token: u32, reply: &Reply, root_id: u32) -> bool {
        let Some(id) = self.proxy.background.answered(kind, token) else {
            return false;
        };
        self.proxy.begin();
        self.proxy.outside.set(true);
        self.gateway
            .chain
            .on_background_reply(&self.proxy, id, reply);
        self.settle(root_id);
        true
    }

    /// Sends what is queued and wakes who waits, until nothing new comes of it.
    fn settle(&self, root_id: u32) {
        self.send();
        self.wake(root_id);
        self.send();
        if self.gateway.chain.is_busy() {
            self.tick_within(WAITING_TICK_MS);
        }
        self.proxy.outside.set(false);
    }

    fn send(&self) {
        // A policy may try again at once when a call is refused; not for ever.
        for _ in 0..4 {
            let refused = self.proxy.background.send();
            if refused.is_empty() {
                return;
            }
            for id in refused {
                self.gateway
                    .chain
                    .on_background_reply(&self.proxy, id, &Refused);
            }
        }
    }

    fn wake(&self, root_id: u32) {
        if self.sleepers.borrow().is_empty() {
            return;
        }
        // Taken out: who goes to sleep again must not find it borrowed. First come, first woken.
        let mut still = self.sleepers.take();
        still.retain(|sleeper| {
            sleeper
                .upgrade()
                .is_some_and(|stream| self.wake_one(&stream))
        });
        still.append(&mut self.sleepers.borrow_mut());
        self.sleepers.replace(still);
        abi::set_effective_context(root_id);
    }

    /// Whether it goes on sleeping.
    fn wake_one(&self, cell: &Rc<RefCell<Stream>>) -> bool {
        let Ok(mut stream) = cell.try_borrow_mut() else {
            return true;
        };
        let running = self;
        abi::set_effective_context(stream.context_id()) && stream.wake(At { running, cell })
    }
}

#[cold]
fn new_stream() -> Rc<RefCell<Stream>> {
    Rc::new(RefCell::new(Stream::new()))
}

/// The last exchange of a replaced configuration is over, or the VM ends.
impl Drop for Running {
    fn drop(&mut self) {
        self.proxy.begin();
        self.proxy.outside.set(true);
        self.gateway.chain.on_stop(&self.proxy);
    }
}
