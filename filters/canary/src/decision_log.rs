//! One line for a sample of the decisions: what was decided, why, when, and how long that took. Never about whom.

use std::cell::Cell;
use tollgate_core::UnixNanos;
use tollgate_core::config::Value;
use tollgate_core::world::{Level, World};

/// `decision_log`
#[derive(Debug)]
pub(crate) struct DecisionLog {
    /// Basis points.
    sample: u64,
    /// State of a generator of its own: asking the proxy would cost every request a hostcall.
    state: Cell<u64>,
}

impl DecisionLog {
    pub(crate) fn compile(value: Value<'_>) -> Option<Self> {
        let section = value.section()?;
        let sample = section.required("sample");
        let sample = sample.and_then(|v| crate::rules::percent(&v, 10_000));
        section.finish();
        Some(Self {
            sample: sample?,
            state: Cell::new(0),
        })
    }

    /// So that workers take different samples.
    pub(crate) fn seed(&self, world: &dyn World) {
        self.state.set(world.random());
    }

    /// Whether this request's decisions are logged, and then since when.
    #[inline(never)]
    pub(crate) fn begin(&self, world: &dyn World) -> Option<UnixNanos> {
        // SplitMix64 (Steele, Lea, Flood 2014).
        let state = self.state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.state.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let bucket = crate::bucket::scale(mixed ^ (mixed >> 31));
        (u64::from(bucket) < self.sample).then(|| world.clock())
    }

    /// Writes the line. Names need no escaping: see `plain_name`.
    pub(crate) fn line(
        &self,
        since: UnixNanos,
        took: u64,
        flag: &str,
        variant: &str,
        reason: &str,
        world: &dyn World,
    ) {
        let (date, micros) = (since, since.0 / 1_000 % 1_000_000);
        let date = date.to_string();
        let date = date.strip_suffix('Z').unwrap_or(&date);
        world.log(
            Level::Info,
            format_args!(
                "canary: decision {{\"flag\":\"{flag}\",\"variant\":\"{variant}\",\"reason\":\"{reason}\",\
                 \"evaluated_at\":\"{date}.{micros:06}Z\",\"evaluation_ns\":{took}}}"
            ),
        );
    }
}
