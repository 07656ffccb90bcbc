//! Parsers of outside bytes, for the fuzz targets; not part of any module.

use crate::form::Form;
use crate::place::Wanted;
use crate::pointer::{Found, Pointer, Scanner};
use crate::presets::Presets;
use crate::read;
use crate::template::{self, Payload};
use std::rc::Rc;
use tollgate_core::headers::Headers;

/// Reads a signature header of a preset; how many bytes of signatures were found in it.
#[must_use]
pub fn signature_header(preset: &str, pairs: &[(&str, &[u8])]) -> Option<usize> {
    let scheme = Presets::load().get(preset)?;
    let headers = Headers::from_pairs(pairs.iter().copied());
    let reading = read::read(&scheme, &headers).ok()??;
    let length = scheme.algorithm.length();
    assert!(!reading.candidates.is_empty() && reading.candidates.len().is_multiple_of(length));
    Some(reading.candidates.len())
}

/// Reads a payload template; whether it was accepted.
#[must_use]
pub fn payload_template(text: &str) -> bool {
    let mut wanted = Wanted::default();
    let Ok(parts) = template::parse(text, &mut wanted) else {
        return false;
    };
    let count = parts.len();
    let payload = Payload::new(parts, true, false);
    assert_eq!(
        payload
            .parts()
            .count()
            .saturating_add(usize::from(payload.streams)),
        count
    );
    true
}

/// What a pointer leads to, the document in pieces; the outer `None`: no JSON, or not a pointer.
#[must_use]
pub fn json_pointer(pointer: &str, pieces: &[&[u8]]) -> Option<Option<Vec<u8>>> {
    let pointers: Rc<[Pointer]> = Rc::from([Pointer::parse(pointer)?]);
    let mut scanner = Scanner::new(pointers);
    for piece in pieces {
        scanner.feed(piece);
    }
    match scanner.finish()?.pop()? {
        Found::Value(value) => Some(Some(value)),
        Found::Nothing | Found::Other => Some(None),
    }
}

/// The sorted form of a body, if it is a form.
#[must_use]
pub fn sorted_form(body: &[u8]) -> Option<Vec<u8>> {
    let form = Form::parse(body)?;
    let _ = form.sole(b"a");
    let mut out = Vec::new();
    form.sorted(|bytes| out.extend_from_slice(bytes));
    Some(out)
}
