//! What was decided, and why.

use crate::variants::VariantId;

/// One decision of one experiment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What it is.
    pub variant: VariantId,
    /// The step that made it.
    pub reason: Reason,
}

/// The steps in the order in which they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// `enabled: false`.
    KillSwitch,
    /// Past `expires_at`, with `on_expiry: stable`.
    Expired,
    /// A header of `force`.
    Forced,
    /// The key is in `overrides`.
    Override,
    /// A rule of `segments`.
    Segment,
    /// The key's bucket, by weights or ramp.
    Percentage,
    /// No key; by chance, `on_missing_key: random`.
    Random,
    /// No key; `on_missing_key: stable` or a variant.
    MissingKey,
    /// No step applied: there are neither weights nor a ramp.
    Default,
}

impl Reason {
    /// How many there are.
    pub(crate) const COUNT: usize = 9;

    /// The code in metrics, access log and filter state.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::KillSwitch => "kill_switch",
            Self::Expired => "expired",
            Self::Forced => "forced",
            Self::Override => "override",
            Self::Segment => "segment",
            Self::Percentage => "percentage",
            Self::Random => "random",
            Self::MissingKey => "missing_key",
            Self::Default => "default",
        }
    }

    pub(crate) fn index(self) -> usize {
        match self {
            Self::KillSwitch => 0,
            Self::Expired => 1,
            Self::Forced => 2,
            Self::Override => 3,
            Self::Segment => 4,
            Self::Percentage => 5,
            Self::Random => 6,
            Self::MissingKey => 7,
            Self::Default => 8,
        }
    }
}
