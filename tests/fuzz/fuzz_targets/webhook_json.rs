//! JSON pointers into bodies, cut anywhere: what is found is what serde_json finds, and no other body is accepted.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tollgate_webhook_signature::fuzzing::json_pointer;

fuzz_target!(|data: (&str, &[u8], u16)| {
    let (pointer, body, cut) = data;
    let (head, tail) = body.split_at(usize::from(cut).min(body.len()));
    let found = json_pointer(pointer, &[head, tail]);
    assert_eq!(found, json_pointer(pointer, &[body]));
    let (Some(found), Ok(json)) = (found, serde_json::from_slice::<Value>(body)) else {
        return;
    };
    // serde_json takes the last of several members of a name; ours refuses those on the way.
    if let (Some(found), Some(Value::String(text))) = (found, json.pointer(pointer)) {
        assert_eq!(found, text.as_bytes());
    }
});
