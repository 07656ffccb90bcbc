//! Answers that say what they used: JSON, server-sent events, lines. However they are cut, they say the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate_cost::usage::{Format, Reader, Usage};

fn read(kind: u8, pieces: &[&[u8]]) -> Option<(Option<Vec<u8>>, Option<Usage>)> {
    let table = Format::default().table?;
    let mut reader = match kind % 3 {
        0 => Reader::json(table),
        1 => Reader::events(table),
        _ => Reader::lines(table),
    };
    for piece in pieces {
        reader.feed(piece, false);
    }
    reader.feed(&[], true);
    reader.findings().map(|f| (f.model.clone(), f.usage()))
}

fuzz_target!(|input: (u8, u16, &[u8])| {
    let (kind, at, bytes) = input;
    let whole = read(kind, &[bytes]);
    let (head, tail) = bytes.split_at(usize::from(at).min(bytes.len()));
    assert_eq!(read(kind, &[head, tail]), whole);
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(read(kind, &single), whole);
    if let Some((_, Some(usage))) = whole {
        assert!(usage.cached_read.max(usage.cached_write) <= usage.input && usage.reasoning <= usage.output);
    }
});
