//! Hostcalls of the [proxy-wasm ABI 0.2.1](https://github.com/proxy-wasm/spec/tree/main/abi-versions/v0.2.1)
//! as functions that return `Option` or `Result` and never panic.
//!
//! The SDK's own wrappers panic on statuses that they do not expect (reading a map outside its
//! phase is one) and turn values that are not UTF-8 into a trap; its `send_http_response` sends no response code
//! details. See docs/adr/0005. Calls whose answers the SDK must route (`dispatch_*`) stay with the SDK.
#![allow(unsafe_code)]

use std::ptr;

const OK: u32 = 0;
const CAS_MISMATCH: u32 = 8;

/// Which header map.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum Map {
    Request = 0,
    Response = 2,
    ResponseTrailers = 3,
    HttpCallResponse = 6,
}

/// Which byte buffer.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum Buffer {
    RequestBody = 0,
    ResponseBody = 1,
    HttpCallResponseBody = 4,
    GrpcReceive = 5,
    PluginConfiguration = 7,
}

/// Which half of the exchange.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum Half {
    Request = 0,
    Response = 1,
}

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_log(level: u32, message: *const u8, size: usize) -> u32;
    fn proxy_get_current_time_nanoseconds(time: *mut u64) -> u32;
    fn proxy_set_tick_period_milliseconds(period: u32) -> u32;
    fn proxy_get_buffer_bytes(
        buffer: u32,
        start: usize,
        max: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_get_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_replace_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_add_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_set_buffer_bytes(
        buffer: u32,
        start: usize,
        size: usize,
        data: *const u8,
        data_size: usize,
    ) -> u32;
    fn proxy_remove_header_map_value(map: u32, name: *const u8, name_size: usize) -> u32;
    fn proxy_get_property(
        path: *const u8,
        path_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_set_property(
        path: *const u8,
        path_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_get_shared_data(
        key: *const u8,
        key_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
        cas: *mut u32,
    ) -> u32;
    fn proxy_set_shared_data(
        key: *const u8,
        key_size: usize,
        value: *const u8,
        value_size: usize,
        cas: u32,
    ) -> u32;
    fn proxy_continue_stream(half: u32) -> u32;
    fn proxy_send_local_response(
        status: u32,
        details: *const u8,
        details_size: usize,
        body: *const u8,
        body_size: usize,
        headers: *const u8,
        headers_size: usize,
        grpc_status: i32,
    ) -> u32;
    fn proxy_set_effective_context(context_id: u32) -> u32;
    fn proxy_define_metric(kind: u32, name: *const u8, name_size: usize, id: *mut u32) -> u32;
    fn proxy_record_metric(id: u32, value: u64) -> u32;
    fn proxy_increment_metric(id: u32, by: i64) -> u32;
}

/// Takes over bytes that the host placed in our memory through the exported allocator.
///
/// # Safety
/// `data` must come from `proxy_on_memory_allocate(size)` of the SDK, which hands out a boxed
/// slice of exactly `size` bytes, and must not be taken twice.
unsafe fn take(data: *mut u8, size: usize) -> Vec<u8> {
    if data.is_null() {
        return Vec::new();
    }
    // SAFETY: per the contract above; a boxed slice has capacity == length.
    unsafe { Vec::from_raw_parts(data, size, size) }
}

fn returned(call: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Option<Vec<u8>> {
    let mut data = ptr::null_mut();
    let mut size = 0;
    let status = call(&raw mut data, &raw mut size);
    // SAFETY: the host wrote what it got from the allocator, or left the null pointer.
    let bytes = unsafe { take(data, size) };
    (status == OK).then_some(bytes)
}

/// Writes to the proxy's log; levels are 0 trace to 5 critical.
pub(crate) fn log(level: u32, message: &str) {
    // SAFETY: pointer and size describe `message`.
    let _ = unsafe { proxy_log(level, message.as_ptr(), message.len()) };
}

/// Nanoseconds since the Unix epoch.
pub(crate) fn now() -> u64 {
    let mut time = 0;
    // SAFETY: `time` outlives the call.
    let _ = unsafe { proxy_get_current_time_nanoseconds(&raw mut time) };
    time
}

/// Asks for `on_tick` every so many milliseconds.
pub(crate) fn set_tick_period(millis: u32) {
    // SAFETY: no pointers.
    let _ = unsafe { proxy_set_tick_period_milliseconds(millis) };
}

/// A copy of part of a buffer; empty if there is nothing.
pub(crate) fn buffer(buffer: Buffer, start: usize, max: usize) -> Vec<u8> {
    // SAFETY: out-pointers are valid for the call.
    returned(|data, size| unsafe { proxy_get_buffer_bytes(buffer as u32, start, max, data, size) })
        .unwrap_or_default()
}

/// A whole header map in its serialized form; `None` outside its phase.
pub(crate) fn header_map(map: Map) -> Option<Vec<u8>> {
    // SAFETY: out-pointers are valid for the call.
    returned(|data, size| unsafe { proxy_get_header_map_pairs(map as u32, data, size) })
}

/// The first value of a header. Only for ones that the proxy itself made, and of answers to calls.
pub(crate) fn header(map: Map, name: &str) -> Option<Vec<u8>> {
    // SAFETY: pointer and size describe `name`; out-pointers are valid for the call.
    returned(|data, size| unsafe {
        proxy_get_header_map_value(map as u32, name.as_ptr(), name.len(), data, size)
    })
}

/// `:status` of an answer.
pub(crate) fn status(map: Map) -> Option<u16> {
    read_status(&header(map, ":status")?)
}

/// The number that `:status` says: three digits ([RFC 9110, 15](https://www.rfc-editor.org/rfc/rfc9110#section-15)).
pub(crate) fn read_status(value: &[u8]) -> Option<u16> {
    let &[a, b, c] = value else { return None };
    let digit = |b: u8| {
        Some(b.wrapping_sub(b'0'))
            .filter(|d| *d <= 9)
            .map(u16::from)
    };
    let hundreds = digit(a)?.saturating_mul(100);
    let tens = digit(b)?.saturating_mul(10);
    Some(hundreds.saturating_add(tens).saturating_add(digit(c)?))
}

/// Sets a header to one value.
pub(crate) fn set_header(map: Map, name: &[u8], value: &[u8]) -> bool {
    // SAFETY: pointers and sizes describe `name` and `value`.
    let status = unsafe {
        proxy_replace_header_map_value(
            map as u32,
            name.as_ptr(),
            name.len(),
            value.as_ptr(),
            value.len(),
        )
    };
    status == OK
}

/// Adds a line to a header.
pub(crate) fn add_header(map: Map, name: &[u8], value: &[u8]) -> bool {
    // SAFETY: pointers and sizes describe `name` and `value`.
    let status = unsafe {
        proxy_add_header_map_value(
            map as u32,
            name.as_ptr(),
            name.len(),
            value.as_ptr(),
            value.len(),
        )
    };
    status == OK
}

/// Replaces all of a buffer.
pub(crate) fn replace_buffer(buffer: Buffer, data: &[u8]) -> bool {
    // SAFETY: pointer and size describe `data`.
    let status =
        unsafe { proxy_set_buffer_bytes(buffer as u32, 0, usize::MAX, data.as_ptr(), data.len()) };
    status == OK
}

/// Removes all values of a header.
pub(crate) fn remove_header(map: Map, name: &[u8]) -> bool {
    // SAFETY: pointer and size describe `name`.
    let status = unsafe { proxy_remove_header_map_value(map as u32, name.as_ptr(), name.len()) };
    status == OK
}

/// An attribute; path segments are separated by NUL.
pub(crate) fn property(path: &str) -> Option<Vec<u8>> {
    // SAFETY: pointer and size describe `path`; out-pointers are valid for the call.
    returned(|data, size| unsafe { proxy_get_property(path.as_ptr(), path.len(), data, size) })
}

/// Leaves a value in filter state, readable as `%FILTER_STATE(wasm.NAME:PLAIN)%`. The name is ONE
/// path segment although it has dots: with two, Envoy accepts the value and nothing can read it.
pub(crate) fn set_filter_state(name: &str, value: &[u8]) -> bool {
    // SAFETY: pointers and sizes describe `name` and `value`.
    let status =
        unsafe { proxy_set_property(name.as_ptr(), name.len(), value.as_ptr(), value.len()) };
    status == OK
}

/// A value in shared data and its compare-and-set number.
pub(crate) fn shared_data(key: &str) -> Option<(Vec<u8>, u32)> {
    let mut cas = 0;
    // SAFETY: pointer and size describe `key`; out-pointers are valid for the call.
    let bytes = returned(|data, size| unsafe {
        proxy_get_shared_data(key.as_ptr(), key.len(), data, size, &raw mut cas)
    })?;
    Some((bytes, cas))
}

/// Writes to shared data. `cas` 0 writes in any case; a number that was never issued writes only if
/// the key does not exist (Envoy inserts whatever the number, and refuses it on an existing key).
pub(crate) fn set_shared_data(key: &str, value: &[u8], cas: u32) -> Result<(), u32> {
    // SAFETY: pointers and sizes describe `key` and `value`.
    let status =
        unsafe { proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), cas) };
    match status {
        OK => Ok(()),
        other => Err(other),
    }
}

/// Whether a failed [`set_shared_data`] lost a race (and did not fail otherwise).
pub(crate) fn is_conflict(status: u32) -> bool {
    status == CAS_MISMATCH
}

/// Lets a held request or answer go on, after the current callback.
pub(crate) fn resume(half: Half) {
    // SAFETY: no pointers.
    let _ = unsafe { proxy_continue_stream(half as u32) };
}

/// Answers the client; `headers` is a serialized map.
pub(crate) fn send_local_reply(
    status: u16,
    details: &str,
    body: &[u8],
    headers: &[u8],
    grpc_status: i32,
) -> bool {
    // SAFETY: pointers and sizes describe the slices.
    let status = unsafe {
        proxy_send_local_response(
            u32::from(status),
            details.as_ptr(),
            details.len(),
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            grpc_status,
        )
    };
    status == OK
}

/// Makes the following hostcalls speak of that context.
pub(crate) fn set_effective_context(context_id: u32) -> bool {
    // SAFETY: no pointers.
    unsafe { proxy_set_effective_context(context_id) == OK }
}

/// Registers a metric: 0 counter, 1 gauge, 2 histogram.
pub(crate) fn define_metric(kind: u32, name: &str) -> Option<u32> {
    let mut id = 0;
    // SAFETY: pointer and size describe `name`; `id` outlives the call.
    let status = unsafe { proxy_define_metric(kind, name.as_ptr(), name.len(), &raw mut id) };
    (status == OK).then_some(id)
}

/// Sets a gauge or adds a value to a histogram.
pub(crate) fn record_metric(id: u32, value: u64) {
    // SAFETY: no pointers.
    let _ = unsafe { proxy_record_metric(id, value) };
}

/// Adds to a counter.
pub(crate) fn increment_metric(id: u32, by: i64) {
    // SAFETY: no pointers.
    let _ = unsafe { proxy_increment_metric(id, by) };
}

/// Serializes pairs as the ABI wants them; the reverse of `Headers::from_wire`.
pub(crate) fn serialize_pairs<'a>(
    pairs: impl Iterator<Item = (&'a str, &'a [u8])> + Clone,
) -> Vec<u8> {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
    let mut bytes = Vec::with_capacity(256);
    bytes.extend_from_slice(&number(pairs.clone().count()));
    for (name, value) in pairs.clone() {
        bytes.extend_from_slice(&number(name.len()));
        bytes.extend_from_slice(&number(value.len()));
    }
    for (name, value) in pairs {
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(0);
        bytes.extend_from_slice(value);
        bytes.push(0);
    }
    bytes
}
