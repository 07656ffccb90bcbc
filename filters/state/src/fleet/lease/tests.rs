use super::*;
use crate::fleet::unit::{Unit, Windows};
use proptest::prelude::*;
use std::collections::BTreeMap;
use tollgate_core::UnixNanos;
use tollgate_core::time::SECOND;

const START: u64 = 1_795_237_200 * SECOND;
const MS: u64 = 1_000_000;

/// The service as it was seen: a counter per name and window of its own clock, INCRBY, answers with whole seconds.
#[derive(Default)]
struct Service {
    counters: BTreeMap<(Option<u64>, u64), u64>,
    /// Its clock minus the tests'.
    offset: i64,
}

impl Service {
    fn ask(&mut self, frame: Frame, hits: u64, time: u64) -> (Option<u64>, u64) {
        let time = time.saturating_add_signed(self.offset);
        let unit = frame.unit.nanos();
        let counter = self
            .counters
            .entry((frame.label(), time / unit))
            .or_default();
        *counter += hits;
        let left = frame.unit.seconds() - (time / SECOND) % frame.unit.seconds();
        ((*counter <= POSITIONS).then_some(*counter), left)
    }

    fn lose(&mut self) {
        self.counters.clear();
    }
}

/// One proxy with one key, whose questions take no time.
struct Proxy {
    lease: Lease,
    clock: Clock,
    /// Admitted hits by the end of the window they belong to.
    admitted: BTreeMap<u64, u64>,
    asks: u64,
    /// This proxy's clock minus the tests'.
    offset: i64,
}

impl Proxy {
    fn new(offset: i64) -> Self {
        Self {
            lease: Lease::default(),
            clock: Clock::default(),
            admitted: BTreeMap::new(),
            asks: 0,
            offset,
        }
    }

    fn terms(limit: u64, cost: u64, frame: Frame) -> Terms {
        Terms {
            limit,
            cost,
            frame,
            smooth: None,
            bucket: None,
        }
    }

    fn ask(&mut self, service: &mut Service, terms: &Terms, time: u64, waiting: &[u64]) -> Granted {
        let now = time.saturating_add_signed(self.offset);
        let held = waiting.iter().sum();
        let ask = self.lease.ask(terms, held, now, &self.clock, SECOND);
        let (after, left) = service.ask(ask.frame, ask.hits, time);
        self.asks += 1;
        self.answer(terms, &ask, after, left, time, waiting)
    }

    fn answer(
        &mut self,
        terms: &Terms,
        ask: &Ask,
        after: Option<u64>,
        left: u64,
        time: u64,
        waiting: &[u64],
    ) -> Granted {
        let now = time.saturating_add_signed(self.offset);
        let end = self.clock.learn(ask.frame.unit, ask.sent, now, left);
        let at = end - left * SECOND;
        let seen = Seen { after, end, at };
        let granted = self
            .lease
            .answer(terms, ask, seen, now, &self.clock, waiting);
        let sum: u64 = waiting.iter().take(granted.served).sum();
        *self.admitted.entry(granted.end).or_default() += sum;
        granted
    }

    /// One request, which waits if it must. Whether it passed.
    fn request(&mut self, service: &mut Service, terms: &Terms, time: u64) -> bool {
        let now = time.saturating_add_signed(self.offset);
        match self.lease.take(terms, now, &self.clock) {
            Take::Admitted { end, prefetch } => {
                *self.admitted.entry(end).or_default() += terms.cost;
                if prefetch {
                    self.ask(service, terms, time, &[]);
                }
                true
            }
            Take::Bucket { .. } | Take::Refused { .. } => false,
            Take::Unknown => {
                for _ in 0..4 {
                    let granted = self.ask(service, terms, time, &[terms.cost]);
                    if granted.served == 1 {
                        return true;
                    }
                    if granted.refused.is_some() {
                        return false;
                    }
                }
                false
            }
        }
    }
}

fn unit(unit: Unit) -> Frame {
    Frame {
        unit,
        named: None,
        calendar: false,
    }
}

