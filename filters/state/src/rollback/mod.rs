//! Counting what becomes of the requests of each variant, and telling a bad variant from bad luck.
//!
//! Workers count by themselves ([`Tally`]) and add what they have to the [`Windows`] in shared data a few times a second;
//! [`significance`] says whether a difference is more than chance; [`Trips`] are what was decided, for all workers.
//!
//! | module | its one job |
//! |---|---|
//! | [`latency`] | log-scaled latency counts, quantiles of them |
//! | [`tally`] | the counts of one variant, and their bytes |
//! | [`windows`] | the sliding window: a ring of slots in shared data |
//! | [`trips`] | which variants are switched off, why and until when; which configuration counts where |
//! | [`significance`] | likelihood ratios and the bound they must pass, in fixed point |
//! | `bytes` | numbers in as many bytes as they need |

mod bytes;
pub mod latency;
pub mod significance;
pub mod tally;
pub mod trips;
pub mod windows;

#[cfg(test)]
mod tests;

pub use latency::Latency;
pub use significance::{Bound, Share};
pub use tally::Tally;
pub use trips::{Place, Trip, Trips};
pub use windows::{SLOTS, Slot, Windows};
