//! The module that a proxy loads. `make wasm` builds it six times: with one feature for each single
//! filter, with all of them as `gateway.wasm`. The root id chooses what a plugin does.
#![cfg(target_arch = "wasm32")]
#![allow(unsafe_code, missing_docs)] // what the SDK's macro expands to

proxy_wasm::main! {{
    proxy_wasm::set_root_context(tollgate_adapter::new_root);
}}