fn total(proxies: &[Proxy]) -> BTreeMap<u64, u64> {
    let mut sums = BTreeMap::new();
    for proxy in proxies {
        for (end, hits) in &proxy.admitted {
            *sums.entry(*end).or_default() += hits;
        }
    }
    sums
}

#[test]
fn one_proxy_gets_the_whole_limit_and_not_one_more() {
    for limit in [1, 2, 60, 1_000, 100_000] {
        let (mut service, mut proxy) = (Service::default(), Proxy::new(0));
        let terms = Proxy::terms(limit, 1, unit(Unit::Minute));
        let passed = (0..limit * 2)
            .filter(|i| proxy.request(&mut service, &terms, START + i * 30 * SECOND / limit / 2))
            .count();
        assert_eq!(passed as u64, limit);
        assert!(proxy.asks <= limit.min(300), "{limit}: {}", proxy.asks);
    }
}

#[test]
fn what_is_spent_is_refused_without_a_question_until_the_window_ends() {
    let (mut service, mut proxy) = (Service::default(), Proxy::new(0));
    let terms = Proxy::terms(1, 1, unit(Unit::Minute));
    assert!(proxy.request(&mut service, &terms, START + 20 * SECOND));
    for i in 0..1_000 {
        assert!(!proxy.request(&mut service, &terms, START + 20 * SECOND + i * 39 * MS));
    }
    assert_eq!(proxy.asks, 1);
    let Take::Refused { wait } = proxy.lease.take(&terms, START + 21 * SECOND, &proxy.clock) else {
        panic!("not refused");
    };
    assert!((39 * SECOND..=40 * SECOND).contains(&wait), "{wait}");
    assert!(proxy.request(&mut service, &terms, START + 61 * SECOND));
}

#[test]
fn a_small_limit_of_a_large_fleet_loses_nothing() {
    let mut service = Service::default();
    let mut proxies: Vec<_> = (0..100).map(|_| Proxy::new(0)).collect();
    let terms = Proxy::terms(60, 1, unit(Unit::Minute));
    let mut passed = 0;
    for i in 0..240_usize {
        let at = START + i as u64 * 50 * MS;
        passed += u64::from(proxies[i * 37 % 100].request(&mut service, &terms, at));
    }
    assert_eq!(passed, 60);
}

#[test]
fn a_large_limit_takes_few_questions() {
    let (mut service, mut proxy) = (Service::default(), Proxy::new(0));
    let terms = Proxy::terms(1_000_000, 1, unit(Unit::Minute));
    for i in 0..200_000 {
        assert!(proxy.request(&mut service, &terms, START + i * 100_000));
    }
    assert!(proxy.asks < 300, "{}", proxy.asks);
}

#[test]
fn a_lost_counter_costs_less_than_a_lease() {
    let (mut service, mut proxy) = (Service::default(), Proxy::new(0));
    let terms = Proxy::terms(10_000, 1, unit(Unit::Minute));
    let mut passed = 0_u64;
    for i in 0..40_000 {
        if i == 6_000 {
            service.lose();
        }
        passed += u64::from(proxy.request(&mut service, &terms, START + i * MS));
    }
    // Positions from before the loss are not spent again.
    assert_eq!(passed, 10_000);
}

#[test]
fn the_top_survives_the_border_of_the_services_year_in_december() {
    let at = |t: &str| UnixNanos::parse(t).unwrap().0;
    let (mut service, mut proxy) = (Service::default(), Proxy::new(0));
    let december = Frame::calendar(at("2026-12-01"), at("2027-01-01"));
    assert_eq!(december.unit, Unit::Year);
    let terms = Proxy::terms(1_000, 1, december);
    let before = at("2026-12-17T23:59:00Z");
    for i in 0..700 {
        assert!(proxy.request(&mut service, &terms, before + i * 50 * MS));
    }
    let after = at("2026-12-18T00:01:00Z");
    let passed = (0..1_000)
        .filter(|i| proxy.request(&mut service, &terms, after + i * 50 * MS))
        .count();
    // The counter began again at 0 and was lifted over what December had spent.
    assert_eq!(passed, 300);
    let counters: Vec<_> = service.counters.values().copied().collect();
    assert!(counters.iter().all(|n| *n >= 700), "{counters:?}");
    let january = Frame::calendar(at("2027-01-01"), at("2027-02-01"));
    let terms = Proxy::terms(1_000, 1, january);
    assert!(proxy.request(&mut service, &terms, at("2027-01-01T00:00:01Z")));
}

