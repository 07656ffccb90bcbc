//! A Wasm filter that makes the calls into the proxy that `gateway` makes for one request of `benches/gateway.yaml`, with constants,
//! and does nothing else: it parses nothing, knows no key, counts nothing, has no SDK and no callback but the two that it needs. What
//! it costs is the least that any Wasm filter pays for saying all that; `docs/performance.md` has the figures.
//!
//! `{"less": true}` as its configuration leaves out what `gateway` does not say when it is told to say less.
#![cfg(target_arch = "wasm32")]
#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

const REQUEST: u32 = 0;
const RESPONSE: u32 = 2;
const CONTINUE: u32 = 0;

static LESS: AtomicBool = AtomicBool::new(false);

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_get_current_time_nanoseconds(time: *mut u64) -> u32;
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
    fn proxy_remove_header_map_value(map: u32, name: *const u8, name_size: usize) -> u32;
    fn proxy_set_property(
        path: *const u8,
        path_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
}

fn set(map: u32, name: &str, value: &str) {
    // SAFETY: pointers and sizes describe the texts.
    unsafe {
        proxy_replace_header_map_value(map, name.as_ptr(), name.len(), value.as_ptr(), value.len())
    };
}

fn publish(name: &str, value: &str) {
    // SAFETY: pointers and sizes describe the texts.
    unsafe { proxy_set_property(name.as_ptr(), name.len(), value.as_ptr(), value.len()) };
}

/// Where the proxy writes what it returns; nobody reads it.
struct Room(UnsafeCell<[u8; 4096]>);

// SAFETY: a module without the threads proposal has one thread.
unsafe impl Sync for Room {}

static ROOM: Room = Room(UnsafeCell::new([0; 4096]));

#[unsafe(no_mangle)]
extern "C" fn proxy_abi_version_0_2_1() {}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
    if size <= 4096 {
        ROOM.0.get().cast()
    } else {
        ptr::null_mut()
    }
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_context_create(_: u32, _: u32) {}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_configure(_: u32, size: usize) -> u32 {
    LESS.store(size > "{}".len(), Ordering::Relaxed);
    1
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_headers(_: u32, _: u32, _: u32) -> u32 {
    let (mut data, mut size, mut now) = (ptr::null_mut(), 0, 0);
    let key = "x-api-key";
    // SAFETY: out-pointers are valid for the calls; pointer and size describe `key`.
    unsafe {
        proxy_get_header_map_pairs(REQUEST, &raw mut data, &raw mut size);
        proxy_get_current_time_nanoseconds(&raw mut now);
        proxy_remove_header_map_value(REQUEST, key.as_ptr(), key.len());
    }
    set(REQUEST, "x-consumer-id", "web-app");
    let less = LESS.load(Ordering::Relaxed);
    if !less {
        set(REQUEST, "x-consumer-groups", "gold");
    }
    set(REQUEST, "x-variant", "stable");
    if !less {
        publish("tollgate.consumer", "web-app");
        publish("tollgate.variant", "checkout-v2:stable");
    }
    CONTINUE
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_headers(_: u32, _: u32, _: u32) -> u32 {
    let less = LESS.load(Ordering::Relaxed);
    if !less {
        let (mut data, mut size) = (ptr::null_mut(), 0);
        let name = ":status";
        // SAFETY: out-pointers are valid for the call; pointer and size describe `name`.
        unsafe {
            let (data, size) = (&raw mut data, &raw mut size);
            proxy_get_header_map_value(RESPONSE, name.as_ptr(), name.len(), data, size);
        }
    }
    set(RESPONSE, "x-request-cost", "0.0001");
    if !less {
        set(RESPONSE, "x-budget-remaining", "999999.9999");
    }
    set(RESPONSE, "x-ratelimit-limit", "1000000000");
    set(RESPONSE, "x-ratelimit-remaining", "999999999");
    set(RESPONSE, "x-ratelimit-reset", "1");
    if !less {
        let policy = r#""api-1m";q=1000000000;w=60, "api-1h";q=1000000000;w=3600"#;
        set(RESPONSE, "ratelimit-policy", policy);
        let now = r#""api-1m";r=999999999;t=1, "api-1h";r=999999999;t=1"#;
        set(RESPONSE, "ratelimit", now);
    }
    publish("tollgate.cost", "0.0001");
    CONTINUE
}
