//! The order of the policies.

use tollgate_core::Then;

#[cfg(feature = "canary")]
pub(crate) use tollgate_canary::Canary;
#[cfg(feature = "cost")]
pub(crate) use tollgate_cost::Cost;
#[cfg(feature = "key-auth")]
pub(crate) use tollgate_key_auth::KeyAuth;
#[cfg(feature = "rate-limit")]
pub(crate) use tollgate_rate_limit::{EarlyLimits, Limits};
#[cfg(feature = "webhook-signature")]
pub(crate) use tollgate_webhook_signature::WebhookSignature;

#[cfg(not(feature = "canary"))]
pub(crate) use absent::Absent as Canary;
#[cfg(not(feature = "cost"))]
pub(crate) use absent::Absent as Cost;
#[cfg(not(feature = "key-auth"))]
pub(crate) use absent::Absent as KeyAuth;
#[cfg(not(feature = "webhook-signature"))]
pub(crate) use absent::Absent as WebhookSignature;
#[cfg(not(feature = "rate-limit"))]
pub(crate) use absent::{Absent as EarlyLimits, Absent as Limits};

/// Limits that need no consumer come first: they are cheap and stop floods. Then who it is, then whether the
/// message is genuine, then the limits of that consumer, the variant, and at last the money: nobody pays for a
/// request that something else refuses. A later refusal does not give a limit's token back.
pub type Chain = Then<
    Option<EarlyLimits>,
    Then<
        Option<KeyAuth>,
        Then<Option<WebhookSignature>, Then<Option<Limits>, Then<Option<Canary>, Option<Cost>>>>,
    >,
>;

/// Stands in for a policy that this module was built without.
#[allow(dead_code, unreachable_pub)] // with all features on, nothing is absent
mod absent {
    use tollgate_core::{Exchange, Flow, Policy, World};

    /// Has no value, so it can never run.
    #[derive(Debug)]
    pub enum Absent {}

    impl Policy for Absent {
        type Stream = ();

        fn on_request_headers(&self, _: &mut (), _: &mut Exchange, _: &dyn World) -> Flow {
            match *self {}
        }
    }
}