#[test]
fn a_raised_limit_counts_on_and_a_lowered_one_ends_what_was_held() {
    let (mut service, mut proxy) = (Service::default(), Proxy::new(0));
    let frame = unit(Unit::Hour);
    for i in 0..5 {
        assert_eq!(
            proxy.request(&mut service, &Proxy::terms(4, 1, frame), START + i),
            i < 4
        );
    }
    assert!(proxy.request(&mut service, &Proxy::terms(5_000, 1, frame), START + 10));
    for i in 0..200 {
        assert!(proxy.request(
            &mut service,
            &Proxy::terms(5_000, 1, frame),
            START + i * 10 * MS
        ));
    }
    assert!(proxy.lease.tokens() > 0);
    assert!(!proxy.request(
        &mut service,
        &Proxy::terms(100, 1, frame),
        START + 3 * SECOND
    ));
}

#[test]
fn overtaking_answers_of_two_workers_are_no_loss() {
    let (mut service, mut proxy) = (Service::default(), Proxy::new(0));
    let terms = Proxy::terms(1_000, 1, unit(Unit::Minute));
    let first = proxy.lease.ask(&terms, 1, START, &proxy.clock, SECOND);
    let (after_first, left) = service.ask(terms.frame, first.hits, START);
    let second = proxy.lease.ask(&terms, 5, START, &proxy.clock, SECOND);
    let (after_second, _) = service.ask(terms.frame, second.hits, START);
    let granted = proxy.answer(&terms, &second, after_second, left, START + MS, &[1; 5]);
    assert_eq!(granted.served, 5);
    let granted = proxy.answer(&terms, &first, after_first, left, START + 2 * MS, &[1]);
    assert_eq!(granted.served, 1);
    assert!(!proxy.lease.take_events().regressed);
}

#[test]
fn an_answer_for_the_last_window_serves_who_waited_and_nobody_else() {
    let (mut service, mut proxy) = (Service::default(), Proxy::new(0));
    let terms = Proxy::terms(1_000, 1, unit(Unit::Minute));
    proxy.lease.batch = 50;
    for _ in 0..100 {
        proxy.lease.rates.add(START + 59 * SECOND, 1);
    }
    let before = START + 59 * SECOND + 999 * MS;
    let ask = proxy.lease.ask(&terms, 2, before, &proxy.clock, SECOND);
    let (after, left) = service.ask(terms.frame, ask.hits, before);
    let granted = proxy.answer(
        &terms,
        &ask,
        after,
        left,
        START + 60 * SECOND + 4 * MS,
        &[1, 1],
    );
    assert_eq!((granted.served, granted.refused), (2, None));
    assert_eq!(proxy.lease.tokens(), 0);
}

#[test]
fn over_all_positions_nothing_is_granted() {
    let (mut service, mut proxy) = (Service::default(), Proxy::new(0));
    let frame = unit(Unit::Minute);
    service.ask(frame, POSITIONS, START);
    assert!(!proxy.request(&mut service, &Proxy::terms(MAX_LIMIT, 1, frame), START));
    assert!(proxy.lease.exhausted > START);
}

