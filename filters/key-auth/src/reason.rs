//! Every way in which key auth can decide. A closed set: the words are metric labels.

use tollgate_core::flow::GrpcStatus;

/// Why a request passed or did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The key is good and the rule allows its consumer.
    Allowed,
    /// No key, and the rule is `optional`.
    Anonymous,
    /// The rule is `off`.
    Off,
    /// A CORS preflight, which browsers send without credentials.
    Preflight,
    /// No credential at a place where the rule looks for one.
    Missing,
    /// Several credentials: which one counts is anybody's guess.
    Multiple,
    /// Unknown, empty or too long.
    Invalid,
    /// Not a key of the environment that this rule serves. Never looked up.
    WrongPrefix,
    /// The true key, too late.
    Expired,
    /// The true key, too early.
    NotYetValid,
    /// The true key, taken back.
    Revoked,
    /// A good key that may not do this.
    Forbidden,
    /// Not a key of the configuration, and the remote key set has not been loaded yet.
    NotLoaded,
}

/// What the client is told about a refusal.
pub(crate) struct Refused {
    /// HTTP status.
    pub(crate) status: u16,
    /// Last part of the problem type.
    pub(crate) problem: &'static str,
    /// `title` of the problem.
    pub(crate) title: &'static str,
    /// `detail` of the problem, where no better one can be given.
    pub(crate) detail: &'static str,
    /// Response code details.
    pub(crate) details: &'static str,
    /// gRPC status.
    pub(crate) grpc: GrpcStatus,
    /// Error code of RFC 6750, 3.1, for keys that came by the Bearer scheme.
    pub(crate) bearer_error: Option<&'static str>,
}

impl Reason {
    /// The reasons that a rule may give which checks keys.
    pub(crate) const CHECKED: [Self; 12] = [
        Self::Allowed,
        Self::Anonymous,
        Self::Preflight,
        Self::Missing,
        Self::Multiple,
        Self::Invalid,
        Self::WrongPrefix,
        Self::Expired,
        Self::NotYetValid,
        Self::Revoked,
        Self::Forbidden,
        Self::NotLoaded,
    ];

    /// The reasons that say something about a known consumer.
    pub(crate) const OF_CONSUMER: [Self; 5] = [
        Self::Allowed,
        Self::Expired,
        Self::NotYetValid,
        Self::Revoked,
        Self::Forbidden,
    ];

    /// The metric label.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Anonymous => "anonymous",
            Self::Off => "off",
            Self::Preflight => "preflight",
            Self::Missing => "missing",
            Self::Multiple => "multiple",
            Self::Invalid => "invalid",
            Self::WrongPrefix => "wrong_prefix",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Revoked => "revoked",
            Self::Forbidden => "forbidden",
            Self::NotLoaded => "not_loaded",
        }
    }

    /// The answer to a refused request; `None` for reasons to let it pass.
    pub(crate) const fn refused(self) -> Option<Refused> {
        let refused = match self {
            Self::Allowed | Self::Anonymous | Self::Off | Self::Preflight => return None,
            Self::Missing => Refused {
                status: 401,
                problem: "key-missing",
                title: "API key missing",
                detail: "This request needs an API key.",
                details: "tollgate_key_missing",
                grpc: GrpcStatus::UNAUTHENTICATED,
                bearer_error: None,
            },
            Self::Multiple => Refused {
                status: 400,
                problem: "key-multiple",
                title: "Several API keys",
                detail: "Send one API key, once, in one place.",
                details: "tollgate_key_multiple",
                grpc: GrpcStatus::INVALID_ARGUMENT,
                bearer_error: Some("invalid_request"),
            },
            Self::Invalid => Refused {
                status: 401,
                problem: "key-invalid",
                title: "API key invalid",
                detail: "The API key is not known.",
                details: "tollgate_key_invalid",
                grpc: GrpcStatus::UNAUTHENTICATED,
                bearer_error: Some("invalid_token"),
            },
            Self::WrongPrefix => Refused {
                status: 401,
                problem: "key-invalid",
                title: "API key invalid",
                detail: "The API key is not one of this environment.",
                details: "tollgate_key_wrong_prefix",
                grpc: GrpcStatus::UNAUTHENTICATED,
                bearer_error: Some("invalid_token"),
            },
            Self::Expired => Refused {
                status: 401,
                problem: "key-expired",
                title: "API key expired",
                detail: "The API key has expired. Use a newer one.",
                details: "tollgate_key_expired",
                grpc: GrpcStatus::UNAUTHENTICATED,
                bearer_error: Some("invalid_token"),
            },
            Self::NotYetValid => Refused {
                status: 401,
                problem: "key-not-yet-valid",
                title: "API key not yet valid",
                detail: "The API key is not valid yet.",
                details: "tollgate_key_not_yet_valid",
                grpc: GrpcStatus::UNAUTHENTICATED,
                bearer_error: Some("invalid_token"),
            },
            Self::Revoked => Refused {
                status: 401,
                problem: "key-revoked",
                title: "API key revoked",
                detail: "The API key has been revoked.",
                details: "tollgate_key_revoked",
                grpc: GrpcStatus::UNAUTHENTICATED,
                bearer_error: Some("invalid_token"),
            },
            Self::Forbidden => Refused {
                status: 403,
                problem: "key-forbidden",
                title: "Not allowed with this API key",
                detail: "The API key is good, but its consumer may not do this.",
                details: "tollgate_key_forbidden",
                grpc: GrpcStatus::PERMISSION_DENIED,
                bearer_error: Some("insufficient_scope"),
            },
            Self::NotLoaded => Refused {
                status: 503,
                problem: "key-set-unavailable",
                title: "API keys cannot be checked yet",
                detail: "The list of API keys has not been loaded yet. Try again.",
                details: "tollgate_key_set_unavailable",
                grpc: GrpcStatus::UNAVAILABLE,
                bearer_error: None,
            },
        };
        Some(refused)
    }
}
