//! Requests that are read before a call. However they are cut, they ask for the same, and a body that is changed stays JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::rc::Rc;
use tollgate_cost::check::Invalid;
use tollgate_cost::request::{Asked, Reader, table};

fn read(pieces: &[&[u8]]) -> Result<Asked, Invalid> {
    let mut reader = Reader::new(Rc::new(table()));
    for piece in pieces {
        reader.feed(piece);
    }
    reader.finish()
}

fuzz_target!(|input: (u16, &[u8])| {
    let (at, bytes) = input;
    let whole = read(&[bytes]);
    let (head, tail) = bytes.split_at(usize::from(at).min(bytes.len()));
    assert_eq!(read(&[head, tail]), whole);
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(read(&single), whole);
    if let Ok(asked) = whole
        && let Some(splice) = asked.usage_splice()
    {
        let changed = splice.apply(bytes).expect("the place is in the body");
        let again = read(&[&changed]).expect("still a request");
        assert_eq!(again.usage_splice(), None, "asked for once");
        assert_eq!((again.chars, again.model.clone()), (asked.chars, asked.model));
    }
});