#[test]
fn smoothed_hits_come_evenly_and_reach_the_limit() {
    let (mut service, mut proxy) = (Service::default(), Proxy::new(0));
    let terms = Terms {
        smooth: Some(10),
        ..Proxy::terms(600, 1, unit(Unit::Minute))
    };
    let mut passed = Vec::new();
    for i in 0..6_000 {
        let at = START + i * 10 * MS;
        if proxy.request(&mut service, &terms, at) {
            passed.push(at);
        }
    }
    let before = |secs: u64| {
        passed
            .iter()
            .filter(|at| **at < START + secs * SECOND)
            .count()
    };
    // At the start nothing is known of the service's clock but to a second.
    assert!(before(1) <= 30, "{}", before(1));
    for secs in [10, 20, 30, 40, 50] {
        assert!(
            before(secs).abs_diff(secs as usize * 10 + 10) <= 11,
            "{secs}: {}",
            before(secs)
        );
    }
    assert!((595..=600).contains(&passed.len()), "{}", passed.len());
}

#[test]
fn the_own_bucket_is_checked_first_and_charged_together() {
    let (mut service, mut proxy) = (Service::default(), Proxy::new(0));
    let bucket = Bucket::new(3, 3, 60 * SECOND).unwrap();
    let terms = Terms {
        bucket: Some((bucket, bucket.span(1))),
        ..Proxy::terms(1_000, 1, unit(Unit::Minute))
    };
    for _ in 0..3 {
        assert!(proxy.request(&mut service, &terms, START));
    }
    let asks = proxy.asks;
    let refused = proxy.lease.take(&terms, START, &proxy.clock);
    assert_eq!(refused, Take::Bucket { wait: 20 * SECOND });
    assert_eq!(proxy.asks, asks);
    proxy.lease.give_back(&terms, proxy.lease.end, 0, START);
    assert!(proxy.request(&mut service, &terms, START));
}

#[test]
fn alone_a_proxy_grants_its_share_of_what_was_left() {
    let (mut service, mut proxy) = (Service::default(), Proxy::new(0));
    let terms = Proxy::terms(1_000, 1, unit(Unit::Minute));
    // Never answered: one in ten.
    let mut fresh = Lease::default();
    let passed = (0..500).filter(|_| fresh.take_alone(&terms, 10, START, &proxy.clock).is_ok());
    assert_eq!(passed.count(), 100);
    // Half of the limit is spent, half of that by others.
    for i in 0..250 {
        service.ask(terms.frame, 1, START);
        assert!(proxy.request(&mut service, &terms, START + i * 20 * MS));
    }
    let now = START + 5 * SECOND;
    let held = proxy.lease.tokens();
    let passed = (0..500).filter(|_| proxy.lease.take_alone(&terms, 1, now, &proxy.clock).is_ok());
    let passed = passed.count() as u64;
    assert!((100..=260).contains(&passed), "{passed} besides {held}");
    let wait = proxy
        .lease
        .take_alone(&terms, 1, now, &proxy.clock)
        .unwrap_err();
    // Until the window is over: the share does not fill up.
    assert!((55..=56).contains(&wait.div_ceil(SECOND)), "{wait}");
    let now = START + 50 * SECOND;
    assert!(
        proxy
            .lease
            .take_alone(&terms, 1, now, &proxy.clock)
            .is_err()
    );
    // The next one has a share of its own.
    let now = START + 61 * SECOND;
    let passed =
        (0..1_000).filter(|_| proxy.lease.take_alone(&terms, 1, now, &proxy.clock).is_ok());
    let passed = passed.count() as u64;
    assert!((300..=700).contains(&passed), "{passed}");
}

#[test]
fn alone_not_even_one_request_passes_when_nothing_was_left() {
    let (service, mut proxy) = (Service::default(), Proxy::new(0));
    let terms = Proxy::terms(100, 1, unit(Unit::Minute));
    let mut service = service;
    service.ask(terms.frame, 99, START);
    assert!(proxy.request(&mut service, &terms, START));
    assert!(
        proxy
            .lease
            .take_alone(&terms, 1, START + MS, &proxy.clock)
            .is_err()
    );
    // With one left there is no share for ten proxies, but a request passes.
    let small = Proxy::terms(3, 1, unit(Unit::Minute));
    let mut fresh = Lease::default();
    let passed = (0..5).filter(|_| fresh.take_alone(&small, 10, START, &proxy.clock).is_ok());
    assert_eq!(passed.count(), 1);
}

