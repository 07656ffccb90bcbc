//! The bare hash loop: HMAC-SHA256 over 1 MiB in memory, as often as the request header `x-rounds` says, then 200. The same
//! code as in the webhook filter, in the same V8; what the filter needs beyond it is what `benches/envoy/webhook.py` measures.
#![cfg(target_arch = "wasm32")]

use hmac::{Hmac, KeyInit, Mac};
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType};
use sha2::Sha256;
use std::hint::black_box;

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(Hash));
}}

const MIB: usize = 1024 * 1024;

struct Hash;

impl Context for Hash {}

impl HttpContext for Hash {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let rounds = self.get_http_request_header("x-rounds");
        let rounds: u32 = rounds.and_then(|n| n.parse().ok()).unwrap_or(0);
        let body = vec![0x5a_u8; MIB];
        let Ok(mac) = Hmac::<Sha256>::new_from_slice(b"bench-webhook-secret-0123456789") else {
            return Action::Continue;
        };
        for _ in 0..rounds {
            let mut mac = mac.clone();
            mac.update(black_box(&body));
            black_box(mac.finalize().into_bytes());
        }
        self.send_http_response(200, Vec::new(), None);
        Action::Pause
    }
}

impl RootContext for Hash {
    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Hash))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}
