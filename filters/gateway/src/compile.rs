//! From configuration to chain.

use crate::chain::{Canary, Chain, Cost, EarlyLimits, KeyAuth, Limits, WebhookSignature};
use tollgate_core::config::{Compile, EnvLookup, Report, Root, Section};
use tollgate_core::exchange::{StateName, StateNames, state_name};
use tollgate_core::{Metrics, Then};

/// A root id, the section of the gateway's configuration that it stands for, and whether this
/// module was built with it.
struct Filter {
    root_id: &'static str,
    section: &'static str,
    built: bool,
}

const FILTERS: [Filter; 5] = [
    Filter {
        root_id: "key-auth",
        section: "key_auth",
        built: cfg!(feature = "key-auth"),
    },
    Filter {
        root_id: "webhook-signature",
        section: "webhook_signature",
        built: cfg!(feature = "webhook-signature"),
    },
    Filter {
        root_id: "rate-limit",
        section: "rate_limit",
        built: cfg!(feature = "rate-limit"),
    },
    Filter {
        root_id: "canary",
        section: "canary",
        built: cfg!(feature = "canary"),
    },
    Filter {
        root_id: "cost",
        section: "cost",
        built: cfg!(feature = "cost"),
    },
];

/// The root id of the fused filter.
const GATEWAY: &str = "gateway";

/// All root ids there are; `gateway.wasm` knows all of them, a single module its own.
pub const ROOT_IDS: [&str; 6] = [
    GATEWAY,
    "key-auth",
    "webhook-signature",
    "rate-limit",
    "canary",
    "cost",
];

/// A compiled configuration.
pub struct Gateway {
    /// The policies.
    pub chain: Chain,
    /// Which root id it was compiled for.
    pub root_id: &'static str,
    /// What its shared data is called, if the configuration says so; else the plugin's name.
    pub state_id: Option<String>,
    /// Which facts are left in filter state.
    pub filter_state: StateNames,
    /// One line about what is in it, for the log.
    pub summary: String,
}

/// The sections of a configuration, by policy.
#[derive(Default)]
struct Sections<'a> {
    key_auth: Option<Section<'a>>,
    webhook_signature: Option<Section<'a>>,
    rate_limit: Option<Section<'a>>,
    canary: Option<Section<'a>>,
    cost: Option<Section<'a>>,
}

impl<'a> Sections<'a> {
    fn put(&mut self, section_name: &str, section: Section<'a>) {
        let place = match section_name {
            "key_auth" => &mut self.key_auth,
            "webhook_signature" => &mut self.webhook_signature,
            "rate_limit" => &mut self.rate_limit,
            "canary" => &mut self.canary,
            _ => &mut self.cost,
        };
        *place = Some(section);
    }

    fn names(&self) -> String {
        let all = [
            ("key_auth", self.key_auth.is_some()),
            ("webhook_signature", self.webhook_signature.is_some()),
            ("rate_limit", self.rate_limit.is_some()),
            ("canary", self.canary.is_some()),
            ("cost", self.cost.is_some()),
        ];
        let names: Vec<&str> = all.iter().filter(|(_, on)| *on).map(|(n, _)| *n).collect();
        names.join(",")
    }
}

/// Compiles the configuration of a plugin with that root id. All errors go to the report; the result
/// may only be used if it has none.
///
/// An empty root id (an Istio WasmPlugin without `pluginName`) means the only filter of a single
/// module, and `gateway` in `gateway.wasm`.
pub fn compile(
    root_id: &str,
    root: &Root,
    report: &Report,
    env: EnvLookup<'_>,
    metrics: &mut Metrics,
) -> Option<Gateway> {
    let root_id = resolve(root_id, report)?;
    let top = root.value(report).section()?;
    let state_id = top.optional("state_id").and_then(|v| v.identifier());
    let filter_state = filter_state(&top, root_id);
    let mut sections = Sections::default();
    if root_id == GATEWAY {
        for filter in &FILTERS {
            if let Some(section) = top.optional(filter.section).and_then(|v| v.section()) {
                sections.put(filter.section, section);
            }
        }
        if report.is_ok() && sections.names().is_empty() {
            top.error(
                "nothing is configured: write at least one of key_auth, webhook_signature, \
                 rate_limit, canary, cost",
            );
        }
        top.finish();
    } else if let Some(filter) = FILTERS.iter().find(|f| f.root_id == root_id) {
        sections.put(filter.section, top);
    }
    let summary = format!("policies={}", sections.names());
    let mut cx = Compile::new(env, metrics);
    cx.alone = root_id != GATEWAY;
    let chain = chain(sections, &mut cx);
    Some(Gateway {
        chain,
        root_id,
        state_id: state_id.map(|id| id.as_ref().to_owned()),
        filter_state,
        summary,
    })
}