#[test]
fn three_proxies_alone_spend_the_limit_once_however_long_the_service_is_away() {
    for frame_of in [10, 60].map(|secs| Windows::of(secs * SECOND).unwrap()) {
        let mut service = Service::default();
        let mut proxies: Vec<_> = (0..3).map(|_| Proxy::new(0)).collect();
        let limit = 300 * frame_of.length / SECOND;
        let mut windows = BTreeMap::<u64, u64>::new();
        let step = SECOND / 600;
        for i in 0..frame_of.length * 3 / step {
            let at = START + i * step;
            let proxy = &mut proxies[(i % 3) as usize];
            let frame = Frame::of(frame_of, proxy.clock.surely(at));
            let terms = Proxy::terms(limit, 1, frame);
            let away = i * step > frame_of.length / 4;
            let passed = if away {
                match proxy.lease.take(&terms, at, &proxy.clock) {
                    Take::Admitted { .. } => true,
                    Take::Unknown => proxy.lease.take_alone(&terms, 3, at, &proxy.clock).is_ok(),
                    _ => false,
                }
            } else {
                proxy.request(&mut service, &terms, at)
            };
            *windows.entry(at / frame_of.length).or_default() += u64::from(passed);
        }
        for (window, passed) in windows {
            let range = limit * 85 / 100..=limit * 105 / 100;
            assert!(range.contains(&passed), "{passed} of {limit} in {window}");
        }
    }
}

#[test]
fn what_the_service_counts_after_a_window_is_not_spent_in_the_next() {
    let (mut service, mut proxy) = (Service::default(), Proxy::new(0));
    let windows = Windows::of(10 * SECOND).unwrap();
    let old = Proxy::terms(1_000, 1, Frame::of(windows, START));
    let border = START + 10 * SECOND;
    assert!(proxy.request(&mut service, &old, border - SECOND));
    proxy.lease.take_events();
    // The proxy does not know the border better than to a second; the service does.
    let granted = proxy.ask(&mut service, &old, border + MS, &[1, 1]);
    assert_eq!((granted.served, granted.refused), (0, None));
    assert_eq!(proxy.lease.take_events().late, 2);
    let new = Frame::of(windows, proxy.clock.surely(border + MS));
    assert_eq!(new.named, Some((border, border + 10 * SECOND)));
    let new = Proxy::terms(1_000, 1, new);
    assert_eq!(
        proxy.ask(&mut service, &new, border + MS, &[1, 1]).served,
        2
    );
}

#[test]
fn a_lost_counter_does_not_make_a_proxys_share_grow() {
    let (mut service, mut proxy) = (Service::default(), Proxy::new(0));
    let terms = Proxy::terms(100_000, 1, unit(Unit::Minute));
    let drive = |service: &mut Service, proxy: &mut Proxy, from: u64| {
        for i in from..from + 2_000 {
            service.ask(terms.frame, 3, START + i * MS);
            proxy.request(service, &terms, START + i * MS);
        }
    };
    drive(&mut service, &mut proxy, 0);
    let share = proxy.lease.share();
    assert!((14_000..18_500).contains(&share), "{share}");
    service.lose();
    let mut most = 0;
    for i in 0..10 {
        drive(&mut service, &mut proxy, 2_000 + i * 100);
        most = most.max(proxy.lease.share());
    }
    assert!(most < 20_000, "{most}");
}

#[test]
fn leases_are_whole_requests() {
    let (mut service, mut proxy) = (Service::default(), Proxy::new(0));
    let terms = Proxy::terms(70_000, 7, unit(Unit::Minute));
    for i in 0..3_000 {
        assert!(proxy.request(&mut service, &terms, START + i * 3 * MS));
        assert_eq!(proxy.lease.tokens() % 7, 0);
    }
    assert!(proxy.asks < 200, "{}", proxy.asks);
}

