//! The simulation: events in order of time; proxies with a lease each, one service, a network in between.

use crate::load::{Arrivals, Random};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use tollgate_core::time::SECOND;
use tollgate_state::fleet::clock::Clock;
use tollgate_state::fleet::lease::{Ask, Lease, Seen, Take, Terms};
use tollgate_state::fleet::testing::FakeService;
use tollgate_state::fleet::unit::{Frame, Unit};

pub const WINDOW: u64 = 60 * SECOND;
/// A window begins here.
pub const START: u64 = 1_795_237_200 * SECOND;
const MS: u64 = 1_000_000;

/// What is simulated.
#[derive(Clone, Debug)]
pub struct Setup {
    pub proxies: usize,
    pub limit: u64,
    pub windows: u64,
    /// Round trip; one in a hundred takes five times as long.
    pub rtt: u64,
    /// Every proxy is replaced by a new one within the second window.
    pub restart: bool,
    /// The service forgets everything so many seconds after the second window began.
    pub lose: Option<u64>,
    /// Clocks of the proxies are off by up to this, in either direction.
    pub skew: u64,
    pub seed: u64,
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// By the window that the hits belong to: demand, admitted.
    pub windows: BTreeMap<u64, (u64, u64)>,
    pub requests: u64,
    pub asks: u64,
    pub waited: u64,
    /// Nanoseconds that those who waited had to.
    pub waits: Vec<u64>,
}

impl Outcome {
    /// The worst window: hits that were wanted, were within the limit, and were not given, in percent.
    pub fn under(&self, limit: u64) -> f64 {
        let part = |(demand, admitted): &(u64, u64)| {
            let due = (*demand).min(limit);
            100.0 * due.saturating_sub(*admitted) as f64 / due.max(1) as f64
        };
        self.windows.values().map(part).fold(0.0, f64::max)
    }

    /// The most that a window admitted beyond the limit.
    pub fn over(&self, limit: u64) -> u64 {
        let over = self.windows.values().map(|w| w.1.saturating_sub(limit));
        over.max().unwrap_or(0)
    }

    pub fn asks_per_1000(&self) -> f64 {
        1000.0 * self.asks as f64 / self.requests.max(1) as f64
    }

    pub fn waited_percent(&self) -> f64 {
        100.0 * self.waited as f64 / self.requests.max(1) as f64
    }

    /// The 99th percentile of what is added to a request, in milliseconds.
    pub fn p99(&mut self) -> f64 {
        let beyond = self.requests as usize / 100;
        if self.waits.len() <= beyond {
            return 0.0;
        }
        self.waits.sort_unstable();
        self.waits[self.waits.len() - 1 - beyond] as f64 / MS as f64
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Request(usize),
    /// At the service.
    Asked(usize, usize),
    /// Back at the proxy: the counter, the seconds left.
    Answered(usize, usize, u64, u64),
    Restart(usize),
    Lose,
}

struct Proxy {
    lease: Lease,
    clock: Clock,
    waiting: VecDeque<u64>,
    awaited: bool,
    /// Questions of a proxy that was replaced are nobody's.
    life: usize,
    offset: i64,
}

pub struct Sim {
    setup: Setup,
    proxies: Vec<Proxy>,
    asks: Vec<(Ask, bool, usize)>,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    order: u64,
    service: FakeService,
    random: Random,
    outcome: Outcome,
}

impl Sim {
    pub fn run(setup: Setup, mut arrivals: Arrivals) -> Outcome {
        let mut random = Random(setup.seed);
        let proxies = (0..setup.proxies)
            .map(|_| Proxy {
                lease: Lease::default(),
                clock: Clock::default(),
                waiting: VecDeque::new(),
                awaited: false,
                life: 0,
                offset: (random.below(2 * setup.skew + 1) as i64) - setup.skew as i64,
            })
            .collect();
        let mut sim = Self {
            proxies,
            asks: Vec::new(),
            events: BinaryHeap::new(),
            order: 0,
            service: FakeService::default(),
            random,
            outcome: Outcome::default(),
            setup,
        };
        let end = START + sim.setup.windows * WINDOW;
        for proxy in 0..sim.setup.proxies {
            if let Some(at) = arrivals.next(proxy, START) {
                sim.push(at, Event::Request(proxy));
            }
            if sim.setup.restart {
                let at = START + WINDOW + WINDOW * proxy as u64 / sim.setup.proxies as u64;
                sim.push(at, Event::Restart(proxy));
            }
        }
        if let Some(second) = sim.setup.lose {
            sim.push(START + WINDOW + second * SECOND, Event::Lose);
        }
        while let Some(Reverse((now, _, event))) = sim.events.pop() {
            if let Event::Request(proxy) = event {
                if now >= end {
                    continue;
                }
                if let Some(at) = arrivals.next(proxy, now) {
                    sim.push(at, Event::Request(proxy));
                }
            }
            sim.step(now, event);
        }
        sim.outcome.asks = sim.service.asks;
        sim.outcome
    }

