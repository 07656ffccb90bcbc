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
    /// What a filter before this one decided, by the marker.
    Marker,
    /// A header of `force`.
    Forced,
    /// The key is in `overrides`.
    Override,
    /// A rule of `segments`.
    Segment,
    /// The visitor's cookie: a session that began on this variant.
    Session,
    /// The key's bucket, by weights or ramp.
    Percentage,
    /// No key; by chance, `on_missing_key: random`.
    Random,
    /// No key; `on_missing_key: stable` or a variant.
    MissingKey,
    /// No step applied: there are neither weights nor a ramp.
    Default,
    /// The variant that was decided has been rolled back.
    RolledBack,
}

impl Reason {
    /// All of them.
    pub(crate) const ALL: [Self; Self::COUNT] = [
        Self::KillSwitch,
        Self::Expired,
        Self::Marker,
        Self::Forced,
        Self::Override,
        Self::Segment,
        Self::Session,
        Self::Percentage,
        Self::Random,
        Self::MissingKey,
        Self::Default,
        Self::RolledBack,
    ];

    /// How many there are.
    pub(crate) const COUNT: usize = 12;

    /// The code in metrics, access log and filter state.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::KillSwitch => "kill_switch",
            Self::Expired => "expired",
            Self::Marker => "marker",
            Self::Forced => "forced",
            Self::Override => "override",
            Self::Segment => "segment",
            Self::Session => "session",
            Self::Percentage => "percentage",
            Self::Random => "random",
            Self::MissingKey => "missing_key",
            Self::Default => "default",
            Self::RolledBack => "rolled_back",
        }
    }

    pub(crate) fn index(self) -> usize {
        match self {
            Self::KillSwitch => 0,
            Self::Expired => 1,
            Self::Marker => 2,
            Self::Forced => 3,
            Self::Override => 4,
            Self::Segment => 5,
            Self::Session => 6,
            Self::Percentage => 7,
            Self::Random => 8,
            Self::MissingKey => 9,
            Self::Default => 10,
            Self::RolledBack => 11,
        }
    }

    /// Its bit in a set.
    pub(crate) fn bit(self) -> u16 {
        let at = u32::try_from(self.index()).unwrap_or(0);
        1_u16.checked_shl(at).unwrap_or(0)
    }

    /// Whether requests that were decided so can be counted: the others get the default variant for a reason that
    /// has nothing to do with them.
    pub(crate) fn can_count(self) -> bool {
        !matches!(self, Self::KillSwitch | Self::Expired | Self::RolledBack)
    }
}
