//! Whose flag it is and when it should be gone: a flag that nobody removes is a branch that nobody tests.

use std::cell::Cell;
use std::fmt::Write as _;
use std::rc::Rc;
use tollgate_core::config::{Compile, Section};
use tollgate_core::metrics::MetricId;
use tollgate_core::world::{Level, World};
use tollgate_core::{Duration, UnixNanos};

/// How long a flag lives that says when it was made, but not how long.
const USUAL_LIFE: Duration = Duration::from_secs(90 * 24 * 3600);

/// `owner`, `team`, `created`, `expires_at`, `on_expiry`.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    flag: Rc<str>,
    owner: Option<Rc<str>>,
    team: Option<Rc<str>>,
    expires_at: Option<UnixNanos>,
    on_expiry: OnExpiry,
    /// 1 once expired.
    gauge: Option<MetricId>,
    warned: Cell<bool>,
}

/// What becomes of an expired flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnExpiry {
    /// It goes on as before.
    Keep,
    /// Everybody gets the default variant.
    Stable,
}

impl Lifecycle {
    pub(crate) fn compile(section: &Section<'_>, flag: &Rc<str>, cx: &mut Compile<'_>) -> Self {
        let owner = section.optional("owner").and_then(|v| v.identifier());
        let team = section.optional("team").and_then(|v| v.identifier());
        let created = section.optional("created").and_then(|v| v.instant());
        let expires_at = section.optional("expires_at").and_then(|v| {
            let at = v.instant()?;
            let later = created.is_none_or(|created| created < at);
            v.accept(later.then_some(at), "must be later than created")
        });
        let on_expiry = section
            .optional("on_expiry")
            .and_then(|v| v.one_of(&[("keep", OnExpiry::Keep), ("stable", OnExpiry::Stable)]));
        let dated =
            section.optional("expires_at").is_some() || section.optional("created").is_some();
        let mut missing = Vec::new();
        if section.optional("owner").is_none() {
            missing.push("owner");
        }
        if !dated {
            missing.push("expires_at");
            if let Some(on_expiry) = section.optional("on_expiry") {
                on_expiry.error("needs expires_at or created");
            }
        }
        if !missing.is_empty() {
            let missing = missing.join(" and ");
            section.warn(format!(
                "has no {missing}: nobody will be reminded to remove the flag"
            ));
        }
        let expires_at = expires_at.or(created.map(|created| created.plus(USUAL_LIFE)));
        let mut labels = vec![("flag", &**flag)];
        labels.extend(owner.as_deref().map(|owner| ("owner", owner)));
        labels.extend(team.as_deref().map(|team| ("team", team)));
        Self {
            gauge: expires_at.map(|_| cx.metrics.gauge("tollgate_flag_expired", &labels)),
            flag: Rc::clone(flag),
            owner,
            team,
            expires_at,
            on_expiry: on_expiry.unwrap_or(OnExpiry::Keep),
            warned: Cell::new(false),
        }
    }

    /// Whether an expired flag is switched off now. Asks for the time only if it could be.
    pub(crate) fn is_off(&self, world: &dyn World) -> bool {
        self.on_expiry == OnExpiry::Stable && self.is_expired(world)
    }

    /// Whether `on_expiry` can switch it off at all.
    pub(crate) fn can_be_off(&self) -> bool {
        self.on_expiry == OnExpiry::Stable
    }

    /// On start and on every tick: the gauge, and one line when the time has come.
    pub(crate) fn watch(&self, world: &dyn World) {
        let (Some(gauge), Some(expires_at)) = (self.gauge, self.expires_at) else {
            return;
        };
        let expired = self.is_expired(world);
        world.gauge(gauge, u64::from(expired));
        if !expired || self.warned.replace(true) {
            return;
        }
        let mut whose = String::new();
        for (what, name) in [("owner", &self.owner), ("team", &self.team)] {
            if let Some(name) = name {
                let _ = write!(whose, ", {what} {name}");
            }
        }
        let then = match self.on_expiry {
            OnExpiry::Keep => "it goes on (on_expiry: keep)",
            OnExpiry::Stable => "everybody gets the default variant (on_expiry: stable)",
        };
        let flag = &self.flag;
        world.log(
            Level::Warn,
            format_args!("canary: flag {flag}{whose} expired at {expires_at}: {then}; remove it"),
        );
    }

    #[inline(never)]
    fn is_expired(&self, world: &dyn World) -> bool {
        self.expires_at.is_some_and(|at| at <= world.now())
    }
}
