//! Forms: whatever order the fields come in, the sorted form is the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate_webhook_signature::fuzzing::sorted_form;

fuzz_target!(|body: &[u8]| {
    let mut fields: Vec<&[u8]> = body.split(|b| *b == b'&').collect();
    fields.reverse();
    assert_eq!(sorted_form(body), sorted_form(&fields.join(&b'&')));
});
