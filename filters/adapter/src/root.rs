//! One plugin in one VM: reads its configuration, makes contexts, ticks.

use crate::abi::{self, Buffer};
use crate::proxy::Proxy;
use crate::stream::StreamContext;
use crate::watch::Watch;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType};
use std::rc::Rc;
use tollgate_core::config::{self, Report};
use tollgate_core::flow::GrpcStatus;
use tollgate_core::world::Level;
use tollgate_core::{Metrics, Policy, World};
use tollgate_gateway::Gateway;

/// Often enough for the promises "within a second"; rare enough to cost nothing.
const TICK_MS: u32 = 250;

/// An accepted configuration at work. Streams keep the one they began with.
pub(crate) struct Running {
    pub(crate) gateway: Gateway,
    pub(crate) proxy: Proxy,
    pub(crate) watch: Watch,
}

/// See the module.
pub(crate) struct Root {
    context_id: u32,
    running: Option<Rc<Running>>,
}

impl Root {
    pub(crate) fn new(context_id: u32) -> Self {
        Self {
            context_id,
            running: None,
        }
    }

    /// Builds a whole new configuration, or says everything that is wrong with it.
    fn configure(&mut self) -> bool {
        let bytes = abi::buffer(Buffer::PluginConfiguration, 0, usize::MAX);
        let report = Report::default();
        let mut metrics = Metrics::default();
        let watch = Watch::new(&mut metrics);
        let root_id = text_property("plugin_root_id");
        let compiled = config::parse_bytes(&bytes, &report).and_then(|root| {
            tollgate_gateway::compile(&root_id, &root, &report, &environment, &mut metrics)
        });
        for warning in report.warnings() {
            abi::log(3, &format!("tollgate: configuration warning: {warning}"));
        }
        let gateway = match compiled {
            Some(gateway) if report.is_ok() => gateway,
            _ => {
                let errors = report.errors();
                abi::log(
                    4,
                    &format!(
                        "tollgate: configuration refused, {} error(s); the previous one, if any, keeps working",
                        errors.len()
                    ),
                );
                for error in errors {
                    abi::log(4, &format!("tollgate: configuration error: {error}"));
                }
                return false;
            }
        };
        let name = text_property("plugin_name");
        let state_id = gateway.state_id.clone().unwrap_or(name);
        let proxy = Proxy::new(&metrics, &state_id);
        watch.start(&proxy);
        gateway.chain.on_start(&proxy);
        proxy.log(
            Level::Info,
            format_args!(
                "configuration accepted: version={} root_id={} state_id={} hash={:016x} metrics={} {}",
                env!("CARGO_PKG_VERSION"),
                gateway.root_id,
                state_id,
                fnv1a(&bytes),
                metrics.len(),
                gateway.summary
            ),
        );
        self.running = Some(Rc::new(Running {
            gateway,
            proxy,
            watch,
        }));
        abi::set_tick_period(TICK_MS);
        true
    }
}

/// No `on_done`: as an export it would be called for every stream. What is not reported yet is, when the
/// context is deleted and `Proxy` with it.
impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _: usize) -> bool {
        self.configure()
    }

    fn on_tick(&mut self) {
        if let Some(running) = &self.running {
            running.proxy.begin();
            running.gateway.chain.on_tick(&running.proxy);
            running.watch.tick(&running.proxy, self.context_id);
            running.proxy.flush();
        }
    }

    fn create_http_context(&self, context_id: u32) -> Option<Box<dyn HttpContext>> {
        Some(match &self.running {
            Some(running) => Box::new(StreamContext::new(context_id, Rc::clone(running))),
            None => Box::new(NotConfigured),
        })
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

/// Envoy runs no stream on a plugin whose configuration was refused. Should it ever, nobody passes.
struct NotConfigured;

impl Context for NotConfigured {}

impl HttpContext for NotConfigured {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        abi::send_local_reply(
            500,
            "tollgate_not_configured",
            b"",
            &abi::serialize_pairs(std::iter::empty()),
            i32::from(GrpcStatus::INTERNAL.0),
        );
        Action::Pause
    }
}

/// Environment variables of the VM: only what `host_env_keys` and `key_values` name is visible.
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn text_property(name: &str) -> String {
    abi::property(name)
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .unwrap_or_default()
}

/// FNV-1a, 64 bits: tells configurations apart in the log, nothing more.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