/// What the gateway leaves in filter state unless told otherwise: what a log line needs. Each value costs a
/// hostcall and an object in Envoy, for every request.
const GATEWAY_STATE: [StateName; 10] = [
    state_name::CONSUMER,
    state_name::VARIANT,
    state_name::COST,
    state_name::TOKENS,
    state_name::MODEL,
    state_name::LIMIT,
    state_name::SHADOW_LIMIT,
    state_name::BUDGET,
    state_name::WEBHOOK,
    state_name::WEBHOOK_SECRET,
];

/// A single filter leaves everything: filters loaded after it need some of it, and it has less.
fn filter_state(top: &Section<'_>, root_id: &str) -> StateNames {
    let Some(value) = top.optional("filter_state") else {
        return if root_id == GATEWAY {
            GATEWAY_STATE.into_iter().collect()
        } else {
            StateNames::ALL
        };
    };
    let words = state_name::ALL.map(|name| {
        let text = name.as_str();
        (text.strip_prefix("tollgate.").unwrap_or(text), name)
    });
    // What is no list is an error, and nothing of this is used.
    let names = value.list().unwrap_or_default();
    names.iter().filter_map(|v| v.one_of(&words)).collect()
}

fn resolve(root_id: &str, report: &Report) -> Option<&'static str> {
    let built: Vec<&'static str> = FILTERS
        .iter()
        .filter(|f| f.built)
        .map(|f| f.root_id)
        .collect();
    let known: Vec<&'static str> = match built.as_slice() {
        [only] => vec![only],
        _ => std::iter::once(GATEWAY).chain(built).collect(),
    };
    let found = if root_id.is_empty() {
        known.first()
    } else {
        known.iter().find(|k| **k == root_id)
    };
    if found.is_none() {
        report.error(
            "",
            format!(
                "this module has no filter of that root_id (Istio: pluginName); it has {}",
                known.join(", ")
            ),
        );
    }
    found.copied()
}

fn chain(sections: Sections<'_>, cx: &mut Compile<'_>) -> Chain {
    let key_auth = sections.key_auth.and_then(|s| key_auth(s, cx));
    let webhook_signature = sections
        .webhook_signature
        .and_then(|s| webhook_signature(s, cx));
    let (early, limits) = sections
        .rate_limit
        .and_then(|s| rate_limit(s, cx))
        .unwrap_or_default();
    let canary = sections.canary.and_then(|s| canary(s, cx));
    let cost = sections.cost.and_then(|s| cost(s, cx));
    Then(
        early,
        Then(
            key_auth,
            Then(webhook_signature, Then(limits, Then(canary, cost))),
        ),
    )
}

/// One function a policy: the policy's own `compile`, or nothing in a module built without it.
macro_rules! compile_with {
    ($feature:literal, $name:ident, $policy:ty, $compile:expr) => {
        #[cfg(feature = $feature)]
        fn $name(section: Section<'_>, cx: &mut Compile<'_>) -> Option<$policy> {
            $compile(section, cx)
        }

        #[cfg(not(feature = $feature))]
        fn $name(section: Section<'_>, _: &mut Compile<'_>) -> Option<$policy> {
            section.error(concat!(
                "this module was built without ",
                $feature,
                ": use gateway.wasm"
            ));
            None
        }
    };
}

compile_with!("key-auth", key_auth, KeyAuth, tollgate_key_auth::compile);
compile_with!(
    "webhook-signature",
    webhook_signature,
    WebhookSignature,
    tollgate_webhook_signature::compile
);
compile_with!("canary", canary, Canary, tollgate_canary::compile);
compile_with!("cost", cost, Cost, tollgate_cost::compile);
compile_with!(
    "rate-limit",
    rate_limit,
    (Option<EarlyLimits>, Option<Limits>),
    |section, cx| {
        let limits = std::rc::Rc::new(tollgate_rate_limit::compile(section, cx)?);
        Some((Some(EarlyLimits(limits.clone())), Some(Limits(limits))))
    }
);
