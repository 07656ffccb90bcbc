//! One limit over all proxies of a fleet: a rate limit service counts, the proxies decide.
//!
//! | module | its one job |
//! |---|---|
//! | [`lease`] | what one proxy may still spend of one key, and how much to ask for |
//! | [`dispenser`] | leases at work: who takes, who waits, who asks |
//! | [`service`] | where the service is, what its answers mean |
//! | [`unit`] | the service's units, and the windows that can be had from them |
//! | [`clock`] | the service's clock, learnt from its answers |
//! | [`rate`] | how fast hits arrive |
//! | [`table`] | the leases of all keys in shared data, bounded |
//! | [`once`] | the replay guard of a fleet |
//! | [`name`] | what the service sees of a key |
//! | [`proto`] | the messages |
//! | [`breaker`] | not asking a service that does not answer |

pub mod breaker;
pub mod clock;
pub mod counters;
pub mod dispenser;
pub mod lease;
pub mod name;
pub mod once;
pub mod proto;
pub mod rate;
pub mod service;
pub mod table;
pub mod testing;
pub mod unit;
