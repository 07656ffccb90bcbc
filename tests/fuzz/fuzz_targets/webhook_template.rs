//! Payload templates: accepted or refused, and an accepted one loses none of its parts (the function asserts that).
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate_webhook_signature::fuzzing::payload_template;

fuzz_target!(|text: &str| {
    let _ = payload_template(text);
});