#[test]
fn bytes_read_back() {
    let (mut service, mut proxy) = (Service::default(), Proxy::new(0));
    let terms = Proxy::terms(100_000, 1, unit(Unit::Minute));
    for i in 0..5_000 {
        proxy.request(&mut service, &terms, START + i * MS);
    }
    proxy.lease.take_events();
    let mut bytes = Vec::new();
    proxy.lease.encode(&mut bytes);
    assert_eq!(bytes.len(), BYTES);
    assert_eq!(Lease::decode(&bytes), Some(proxy.lease));
    assert_eq!(Lease::decode(&bytes[1..]), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever proxies, clocks, costs, windows and demand: never more than the limit in a window.
    #[test]
    fn never_more_than_the_limit(
        limit in 1_u64..3_000,
        secs in prop::sample::select(vec![1_u64, 10, 60, 300]),
        offsets in prop::collection::vec(-5_000_000_000_i64..5_000_000_000, 1..6),
        service_offset in -5_000_000_000_i64..5_000_000_000,
        requests in prop::collection::vec((0_usize..6, 0_u64..200_000_000, 1_u64..5), 100..1_500),
    ) {
        let windows = Windows::of(secs * SECOND).unwrap();
        let mut service = Service { offset: service_offset, ..Service::default() };
        let mut proxies: Vec<_> = offsets.into_iter().map(Proxy::new).collect();
        let mut time = START;
        let count = proxies.len();
        for (i, pause, cost) in requests {
            time += pause / 4;
            let proxy = &mut proxies[i % count];
            let ours = time.saturating_add_signed(proxy.offset);
            let frame = Frame::of(windows, proxy.clock.service(ours));
            proxy.request(&mut service, &Proxy::terms(limit, cost.min(limit), frame), time);
        }
        for (end, hits) in total(&proxies) {
            prop_assert!(hits <= limit, "{hits} of {limit} in the window that ends at {end}");
        }
    }

    /// Counters may be lost at any time: what one proxy alone spends stays within the limit.
    #[test]
    fn one_proxy_alone_never_pays_for_a_lost_counter(
        limit in 1_u64..2_000,
        requests in prop::collection::vec((0_u64..30_000_000, 1_u64..4, any::<u8>()), 50..1_000),
    ) {
        let (mut service, mut proxy) = (Service::default(), Proxy::new(0));
        let mut time = START;
        for (pause, cost, lost) in requests {
            time += pause;
            if lost < 4 {
                service.lose();
            }
            proxy.request(&mut service, &Proxy::terms(limit, cost.min(limit), unit(Unit::Minute)), time);
        }
        for (_, hits) in total(std::slice::from_ref(&proxy)) {
            prop_assert!(hits <= limit, "{hits} of {limit}");
        }
    }

    #[test]
    fn any_bytes_are_a_lease_or_none(bytes in prop::collection::vec(any::<u8>(), 0..200), limit in 1_u64..MAX_LIMIT, now: u64, after: u32) {
        if let Some(mut lease) = Lease::decode(&bytes) {
            let terms = Proxy::terms(limit, 1, unit(Unit::Minute));
            let clock = Clock::default();
            lease.take(&terms, now, &clock);
            let ask = lease.ask(&terms, 3, now, &clock, SECOND);
            prop_assert!((1..=POSITIONS).contains(&ask.hits));
            let seen = Seen { after: Some(u64::from(after)), end: 60 * SECOND, at: 0 };
            lease.answer(&terms, &ask, seen, now, &clock, &[1, 2]);
            let _ = lease.take_alone(&terms, 3, now, &clock);
        }
    }
}

mod money {
    use super::*;
    use crate::fleet::lease::purse::{Price, Spend, hit_value};

    const PICO: u64 = 1_000_000_000_000;

    #[test]
    fn a_hit_is_the_smallest_power_of_ten_that_fits() {
        // Budget in whole currency units, value of a hit in picounits: the table of docs/fleet.md.
        for (most, value) in [
            (2, 1_000),
            (20, 10_000),
            (200, 100_000),
            (2_000, 1_000_000),
            (20_000, 10_000_000),
            (200_000, 100_000_000),
            (2_000_000, 1_000_000_000),
        ] {
            assert_eq!(hit_value(most * PICO), value, "{most}");
            assert_eq!(hit_value(most * PICO + value), value * 10, "{most}");
        }
        assert_eq!(hit_value(1), 1_000);
        assert!(u64::MAX / hit_value(u64::MAX) <= MAX_LIMIT);
    }

    struct Shop {
        proxy: Proxy,
        spent: u64,
        budget: u64,
    }

    impl Shop {
        fn new(budget: u64) -> Self {
            Self {
                proxy: Proxy::new(0),
                spent: 0,
                budget,
            }
        }

        fn terms(&self, frame: Frame) -> Terms {
            Proxy::terms(self.budget / hit_value(self.budget), 1, frame)
        }

        /// Reserves `estimate`, then costs `cost`. Whether it was let through.
        fn call(
            &mut self,
            service: &mut Service,
            frame: Frame,
            estimate: u64,
            cost: u64,
            time: u64,
        ) -> bool {
            let terms = self.terms(frame);
            let price = Price {
                amount: estimate,
                value: hit_value(self.budget),
            };
            let clock = self.proxy.clock;
            match self.proxy.lease.spend(&terms, price, time, &clock) {
                Spend::Paid { end, prefetch } => {
                    if prefetch {
                        self.proxy.ask(service, &terms, time, &[]);
                    }
                    self.proxy.lease.settle(end, estimate, cost);
                }
                Spend::Refused { .. } => return false,
                Spend::Unknown(pending) => {
                    let granted = self.proxy.ask(
                        service,
                        &Terms {
                            cost: pending.hits,
                            ..terms
                        },
                        time,
                        &[pending.hits],
                    );
                    if granted.served == 0 {
                        self.proxy.lease.put_back(&pending);
                        return false;
                    }
                    self.proxy.lease.pay(price, &pending, granted.end);
                    self.proxy.lease.settle(granted.end, estimate, cost);
                }
            }
            self.spent += cost;
            true
        }
    }

    #[test]
    fn three_proxies_spend_a_budget_of_one_unit_to_the_last_hit() {
        let mut service = Service::default();
        let mut shops: Vec<_> = (0..3).map(|_| Shop::new(PICO)).collect();
        let day = Frame::calendar(
            START - START % (86_400 * SECOND),
            START - START % (86_400 * SECOND) + 86_400 * SECOND,
        );
        let cost = PICO / 1_000;
        let mut passed = 0;
        for i in 0..3_000_u64 {
            let shop = &mut shops[(i % 3) as usize];
            passed += u64::from(shop.call(&mut service, day, cost, cost, START + i * 20 * MS));
        }
        let spent: u64 = shops.iter().map(|s| s.spent).sum();
        assert_eq!((passed, spent), (1_000, PICO));
    }

    #[test]
    fn what_is_owed_is_paid_before_anything_else() {
        let (mut service, mut shop) = (Service::default(), Shop::new(PICO));
        let frame = unit(Unit::Day);
        // Nothing was expected, half the budget it was.
        assert!(shop.call(&mut service, frame, 1, PICO / 2, START));
        assert!(shop.proxy.lease.debt() > PICO / 3);
        assert!(shop.call(&mut service, frame, PICO / 4, PICO / 4, START + MS));
        assert_eq!(shop.proxy.lease.debt(), 0);
        assert!(!shop.call(&mut service, frame, PICO / 2, PICO / 2, START + 2 * MS));
        assert!(shop.call(&mut service, frame, PICO / 8, PICO / 8, START + 3 * MS));
    }

    #[test]
    fn parts_of_a_hit_are_not_lost() {
        let (mut service, mut shop) = (Service::default(), Shop::new(PICO));
        let frame = unit(Unit::Day);
        // A tenth of a hit each.
        for i in 0..1_000 {
            assert!(shop.call(&mut service, frame, 100, 100, START + i * MS));
        }
        let highest = service.counters.values().copied().max().unwrap();
        assert!(highest <= 2_000, "{highest}");
        assert_eq!(shop.spent, 100_000);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// With estimates that are not too low: never more than the budget, whatever they give back.
        #[test]
        fn a_budget_is_never_exceeded(
            budget in 1_000_000_u64..10_000_000_000_000_000,
            calls in prop::collection::vec((0_usize..4, 1_u64..200, 0_u64..=100, 0_u64..3_000), 10..400),
        ) {
            let mut service = Service::default();
            let mut shops: Vec<_> = (0..4).map(|_| Shop::new(budget)).collect();
            let mut time = START;
            for (i, part, percent, pause) in calls {
                time += pause * MS;
                let estimate = budget / 500 * part + 1;
                let cost = estimate / 100 * percent;
                shops[i].call(&mut service, unit(Unit::Month), estimate, cost, time);
            }
            let spent: u64 = shops.iter().map(|s| s.spent).sum();
            prop_assert!(spent <= budget, "{spent} of {budget}");
        }
    }
}

#[test]
fn a_clock_that_is_learnt_better_at_a_border_does_not_end_the_new_window() {
    let (mut service, mut proxy) = (Service::default(), Proxy::new(0));
    let windows = Windows::of(10 * SECOND).unwrap();
    let at = |n: u64| Proxy::terms(1_000, 1, Frame::of(windows, START + n * 10 * SECOND));
    let (old, new) = (at(0), at(1));
    for i in 0..50 {
        assert!(proxy.request(&mut service, &old, START + 5 * SECOND + i * 10 * MS));
    }
    let border = START + 10 * SECOND;
    for i in 0..50 {
        assert!(proxy.request(&mut service, &new, border + i * MS));
    }
    let held = proxy.lease.tokens();
    assert!(held > 0);
    // For a moment the clock seems to be behind: the request belongs to the window that has begun.
    proxy.lease.take_events();
    assert!(proxy.request(&mut service, &old, border + 51 * MS));
    assert_eq!(proxy.lease.take_events().expired, 0);
    assert_eq!(
        proxy.lease.top(),
        service.counters[&(new.frame.label(), border / Unit::Minute.nanos())]
    );
    // One that was set back is believed.
    proxy.lease.take(
        &Proxy::terms(1_000, 1, Frame::of(windows, START - 60 * SECOND)),
        START - 60 * SECOND,
        &proxy.clock,
    );
    assert!(proxy.lease.take_events().expired > 0);
}

#[test]
fn what_passed_while_nobody_answered_is_asked_for_when_somebody_does() {
    let (mut service, mut proxy) = (Service::default(), Proxy::new(0));
    let terms = Proxy::terms(1_000, 1, unit(Unit::Minute));
    for i in 0..200 {
        assert!(proxy.request(&mut service, &terms, START + i * 10 * MS));
    }
    let held = proxy.lease.tokens();
    let mut alone = 0;
    for i in 0..5_000 {
        let now = START + 2 * SECOND + i * MS;
        alone += u64::from(proxy.lease.take_alone(&terms, 1, now, &proxy.clock).is_ok());
        if i % 100 == 0 {
            // Nobody answers.
            let ask = proxy.lease.ask(&terms, 1, now, &proxy.clock, SECOND);
            proxy.lease.failed(&ask);
        }
    }
    assert!(alone > 700, "{alone}");
    // The counter was lost besides.
    service.lose();
    let mut passed = 0;
    for i in 0..3_000 {
        passed += u64::from(proxy.request(&mut service, &terms, START + 8 * SECOND + i * 10 * MS));
    }
    let all = 200 + alone + passed;
    // No more than the limit and what the share gained meanwhile.
    assert!(
        all <= 1_000 + held.max(100),
        "{all}: {alone} alone, then {passed}"
    );
}