    fn push(&mut self, at: u64, event: Event) {
        self.order += 1;
        self.events.push(Reverse((at, self.order, event)));
    }

    fn terms(&self) -> Terms {
        Terms {
            limit: self.setup.limit,
            cost: 1,
            frame: Frame {
                unit: Unit::Minute,
                named: None,
                calendar: false,
            },
            smooth: None,
            bucket: None,
        }
    }

    fn half_trip(&mut self) -> u64 {
        let slow = self.random.below(100) == 0;
        self.setup.rtt / 2 * if slow { 5 } else { 1 }
    }

    fn window(now: u64) -> u64 {
        (now / WINDOW + 1) * WINDOW
    }

    fn admit(&mut self, end: u64, hits: u64) {
        self.outcome.windows.entry(end).or_default().1 += hits;
    }

    fn step(&mut self, now: u64, event: Event) {
        let terms = self.terms();
        match event {
            Event::Request(at) => {
                self.outcome.requests += 1;
                self.outcome.windows.entry(Self::window(now)).or_default().0 += 1;
                let proxy = &mut self.proxies[at];
                let ours = now.saturating_add_signed(proxy.offset);
                match proxy.lease.take(&terms, ours, &proxy.clock) {
                    Take::Admitted { end, prefetch } => {
                        self.admit(end, 1);
                        if prefetch {
                            self.ask(at, now, false);
                        }
                    }
                    Take::Bucket { .. } | Take::Refused { .. } => {}
                    Take::Unknown => {
                        self.outcome.waited += 1;
                        proxy.waiting.push_back(now);
                        if !proxy.awaited {
                            self.ask(at, now, true);
                        }
                    }
                }
            }
            Event::Asked(at, number) => {
                let (after, left) = {
                    let hits = self.asks[number].0.hits;
                    self.service.count(Unit::Minute, "key", hits, now)
                };
                let back = now + self.half_trip();
                self.push(back, Event::Answered(at, number, after, left));
            }
            Event::Answered(at, number, after, left) => self.answered(at, number, after, left, now),
            Event::Restart(at) => {
                let waits: Vec<u64> = self.proxies[at].waiting.drain(..).collect();
                self.outcome.waits.extend(waits.iter().map(|w| now - w));
                let proxy = &mut self.proxies[at];
                proxy.lease = Lease::default();
                proxy.clock = Clock::default();
                proxy.awaited = false;
                proxy.life += 1;
            }
            Event::Lose => self.service.lose(),
        }
    }

    fn ask(&mut self, at: usize, now: u64, awaited: bool) {
        let terms = self.terms();
        let proxy = &mut self.proxies[at];
        let held = if awaited {
            proxy.waiting.len() as u64
        } else {
            0
        };
        proxy.awaited |= awaited;
        let ours = now.saturating_add_signed(proxy.offset);
        let ask = proxy
            .lease
            .ask(&terms, held, ours, &proxy.clock, SECOND / 10);
        self.asks.push((ask, awaited, proxy.life));
        let there = now + self.half_trip();
        self.push(there, Event::Asked(at, self.asks.len() - 1));
    }

    fn answered(&mut self, at: usize, number: usize, after: u64, left: u64, now: u64) {
        let (ask, awaited, life) = self.asks[number];
        let terms = self.terms();
        let proxy = &mut self.proxies[at];
        if life != proxy.life {
            return;
        }
        proxy.awaited &= !awaited;
        let ours = now.saturating_add_signed(proxy.offset);
        let end = proxy.clock.learn(Unit::Minute, ask.sent, ours, left);
        let costs = vec![1; proxy.waiting.len()];
        let seen = Seen {
            after: Some(after),
            end,
            at: end.saturating_sub(left.saturating_mul(tollgate_core::time::SECOND)),
        };
        let granted = proxy
            .lease
            .answer(&terms, &ask, seen, ours, &proxy.clock, &costs);
        let settled = if granted.refused.is_some() {
            costs.len()
        } else {
            granted.served
        };
        let again = settled < costs.len() && !proxy.awaited;
        let waits: Vec<u64> = proxy.waiting.drain(..settled).map(|w| now - w).collect();
        self.outcome.waits.extend(waits);
        self.admit(granted.end, granted.served as u64);
        if again {
            self.ask(at, now, true);
        }
    }
}
