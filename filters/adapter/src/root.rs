//! One plugin in one VM: reads its configuration, makes contexts, ticks.

use crate::abi::{self, Buffer};
use crate::background::{Kind, Reply};
use crate::callbacks::StreamContext;
use crate::proxy::Proxy;
use crate::running::Running;
use crate::watch::Watch;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType};
use std::cell::Cell;
use std::rc::{Rc, Weak};
use tollgate_core::config::{self, Report};
use tollgate_core::flow::GrpcStatus;
use tollgate_core::world::Level;
use tollgate_core::{Metrics, Policy, World};

/// See the module.
pub(crate) struct Root {
    context_id: u32,
    running: Option<Rc<Running>>,
    /// Replaced ones whose exchanges have not all ended: they still tick and get their answers.
    former: Vec<Weak<Running>>,
    period: Rc<Cell<u32>>,
}

impl Root {
    pub(crate) fn new(context_id: u32) -> Self {
        Self {
            context_id,
            running: None,
            former: Vec::new(),
            period: Rc::new(Cell::new(u32::MAX)),
        }
    }

    /// Shows every configuration that is still at work to `show`, until it says that it is enough.
    fn each(&mut self, mut show: impl FnMut(&Running) -> bool) {
        self.former.retain(|former| former.strong_count() > 0);
        let former: Vec<Rc<Running>> = self.former.iter().filter_map(Weak::upgrade).collect();
        for running in self.running.iter().chain(&former) {
            if show(running) {
                return;
            }
        }
    }

    fn tick(&mut self) {
        let root_id = self.context_id;
        self.each(|running| {
            running.tick(root_id);
            false
        });
        let mut wanted = u32::MAX;
        self.each(|running| {
            wanted = wanted.min(running.wanted_period());
            false
        });
        self.set_period(wanted);
    }

    fn answered(&mut self, kind: Kind, token: u32, reply: &Reply) {
        let root_id = self.context_id;
        self.each(|running| running.answered(kind, token, reply, root_id));
    }

    fn set_period(&self, millis: u32) {
        if millis != u32::MAX && self.period.replace(millis) != millis {
            abi::set_tick_period(millis);
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
        let running = Rc::new(Running::new(gateway, proxy, watch, Rc::clone(&self.period)));
        self.set_period(running.wanted_period());
        if let Some(former) = self.running.replace(running) {
            self.former.push(Rc::downgrade(&former));
        }
        true
    }
}

/// No `on_done`: as an export it would be called for every stream. What is not reported yet is, when the
/// context is deleted and `Proxy` with it.
impl Context for Root {
    fn on_http_call_response(&mut self, token: u32, _: usize, body_size: usize, _: usize) {
        self.answered(Kind::Http, token, &Reply::http(body_size));
    }

    fn on_grpc_call_response(&mut self, token: u32, status: u32, size: usize) {
        self.answered(Kind::Grpc, token, &Reply::grpc(status, size));
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, _: usize) -> bool {
        self.configure()
    }

    fn on_tick(&mut self) {
        self.tick();
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
