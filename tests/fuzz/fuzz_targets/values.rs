//! Money, durations and instants: what is accepted means the same when it is printed and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate_core::{Duration, Money, UnixNanos};

fuzz_target!(|text: &str| {
    if let Some(money) = Money::parse(text) {
        assert_eq!(Money::parse(&money.to_string()), Some(money));
    }
    if let Some(duration) = Duration::parse(text) {
        assert_eq!(Duration::parse(&duration.to_string()), Some(duration));
    }
    if let Some(instant) = UnixNanos::parse(text) {
        // Printed in whole seconds.
        let again = UnixNanos::parse(&instant.to_string());
        assert_eq!(again.map(UnixNanos::secs), Some(instant.secs()));
    }
});
