//! When requests arrive, at which proxy.

use crate::sim::{START, WINDOW};
use tollgate_core::time::SECOND;

/// SplitMix64: the same seed gives the same run.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    fn unit(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }
}

/// How demand is spread over proxies and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Uniform,
    /// The i-th proxy gets a part as 1/i^1.1.
    Zipf,
    /// One proxy gets 90 %.
    OneHot,
    /// Each proxy has its demand for one second in four.
    OnOff,
    /// Half of the demand, and ten times of that for six seconds.
    Spike,
}

/// Poisson arrivals, thinned to the shape.
pub struct Arrivals {
    shape: Shape,
    rates: Vec<f64>,
    phases: Vec<u64>,
    random: Random,
}

impl Arrivals {
    /// `demand` requests in a window, over all proxies.
    pub fn new(shape: Shape, proxies: usize, demand: f64, seed: u64) -> Self {
        let mut random = Random(seed ^ 0x5eed);
        let parts: Vec<f64> = (0..proxies)
            .map(|i| match shape {
                Shape::Zipf => 1.0 / ((i + 1) as f64).powf(1.1),
                Shape::OneHot if i == 0 && proxies > 1 => 9.0 * (proxies - 1) as f64,
                _ => 1.0,
            })
            .collect();
        let sum: f64 = parts.iter().sum();
        let per_second = demand / (WINDOW / SECOND) as f64;
        Self {
            shape,
            rates: parts.iter().map(|p| p / sum * per_second).collect(),
            phases: (0..proxies).map(|_| random.below(4 * SECOND)).collect(),
            random,
        }
    }

    /// The next request of a proxy after `now`.
    pub fn next(&mut self, proxy: usize, now: u64) -> Option<u64> {
        let peak = match self.shape {
            Shape::OnOff => 4.0,
            Shape::Spike => 5.0,
            _ => 1.0,
        };
        let rate = self.rates[proxy] * peak;
        let mut at = now;
        for _ in 0..100_000 {
            let gap = -self.random.unit().ln() / rate;
            at += (gap * SECOND as f64) as u64 + 1;
            if self.random.unit() * peak <= self.part(proxy, at) {
                return Some(at);
            }
        }
        None
    }

    fn part(&self, proxy: usize, at: u64) -> f64 {
        match self.shape {
            Shape::OnOff if (at + self.phases[proxy]) % (4 * SECOND) < SECOND => 4.0,
            Shape::OnOff => 0.0,
            Shape::Spike => {
                let into = (at - START) % WINDOW;
                if (20 * SECOND..26 * SECOND).contains(&into) {
                    5.0
                } else {
                    0.5
                }
            }
            _ => 1.0,
        }
    }
}
